// contrast: an image tower and a text tower trained to meet; zero-shot classification and retrieval.

#include <cstdio>
#include <filesystem>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/resized.h"
#include "apps/common/run/contrastive.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/task.h"
#include "apps/common/run/trace.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mpi.h"
#include "core/text.h"

namespace sked {
namespace {

struct ContrastOptions {
  bool fresh = false;
  std::string init, profile, evaluate, dataset;
  std::vector<std::string> few_shot;
};

std::string text_of(const Recalls& r) {
  char text[160];
  std::snprintf(text, sizeof text,
                "recall@1/5/10: image to text %.2f / %.2f / %.2f %%, text to image %.2f / %.2f / %.2f %%",
                100 * r.image_to_text_1, 100 * r.image_to_text_5, 100 * r.image_to_text_10, 100 * r.text_to_image_1,
                100 * r.text_to_image_5, 100 * r.text_to_image_10);
  return text;
}

void print(const Evaluation& e) {
  const Measures& m = e.measures;
  std::printf("zero-shot: nll %.4f  accuracy %.2f %%  top-5 %.2f %%  ece %.4f  brier %.4f  (%lld images)\n", m.nll,
              100 * m.accuracy, 100 * m.top5, m.ece, m.brier, static_cast<long long>(m.count));
  const UnseenClasses& u = e.unseen;
  if (u.count > 0) {
    char seen[32] = "none";
    if (u.seen_count > 0) std::snprintf(seen, sizeof seen, "%.2f %%", 100 * u.seen_accuracy);
    std::printf(
        "  classes of training captions %s, unseen classes %.2f %% among all, %.2f %% among themselves (%lld images)\n",
        seen, 100 * u.accuracy, 100 * u.accuracy_between, static_cast<long long>(u.count));
  }
  const Retrieval& r = e.retrieval;
  std::printf("retrieval among %lld images and %lld captions, %s\n", static_cast<long long>(r.count),
              static_cast<long long>(r.captions), text_of(r).c_str());
  if (r.equal_captions > 0)
    std::printf("  %lld captions are those of another image too; with equal captions as each other's own %s\n",
                static_cast<long long>(r.equal_captions), text_of(r.alike).c_str());
}

/// The model's own data, with the classes it was trained on, or another data set by `name` or `name:path`, its test
/// images in the shape of the model's.
Splits splits_for(const std::string& wanted, Subject& subject, const Shape& shape) {
  if (wanted.empty()) return load_data(subject);
  RunConfig& config = subject.config;
  static_cast<DataSpec&>(config.data) = named_data(wanted, config.data.root);
  config.captions.unseen = 0;
  Splits splits = load_parts(config.data);
  say_notes(splits);
  splits.test = resized(splits.test ? splits.test : splits.train, shape);
  return splits;
}

void evaluate_run(const ContrastOptions& wanted, const CommonOptions& common) {
  const std::filesystem::path out = std::filesystem::path(common.out) / "evaluation.json";
  if (!common.out.empty()) check_results({out.string()}, "checkpoint", FolderIs::made);
  Subject subject = load_subject(wanted.evaluate, common);
  const RunConfig& config = subject.config;
  require_usage(config.task == TaskKind::contrastive, "contrast", subject.path, ": task: ", name_of(config.task),
                " is measured by build/evaluate");
  const Shape image = image_shape_of(config.data);
  const Shape shape = evaluation_pipeline(config.data.eval_pipeline).output_shape(image);
  Towers towers =
      make_towers(config, vocabulary_of(subject.file, subject.path, config), shape, Init::blank(common.device));
  restore_weights(subject.file, subject.path, *towers.model);
  Splits splits = splits_for(wanted.dataset, subject, image);
  check_images(subject, *splits.test, "test");
  const ZeroShotClasses classes = zero_shot_classes(*splits.test, config.captions);
  std::vector<FewShotData> sets;  // all that may not be there before anything is measured
  for (const std::string& name : wanted.few_shot)
    sets.push_back(few_shot_data(name, config.data.root, splits.test->image_shape()));
  const Evaluation result =
      evaluate_zero_shot(towers, with_captions(splits, config.captions).test, classes, config, common.device);
  print(result);
  std::vector<FewShotMeasures> few;
  for (const FewShotData& data : sets) {
    few.push_back(few_shot(towers.model->image(), data, kShots, config, common.device));
    std::printf("%s", few_shot_table(few.back()).c_str());
  }
  if (common.out.empty()) return;
  Json json{{"checkpoint", valid_utf8(wanted.evaluate)}, {"dataset", config.data.name}};
  json["test"] = evaluation_json(result, true);
  if (!few.empty()) json["few_shot"] = few_shot_json(few);
  json["temperature"] = towers.model->head().temperature();
  json["command"] = common.command;
  RunFolder{common.out}.create();
  write_file(out.string(), json_text(json));
}

void contrast(const ContrastOptions& wanted, const CommonOptions& common) {
  require_usage(wanted.dataset.empty() || !wanted.evaluate.empty(), "contrast", "--dataset ", wanted.dataset,
                ": expected --evaluate RUN beside it");
  require_usage(wanted.few_shot.empty() || !wanted.evaluate.empty(), "contrast", "--few-shot ", join(wanted.few_shot),
                ": expected --evaluate RUN beside it (in training: few_shot.data)");
  require_usage(wanted.evaluate.empty() || world().size() == 1, "contrast", "--evaluate ", wanted.evaluate, " by ",
                world().size(), " processes: expected one (training takes several)");
  require_usage(wanted.evaluate.empty() || wanted.profile.empty(), "contrast", "--profile ", wanted.profile,
                ": expected no --evaluate beside it (it is of training)");
  if (!wanted.evaluate.empty()) return evaluate_run(wanted, common);
  RunConfig config = load_config(common);
  require_usage(config.task == TaskKind::contrastive, "contrast", common.config, ": task: expected contrastive, got ",
                name_of(config.task), ", which build/train trains");
  if (!wanted.init.empty()) config.train.init = wanted.init;
  print_if_asked(common, config_text(config));
  std::filesystem::path out = common.out;
  if (out.empty())
    out = "runs/" + std::filesystem::path(common.config).stem().string() + "-s" + std::to_string(config.seed);
  const std::unique_ptr<Trace> trace = trace_of(wanted.profile, common.device, world());
  const Summary s = train(config, out,
                          {.device = common.device,
                           .graph = common.graph,
                           .fresh = wanted.fresh,
                           .command = common.command,
                           .ranks = &world(),
                           .trace = trace.get()});
  print(s.test);
  for (const FewShotMeasures& few : s.few_shot) std::printf("%s\n", few_shot_line(few).c_str());
  std::printf("%lld steps in %s (%.0f pairs/s), peak memory %.0f MB, %s: %lld extra parameters, temperature %.4f\n",
              static_cast<long long>(s.steps), duration(s.train_seconds).c_str(), s.images_per_second,
              static_cast<double>(s.peak_memory_bytes) / 1e6, s.head.c_str(),
              static_cast<long long>(s.params_head_extra), s.temperature);
  std::printf("results in %s\n", out.c_str());
  finish(trace.get());
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{"contrast",
                           "Trains an image tower and a text tower on captioned images (CLIP; with a locked image "
                           "tower LiT), with or without "
                           "HET-XL's noise on the images, and measures zero-shot classification and retrieval. Run "
                           "again, it goes on where it "
                           "stopped.",
                           "build/contrast --config apps/configs/contrast-fashion-mnist.json --out runs/contrast\n"
                           "  then: build/contrast --evaluate runs/contrast --set captions.templates=plain",
                           {},
                           true};
  sked::ContrastOptions wanted;
  const std::vector<sked::Option> own{
      {"--fresh", &wanted.fresh, "Start over instead of going on from the folder's checkpoint"},
      {"--init", &wanted.init, "Begin with this run of contrast, or the image tower of this checkpoint (train.init)",
       "FILE"},
      sked::profile_option(wanted.profile),
      {.name = "--evaluate",
       .target = &wanted.evaluate,
       .help = "Train nothing: measure this run, or safetensors file",
       .value = "RUN",
       .exists = true},
      {"--dataset", &wanted.dataset, "With --evaluate: zero-shot on this data set's classes", "DATASET[:PATH]"},
      {.name = "--few-shot",
       .target = &wanted.few_shot,
       .help = "With --evaluate: ridge regression on the image tower's representation, before its projection, 1 to 25 "
               "images per class; may be repeated",
       .value = "DATASET[:PATH]",
       .repeated = true}};
  return sked::run_app(argc, argv, text, own,
                       [&](const sked::CommonOptions& common) { sked::contrast(wanted, common); });
}

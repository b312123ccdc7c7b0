// evaluate: what a checkpoint is worth, on its own test images, on images it never saw, and as a representation.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/resized.h"
#include "apps/common/run/asked.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "apps/evaluate/ensemble.h"
#include "apps/evaluate/few_shot.h"
#include "apps/evaluate/ood.h"
#include "apps/evaluate/shift.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_file.h"

namespace sked {
namespace {

struct EvaluateOptions {
  std::vector<std::string> runs;
  std::string split = "test";
  std::optional<int64_t> samples;
  std::string ood, few_shot, shift;
  bool mahalanobis = false;
};

/// Another dataset by `name` or `name:path`, its images in the shape of this model's.
Splits other_data(const Asked& s, const std::string& name) {
  Splits splits = load_splits(named_data(name, s.config().data.root), 0);
  say_notes(splits);
  const Shape shape = s.splits.test->image_shape();
  if (splits.test->image_shape() != shape) {
    std::printf("note: images of %s %s are resized, cropped around their center, and made gray or color, to %s\n",
                printable(name).c_str(), splits.test->image_shape().str().c_str(), shape.str().c_str());
  }
  splits.train = resized(splits.train, shape);
  splits.test = resized(splits.test, shape);
  return splits;
}

/// Is it one data set, however its path is written?
bool same_data(const DataSpec& a, const DataSpec& b) {
  const auto place = [](const DataSpec& spec) {
    std::error_code error;
    return spec.path.empty() ? std::filesystem::path() : std::filesystem::weakly_canonical(spec.path, error);
  };
  return a.name == b.name && place(a) == place(b);
}

Splits ood_data(const Asked& s, const std::string& name) {
  require_usage(!same_data(named_data(name, ""), s.config().data), "evaluate", "--ood ", name,
                ": the model was trained on it");
  return other_data(s, name);
}

Json report_other(Asked& s, const EvaluateOptions& wanted, const Splits& other) {
  PredictOptions without_noise = s.predict;  // of the training images φ alone is asked for
  without_noise.samples = 0;
  const auto predict_with = [&s](const PredictOptions& options) -> PredictAll {
    return [&s, options](const auto& dataset, const auto& visit) {
      for_each_prediction(*s.model, dataset, s.config().data.eval_pipeline, options, visit);
    };
  };
  std::optional<Mahalanobis> training;
  if (wanted.mahalanobis)
    training = training_representations(predict_with(without_noise), s.splits.train, s.model->backbone().width(),
                                        s.predict.batch_size);
  return report_ood({.predict = predict_with(s.predict),
                     .sigmoid = s.config().head.link == Link::sigmoid,
                     .head = &s.model->head(),
                     .noisy = s.config().head.kind != HeadKind::det,
                     .training = training ? &*training : nullptr},
                    s.splits.test, other.test, wanted.ood);
}

struct Features {
  Tensor phi, labels;  // f32 (N,D), i64 (N)
};

Features features_of(Asked& s, const std::shared_ptr<const Dataset>& dataset) {
  Features f{Tensor::empty({dataset->size(), s.model->backbone().width()}),
             Tensor::empty({dataset->size()}, DType::i64)};
  int64_t done = 0;
  PredictOptions without_noise = s.predict;
  without_noise.samples = 0;
  for_each_prediction(*s.model, dataset, s.config().data.eval_pipeline, without_noise, [&](const Prediction& p) {
    const int64_t count = p.phi.dim(0);
    f.phi.rows(done, done + count).copy_from(p.phi);
    f.labels.rows(done, done + count).copy_from(p.batch.labels);
    done += count;
  });
  return {f.phi.rows(0, done), f.labels.rows(0, done)};  // without what could not be read
}

/// The class with the fewest images, and how many.
struct Rarest {
  int64_t k, images;

  Rarest(const std::vector<int64_t>& labels, int64_t classes) {
    std::vector<int64_t> counts(static_cast<size_t>(classes), 0);
    for (const int64_t label : labels)
      if (label >= 0) ++counts[static_cast<size_t>(label)];
    k = std::min_element(counts.begin(), counts.end()) - counts.begin();
    images = counts[static_cast<size_t>(k)];
  }
};

/// Takes the labels of those of `drawn` that are corrupt, each named on stderr. Is any?
bool lose_corrupt(const Dataset& data, const std::vector<int64_t>& drawn, std::vector<int64_t>& labels) {
  bool any = false;
  for (const int64_t i : drawn) {
    try {
      data.image(i);
    } catch (const ImageError& error) {
      std::fprintf(stderr, "left out: %s\n", printable(error.what()).c_str());
      labels[static_cast<size_t>(i)] = -1;
      any = true;
    }
  }
  return any;
}

/// `shots` training images of every class drawn, and what the model makes of them. One that is corrupt loses its label,
/// and the next of its class takes its place; nothing where a class has not enough of them. Throws Error where more are
/// lost than data.skip_limit allows.
std::optional<Features> few_features(Asked& s, const Splits& data, std::vector<int64_t>& labels, int64_t shots,
                                     const std::string& name) {
  const int64_t classes = data.train->classes();
  while (Rarest(labels, classes).images >= shots) {
    const std::vector<int64_t> drawn = draw_of_each_class(labels, classes, shots);
    if (s.predict.skip_limit == 0 || !lose_corrupt(*data.train, drawn, labels))
      return features_of(s, std::make_shared<Subset>(data.train, drawn));
    const auto lost = std::ranges::count(labels, -1);
    require(lost <= s.predict.skip_limit, "few_shot", name, ": ", lost,
            " of the training images drawn are corrupt; data.skip_limit is ", s.predict.skip_limit);
  }
  return std::nullopt;
}

std::vector<int64_t> labels_of(const Dataset& data) {
  std::vector<int64_t> labels(static_cast<size_t>(data.size()));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = data.label(static_cast<int64_t>(i));
  return labels;
}

Splits few_shot_data(const Asked& s, const std::string& name) {
  Splits data = other_data(s, name);
  const int64_t classes = data.train->classes();
  require_usage(classes > 1, "evaluate", "--few-shot ", name, ": expected images of two or more classes, got ",
                classes);
  const Rarest rarest(labels_of(*data.train), classes);
  require(rarest.images > 0, "few_shot", name, ": class ", rarest.k, ", ",
          printable(data.train->class_names()[static_cast<size_t>(rarest.k)]), ", has no training image");
  return data;
}

Json report_few_shot(Asked& s, const std::string& name, const Splits& data) {
  constexpr int64_t kShots[] = {1, 5, 10, 25};
  const std::vector<double> candidates{0x1p-10, 0x1p-5, 1, 0x1p5, 0x1p10};
  const int64_t classes = data.train->classes();
  std::vector<int64_t> labels = labels_of(*data.train);
  const Features test = features_of(s, data.test);
  std::printf("few-shot on %s, %lld test images: ridge regression on the representation, λ chosen on held-out folds\n",
              printable(name).c_str(), static_cast<long long>(test.labels.dim(0)));
  Json results = Json::array();
  for (int64_t shots : kShots) {
    const std::optional<Features> train = few_features(s, data, labels, shots, name);
    if (!train) {
      const Rarest rarest(labels, classes);
      std::printf("  %2lld shots: none, class %lld, %s, has %lld training images\n", static_cast<long long>(shots),
                  static_cast<long long>(rarest.k),
                  printable(data.train->class_names()[static_cast<size_t>(rarest.k)]).c_str(),
                  static_cast<long long>(rarest.images));
      continue;
    }
    const double lambda = choose_lambda(train->phi, train->labels, classes, shots, candidates);
    const double accuracy = few_shot_accuracy(train->phi, train->labels, test.phi, test.labels, classes, lambda);
    std::printf("  %2lld shots: %.2f %%  (λ = %g)\n", static_cast<long long>(shots), 100 * accuracy, lambda);
    results.push_back({{"shots", shots}, {"lambda", lambda}, {"accuracy", accuracy}});
  }
  return {{"dataset", name}, {"count", test.labels.dim(0)}, {"results", results}};
}

Json report_split(Asked& s, const EvaluateOptions& wanted) {
  const auto images = choose_split(s.splits, wanted.split);
  check_images(s.subject, *images, wanted.split);
  const Evaluation e = evaluate(*s.model, images, s.config(), s.predict);
  const Measures& m = e.measures;
  std::printf("%s, %s images: %lld, %lld Monte Carlo samples\n", s.config().data.name.c_str(), wanted.split.c_str(),
              static_cast<long long>(m.count), static_cast<long long>(s.predict.samples));
  std::printf("  nll       %.4f\n  accuracy  %.2f %%\n  top-5     %.2f %%\n  ece       %.4f\n  brier     %.4f\n", m.nll,
              100 * m.accuracy, 100 * m.top5, m.ece, m.brier);
  if (!e.distribution.empty())
    std::printf("  cross-entropy against %s label distributions %.4f (their entropy %.4f)\n", e.distribution.c_str(),
                e.against.cross_entropy, e.against.entropy);
  return evaluation_json(e, true);
}

Json report_run(const EvaluateOptions& wanted, const CommonOptions& common) {
  Asked s = load_asked(wanted.runs.front(), wanted.samples, common);
  require_usage(!wanted.mahalanobis || !s.splits.train->has_targets(), "evaluate",
                "--mahalanobis: expected training images of one class each, got several labels or soft ones");
  std::optional<Splits> ood, few_shot;  // all that may not be there before anything is measured
  if (!wanted.ood.empty()) ood = ood_data(s, wanted.ood);
  if (!wanted.few_shot.empty()) few_shot = few_shot_data(s, wanted.few_shot);
  std::optional<Corruptions> shift;
  if (!wanted.shift.empty()) shift = shift_data(s, wanted.shift, choose_split(s.splits, wanted.split));
  Json result{{"checkpoint", valid_utf8(wanted.runs.front())}, {"split", wanted.split}, {"samples", s.predict.samples}};
  result[wanted.split] = report_split(s, wanted);
  result["temperature"] = s.model->head().temperature();
  if (ood) result["ood"] = report_other(s, wanted, *ood);
  if (few_shot) result["few_shot"] = report_few_shot(s, wanted.few_shot, *few_shot);
  if (shift)
    result["shift"] = report_shift(*shift, wanted.shift, *s.splits.test, [&](const auto& images) {
      return evaluation_json(evaluate(*s.model, images, s.config(), s.predict), false);
    });
  return result;
}

Json report_runs(const EvaluateOptions& wanted, const CommonOptions& common) {
  require_usage(wanted.ood.empty(), "evaluate", "--ood ", wanted.ood, ": expected one run, got ", wanted.runs.size());
  require_usage(wanted.few_shot.empty(), "evaluate", "--few-shot ", wanted.few_shot, ": expected one run, got ",
                wanted.runs.size());
  const Ensemble ensemble = Ensemble::load(wanted.runs, wanted.split, wanted.samples, common);
  std::optional<Corruptions> shift;
  if (!wanted.shift.empty()) shift = shift_data(ensemble.members().front(), wanted.shift, ensemble.images());
  Json result = report_ensemble(ensemble, wanted.runs, wanted.split);
  if (shift)
    result["shift"] = report_shift(*shift, wanted.shift, *ensemble.images(), [&](const auto& images) {
      return evaluation_json(ensemble.evaluate(images).ensemble, false);
    });
  return result;
}

void evaluate_app(const EvaluateOptions& wanted, const CommonOptions& common) {
  const std::filesystem::path out = std::filesystem::path(common.out) / "evaluation.json";
  if (!common.out.empty()) check_results({out.string()}, "checkpoint", FolderIs::made);
  require_usage(!wanted.mahalanobis || !wanted.ood.empty(), "evaluate",
                "--mahalanobis: expected --ood DATASET, whose images it tells apart, got none");
  Json result = wanted.runs.size() == 1 ? report_run(wanted, common) : report_runs(wanted, common);
  result["command"] = common.command;
  if (common.out.empty()) return;
  RunFolder{common.out}.create();
  write_file(out.string(), json_text(result));
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{
      "evaluate",
      "Measures a trained classifier: NLL, accuracy, calibration, out-of-distribution detection, few-shot accuracy.",
      "build/evaluate runs/first --samples 1000 --ood cifar-10\n"
      "  prints a table; with --out DIR also writes DIR/evaluation.json"};
  sked::EvaluateOptions wanted;
  const std::vector<sked::Option> own{
      {.name = "checkpoint",
       .target = &wanted.runs,
       .help = "Run folder, or a safetensors file (one without a configuration inside needs --config); of several the "
               "predicted probabilities are averaged",
       .required = true,
       .exists = true},
      {.name = "--split",
       .target = &wanted.split,
       .help = "Images to measure on",
       .value = "test|validation|train",
       .one_of = {"test", "validation", "train"},
       .shows_default = true},
      {.name = "--samples",
       .target = &wanted.samples,
       .help = "Monte Carlo samples; 0: without noise; default: as trained",
       .value = "N",
       .in = {{0, 1000000}}},
      {"--ood", &wanted.ood, "Telling the test images from this dataset's: AUROC, AUPRC, FPR@95 of several scores",
       "DATASET[:PATH]"},
      {"--mahalanobis", &wanted.mahalanobis,
       "With --ood, also by Mahalanobis distances to the training images, which are all looked at once more"},
      {"--few-shot", &wanted.few_shot, "Ridge regression on the representation, 1 to 25 images per class",
       "DATASET[:PATH]"},
      {"--shift", &wanted.shift,
       "Measures under corruptions: CIFAR-10-C's .npy files, ImageNet-C's folders, or some made of the images at hand",
       "PATH|made"}};
  return sked::run_app(argc, argv, text, own,
                       [&](const sked::CommonOptions& common) { sked::evaluate_app(wanted, common); });
}

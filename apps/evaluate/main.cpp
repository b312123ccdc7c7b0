// evaluate: what a checkpoint is worth, on its own test images, on images it never saw, and as a representation.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/covariance.h"
#include "apps/common/measure/estimate.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/predictions.h"
#include "apps/common/measure/resized.h"
#include "apps/common/measure/uncertainty.h"
#include "apps/common/run/asked.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "apps/evaluate/calibrate.h"
#include "apps/evaluate/ensemble.h"
#include "apps/evaluate/ood.h"
#include "apps/evaluate/shift.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mpi.h"
#include "core/text.h"

namespace sked {
namespace {

struct EvaluateOptions {
  std::vector<std::string> runs;
  std::string split = "test";
  std::optional<int64_t> samples;
  std::string ood, shift, calibrate, calibrated, covariance;
  std::vector<std::string> few_shot;
  bool mahalanobis = false, classes = false, split_entropy = false;
  PredictionsWanted predictions;
};

/// Is it one data set, however its path is written?
bool same_data(const DataSpec& a, const DataSpec& b) {
  const auto place = [](const DataSpec& spec) {
    std::error_code error;
    return spec.path.empty() ? std::filesystem::path() : std::filesystem::weakly_canonical(spec.path, error);
  };
  return a.name == b.name && place(a) == place(b);
}

std::shared_ptr<const Dataset> ood_images(const Asked& s, const std::string& name) {
  require_usage(!same_data(named_data(name, ""), s.config().data), "evaluate", "--ood ", name,
                ": the model was trained on it");
  return other_images(name, s.config().data.root, s.splits.test->image_shape());
}

Json report_other(Asked& s, const EvaluateOptions& wanted, const std::shared_ptr<const Dataset>& other) {
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
                    s.splits.test, other, wanted.ood);
}

/// One data set is an object, several are a list of them.
Json report_few_shot(Asked& s, const std::vector<FewShotData>& sets) {
  Json results = Json::array();
  for (const FewShotData& data : sets) {
    const FewShotMeasures measures =
        few_shot(s.model->backbone(), data, kShots, s.config(), s.predict.device, {}, *s.predict.ranks);
    std::printf("%s", few_shot_table(measures).c_str());
    results.push_back(few_shot_json(measures));
  }
  return results.size() == 1 ? results.back() : results;
}

void print_selective(const Selective& s) {
  std::printf("  aurc      %.4f (%.4f above the least)\n  kept, the most confident   ", s.aurc, s.e_aurc);
  for (const int coverage : kCoverages) std::printf("  %4d %%", coverage);
  std::printf("\n    accuracy of these        ");
  for (const double accuracy : s.accuracy) std::printf("  %6.2f", 100 * accuracy);
  std::printf("\n    with an oracle for others");
  for (const double accuracy : s.oracle) std::printf("  %6.2f", 100 * accuracy);
  std::printf("\n");
}

/// A number, where it is defined.
std::string defined(double value, int digits, double scale = 1) {
  return std::isnan(value) ? "-" : estimate({value}).text(digits, scale);
}

void print_against(const Evaluation& e, bool noisy) {
  std::printf("  cross-entropy against %s label distributions %.4f (their entropy %.4f)\n", e.distribution.c_str(),
              e.against.cross_entropy, e.against.entropy);
  std::printf("  rank correlation of their entropy with the predictions' %s",
              defined(e.against.entropy_correlation, 4).c_str());
  if (noisy) std::printf(", with the predicted noise %s", defined(e.against.noise_correlation, 4).c_str());
  std::printf("\n");
}

void print_recovery(const CovarianceRecovery& c) {
  std::printf(
      "  covariance of the logits, centered, against the known one over %lld images:\n"
      "    correlation %s, relative error %s; with another image's %s, %s\n",
      static_cast<long long>(c.count), defined(c.correlation, 3).c_str(), defined(c.error, 3).c_str(),
      defined(c.correlation_shuffled, 3).c_str(), defined(c.error_shuffled, 3).c_str());
}

void print_classes(const std::vector<NamedClass>& classes) {
  if (classes.empty()) {
    std::printf("  no table of classes: the images have several labels, or soft ones\n");
    return;
  }
  std::printf("  images  recall %%  precision %%  confidence     nll  class\n");
  for (const auto& [name, m] : classes)
    std::printf("  %6lld  %8s  %11s  %10s  %6s  %s\n", static_cast<long long>(m.count),
                defined(m.recall, 2, 100).c_str(), defined(m.precision, 2, 100).c_str(),
                defined(m.confidence, 4).c_str(), defined(m.nll, 4).c_str(), printable(name).c_str());
}

/// What a file of predictions says of them.
Json about_split(const Asked& s, const EvaluateOptions& wanted) {
  return {{"checkpoint", valid_utf8(s.subject.path)},
          {"dataset", s.config().data.name},
          {"split", wanted.split},
          {"samples", s.predict.samples},
          {"temperature", s.model->head().temperature()},
          {"calibration", s.predict.calibration ? wanted.calibrated : "as trained"}};
}

/// Likewise of averages, whose measures are `result`.
Json about_ensemble(const Json& result, const std::string& dataset) {
  Json about{{"head", "ensemble"}, {"dataset", dataset}, {"split", result.at("split")}};
  for (const Json& member : result.at("members").elements()) {
    Json& own = about["members"];
    own.push_back(Json::object());
    for (const char* key : {"checkpoint", "samples", "temperature"}) own.back()[key] = member.at(key);
  }
  return about;
}

Json report_split(Asked& s, const EvaluateOptions& wanted) {
  const auto images = choose_split(s.splits, wanted.split);
  check_images(s.subject, *images, wanted.split);
  auto predictions = predictions_for(wanted.predictions, s.config().head, images->class_names(), images->size());
  const Evaluation e = evaluate(*s.model, images, s.config(), s.predict, [&](const Prediction& p) {
    if (!predictions) return;
    const std::vector<NamedTensor> more = said_by_head(wanted.predictions, s.model->head(), p.phi, p.rows);
    if (s.predict.ranks->rank() == 0) predictions->add(ids_of(*images, p.batch), p.probabilities, &p.batch, more);
  });
  const Measures& m = e.measures;
  std::printf("%s, %s images: %lld, %lld Monte Carlo samples\n", s.config().data.name.c_str(), wanted.split.c_str(),
              static_cast<long long>(m.count), static_cast<long long>(s.predict.samples));
  std::printf(
      "  nll       %.4f\n  accuracy  %.2f %%\n  top-5     %.2f %%\n  ece       %.4f (%.4f of equal masses)\n"
      "  brier     %.4f\n",
      m.nll, 100 * m.accuracy, 100 * m.top5, m.ece, m.adaptive_ece, m.brier);
  print_selective(m.selective);
  if (!e.distribution.empty()) print_against(e, s.config().head.kind != HeadKind::det);
  if (e.covariance.count > 0) print_recovery(e.covariance);
  if (wanted.classes) print_classes(e.classes);
  if (predictions) std::printf("%s", predictions->write(about_split(s, wanted)).c_str());
  return evaluation_json(e, true);
}

/// Mean over the images; they are looked at once more.
Json report_entropy(Asked& s, const std::shared_ptr<const Dataset>& images) {
  PredictOptions without_noise = s.predict;
  without_noise.samples = 0;
  const bool sigmoid = s.config().head.link == Link::sigmoid;
  const int64_t samples = s.config().head.kind == HeadKind::det ? 2 : s.predict.samples;  // without noise all are equal
  std::vector<double> sums(4, 0.0);
  for_each_prediction(*s.model, images, s.config().data.eval_pipeline, without_noise, [&](const Prediction& p) {
    auto rows = split_entropy(s.model->head(), p.phi, samples, sigmoid, p.context);
    rows.resize(static_cast<size_t>(p.rows.mine().size()));
    for (const EntropySplit& e : rows) sums[0] += e.total, sums[1] += e.noise, sums[2] += e.rest, ++sums[3];
  });
  add_over(*s.predict.ranks, sums);
  const double total = sums[0] / sums[3], noise = sums[1] / sums[3], rest = sums[2] / sums[3];
  std::printf("  entropy   %.4f nats, of it by the noise %.4f (mutual information, %lld samples), else %.4f\n", total,
              noise, static_cast<long long>(samples), rest);
  return {{"total", total}, {"noise", noise}, {"rest", rest}, {"samples", samples}};
}

/// The images are looked at once more.
void report_covariance(Asked& s, const std::shared_ptr<const Dataset>& images, const std::string& prefix) {
  PredictOptions without_noise = s.predict;
  without_noise.samples = 0;
  CovarianceAccumulator sums;
  for_each_prediction(*s.model, images, s.config().data.eval_pipeline, without_noise, [&](const Prediction& p) {
    sums.add(s.model->head(), p.phi, s.predict.samples, s.config().head.link == Link::sigmoid, p.context, p.rows,
             ids_of(*images, p.batch));
  });
  const LogitCovariance result = sums.result(*s.predict.ranks);
  if (s.predict.ranks->rank() == 0) std::printf("%s", write_covariance(prefix, result, images->class_names()).c_str());
}

Json report_run(EvaluateOptions wanted, const CommonOptions& common) {
  Asked s = load_asked(wanted.runs.front(), wanted.samples, common, nullptr, world());
  wanted.split = measured_split(s.splits, wanted.split);
  require_usage(!wanted.mahalanobis || !s.splits.train->has_targets(), "evaluate",
                "--mahalanobis: expected training images of one class each, got several labels or soft ones");
  require_usage(!wanted.split_entropy || s.config().head.kind == HeadKind::det || s.predict.samples >= 2, "evaluate",
                "--split-entropy: expected --samples of 2 or more, got ", s.predict.samples);
  require_usage(!wanted.split_entropy || wanted.calibrated.empty(), "evaluate",
                "--split-entropy: expected predictions as trained, got --calibrated ", wanted.calibrated);
  if (!wanted.covariance.empty()) check_covariance(s.config().head, s.splits.test->classes(), s.predict.samples);
  std::shared_ptr<const Dataset> fit;
  if (!wanted.calibrate.empty()) fit = calibration_images(s, wanted.calibrate);
  std::shared_ptr<const Dataset> ood;  // all that may not be there before anything is measured
  std::vector<FewShotData> few_shot;
  if (!wanted.ood.empty()) ood = ood_images(s, wanted.ood);
  for (const std::string& name : wanted.few_shot)
    few_shot.push_back(few_shot_data(name, s.config().data.root, s.splits.test->image_shape()));
  std::optional<Corruptions> shift;
  if (!wanted.shift.empty()) shift = shift_data(s, wanted.shift, choose_split(s.splits, wanted.split));
  Json result{{"checkpoint", valid_utf8(wanted.runs.front())}, {"split", wanted.split}, {"samples", s.predict.samples}};
  if (!wanted.calibrated.empty()) result["calibrated"] = use_calibration(s, wanted.calibrated, wanted.split);
  result[wanted.split] = report_split(s, wanted);
  if (fit) result["calibration"] = report_calibration(s, fit, wanted.calibrate, wanted.split, common.command);
  if (wanted.split_entropy) result["entropy"] = report_entropy(s, choose_split(s.splits, wanted.split));
  if (!wanted.covariance.empty()) report_covariance(s, choose_split(s.splits, wanted.split), wanted.covariance);
  result["temperature"] = s.model->head().temperature();
  if (ood) result["ood"] = report_other(s, wanted, ood);
  if (!few_shot.empty()) result["few_shot"] = report_few_shot(s, few_shot);
  if (shift)
    result["shift"] = report_shift(*shift, wanted.shift, *s.splits.test, [&](const auto& images) {
      return evaluation_json(evaluate(*s.model, images, s.config(), s.predict), false);
    });
  return result;
}

Json report_runs(EvaluateOptions wanted, const CommonOptions& common) {
  require_usage(wanted.ood.empty(), "evaluate", "--ood ", wanted.ood, ": expected one run, got ", wanted.runs.size());
  require_usage(wanted.few_shot.empty(), "evaluate", "--few-shot ", join(wanted.few_shot), ": expected one run, got ",
                wanted.runs.size());
  for (const auto& [name, given] : {std::pair("--classes", wanted.classes),
                                    {"--split-entropy", wanted.split_entropy},
                                    {"--covariance", !wanted.covariance.empty()},
                                    {"--calibrate", !wanted.calibrate.empty()},
                                    {"--calibrated", !wanted.calibrated.empty()}})
    require_usage(!given, "evaluate", name, ": expected one run, got ", wanted.runs.size());
  require_usage(wanted.predictions.with.empty(), "evaluate", "--with ", join(wanted.predictions.with),
                ": expected one run, got ", wanted.runs.size(), ": of several only probabilities are averaged");
  const Ensemble ensemble = Ensemble::load(wanted.runs, wanted.split, wanted.samples, common, world());
  const RunConfig& first = ensemble.members().front().config();
  wanted.split = measured_split(ensemble.members().front().splits, wanted.split);
  const Dataset& images = *ensemble.images();
  // The averages have no noise; the link is that of all.
  auto predictions =
      predictions_for(wanted.predictions, {.link = first.head.link}, images.class_names(), images.size());
  std::optional<Corruptions> shift;
  if (!wanted.shift.empty()) shift = shift_data(ensemble.members().front(), wanted.shift, ensemble.images());
  Json result = report_ensemble(ensemble, wanted.runs, wanted.split, [&](const Tensor& mean, const Batch& batch) {
    if (predictions && world().rank() == 0) predictions->add(ids_of(images, batch), mean, &batch);
  });
  if (predictions) std::printf("%s", predictions->write(about_ensemble(result, first.data.name)).c_str());
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
  require_usage(wanted.calibrate.empty() || wanted.calibrated.empty(), "evaluate", "--calibrate ", wanted.calibrate,
                ": expected predictions as trained, got --calibrated ", wanted.calibrated);
  check_predictions(wanted.predictions);
  std::vector<std::string> files = check_covariance_files(wanted.covariance);
  files.push_back(wanted.predictions.file);
  check_apart(files);
  Json result = wanted.runs.size() == 1 ? report_run(wanted, common) : report_runs(wanted, common);
  result["command"] = common.command;
  if (common.out.empty() || world().rank() > 0) return;
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
      "  prints a table; with --out DIR also writes DIR/evaluation.json",
      {"--graph"},
      true};
  sked::EvaluateOptions wanted;
  std::vector<sked::Option> own{
      {.name = "checkpoint",
       .target = &wanted.runs,
       .help = "Run folder, or a safetensors or .npz file (one without a configuration inside needs --config); of "
               "several the predicted probabilities are averaged",
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
      {"--classes", &wanted.classes, "Prints recall, precision, confidence and NLL of every class"},
      {"--split-entropy", &wanted.split_entropy,
       "How much of the predictions' entropy is the noise's: the mutual information of class and noise"},
      {"--covariance", &wanted.covariance,
       "Which classes' logits the noise moves together: PREFIX.safetensors and, as a heat map, PREFIX.svg", "PREFIX"},
      {.name = "--calibrate",
       .target = &wanted.calibrate,
       .help =
           "Fits a temperature, and with it a shift of each class's logit, to these images; calibration.json beside "
           "the checkpoint keeps them, a table says what they do to the measures on those of --split",
       .value = "validation|test",
       .one_of = {"validation", "test"}},
      {.name = "--calibrated",
       .target = &wanted.calibrated,
       .help = "Measures predictions that calibration.json calibrates, by its temperature alone or with the shifts",
       .value = "temperature|shift",
       .one_of = {"temperature", "shift"}},
      {"--ood", &wanted.ood, "Telling the test images from this dataset's: AUROC, AUPRC, FPR@95 of several scores",
       "DATASET[:PATH]"},
      {"--mahalanobis", &wanted.mahalanobis,
       "With --ood, also by Mahalanobis distances to the training images, which are all looked at once more"},
      {.name = "--few-shot",
       .target = &wanted.few_shot,
       .help = "Ridge regression on the representation, 1 to 25 images per class; may be repeated",
       .value = "DATASET[:PATH]",
       .repeated = true},
      {"--shift", &wanted.shift,
       "Measures under corruptions: CIFAR-10-C's .npy files, ImageNet-C's folders, or some made of the images at hand",
       "PATH|made"}};
  std::ranges::move(sked::predictions_options(wanted.predictions), std::back_inserter(own));
  return sked::run_app(argc, argv, text, own,
                       [&](const sked::CommonOptions& common) { sked::evaluate_app(wanted, common); });
}

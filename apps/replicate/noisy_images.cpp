#include "apps/replicate/noisy_images.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "apps/common/measure/covariance_recovery.h"
#include "apps/common/measure/metrics.h"
#include "apps/common/measure/picture.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/task.h"
#include "core/error.h"
#include "data/loader.h"

namespace sked {
namespace {

constexpr int64_t kMostMapped = 300;  // classes that a heat map shows one by one
constexpr int64_t kMostClassesShown = 30;
constexpr int kOfEachClass = 3;
constexpr int64_t kSide = 224, kSmallSide = 112;  // a picture's longer side; it is shown 112 wide

struct Scored {
  double noise;
  int64_t index, predicted;
  double probability;
};

class Study {
 public:
  Study(const Dataset& test, Head& head, bool sigmoid)
      : test_(test), head_(head), sigmoid_(sigmoid), classes_(test.classes()) {
    const std::vector<int64_t> order = shuffled_order(test.size(), 0, 0);
    sampled_.insert(order.begin(), order.begin() + std::min(test.size(), kSomeImages));
  }
  void add(const Prediction& p);
  NoiseStudy result(int count) const;

 private:
  void add_known(int64_t index, double noise);
  void add_centered(const Tensor& covariance, std::vector<double>& sums) const;
  Tensor mean_of(const std::vector<double>& sums) const;
  NoisyImage picture_of(const Scored& scored, int64_t side) const;
  std::vector<NoisyImage> of_each_class(const std::vector<Scored>& noisiest_first) const;

  const Dataset& test_;
  Head& head_;
  const bool sigmoid_;
  const int64_t classes_;
  std::set<int64_t> sampled_;  // images whose logits are sampled
  CovarianceAccumulator covariance_;
  std::vector<Scored> all_;
  std::vector<double> known_, predicted_, confusion_, of_class_;
  std::vector<double> learned_, true_;  // sums of covariances (K,K) over the images whose logits are sampled
};

void Study::add(const Prediction& p) {
  const Tensor noise = head_.noise_scale(p.phi).to(Device::cpu);
  require_finite(noise, p.batch.indices, test_, "its predicted noise");
  for (int64_t i = 0; i < noise.numel(); ++i) {
    const float* row = p.probabilities.data<float>() + i * classes_;
    const float* top = std::max_element(row, row + classes_);
    const int64_t index = p.batch.indices.data<int64_t>()[i];
    all_.push_back({noise.data<float>()[i], index, top - row, *top});
    if (test_.has_distributions()) add_known(index, noise.data<float>()[i]);
    if (classes_ > kMostMapped || !sampled_.contains(index)) continue;
    Context one = p.context;
    one.examples = p.context.examples.rows(i, i + 1);
    covariance_.add(head_, p.phi.rows(i, i + 1), kSomeSamples, sigmoid_, one, BatchRows(1));
    add_centered(head_.logit_covariance(p.phi.rows(i, i + 1)).to(Device::cpu), learned_);
    if (test_.has_covariances()) add_centered(test_.covariance(index), true_);
  }
}

void Study::add_known(int64_t index, double noise) {
  const Tensor distribution = test_.distribution(index);
  known_.push_back(entropy(distribution.data<float>(), classes_));
  predicted_.push_back(noise);
  if (classes_ > kMostMapped) return;
  confusion_.resize(static_cast<size_t>(classes_ * classes_));
  of_class_.resize(static_cast<size_t>(classes_));
  const int64_t label = test_.label(index);
  ++of_class_[static_cast<size_t>(label)];
  for (int64_t k = 0; k < classes_; ++k)
    confusion_[static_cast<size_t>(label * classes_ + k)] += static_cast<double>(distribution.data<float>()[k]);
}

void Study::add_centered(const Tensor& covariance, std::vector<double>& sums) const {
  const std::vector<double> centered = centered_over_classes(covariance.data<float>(), classes_);
  sums.resize(centered.size());
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += centered[i];
}

/// Undefined where nothing was added.
Tensor Study::mean_of(const std::vector<double>& sums) const {
  if (sums.empty()) return {};
  Tensor mean = Tensor::empty({classes_, classes_});
  std::ranges::transform(sums, mean.data<float>(), [&](double sum) {
    return static_cast<float>(sum / static_cast<double>(covariance_.images()));
  });
  return mean;
}

NoisyImage Study::picture_of(const Scored& s, int64_t side) const {
  const std::vector<std::string>& names = test_.class_names();
  return {picture_uri(thumbnail(test_.image(s.index), side)),
          test_.encoded() ? test_.source(s.index) : "",
          names[static_cast<size_t>(test_.label(s.index))],
          names[static_cast<size_t>(s.predicted)],
          s.probability,
          s.noise};
}

std::vector<NoisyImage> Study::of_each_class(const std::vector<Scored>& noisiest_first) const {
  std::vector<NoisyImage> images;
  if (classes_ > kMostClassesShown || holds_features(test_)) return images;
  for (int64_t k = 0; k < classes_; ++k) {
    int shown = 0;
    for (const Scored& s : noisiest_first)
      if (shown < kOfEachClass && test_.label(s.index) == k) images.push_back(picture_of(s, kSmallSide)), ++shown;
  }
  return images;
}

NoiseStudy Study::result(int count) const {
  // Noisiest first; of equal ones any, not the first of the data set.
  std::vector<Scored> shuffled;
  for (const int64_t i : shuffled_order(static_cast<int64_t>(all_.size()), 0, 0))
    shuffled.push_back(all_[static_cast<size_t>(i)]);
  std::ranges::stable_sort(shuffled, std::ranges::greater{}, &Scored::noise);
  NoiseStudy study{.noisiest = {}, .by_class = of_each_class(shuffled), .classes = test_.class_names()};
  if (holds_features(test_)) count = 0;
  for (size_t i = 0; i < std::min(shuffled.size(), static_cast<size_t>(count)); ++i)
    study.noisiest.push_back(picture_of(shuffled[i], kSide));
  if (covariance_.images() > 0) study.logits = covariance_.result();
  study.learned = mean_of(learned_);
  study.known_covariance = mean_of(true_);
  study.known = known_;
  study.predicted = predicted_;
  if (confusion_.empty()) return study;
  study.confusion = Tensor::zeros({classes_, classes_});
  for (size_t i = 0; i < confusion_.size(); ++i)
    if (const double images = of_class_[i / of_class_.size()]; images > 0)
      study.confusion.data<float>()[i] = static_cast<float>(confusion_[i] / images);
  return study;
}

}  // namespace

std::string weights_of(const FinishedRun& run, const std::string& folder) {
  const RunFolder files{folder};
  return run.summary.weights == "best" ? files.best() : files.last();
}

NoiseStudy study_noise(const FinishedRun& run, const std::string& folder, int count) {
  const std::string path = weights_of(run, folder);
  const TensorFile file = load_safetensors(path);
  RunConfig config = config_of(file, path);
  config.data.root = run.plan.config.data.root;
  const std::optional<DataIdentity> data = identity_of(file, path);
  const Splits splits = data ? load_data(config, data->classes, path) : load_data(config);
  const Pipeline pipeline = Pipeline::parse(config.data.eval_pipeline);
  const auto classifier =
      make_classifier(config, pipeline.output_shape(splits.test->image_shape()), splits.test->classes(), Init::blank());
  restore_weights(file, path, *classifier);
  Study study(*splits.test, classifier->head(), config.head.link == Link::sigmoid);
  for_each_prediction(*classifier, splits.test, config.data.eval_pipeline,
                      {.samples = config.train.eval_samples,
                       .batch_size = config.train.part_size(),
                       .seed = config.seed,
                       .skip_limit = config.data.corrupt_limit()},
                      [&](const Prediction& p) { study.add(p); });
  return study.result(count);
}

}  // namespace sked

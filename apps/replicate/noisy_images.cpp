#include "apps/replicate/noisy_images.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "apps/common/measure/covariance.h"
#include "apps/common/measure/metrics.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/task.h"
#include "core/error.h"
#include "data/image_resample.h"
#include "data/loader.h"

namespace sked {
namespace {

constexpr int64_t kSampledImages = 256, kSamples = 64;  // for the correlation of logits
constexpr int64_t kMostMapped = 300;                    // classes that a heat map shows one by one
constexpr int64_t kMostClassesShown = 30;
constexpr int kOfEachClass = 3;
constexpr int64_t kSide = 224, kSmallSide = 112;  // pixels of a picture; it is shown 112 wide

std::string base64(const std::string& bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (j < left ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= left ? kDigits[word >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

void append(std::string& bytes, uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
}

/// Photographs as small as the page shows them, not at the 3 bytes a pixel of a bitmap.
Tensor thumbnail(const Tensor& image, int64_t side) {
  if (std::min(image.dim(0), image.dim(1)) <= side) return image;
  const Shape size = small_size(image.shape(), side);
  Tensor result = Tensor::empty({size[0], size[1], image.dim(2)}, DType::u8);
  resample(image.data<uint8_t>(), image.shape(), {0, 0, image.dim(0), image.dim(1)}, size[0], size[1],
           result.data<uint8_t>());
  return result;
}

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
    sampled_.insert(order.begin(), order.begin() + std::min(test.size(), kSampledImages));
  }
  void add(const Prediction& p);
  NoiseStudy result(int count) const;

 private:
  void add_known(int64_t index, double noise);
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
};

void Study::add(const Prediction& p) {
  const Tensor noise = head_.noise_scale(p.phi).to(Device::cpu);
  require_finite(noise, p.batch, test_, "its predicted noise");
  for (int64_t i = 0; i < noise.numel(); ++i) {
    const float* row = p.probabilities.data<float>() + i * classes_;
    const float* top = std::max_element(row, row + classes_);
    const int64_t index = p.batch.indices.data<int64_t>()[i];
    all_.push_back({noise.data<float>()[i], index, top - row, *top});
    if (test_.has_distributions()) add_known(index, noise.data<float>()[i]);
    if (classes_ > kMostMapped || !sampled_.contains(index)) continue;
    Context one = p.context;
    one.examples = p.context.examples.rows(i, i + 1);
    covariance_.add(head_, p.phi.rows(i, i + 1), kSamples, sigmoid_, one);
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

NoisyImage Study::picture_of(const Scored& s, int64_t side) const {
  const std::vector<std::string>& names = test_.class_names();
  return {bitmap_uri(thumbnail(test_.image(s.index), side)),
          test_.encoded() ? std::filesystem::path(test_.source(s.index)).filename().string() : "",
          names[static_cast<size_t>(test_.label(s.index))],
          names[static_cast<size_t>(s.predicted)],
          s.probability,
          s.noise};
}

std::vector<NoisyImage> Study::of_each_class(const std::vector<Scored>& noisiest_first) const {
  std::vector<NoisyImage> images;
  if (classes_ > kMostClassesShown) return images;
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
  for (size_t i = 0; i < std::min(shuffled.size(), static_cast<size_t>(count)); ++i)
    study.noisiest.push_back(picture_of(shuffled[i], kSide));
  if (covariance_.images() > 0) study.correlation = covariance_.result().correlation;
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

std::string bitmap_uri(const Tensor& image) {
  const int64_t height = image.dim(0), width = image.dim(1), channels = image.dim(2);
  require(channels == 1 || channels == 3, "report", "expected an image with 1 or 3 channels, got ", image);
  // BMP: 14 bytes of file header, 40 of image header, then rows bottom up, padded to four bytes, each pixel B G R.
  const auto padding = static_cast<uint32_t>((4 - width * 3 % 4) % 4);
  const uint32_t size = static_cast<uint32_t>(height) * (static_cast<uint32_t>(width) * 3 + padding);
  std::string bytes = "BM";
  for (uint32_t value : {54 + size, 0u, 54u, 40u, static_cast<uint32_t>(width), static_cast<uint32_t>(height)})
    append(bytes, value, 4);
  append(bytes, 1, 2);
  append(bytes, 24, 2);
  for (uint32_t value : {0u, size, 2835u, 2835u, 0u, 0u}) append(bytes, value, 4);
  const uint8_t* pixels = image.data<uint8_t>();
  for (int64_t y = height - 1; y >= 0; --y) {
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* pixel = pixels + (y * width + x) * channels;
      for (int64_t c : {channels - 1, channels / 2, int64_t{0}}) bytes += static_cast<char>(pixel[c]);
    }
    append(bytes, 0, static_cast<int>(padding));
  }
  return "data:image/bmp;base64," + base64(bytes);
}

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
  if (holds_features(*splits.test)) return {};
  const Pipeline pipeline = Pipeline::parse(config.data.eval_pipeline);
  const auto classifier =
      make_classifier(config, pipeline.output_shape(splits.test->image_shape()), splits.test->classes(), Device::cpu);
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

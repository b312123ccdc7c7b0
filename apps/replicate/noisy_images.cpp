#include "apps/replicate/noisy_images.h"

#include <algorithm>
#include <functional>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/task.h"
#include "core/error.h"
#include "data/image_resample.h"
#include "data/loader.h"

namespace sked {
namespace {

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
Tensor thumbnail(const Tensor& image) {
  constexpr int64_t kSide = 224;
  if (std::min(image.dim(0), image.dim(1)) <= kSide) return image;
  const Shape size = small_size(image.shape(), kSide);
  Tensor result = Tensor::empty({size[0], size[1], image.dim(2)}, DType::u8);
  resample(image.data<uint8_t>(), image.shape(), {0, 0, image.dim(0), image.dim(1)}, size[0], size[1],
           result.data<uint8_t>());
  return result;
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

std::vector<NoisyImage> noisiest_images(const FinishedRun& run, const std::string& folder, int count) {
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

  struct Scored {
    double noise;
    int64_t index, predicted;
    double probability;
  };
  std::vector<Scored> all;
  for_each_prediction(*classifier, splits.test, config.data.eval_pipeline,
                      {.samples = config.train.eval_samples,
                       .batch_size = config.train.part_size(),
                       .seed = config.seed,
                       .skip_limit = config.data.corrupt_limit()},
                      [&](const Prediction& p) {
                        const Tensor noise = classifier->head().noise_scale(p.phi);
                        require_finite(noise, p.batch, *splits.test, "its predicted noise");
                        const int64_t classes = p.probabilities.dim(1);
                        for (int64_t i = 0; i < noise.numel(); ++i) {
                          const float* row = p.probabilities.data<float>() + i * classes;
                          const float* top = std::max_element(row, row + classes);
                          all.push_back({noise.data<float>()[i], p.batch.indices.data<int64_t>()[i], top - row, *top});
                        }
                      });
  // Noisiest first; of equal ones any, not the first of the data set.
  std::vector<Scored> shuffled;
  for (const int64_t i : shuffled_order(static_cast<int64_t>(all.size()), 0, 0))
    shuffled.push_back(all[static_cast<size_t>(i)]);
  std::ranges::stable_sort(shuffled, std::ranges::greater{}, &Scored::noise);
  shuffled.resize(std::min(shuffled.size(), static_cast<size_t>(count)));
  const std::vector<std::string>& names = splits.test->class_names();
  std::vector<NoisyImage> images;
  for (const Scored& s : shuffled)
    images.push_back({bitmap_uri(thumbnail(splits.test->image(s.index))),
                      names[static_cast<size_t>(splits.test->label(s.index))], names[static_cast<size_t>(s.predicted)],
                      s.probability, s.noise});
  return images;
}

}  // namespace sked

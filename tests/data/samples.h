#pragma once
// Small datasets for tests: images whose bytes tell where they come from.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace sked::test {

inline std::vector<std::string> class_names(int64_t classes) {
  std::vector<std::string> names;
  for (int64_t k = 0; k < classes; ++k) names.push_back("class " + std::to_string(k));
  return names;
}

/// u8 (N, side, side, C): byte p of image i is (i + 7p) mod 251.
inline Tensor counted_images(int64_t count, int64_t side, int64_t channels) {
  Tensor images = Tensor::empty({count, side, side, channels}, DType::u8);
  const int64_t bytes = side * side * channels;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t p = 0; p < bytes; ++p) images.data<uint8_t>()[i * bytes + p] = static_cast<uint8_t>((i + 7 * p) % 251);
  }
  return images;
}

/// i64 (N): label i is i mod K.
inline Tensor counted_labels(int64_t count, int64_t classes) {
  Tensor labels = Tensor::empty({count}, DType::i64);
  for (int64_t i = 0; i < count; ++i) labels.data<int64_t>()[i] = i % classes;
  return labels;
}

inline std::shared_ptr<ImageDataset> counted_dataset(int64_t count, int64_t side = 4, int64_t channels = 3,
                                                     int64_t classes = 3) {
  return std::make_shared<ImageDataset>("counted", class_names(classes), counted_images(count, side, channels),
                                        counted_labels(count, classes));
}

}  // namespace sked::test

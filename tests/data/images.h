#pragma once
// What Pillow and torchvision made of a few images (tests/fixtures/images.py), and how far ours is from it.

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/safetensors.h"

namespace sked::test {

inline const TensorFile& image_fixtures() {
  static const TensorFile file = load_safetensors("tests/fixtures/images.safetensors");
  return file;
}

inline std::vector<uint8_t> image_file(const std::string& name) {
  return image_fixtures().at("file/" + name).to_vector<uint8_t>();
}

/// The same as text, to be put into a file.
inline std::string image_text(const std::string& name) {
  const std::vector<uint8_t> bytes = image_file(name);
  return {bytes.begin(), bytes.end()};
}

/// Where two images differ, and by how much; 256 for another shape.
struct Difference {
  int largest = 256;
  double mean = 256;
};
inline Difference difference(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return {};
  const auto x = a.to_vector<uint8_t>(), y = b.to_vector<uint8_t>();
  Difference d{0, 0};
  for (size_t i = 0; i < x.size(); ++i) {
    const int off = std::abs(int{x[i]} - int{y[i]});
    d.largest = std::max(d.largest, off);
    d.mean += off;
  }
  d.mean /= static_cast<double>(x.size());
  return d;
}

}  // namespace sked::test

#include "tests/common/hash_weights.h"

#include <cmath>

namespace sked::test {

uint32_t hash_mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352dU;
  h ^= h >> 15;
  h *= 0x846ca68bU;
  return h ^ (h >> 16);
}

uint32_t hash_name(std::string_view name) {
  uint32_t h = 2166136261U;
  for (const char c : name) h = (h ^ static_cast<uint8_t>(c)) * 16777619U;
  return h;
}

Tensor hash_tensor(const Shape& shape, uint32_t salt, float scale, float offset) {
  Tensor t = Tensor::empty(shape);
  float* const y = t.data<float>();
  const uint32_t key = hash_mix(salt);
  for (int64_t i = 0; i < t.numel(); ++i) {
    const double u = (hash_mix(static_cast<uint32_t>(i) ^ key) >> 8) * 0x1p-23 - 1;
    y[i] = static_cast<float>(offset + scale * u);
  }
  return t;
}

Tensor hash_labels(int64_t count, int64_t classes, uint32_t salt) {
  Tensor t = Tensor::empty({count}, DType::i64);
  int64_t* const y = t.data<int64_t>();
  const uint32_t key = hash_mix(salt);
  for (int64_t i = 0; i < count; ++i) y[i] = hash_mix(static_cast<uint32_t>(i) ^ key) % static_cast<uint32_t>(classes);
  return t;
}

Tensor hash_parameter(std::string_view name, const Shape& shape) {
  const uint32_t salt = hash_name(name);
  if (shape.ndim() >= 2 && shape[0] > 1) {
    const double fan_in = static_cast<double>(shape.numel() / shape[0]);
    return hash_tensor(shape, salt, static_cast<float>(std::sqrt(3 / fan_in)));
  }
  const std::string_view last = name.substr(name.rfind('.') + 1);
  if (shape.ndim() == 1 && (last == "weight" || last == "gamma")) return hash_tensor(shape, salt, 0.25F, 1);
  return hash_tensor(shape, salt, 0.125F);
}

}  // namespace sked::test

#pragma once
// Weights from a formula: what is too large to commit is computed on both sides, here and in
// tests/fixtures/hash_weights.py.
//
//   mix(h):   h ^= h >> 16; h *= 0x7feb352d; h ^= h >> 15; h *= 0x846ca68b; h ^= h >> 16     (mod 2^32)
//   u(i):     (mix(i ^ mix(salt)) >> 8) · 2^-23 − 1, i the row-major index of the element: uniform in [−1, 1)
//   element:  offset + scale · u(i), computed in double and rounded to f32
//
// The mixer is Wellons' `lowbias32` (github.com/skeeto/hash-prospector). A 24-bit u times a 24-bit scale is exact in
// double, so the result does not depend on how a compiler contracts it.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace sked::test {

/// The mixer above.
uint32_t hash_mix(uint32_t h);
/// 32-bit FNV-1a of a name: the salt of the tensor of that name.
uint32_t hash_name(std::string_view name);

/// f32 elements offset + scale · u(i).
Tensor hash_tensor(const Shape& shape, uint32_t salt, float scale = 1, float offset = 0);
/// i64 labels mix(i ^ mix(salt)) mod classes.
Tensor hash_labels(int64_t count, int64_t classes, uint32_t salt);

/// The f32 value of the parameter `name`, of the size trained networks have. Matrices and filters: variance 1 / fan_in
/// (scale sqrt(3 / fan_in), fan_in = numel / dim 0). Vectors called `weight` or `gamma` (scales of norms): 1 + 0.25 u.
/// Every other vector and what has a leading axis of 1 (biases, embeddings of class and position): 0.125 u.
Tensor hash_parameter(std::string_view name, const Shape& shape);

}  // namespace sked::test

#pragma once
// Square grids of patches, as position embeddings have them.

#include <optional>

#include "core/tensor.h"

namespace sked {

/// The edge of a square grid of n > 0 patches; nothing where n is no square.
std::optional<int64_t> square_root(int64_t n);

/// f32 (T, D) on a grid of `from` × `from` to one of `to` × `to`: PyTorch's interpolate(mode = bicubic, antialias) with
/// corners not aligned.
Tensor resample_grid(const Tensor& tokens, int64_t from, int64_t to);

}  // namespace sked

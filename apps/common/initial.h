#pragma once
// Fine-tuning: a model that begins with the weights of a checkpoint by timm, torchvision or this program.

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "layers/module.h"

namespace sked {

/// What became of a checkpoint's tensors and of the model's.
struct InitialReport {
  int64_t loaded = 0;                     // tensors of the model that came from the file
  std::vector<std::string> unused;        // of the file, left alone
  std::vector<std::string> not_found;     // of the model, as initialised
  std::vector<std::string> interpolated;  // of the model, resampled to another grid
  bool head_replaced = false;             // another number of classes: the classifier stays as initialised
};

/// Copies tensors into `model` by name. A classifier named fc.* (torchvision), head.fc.* or classifier.* is the model's
/// head.*; one of another number of classes is left out. A position embedding of another (square) grid is resampled as
/// timm does: bicubic with antialiasing; a class token's own row is kept where both have one, and left out where the
/// model has none. Throws Error naming `path` and the tensor for any other difference of shape, or when nothing fits;
/// the model is then unchanged.
InitialReport load_initial(const TensorFile& file, const std::string& path, const Module& model);

/// f32 (T, D) on a grid of `from` × `from` to one of `to` × `to`: PyTorch's interpolate(mode = bicubic, antialias) with
/// corners not aligned.
Tensor resample_grid(const Tensor& tokens, int64_t from, int64_t to);

}  // namespace sked

#pragma once
// What images a checkpoint's network was trained on: their size, mean and deviation.

#include <cstdint>
#include <string>

#include "apps/common/config/config.h"
#include "core/safetensors.h"

namespace sked {

/// How bytes become floats in a pipeline, by name: imagenet, half (mean and deviation 0.5, so -1 … 1), clip. Throws
/// UsageError for another name.
std::string statistics_named(const std::string& name);

/// What a file of weights tells about the images to show to its network.
struct CheckpointImages {
  int64_t size = 224;      // edge in pixels
  int64_t patch = 0;       // of a vision transformer; 0: has none
  std::string statistics;  // stages that make floats of bytes
  std::string why;         // where the statistics come from, for people
  bool guessed = false;    // nothing but the kind of network tells them
  bool own_run = false;    // it is a run of this program
};

/// Of a run of this program what its own pipeline says. Of other files the size follows from position embeddings and
/// patches (224 where there are none, 32 for residual networks of CIFAR's sizes); mean and deviation from config.json
/// (timm's pretrained_cfg) or preprocessor_config.json beside `path`, or else from whose names the tensors have.
CheckpointImages images_of(const TensorFile& file, const std::string& path);

}  // namespace sked

#pragma once
// What a head costs: parameters, bytes, arithmetic, and, measured, the time and memory of a training step.

#include <cstdint>
#include <string>
#include <vector>

#include "layers/heads/options.h"

namespace sked::scale {

/// A number with the name it is known by: pre-logit width of a backbone, number of classes of a data set.
struct Named {
  std::string name;
  int64_t value;
};

/// "ViT-L" or "1024"; "ImageNet-21k" or "21843". Throws UsageError naming `option`, with the nearest known name.
Named width_of(const std::string& text);
Named classes_of(const std::string& text);

/// The heads compared: a name, and the configuration that makes it.
struct HeadKindConfig {
  std::string name;  // DET, HET full, HET, HET-XL
  HeadConfig config;
};
std::vector<HeadKindConfig> compared_heads(int64_t rank, int64_t samples);

struct Costs {
  std::string head, backbone, data;
  int64_t width = 0, classes = 0;
  int64_t parameters = 0;  // of the head, classifier included
  int64_t extra = 0;       // beyond the classifier
  bool counted = false;    // on a module really made; else by the formula alone, where that takes too much memory
  double bytes = 0;        // f32 parameters, their gradients and Adam's two moments
  double operations = 0;   // of a training step, per example: forward and backward
  // With --measure; 0 otherwise.
  double seconds = 0;      // of a training step of the head: median
  double extra_bytes = 0;  // at the peak of the step, above parameters, gradients and optimizer state
};

/// Counts, on a module made of zeros where its parameters take at most `largest_bytes`. Throws Error when module and
/// formula (layers/heads/METHOD.md, "Noise") differ.
Costs count(const HeadKindConfig& head, const Named& width, const Named& classes, int64_t largest_bytes);

/// Adds seconds and extra_bytes of a step (loss, backward, Adam) on a batch of random pre-logits.
void measure(Costs& costs, const HeadKindConfig& head, int64_t batch, int rounds);

}  // namespace sked::scale

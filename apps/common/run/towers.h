#pragma once
// Two towers with the vocabulary of one of them: made from a configuration or a checkpoint, and asked for embeddings.

#include <memory>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "core/communicator.h"
#include "core/safetensors.h"
#include "data/tokenizer.h"
#include "layers/two_towers.h"

namespace sked {

/// The model of a contrastive run and the tokenizer of its texts.
struct Towers {
  Tokenizer tokenizer;
  std::unique_ptr<TwoTowers> model;
};

/// For images of `image_shape` (H,W,C), initialized by the configuration's seed, or as `init` has it.
Towers make_towers(const RunConfig& config, Tokenizer tokenizer, const Shape& image_shape, Device device);
Towers make_towers(const RunConfig& config, Tokenizer tokenizer, const Shape& image_shape, Init init);

/// The tokenizer that a checkpoint's towers were trained with. Throws Error naming `path` where there is none, and
/// UsageError where `config` names another (text.vocabulary).
Tokenizer vocabulary_of(const TensorFile& file, const std::string& path, const RunConfig& config);

/// n(ψ) of captions: f32 (N,D) on the CPU. Throws Error for a caption that is longer than the context and text.truncate
/// does not allow it, and naming the caption for an embedding that is not finite. Each rank computes some, and gets
/// all.
Tensor embed_captions(Towers& towers, const std::vector<std::string>& captions, const RunConfig& config, Device device,
                      Communicator& ranks = alone());

/// What zero-shot classification compares an image with: for each class the mean of its prompts' embeddings, normalized
/// again: f32 (K,D) on the CPU.
Tensor embed_classes(Towers& towers, const std::vector<std::vector<std::string>>& prompts, const RunConfig& config,
                     Device device, Communicator& ranks = alone());

/// softmax_k(x_i · c_k / τ): images (B,D) and classes (K,D) on the CPU, normalized; f32 (B,K).
Tensor zero_shot_probabilities(const Tensor& images, const Tensor& classes, double temperature);

}  // namespace sked

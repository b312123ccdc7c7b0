#include "apps/common/run/towers.h"

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/l2_normalize.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/softmax.h"
#include "core/error.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kBatch = 256;  // texts embedded at once

Tensor bytes_of(const Tokenizer& tokenizer, Device device) {
  const std::string& model = tokenizer.bytes();
  Tensor bytes = Tensor::empty({static_cast<int64_t>(model.size())}, DType::u8);
  std::copy(model.begin(), model.end(), bytes.data<uint8_t>());
  return bytes.to(device);
}

}  // namespace

Towers make_towers(const RunConfig& config, Tokenizer tokenizer, const Shape& image_shape, Device device) {
  return make_towers(config, std::move(tokenizer), image_shape, Init(config.seed, device));
}

Towers make_towers(const RunConfig& config, Tokenizer tokenizer, const Shape& image_shape, Init init) {
  auto image = make_backbone(config.model, image_shape, init);
  auto text = std::make_unique<TextTower>(config.text, tokenizer.vocabulary(), init);
  auto head = std::make_unique<ContrastiveHead>(config.contrast, image->width(), text->width(), init);
  Tensor vocabulary = bytes_of(tokenizer, init.device());
  return {std::move(tokenizer),
          std::make_unique<TwoTowers>(std::move(image), std::move(text), std::move(head), std::move(vocabulary))};
}

Tokenizer vocabulary_of(const TensorFile& file, const std::string& path, const RunConfig& config) {
  const auto found = std::ranges::find_if(file.tensors, [](const NamedTensor& t) { return t.name == "vocabulary"; });
  require(found != file.tensors.end() && found->tensor.dtype() == DType::u8, "towers", path,
          ": expected a tensor vocabulary of u8: not a checkpoint of contrastive training");
  const auto* bytes = found->tensor.data<uint8_t>();
  Tokenizer tokenizer = Tokenizer::parse({bytes, bytes + found->tensor.numel()}, path + ": vocabulary");
  if (!config.text.vocabulary.empty()) {
    const Tokenizer named = Tokenizer::load(config.text.vocabulary);
    require_usage(named.bytes() == tokenizer.bytes(), "config", "text.vocabulary: ", config.text.vocabulary, " (",
                  named.vocabulary(), " pieces, ", named.fingerprint(), ") is not the vocabulary of ", path, " (",
                  tokenizer.vocabulary(), " pieces, ", tokenizer.fingerprint(), ")");
  }
  return tokenizer;
}

Tensor embed_captions(Towers& towers, const std::vector<std::string>& captions, const RunConfig& config, Device device,
                      Communicator& ranks) {
  const NoGrad no_tape;
  const Span own = span_of(std::ssize(captions), ranks.rank(), ranks.size());
  Tensor mine = Tensor::empty({own.size(), config.contrast.width});
  for (int64_t first = own.begin; first < own.end; first += kBatch) {
    const int64_t end = std::min(first + kBatch, own.end);
    const TokenBatch tokens = towers.tokenizer.encode({captions.begin() + first, captions.begin() + end},
                                                      config.text.context, config.text.truncate);
    const Var psi = towers.model->text().forward(tokens.ids.to(device), tokens.ends.to(device),
                                                 {.activations = activation_dtype(device)});
    mine.rows(first - own.begin, end - own.begin)
        .copy_from(towers.model->head().embed_texts(psi.value()).to(Device::cpu));
  }
  const Tensor all = all_gather_rows(ranks, mine);
  for (int64_t i = 0; i < all.numel(); ++i)
    require(std::isfinite(all.data<float>()[i]), "towers", "the embedding of the text \"",
            excerpt(captions[static_cast<size_t>(i / all.dim(1))]), "\" has ", all.data<float>()[i],
            ": expected finite numbers (are the weights finite?)");
  return all;
}

Tensor embed_classes(Towers& towers, const std::vector<std::vector<std::string>>& prompts, const RunConfig& config,
                     Device device, Communicator& ranks) {
  const NoGrad no_tape;
  std::vector<std::string> all;
  for (const std::vector<std::string>& of_class : prompts) all.insert(all.end(), of_class.begin(), of_class.end());
  const Tensor embeddings = embed_captions(towers, all, config, device, ranks);
  const auto classes = static_cast<int64_t>(prompts.size());
  Tensor means = Tensor::empty({classes, config.contrast.width});
  int64_t first = 0;
  for (int64_t k = 0; k < classes; ++k) {
    const int64_t end = first + static_cast<int64_t>(prompts[static_cast<size_t>(k)].size());
    means.rows(k, k + 1).copy_from(mean(Var(embeddings.rows(first, end)), 0, true).value());
    first = end;
  }
  return l2_normalize(Var(means)).value();
}

Tensor zero_shot_probabilities(const Tensor& images, const Tensor& classes, double temperature) {
  const NoGrad no_tape;
  return softmax(matmul(Var(images), Var(classes), false, true) / temperature).value();
}

}  // namespace sked

#pragma once
// An image tower and a text tower that meet in one space (CLIP, arXiv 2103.00020; LiT, arXiv 2111.07991).

#include <memory>

#include "layers/backbone.h"
#include "layers/heads/contrastive.h"
#include "layers/models/text.h"

namespace sked {

/// Children `visual` (a backbone; its weights may be locked), `text` and `contrast` (projections, temperature, noise).
/// The buffer `vocabulary` holds the bytes of the tokenizer's model: what the text tower's tokens mean goes where its
/// weights go.
class TwoTowers : public Module {
 public:
  /// `vocabulary`: u8 (bytes).
  TwoTowers(std::unique_ptr<Backbone> image, std::unique_ptr<TextTower> text, std::unique_ptr<ContrastiveHead> head,
            Tensor vocabulary);

  Backbone& image() { return *image_; }
  TextTower& text() { return *text_; }
  ContrastiveHead& head() { return *head_; }

 private:
  std::unique_ptr<Backbone> image_;
  std::unique_ptr<TextTower> text_;
  std::unique_ptr<ContrastiveHead> head_;
  Tensor vocabulary_;
};

}  // namespace sked

#include "layers/two_towers.h"

namespace sked {

TwoTowers::TwoTowers(std::unique_ptr<Backbone> image, std::unique_ptr<TextTower> text,
                     std::unique_ptr<ContrastiveHead> head, Tensor vocabulary)
    : image_(std::move(image)), text_(std::move(text)), head_(std::move(head)), vocabulary_(std::move(vocabulary)) {
  require(image_ && text_ && head_, "two_towers", "expected an image tower, a text tower and a head, got none");
  add("visual", *image_);
  add("text", *text_);
  add("contrast", *head_);
  add("vocabulary", vocabulary_);
}

}  // namespace sked

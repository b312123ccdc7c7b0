#include "layers/classifier.h"

namespace sked {

Classifier::Classifier(std::unique_ptr<Backbone> backbone, std::unique_ptr<Head> head)
    : backbone_(std::move(backbone)), head_(std::move(head)) {
  require(backbone_ && head_, "classifier", "expected a backbone and a head, got none");
  add("", *backbone_);
  add("head", *head_);
}

}  // namespace sked

#pragma once
// A backbone with a head.

#include <memory>

#include "layers/backbone.h"
#include "layers/heads/head.h"

namespace sked {

/// Parameters are named as in timm / torchvision for the backbone (no prefix) and `head.*` for the head.
class Classifier : public Module {
 public:
  Classifier(std::unique_ptr<Backbone> backbone, std::unique_ptr<Head> head);

  Backbone& backbone() { return *backbone_; }
  Head& head() { return *head_; }

 private:
  std::unique_ptr<Backbone> backbone_;
  std::unique_ptr<Head> head_;
};

}  // namespace sked

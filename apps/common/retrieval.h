#pragma once
// Measures of what only a contrastive model does: finding texts by images and images by texts, and naming classes that
// no caption of its training spoke of.

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Recall@n: the share of queries that find one of their own among the n most similar. All 0 when count is 0.
struct Retrieval {
  int64_t count = 0;  // pairs searched
  double image_to_text_1 = 0, image_to_text_5 = 0, image_to_text_10 = 0;
  double text_to_image_1 = 0, text_to_image_5 = 0, text_to_image_10 = 0;
};

/// images, texts f32 (N,D) on the CPU, normalised, pair by pair; groups (N): pairs of one group are each other's own (a
/// class's, where captions speak of classes; an image's, where it has several). Among equal similarities the first
/// comes first.
Retrieval retrieval(const Tensor& images, const Tensor& texts, const std::vector<int64_t>& groups);

/// Zero-shot accuracy on images of classes that training captions spoke of, and of those they did not.
struct UnseenClasses {
  int64_t count = 0;            // images of unseen classes; 0: every class was seen
  double accuracy = 0;          // on them, among all classes
  double accuracy_between = 0;  // on them, among the unseen classes alone
  double seen_accuracy = 0;     // on the others, among all classes
};

/// Gathers it batch by batch.
class UnseenGatherer {
 public:
  UnseenGatherer(int64_t classes, const std::vector<int64_t>& unseen);
  /// probabilities f32 (B,K), labels i64 (B).
  void add(const Tensor& probabilities, const Tensor& labels);
  UnseenClasses measures() const;

 private:
  std::vector<bool> unseen_;
  int64_t unseen_count_ = 0, seen_count_ = 0, right_ = 0, right_between_ = 0, seen_right_ = 0;
};

}  // namespace sked

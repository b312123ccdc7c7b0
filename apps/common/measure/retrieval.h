#pragma once
// Measures of what only a contrastive model does: finding texts by images and images by texts, and naming classes that
// no caption of its training spoke of.

#include <array>
#include <cstdint>
#include <vector>

#include "apps/common/measure/metrics.h"
#include "core/tensor.h"

namespace sked {

/// Images with all their captions, embedded: what is searched. M images, C ≥ M captions, T texts among them that the
/// text tower can tell apart.
struct CaptionedImages {
  Tensor images;                // f32 (M,D) on the CPU, normalized
  Tensor texts;                 // f32 (T,D) likewise, each text once, so that equal captions are equally similar
  std::vector<int64_t> owners;  // C: the image of each caption
  std::vector<int64_t> said;    // C: its text
  std::vector<int64_t> groups;  // M: images of one group own each other's captions: those of a class, where captions
                                // speak of classes; else each image has its own
};

/// Recall@n: the share of queries that find one of their own among the n most similar.
struct Recalls {
  double image_to_text_1 = 0, image_to_text_5 = 0, image_to_text_10 = 0;
  double text_to_image_1 = 0, text_to_image_5 = 0, text_to_image_10 = 0;
};

/// The rule of Karpathy and Fei-Fei (arXiv 1412.2306) for Flickr30k and COCO, as CLIP is measured by: every image is a
/// query among all captions, and has a hit at n where one of its own is among the first n; every caption is one among
/// all images. Keys of equal similarity come in random order, and what is counted is the chance of a hit (metrics.h:
/// chance_among_first): a model that tells nothing apart has the recall of guessing.
struct Retrieval : Recalls {
  int64_t count = 0;     // images
  int64_t captions = 0;  // of all of them
  /// Captions whose text is a caption of another group too: no model can find their image for certain (m images that
  /// share their only caption: 1/m at 1). `alike`: the recalls if equal captions were each other's own; nothing where
  /// there are none.
  int64_t equal_captions = 0;
  Recalls alike = {};
};

/// Throws Error for shapes or indices that do not fit, no image, or an image without a caption.
Retrieval retrieval(const CaptionedImages& searched);

/// Images without classes, classified among the images searched by their captions: with the similarities s of an image
/// to the C captions, p = softmax(s/τ), and the probability of image i is the sum over its captions. The right answer
/// is the image itself: NLL = −log Σ_own p. (m images that share their only caption: ln m at best.) Among equally
/// probable images the order is random: Ties::shared. Throws Error like retrieval().
Measures measure_by_captions(const CaptionedImages& searched, double temperature);

/// Zero-shot accuracy on images of classes that training captions spoke of, and of those they did not. A share of no
/// image is 0: see the counts.
struct UnseenClasses {
  int64_t count = 0;            // images of unseen classes; 0: every class was seen
  double accuracy = 0;          // on them, among all classes
  double accuracy_between = 0;  // on them, among the unseen classes alone
  int64_t seen_count = 0;       // images of the other classes
  double seen_accuracy = 0;     // on those, among all classes
};

/// Gathers it batch by batch. Among equal probabilities the lowest class comes first, as in MetricsAccumulator.
class UnseenAccumulator {
 public:
  UnseenAccumulator(int64_t classes, const std::vector<int64_t>& unseen);
  /// probabilities f32 (B,K), labels i64 (B).
  void add(const Tensor& probabilities, const Tensor& labels);
  UnseenClasses measures() const;

 private:
  std::vector<bool> unseen_;
  int64_t unseen_count_ = 0, seen_count_ = 0, right_ = 0, right_between_ = 0, seen_right_ = 0;
};

}  // namespace sked

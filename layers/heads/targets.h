#pragma once
// Link functions, and what probabilities are trained towards. B examples, K classes.

#include "autograd/var.h"
#include "layers/heads/options.h"

namespace sked {

/// softmax over the last axis, or element-wise σ.
Var link_probabilities(Link link, const Var& a);

/// What a batch is trained towards: exactly one is defined.
struct Targets {
  Tensor labels = {};         // (B) i64: one class per image (softmax link; a one-hot target for the sigmoid link)
  Tensor distributions = {};  // (B,K) f32: label distribution (softmax) or per-class targets in [0,1] (sigmoid)
};

/// Throws Error unless exactly one kind of target is there, with one row for each of `rows` examples: labels (B) i64 or
/// distributions (B,K), on the CPU of numbers in [0,1], whose sums are the caller's. (That labels lie in 0 … K−1 is
/// checked where they are read.)
void check_targets(const Targets& targets, int64_t rows, int64_t classes);

/// What targets of 1 and of 0 become in training: t ← off + (on − off) t. Mixed targets stay what the mixture of such
/// targets is, since its weights sum to 1.
struct TargetValues {
  double on = 1, off = 0;
  bool operator==(const TargetValues&) const = default;
};

/// A share a in [0, 1) of every target spread over all K classes, t ← (1 − a) t + a/K: label smoothing (Szegedy et al.,
/// arXiv 1512.00567), as PyTorch's CrossEntropyLoss has it and timm's BinaryCrossEntropy.
TargetValues label_smoothing(double a, int64_t classes);

/// The targets with these values, as distributions in the dtype and on the device of `like`; as they are where the
/// values are 1 and 0.
Targets with_values(const Targets& targets, TargetValues values, int64_t classes, const Tensor& like);

/// t (B,K) in the dtype and on the device of `like`: the distributions, or one-hot labels.
Tensor dense_targets(const Targets& targets, int64_t classes, const Tensor& like);

/// 0 … n − 1 (n) i64: in a batch of pairs, each image's own text.
Tensor row_numbers(int64_t n, Device device);

}  // namespace sked

#pragma once
// Problems for the two forms of the likelihood, and holding one against the other.

#include <cstdint>
#include <string>
#include <vector>

#include "layers/heads/logit_tiles.h"
#include "layers/heads/sampled_logits.h"
#include "layers/heads/targets.h"

namespace sked::test {

/// Sizes and forms of a SampledLogits. R = 0: diagonal factors.
struct Problem {
  int64_t B = 0, S = 1, D = 0, K = 0, R = 0;
  bool full = false, classifier = true, antithetic = false;
  float size = 1;  // of the logits
  // Image–text training: no bias (K = B texts); z brought to length 1; no noise at all.
  bool bias = true, normalize = false, noise = true;
  bool shared_diagonal = false;

  int64_t coordinates() const { return classifier ? D : K; }
};

/// center, d, v, factors, weight, bias: f32, undefined where the problem has none.
TensorList values(const Problem& p);

/// Those as trainable leaves.
std::vector<Var> leaves(const TensorList& values);

/// Of `x`, ordered as values(); rows have the example numbers 7 (first_row + b).
SampledLogits logits_of(const Problem& p, const std::vector<Var>& x, int64_t first_row = 0);

/// The three losses, by name; their targets are (B) labels or (B,K).
struct Target {
  std::string name;
  Targets targets;
  Link link() const { return name == "sigmoid" ? Link::sigmoid : Link::softmax; }
  Var streaming(const SampledLogits& a, TileSize tile) const;
};

std::vector<Target> all_targets(int64_t B, int64_t K);

/// Every factor form with and without a classifier, antithetic pairs, shared noise, great logits, one class and sizes
/// that no tile divides.
const std::vector<Problem>& streaming_grid();

struct Result {
  double loss;
  TensorList gradients;  // ordered as values()
};

/// The loss and its gradients by x.
Result run(const std::vector<Var>& x, const Var& loss);

/// Fails unless loss and gradients agree, each relative to its largest element. `loose` names one gradient with a
/// tolerance of its own.
void check_same(const Result& got, const Result& want, double tolerance, size_t loose = SIZE_MAX,
                double loose_tolerance = 0);

}  // namespace sked::test

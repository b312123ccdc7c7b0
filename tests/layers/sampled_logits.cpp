#include "tests/layers/sampled_logits.h"

#include <doctest/doctest.h>

#include <cmath>

#include "layers/heads/streaming.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

const RngAddress kFactors{3, 1, 8}, kDiagonal{3, 2, 8};

}  // namespace

TensorList values(const Problem& p) {
  const int64_t J = p.coordinates();
  const Tensor none;
  return {hash_tensor({p.B, J}, 1, p.size),
          p.noise ? hash_tensor({p.B, J}, 2, 0.25F, 0.5F) : none,
          p.R > 0 && !p.full ? hash_tensor({p.B, J}, 3) : none,
          p.R == 0 ? none
          : p.full ? hash_tensor({p.B, J, p.R}, 4)
                   : hash_tensor({J, p.R}, 4),
          p.classifier ? hash_tensor({p.K, p.D}, 5) : none,
          p.classifier && p.bias ? hash_tensor({p.K}, 6) : none};
}

std::vector<Var> leaves(const TensorList& values) {
  std::vector<Var> list;
  for (const Tensor& t : values) list.push_back(t.defined() ? Var(t, true) : Var());
  return list;
}

SampledLogits logits_of(const Problem& p, const std::vector<Var>& x, int64_t first_row) {
  Tensor examples = Tensor::empty({x[0].dim(0)}, DType::i64);
  for (int64_t b = 0; b < examples.numel(); ++b) examples.data<int64_t>()[b] = 7 * (first_row + b);
  const SampledLogits rest{.noise = {examples, kFactors, kDiagonal, p.shared_diagonal, p.antithetic},
                           .samples = p.S,
                           .normalize = p.normalize};
  return with_inputs(rest, x);
}

Var Target::streaming(const SampledLogits& a, TileSize tile) const {
  if (name == "labels") return streaming_nll(a, targets.labels, tile);
  const Tensor t = targets.distributions.to(a.center.dtype());
  return name == "soft" ? streaming_soft_nll(a, t, tile) : streaming_sigmoid_nll(a, t, tile);
}

std::vector<Target> all_targets(int64_t B, int64_t K) {
  Tensor q = hash_tensor({B, K}, 9, 0.5F, 0.5F);
  const Tensor t = q.clone();
  for (int64_t b = 0; b < B; ++b) {
    float* row = q.data<float>() + b * K;
    float total = 0;
    for (int64_t k = 0; k < K; ++k) total += row[k];
    for (int64_t k = 0; k < K; ++k) row[k] /= total;
  }
  return {{"labels", {hash_labels(B, K, 7), {}}}, {"soft", {{}, q}}, {"sigmoid", {{}, t}}};
}

const std::vector<Problem>& streaming_grid() {
  static const std::vector<Problem> grid = {
      {.B = 5, .S = 6, .D = 7, .K = 9, .R = 2},
      {.B = 3, .S = 1, .D = 4, .K = 1, .R = 1},
      {.B = 3, .S = 5, .D = 5, .K = 21, .R = 2, .full = true},
      {.B = 2, .S = 5, .D = 3, .K = 10, .R = 0},
      {.B = 5, .S = 6, .D = 1, .K = 13, .R = 2, .classifier = false},
      {.B = 3, .S = 5, .D = 1, .K = 30, .R = 2, .full = true, .classifier = false},
      {.B = 3, .S = 5, .D = 1, .K = 21, .R = 0, .classifier = false},
      {.B = 5, .S = 7, .D = 6, .K = 11, .R = 2, .antithetic = true},
      {.B = 4, .S = 8, .D = 5, .K = 12, .R = 2, .size = 1e4F},
      {.B = 20, .S = 30, .D = 17, .K = 301, .R = 3},
      {.B = 5, .S = 6, .D = 7, .K = 9, .R = 2, .shared_diagonal = true},
      {.B = 3,
       .S = 6,
       .D = 1,
       .K = 21,
       .R = 2,
       .full = true,
       .classifier = false,
       .antithetic = true,
       .shared_diagonal = true},
      {.B = 3, .S = 5, .D = 1, .K = 21, .R = 0, .classifier = false, .shared_diagonal = true},
  };
  return grid;
}

Result run(const std::vector<Var>& x, const Var& loss) {
  loss.backward();
  Result result{loss.value().item(), {}};
  for (const Var& v : x) result.gradients.push_back(v.defined() ? v.grad() : Tensor());
  return result;
}

void check_same(const Result& got, const Result& want, double tolerance, size_t loose, double loose_tolerance) {
  CHECK(std::abs(got.loss - want.loss) <= tolerance * std::max(1.0, std::abs(want.loss)));
  for (size_t i = 0; i < want.gradients.size(); ++i) {
    CAPTURE(i);
    if (want.gradients[i].defined())
      CHECK(relative_error(got.gradients[i], want.gradients[i]) <= (i == loose ? loose_tolerance : tolerance));
  }
}

}  // namespace sked::test

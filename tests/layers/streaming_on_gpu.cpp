// The streaming losses on a GPU, where z, W and the tiles are bf16 when products are: against the CPU's in f32.

#include <doctest/doctest.h>

#include "autograd/reduce.h"
#include "core/precision.h"
#include "layers/heads/streaming.h"
#include "tests/common/files.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"
#include "tests/layers/sampled_logits.h"

namespace sked::test {
namespace {

using Loss = Var (*)(const SampledLogits& a, const Tensor& target, TileSize tile);

Var soft(const SampledLogits& a, const Tensor& q, TileSize tile) { return streaming_soft_nll(a, q, tile); }
Var sigmoid(const SampledLogits& a, const Tensor& t, TileSize tile) { return streaming_sigmoid_nll(a, t, tile); }
Var labeled(const SampledLogits& a, const Tensor& y, TileSize tile) { return streaming_nll(a, y, tile); }
Var pairs(const SampledLogits& a, const Tensor&, TileSize tile) { return streaming_contrastive(a, tile); }

/// Loss and gradients on `device`.
Result on(Device device, const Problem& p, Loss loss, const Tensor& target, TileSize tile) {
  TensorList there;
  for (const Tensor& t : values(p)) there.push_back(t.defined() ? t.to(device) : t);
  const std::vector<Var> x = leaves(there);
  SampledLogits a = logits_of(p, x);
  a.noise.examples = a.noise.examples.to(device);
  Result result = run(x, mean(loss(a, target.defined() ? target.to(device) : target, tile)));
  for (Tensor& t : result.gradients) t = t.defined() ? t.to(Device::cpu) : t;
  return result;
}

// 301 classes end in a tile of five; tiles of 104 are whole packs, tiles of 60 are not.
const Problem kClassifier{.B = 6, .S = 10, .D = 32, .K = 301, .R = 3};
const Problem kFull{.B = 4, .S = 6, .D = 24, .K = 40, .R = 2, .full = true, .antithetic = true};
const Problem kOnLogits{.B = 4, .S = 6, .D = 1, .K = 45, .R = 2, .classifier = false};
const Problem kPairs{.B = 24, .S = 5, .D = 16, .K = 24, .R = 2, .bias = false, .normalize = true};
const Problem kPlainPairs{.B = 24, .S = 1, .D = 16, .K = 24, .R = 0, .bias = false, .noise = false};

struct Case {
  const char* name;
  const Problem* problem;
  Loss loss;
};
const Case kCases[] = {{"labels", &kClassifier, labeled},           {"soft", &kClassifier, soft},
                       {"sigmoid", &kClassifier, sigmoid},          {"labels, full factors", &kFull, labeled},
                       {"soft, full factors", &kFull, soft},        {"labels, HET", &kOnLogits, labeled},
                       {"sigmoid, HET", &kOnLogits, sigmoid},       {"pairs", &kPairs, pairs},
                       {"pairs without noise", &kPlainPairs, pairs}};

Tensor target_of(const Case& c) {
  const Problem& p = *c.problem;
  if (c.loss == labeled) return hash_labels(p.B, p.K, 7);
  return c.loss == pairs ? Tensor() : hash_tensor({p.B, p.K}, 9, 0.5F, 0.5F);
}

}  // namespace

TEST_CASE("streaming likelihood: on a GPU loss and gradients are the CPU's, in bf16 within its rounding") {
  if (no_gpu("the streaming likelihood on it")) return;
  for (const Case& c : kCases) {
    for (const TileSize tile : {TileSize{0, 0}, TileSize{4, 104}, TileSize{3, 60}}) {
      CAPTURE(c.name);
      CAPTURE(tile.classes);
      const Tensor target = target_of(c);
      const Result want = on(Device::cpu, *c.problem, c.loss, target, tile);
      check_same(on(Device::cuda, *c.problem, c.loss, target, tile), want, 1e-4);
      const InBf16 rounded;
      // A logit, its factors and its gradient are off by 2^-8 of themselves at most, softmax weights by what logits are
      // off.
      const Result got = on(Device::cuda, *c.problem, c.loss, target, tile);
      CHECK(got.loss != want.loss);
      check_same(got, want, 3e-2);
    }
  }
}

}  // namespace sked::test

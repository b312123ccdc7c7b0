// attention_forward, attention_backward against the formulas of core/kernels/attention.h in double, with the whole P at
// hand.

#include "core/kernels/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// Sums over up to 600 keys of a width of 64; observed below 2e-6 of the largest element.
constexpr double kTolerance = 1e-5;

struct Problem {
  int64_t N, T, H, E;
};
// 300 and 600 tokens take more than one block of queries in the tuned version.
const Problem kProblems[] = {{1, 1, 1, 1},   {2, 5, 3, 4},   {1, 17, 2, 16}, {1, 197, 1, 64},
                             {1, 300, 1, 8}, {1, 600, 1, 3}, {0, 4, 2, 8}};

struct Attention {
  std::vector<double> y, lse, dqkv;

  Attention(const Problem& p, const std::vector<double>& qkv, const std::vector<double>& dy, double scale, bool causal)
      : y(static_cast<size_t>(p.N * p.T * p.H * p.E)), lse(static_cast<size_t>(p.N * p.H * p.T)), dqkv(qkv.size()) {
    for (int64_t n = 0; n < p.N; ++n)
      for (int64_t h = 0; h < p.H; ++h)
        for (int64_t t = 0; t < p.T; ++t) query(p, qkv, dy, scale, causal, n, h, t);
  }

 private:
  void query(const Problem& p, const std::vector<double>& qkv, const std::vector<double>& dy, double scale, bool causal,
             int64_t n, int64_t h, int64_t t) {
    const auto at = [&](int64_t token, int64_t part, int64_t e) {
      return static_cast<size_t>((((n * p.T + token) * 3 + part) * p.H + h) * p.E + e);
    };
    const auto out = [&](int64_t e) { return static_cast<size_t>(((n * p.T + t) * p.H + h) * p.E + e); };
    const int64_t keys = causal ? t + 1 : p.T;
    std::vector<double> P(static_cast<size_t>(keys)), dP(P);
    double sum = 0, dot = 0;
    for (int64_t j = 0; j < keys; ++j) {
      double score = 0;
      for (int64_t e = 0; e < p.E; ++e) score += qkv[at(t, 0, e)] * qkv[at(j, 1, e)];
      sum += P[static_cast<size_t>(j)] = std::exp(scale * score);  // scores are small here
    }
    lse[static_cast<size_t>((n * p.H + h) * p.T + t)] = std::log(sum);
    for (int64_t j = 0; j < keys; ++j) {
      const auto js = static_cast<size_t>(j);
      P[js] /= sum;
      for (int64_t e = 0; e < p.E; ++e) {
        y[out(e)] += P[js] * qkv[at(j, 2, e)];
        dP[js] += dy[out(e)] * qkv[at(j, 2, e)];
        dqkv[at(j, 2, e)] += P[js] * dy[out(e)];
      }
      dot += P[js] * dP[js];
    }
    for (int64_t j = 0; j < keys; ++j) {
      const double ds = scale * P[static_cast<size_t>(j)] * (dP[static_cast<size_t>(j)] - dot);
      for (int64_t e = 0; e < p.E; ++e) {
        dqkv[at(t, 0, e)] += ds * qkv[at(j, 1, e)];
        dqkv[at(j, 1, e)] += ds * qkv[at(t, 0, e)];
      }
    }
  }
};

TEST_CASE(
    "attention_forward and attention_backward: one token, several heads, several blocks of queries, causal or not") {
  for (const Problem& p : kProblems)
    for (const bool causal : {false, true}) {
      const Tensor qkv = hash_tensor({p.N, p.T, 3, p.H, p.E}, 1, 1.5f), dy = hash_tensor({p.N, p.T, p.H, p.E}, 2);
      const double scale = 1 / std::sqrt(static_cast<double>(p.E));
      const Attention a(p, qkv.to_vector<double>(), dy.to_vector<double>(), scale, causal);
      const Tensor y = doubles(a.y, dy.shape()), lse = doubles(a.lse, {p.N, p.H, p.T});
      const std::string what = qkv.str() + (causal ? " causal" : "");
      check_kernel({"attention_forward " + what,
                    {qkv},
                    {y, lse},
                    [&](const TensorList& in, TensorList& out) {
                      kernel::attention_forward(in[0], out[0], out[1], scale, causal);
                    },
                    kTolerance});
      check_kernel({"attention_backward " + what,
                    {dy, qkv},
                    {doubles(a.dqkv, qkv.shape())},
                    [&](const TensorList& in, TensorList& out) {
                      const DType dtype = in[0].dtype();
                      kernel::attention_backward(in[0], in[1], y.to(dtype), lse.to(dtype), out[0], scale, causal);
                    },
                    kTolerance});
    }
}

TEST_CASE("attention_forward: scores of ±1e4 attend to one key") {
  Tensor qkv = Tensor::zeros({1, 2, 3, 1, 1}), y = Tensor::empty({1, 2, 1, 1}), lse = Tensor::empty({1, 1, 2});
  qkv.copy_from(Tensor::from(std::vector<float>{100, 100, 3, -100, -100, 5}, qkv.shape()));
  for (const bool reference : {false, true}) {
    const bool outer = ReferenceOnly::active();
    ReferenceOnly::active() = reference;
    kernel::attention_forward(qkv, y, lse, 1.0, false);
    CHECK(y.to_vector<float>() == std::vector<float>{3, 5});
    CHECK(lse.to_vector<float>() == std::vector<float>{1e4f, 1e4f});
    ReferenceOnly::active() = outer;
  }
}

TEST_CASE("attention_forward and attention_backward: wrong shapes are refused") {
  Tensor y = Tensor::empty({1, 4, 2, 8}), lse = Tensor::empty({1, 2, 4}), qkv = Tensor::zeros({1, 4, 3, 2, 8});
  CHECK(one_line_with(error_of([&] { kernel::attention_forward(y, y, lse, 1.0, false); }), "[attention_forward]",
                      "(N,T,3,H,E)"));
  CHECK(
      one_line_with(error_of([&] { kernel::attention_forward(qkv, y, y, 1.0, false); }), "[attention_forward]", "lse"));
  CHECK(one_line_with(error_of([&] { kernel::attention_backward(y, qkv, y, lse, y, 1.0, false); }),
                      "[attention_backward]"));
}

}  // namespace
}  // namespace sked::test

// attention_forward, attention_backward: the formulas of core/kernels/attention.h with the whole P at hand.

#include "core/kernels/attention.h"

#include <cmath>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

// Observed below 2e-6 of the largest element.
constexpr Tolerance kSums{1e-5, "sums over up to 600 keys of a width of up to 128"};
constexpr Tolerance kOnGpu{1e-5, kSums.reason, 1};

struct Problem {
  int64_t N, T, H, E;
  bool causal = false;
  double scale = 1 / std::sqrt(static_cast<double>(E));

  Shape qkv() const { return {N, T, 3, H, E}; }
  Shape y() const { return {N, T, H, E}; }
  Shape lse() const { return {N, H, T}; }
  std::string str() const { return qkv().str() + (causal ? " causal" : ""); }
};

struct Attention {
  Values y, lse, dqkv;

  Attention(const Problem& p, const Values& qkv, const Values& dy)
      : y(static_cast<size_t>(p.y().numel())), lse(static_cast<size_t>(p.lse().numel())), dqkv(qkv.size()) {
    for (int64_t n = 0; n < p.N; ++n)
      for (int64_t h = 0; h < p.H; ++h)
        for (int64_t t = 0; t < p.T; ++t) query(p, qkv, dy, n, h, t);
  }

 private:
  void query(const Problem& p, const Values& qkv, const Values& dy, int64_t n, int64_t h, int64_t t) {
    const auto at = [&](int64_t token, int64_t part) { return (((n * p.T + token) * 3 + part) * p.H + h) * p.E; };
    const int64_t out = ((n * p.T + t) * p.H + h) * p.E, keys = p.causal ? t + 1 : p.T;
    Values P(static_cast<size_t>(keys)), dP(P);
    double sum = 0, dot = 0, largest = 0;
    for (int64_t j = 0; j < keys; ++j) {
      for (int64_t e = 0; e < p.E; ++e) P[j] += p.scale * qkv[at(t, 0) + e] * qkv[at(j, 1) + e];
      if (j == 0 || P[j] > largest) largest = P[j];
    }
    for (double& v : P) sum += v = std::exp(v - largest);
    lse[(n * p.H + h) * p.T + t] = largest + std::log(sum);
    for (int64_t j = 0; j < keys; ++j) {
      P[j] /= sum;
      for (int64_t e = 0; e < p.E; ++e) {
        y[out + e] += P[j] * qkv[at(j, 2) + e];
        dP[j] += dy[out + e] * qkv[at(j, 2) + e];
        dqkv[at(j, 2) + e] += P[j] * dy[out + e];
      }
      dot += P[j] * dP[j];
    }
    for (int64_t j = 0; j < keys; ++j) {
      const double ds = p.scale * P[j] * (dP[j] - dot);
      for (int64_t e = 0; e < p.E; ++e) {
        dqkv[at(t, 0) + e] += ds * qkv[at(j, 1) + e];
        dqkv[at(j, 1) + e] += ds * qkv[at(t, 0) + e];
      }
    }
  }
};

KernelCase forward(const Problem& p, const Tensor& qkv, const Tolerance& tolerance = kSums) {
  return case_of(kernel::attention_forward, p.str(), {qkv}, {unset(p.y()), unset(p.lse())}, p.scale, p.causal)
      .gives(
          [p](const auto& in, const auto&) {
            const Attention a(p, in[0], Values(static_cast<size_t>(p.y().numel())));
            return ValueLists{a.y, a.lse};
          },
          tolerance)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0}, {0});
}

/// y and lse arrive rounded to f32; in bf16 y is rounded again, lse is not. The reference forms its own.
KernelCase backward(const Problem& p, const Tensor& qkv, const Tensor& dy, const Tensor& y, const Tensor& lse) {
  return case_of(kernel::attention_backward, p.str(), {dy, qkv, y, lse}, {unset(p.qkv())}, p.scale, p.causal)
      .gives([p](const auto& in, const auto&) { return ValueLists{Attention(p, in[1], in[0]).dqkv}; }, kSums)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1, 2}, {0});
}

void add_refusals(KernelCases& cases) {
  const Tensor y = Tensor::empty({1, 4, 2, 8}), lse = Tensor::empty({1, 2, 4}), qkv = Tensor::zeros({1, 4, 3, 2, 8});
  cases.push_back(case_of(kernel::attention_forward, "refused", {y}, {y, lse}, 1.0, false).is_refused({"(N,T,3,H,E)"}));
  cases.push_back(case_of(kernel::attention_forward, "refused", {qkv}, {y, y}, 1.0, false).is_refused({"lse"}));
  cases.push_back(
      case_of(kernel::attention_forward, "refused", {qkv}, {y, lse}, 0.0, false).is_refused({"scale", "0"}));
  cases.push_back(case_of(kernel::attention_backward, "refused", {y, qkv, y, lse}, {y}, 1.0, false).is_refused());
}

}  // namespace

KernelCases attention_cases() {
  KernelCases cases;
  // One token, several heads, 300 and 600 tokens: more than one block of queries in the tuned version.
  const int64_t problems[][4] = {{1, 1, 1, 1},   {2, 5, 3, 4},    {1, 17, 2, 16}, {1, 33, 2, 16}, {1, 197, 1, 64},
                                 {2, 64, 2, 64}, {1, 70, 2, 128}, {1, 300, 1, 8}, {1, 600, 1, 3}, {0, 4, 2, 8}};
  for (const auto& [N, T, H, E] : problems)
    for (const bool causal : {false, true}) {
      const Problem p{N, T, H, E, causal};
      const Tensor qkv = hash_tensor(p.qkv(), 1, 1.5f), dy = hash_tensor(p.y(), 2);
      const Attention a(p, qkv.to_vector<double>(), dy.to_vector<double>());
      cases.push_back(forward(p, qkv));
      cases.push_back(backward(p, qkv, dy, saved(a.y, p.y()), saved(a.lse, p.lse())));
    }
  // Scores of ±1e4 attend to one key.
  Problem far{1, 2, 1, 1};
  far.scale = 1;
  cases.push_back(forward(far, Tensor::from<float>({100, 100, 3, -100, -100, 5}, far.qkv()), kExact));
  // One key's NaN reaches every query that sees it.
  for (const bool causal : {false, true})
    for (const int64_t at : {0, 40, 69}) {
      const Problem p{1, 70, 1, 4, causal};
      Tensor qkv = hash_tensor(p.qkv(), 9).clone();
      qkv.data<float>()[(at * 3 + 1) * p.E] = std::nanf("");
      cases.push_back(forward(p, qkv));
    }
  add_refusals(cases);
  return cases;
}

KernelCases timed_attention() {
  const Problem p{16, 197, 6, 64};
  const Tensor qkv = hash_tensor(p.qkv(), 1, 1.5f), dy = hash_tensor(p.y(), 2);
  Tensor y = Tensor::empty(p.y()), lse = Tensor::empty(p.lse());
  kernel::attention_forward(qkv, y, lse, p.scale, p.causal);
  const double product = 2.0 * static_cast<double>(p.N * p.H * p.T * p.T * p.E);
  return {forward(p, qkv).timed({"attention_forward 16x197x6x64", 2 * product}),
          backward(p, qkv, dy, y, lse).timed({"attention_backward 16x197x6x64", 5 * product})};
}

}  // namespace sked::test

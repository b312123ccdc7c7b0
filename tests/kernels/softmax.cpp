// softmax_forward, softmax_backward, log_softmax_forward, log_softmax_backward, logsumexp_forward, logsumexp_backward,
// cross_entropy_forward, cross_entropy_backward: sums in long double.

#include "core/kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Observed below 1e-6 of the largest element.
constexpr Tolerance kSums{4e-6, "an exponential good to 2 ulp, sums of up to 1000 terms, of logits up to 5"};
constexpr Tolerance kCancelling{4e-6, kSums.reason, 1};
constexpr Tolerance kRoundedLse{5e-4, "a log-sum-exp near 1e4 is stored to 5e-4, and so is what follows from it", 1};
constexpr Tolerance kSmallLoss{2e-4, "a loss of 7e-4 beside logits of 1e4, which f32 keeps to 1e-3"};
constexpr Tolerance kOnGpu{4e-6, "exponentials of up to 2 ulp of numbers up to e^8, sums of 3,000", 1};

/// log Σ exp of the numbers x[first + i·step].
long double logsumexp(const Values& x, int64_t first, int64_t count, int64_t step) {
  long double max = -kInfinity, sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double v = x[first + i * step];
    if (std::isnan(v)) return v;
    max = std::max<long double>(max, v);
  }
  if (std::isinf(max)) return max;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(x[first + i * step] - max);
  return max + std::log(sum);
}

/// exp(z − lse), nothing in a row of −∞.
double share(double z, double lse) { return lse == -kInfinity ? 0 : std::exp(z - lse); }

Values log_softmax(const Values& z, int64_t K) {
  Values y(z.size());
  for (int64_t row = 0; row < static_cast<int64_t>(z.size()); row += K) {
    const long double lse = logsumexp(z, row, K, 1);
    for (int64_t i = row; i < row + K; ++i) y[i] = static_cast<double>(z[i] - lse);
  }
  return y;
}

Values softmax(const Values& z, int64_t K) {
  Values y = log_softmax(z, K);
  for (double& v : y) v = std::exp(v);
  return y;
}

/// Σ_k of each row (N,K).
Values row_sums(const Values& x, int64_t K) {
  Values sums;
  for (size_t i = 0; i < x.size(); ++i) {
    if (static_cast<int64_t>(i) % K == 0) sums.push_back(0);
    sums.back() += x[i];
  }
  return sums;
}

void add_softmax(KernelCases& cases, const Tensor& x) {
  const int64_t K = x.dim(1);
  cases.push_back(case_of(kernel::softmax_forward, x.str(), {x}, {unset(x.shape())})
                      .gives([K](const auto& in, const auto&) { return ValueLists{softmax(in[0], K)}; }, kSums)
                      .on_gpu(kOnGpu)
                      .stored_in_bf16({0}, {0}));
  cases.push_back(case_of(kernel::log_softmax_forward, x.str(), {x}, {unset(x.shape())})
                      .gives([K](const auto& in, const auto&) { return ValueLists{log_softmax(in[0], K)}; }, kSums)
                      .on_gpu(kOnGpu)
                      .stored_in_bf16({0}, {0}));
}

void add_softmax_backward(KernelCases& cases, const Tensor& x, const Tensor& dy) {
  const int64_t K = x.dim(1);
  const Values z = x.to_vector<double>();
  cases.push_back(case_of(kernel::softmax_backward, x.str(), {dy, saved(softmax(z, K), x.shape())}, {unset(x.shape())})
                      .gives(
                          [K](const auto& in, const auto&) {
                            const Values &g = in[0], &p = in[1];
                            Values terms = g, dx = g;
                            for (size_t i = 0; i < g.size(); ++i) terms[i] *= p[i];
                            const Values dot = row_sums(terms, K);
                            for (size_t i = 0; i < g.size(); ++i) dx[i] = p[i] * (g[i] - dot[i / K]);
                            return ValueLists{dx};
                          },
                          kCancelling)
                      .on_gpu(kOnGpu));
  cases.push_back(
      case_of(kernel::log_softmax_backward, x.str(), {dy, saved(log_softmax(z, K), x.shape())}, {unset(x.shape())})
          .gives(
              [K](const auto& in, const auto&) {
                Values dx = in[0];
                const Values sum = row_sums(dx, K);
                for (size_t i = 0; i < dx.size(); ++i) dx[i] -= std::exp(in[1][i]) * sum[i / K];
                return ValueLists{dx};
              },
              kCancelling)
          .on_gpu(kOnGpu));
}

void add_logsumexp(KernelCases& cases, const Tensor& x, const ReduceView& v, const std::string& what) {
  const Shape results{v.outer, v.inner};
  const auto forward = [v](const auto& in, const auto&) {
    Values y;
    for (int64_t o = 0; o < v.outer; ++o)
      for (int64_t j = 0; j < v.inner; ++j)
        y.push_back(static_cast<double>(logsumexp(in[0], o * v.n * v.inner + j, v.n, v.inner)));
    return ValueLists{y};
  };
  cases.push_back(case_of(kernel::logsumexp_forward, what, {x}, {unset(results)}, v)
                      .gives(forward, kSums)
                      .on_gpu(kOnGpu)
                      .stored_in_bf16({0}, {0}));
  const Tensor y = saved(forward(ValueLists{x.to_vector<double>()}, 0)[0], results), dy = hash_tensor(results, 2);
  cases.push_back(case_of(kernel::logsumexp_backward, what, {x, y, dy}, {unset(x.shape())}, v)
                      .gives(
                          [v](const auto& in, const auto&) {
                            Values dx = in[0];
                            for (size_t i = 0; i < dx.size(); ++i) {
                              const int64_t at = static_cast<int64_t>(i);
                              const int64_t result = at / (v.n * v.inner) * v.inner + at % v.inner;
                              dx[i] = in[2][result] * share(dx[i], in[1][result]);
                            }
                            return ValueLists{dx};
                          },
                          kSums)
                      .on_gpu(kOnGpu));
}

ValueLists cross_entropy(const Values& z, const Values& label, int64_t K) {
  Values loss, lse;
  for (size_t n = 0; n < label.size(); ++n) {
    const int64_t row = static_cast<int64_t>(n) * K;
    const long double sum = logsumexp(z, row, K, 1);
    lse.push_back(static_cast<double>(sum));
    loss.push_back(static_cast<double>(sum - z[row + static_cast<int64_t>(label[n])]));
  }
  return {loss, lse};
}

void add_cross_entropy(KernelCases& cases, const Tensor& x, const Tensor& labels, const Tolerance& tolerance = kSums) {
  const int64_t N = x.dim(0), K = x.dim(1);
  const auto forward = [K](const auto& in, const auto&) { return cross_entropy(in[0], in[1], K); };
  cases.push_back(case_of(kernel::cross_entropy_forward, x.str(), {x, labels}, {unset({N}), unset({N})})
                      .gives(forward, tolerance)
                      .on_gpu(kOnGpu)
                      .stored_in_bf16({0}, {}));
  const Tensor lse = saved(cross_entropy(x.to_vector<double>(), labels.to_vector<double>(), K)[1], {N});
  cases.push_back(
      case_of(kernel::cross_entropy_backward, x.str(), {hash_tensor({N}, 8), x, labels, lse}, {unset(x.shape())})
          .gives(
              [K](const auto& in, const auto&) {
                Values dx = in[1];
                for (size_t i = 0; i < dx.size(); ++i) {
                  const int64_t n = static_cast<int64_t>(i) / K, k = static_cast<int64_t>(i) % K;
                  const double own = k == static_cast<int64_t>(in[2][n]) ? 1 : 0;
                  dx[i] = in[0][n] * (std::exp(dx[i] - in[3][n]) - own);
                }
                return ValueLists{dx};
              },
              kRoundedLse));
}

/// Logits of O(1), rows of equal logits, logits of ±1e4, whose softmax is one-hot, and one row with a NaN.
void add_rows(KernelCases& cases) {
  const int64_t shapes[][2] = {{1, 1}, {3, 2}, {33, 10}, {5, 17}, {2, 1000}, {70, 33}, {3, 3000}, {0, 4}};
  for (const auto& [N, K] : shapes) {
    for (const Tensor& x : {hash_tensor({N, K}, 1, 5), Tensor::full({N, K}, 3.5), hash_tensor({N, K}, 2, 1e4f)}) {
      add_softmax(cases, x);
      add_cross_entropy(cases, x, hash_labels(N, K, 7));
    }
    add_softmax_backward(cases, hash_tensor({N, K}, 1, 5), hash_tensor({N, K}, 2));
  }
  const Tensor large = Tensor::from<float>({1e4f, 1e4f - 8, 1e4f - 8}, {1, 3});
  add_cross_entropy(cases, large, Tensor::from<int64_t>({0}, {1}), kSmallLoss);  // lse − x in f32 would give 0
}

/// −∞ everywhere, (1e4, −∞), (+∞, 0); nothing at all.
void add_infinite(KernelCases& cases) {
  const auto inf = static_cast<float>(kInfinity);
  for (const int64_t inner : {1, 2}) {
    Tensor x = Tensor::full({3, 2, inner}, -inf);
    for (int64_t j = 0; j < inner; ++j) {
      x.data<float>()[2 * inner + j] = 1e4f;
      x.data<float>()[4 * inner + j] = inf;
      x.data<float>()[5 * inner + j] = 0;
    }
    add_logsumexp(cases, x, {3, 2, inner}, "of infinities, inner " + std::to_string(inner));
    add_logsumexp(cases, Tensor::empty({3, 0, inner}), {3, 0, inner}, "of nothing");
  }
}

/// A NaN is in the middle row, first, in the middle or last, among numbers or among −∞.
void add_nan(KernelCases& cases) {
  for (const int64_t width : {1, 5, 70, 1500})
    for (const int64_t at : {int64_t{0}, width / 2, width - 1})
      for (const bool lone : {false, true}) {
        Tensor x = hash_tensor({3, width}, 3, 4).clone();
        Tensor row = x.rows(1, 2);
        if (lone) row.fill(-kInfinity);
        row.reshape({width, 1}).rows(at, at + 1).fill(std::nan(""));
        add_softmax(cases, x);
        add_cross_entropy(cases, x, Tensor::from<int64_t>({0, width - 1, 0}, {3}));
        const std::string what = "with NaN at " + std::to_string(at) + " of " + x.str();
        add_logsumexp(cases, x, {3, width, 1}, "of rows " + what);
        add_logsumexp(cases, x, {1, 3, width}, "of columns " + what);
      }
}

void add_refusals(KernelCases& cases) {
  const Tensor x = Tensor::zeros({2, 3}), y = Tensor::zeros({3, 2}), n = Tensor::zeros({2});
  const Tensor above = Tensor::from<int64_t>({0, 3}, {2}), below = Tensor::from<int64_t>({0, -1}, {2});
  cases.push_back(case_of(kernel::softmax_forward, "refused", {x}, {y}).is_refused({"(2, 3)", "(3, 2)"}));
  cases.push_back(case_of(kernel::logsumexp_forward, "refused", {x}, {y}, ReduceView{2, 3, 1}).is_refused({"(3, 2)"}));
  cases.push_back(
      case_of(kernel::cross_entropy_forward, "refused", {x, above}, {n, n}).is_refused({"0 to 2", "got 3 in row 1"}));
  cases.push_back(
      case_of(kernel::cross_entropy_backward, "refused", {n, x, below, n}, {x}).is_refused({"got -1 in row 1"}));
}

}  // namespace

KernelCases softmax_cases() {
  KernelCases cases;
  add_rows(cases);
  for (const ReduceView& v : {ReduceView{1, 1, 1},
                              {3, 5, 1},
                              {6, 10, 1},
                              {3, 5, 7},
                              {4, 5, 3},
                              {2, 1, 65},
                              {2, 16, 40},
                              {1, 9, 130},
                              {4, 300, 1},
                              {3, 2000, 1},
                              {0, 3, 2},
                              {0, 5, 3},
                              {2, 3, 0}}) {
    const Tensor x = hash_tensor({v.outer, v.n, v.inner}, 1, 5);
    add_logsumexp(cases, x, v, x.str());
  }
  add_infinite(cases);
  add_nan(cases);
  add_refusals(cases);
  return cases;
}

KernelCases timed_softmax() {
  KernelCases cases;
  add_softmax(cases, hash_tensor({4096, 1000}, 1, 5));
  const double bytes = 2 * static_cast<double>(cases[1].inputs[0].bytes());
  return {cases[1].timed({"log_softmax_forward 4096x1000", 0, bytes})};
}

}  // namespace sked::test

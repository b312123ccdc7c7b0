// softmax_forward, softmax_backward, log_softmax_forward, log_softmax_backward, logsumexp_forward, logsumexp_backward,
// cross_entropy_forward, cross_entropy_backward against sums in long double.

#include "core/kernels/softmax.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// An exponential good to 2 ulp and sums of up to 1000 terms, of logits up to 5; observed below 1e-6 of the largest
// element.
constexpr double kTolerance = 4e-6;
// A log-sum-exp near 1e4 is stored to 5e-4, and so is what follows from it.
constexpr double kRoundedLse = 5e-4;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// log Σ exp of the numbers x[first + i·step].
double logsumexp(const std::vector<double>& x, int64_t first, int64_t count, int64_t step) {
  long double max = -kInfinity, sum = 0;
  for (int64_t i = 0; i < count; ++i) max = std::max<long double>(max, x[static_cast<size_t>(first + i * step)]);
  if (std::isinf(max)) return static_cast<double>(max);
  for (int64_t i = 0; i < count; ++i) sum += std::exp(x[static_cast<size_t>(first + i * step)] - max);
  return static_cast<double>(max + std::log(sum));
}

std::vector<double> row_logsumexp(const std::vector<double>& x, int64_t N, int64_t K) {
  std::vector<double> lse;
  for (int64_t n = 0; n < N; ++n) lse.push_back(logsumexp(x, n * K, K, 1));
  return lse;
}

const int64_t kShapes[][2] = {{1, 1}, {3, 2}, {33, 10}, {5, 17}, {2, 1000}, {0, 4}};

/// Logits of O(1), rows of equal logits, and logits of ±1e4, whose softmax is one-hot.
std::vector<Tensor> logits(int64_t N, int64_t K) {
  Tensor equal = Tensor::full({N, K}, 3.5), large = hash_tensor({N, K}, 2, 1e4f);
  return {hash_tensor({N, K}, 1, 5), equal, large};
}

TEST_CASE("softmax_forward and log_softmax_forward: O(1), equal and ±1e4 logits") {
  for (const auto& [N, K] : kShapes)
    for (const Tensor& x : logits(N, K)) {
      const auto z = x.to_vector<double>(), lse = row_logsumexp(z, N, K);
      std::vector<double> p(z.size()), logp(z.size());
      for (size_t i = 0; i < z.size(); ++i) {
        logp[i] = z[i] - lse[i / static_cast<size_t>(K)];
        p[i] = std::exp(logp[i]);
      }
      const auto softmax = [](const TensorList& in, TensorList& out) { kernel::softmax_forward(in[0], out[0]); };
      const auto log_softmax = [](const TensorList& in, TensorList& out) {
        kernel::log_softmax_forward(in[0], out[0]);
      };
      check_kernel({"softmax_forward " + x.str(), {x}, {doubles(p, {N, K})}, softmax, kTolerance});
      check_kernel({"log_softmax_forward " + x.str(), {x}, {doubles(logp, {N, K})}, log_softmax, kTolerance});
    }
}

TEST_CASE("softmax_backward and log_softmax_backward") {
  for (const auto& [N, K] : kShapes) {
    const Tensor x = hash_tensor({N, K}, 1, 5), dy = hash_tensor({N, K}, 2);
    Tensor y = Tensor::like(x), logy = Tensor::like(x);
    kernel::softmax_forward(x, y);
    kernel::log_softmax_forward(x, logy);
    const auto p = y.to_vector<double>(), logp = logy.to_vector<double>(), g = dy.to_vector<double>();
    std::vector<double> dot(static_cast<size_t>(N)), sum(dot), dx(p.size()), dlog(p.size());
    for (size_t i = 0; i < p.size(); ++i) {
      dot[i / static_cast<size_t>(K)] += g[i] * p[i];
      sum[i / static_cast<size_t>(K)] += g[i];
    }
    for (size_t i = 0; i < p.size(); ++i) {
      dx[i] = p[i] * (g[i] - dot[i / static_cast<size_t>(K)]);
      dlog[i] = g[i] - std::exp(logp[i]) * sum[i / static_cast<size_t>(K)];
    }
    const auto softmax = [](const TensorList& in, TensorList& out) { kernel::softmax_backward(in[0], in[1], out[0]); };
    const auto log_softmax = [](const TensorList& in, TensorList& out) {
      kernel::log_softmax_backward(in[0], in[1], out[0]);
    };
    check_kernel({"softmax_backward " + x.str(), {dy, y}, {doubles(dx, {N, K})}, softmax, kTolerance, {}, 1});
    check_kernel(
        {"log_softmax_backward " + x.str(), {dy, logy}, {doubles(dlog, {N, K})}, log_softmax, kTolerance, {}, 1});
  }
}

const ReduceView kViews[] = {{1, 1, 1},   {3, 5, 1},   {3, 5, 7}, {2, 1, 65},
                             {1, 9, 130}, {4, 300, 1}, {0, 3, 2}, {2, 3, 0}};

TEST_CASE("logsumexp_forward and logsumexp_backward: over the last axis and over others") {
  for (const ReduceView& v : kViews) {
    const Tensor x = hash_tensor({v.outer, v.n, v.inner}, 1, 5), dy = hash_tensor({v.outer, v.inner}, 2);
    const auto z = x.to_vector<double>(), g = dy.to_vector<double>();
    std::vector<double> lse, dx(z.size());
    for (int64_t o = 0; o < v.outer; ++o)
      for (int64_t j = 0; j < v.inner; ++j) {
        lse.push_back(logsumexp(z, o * v.n * v.inner + j, v.n, v.inner));
        for (int64_t i = 0; i < v.n; ++i) {
          const auto at = static_cast<size_t>((o * v.n + i) * v.inner + j);
          dx[at] = g[lse.size() - 1] * std::exp(z[at] - lse.back());
        }
      }
    const Tensor y = doubles(lse, {v.outer, v.inner});
    check_kernel({"logsumexp_forward " + x.str(),
                  {x},
                  {y},
                  [&](const TensorList& in, TensorList& out) { kernel::logsumexp_forward(in[0], out[0], v); },
                  kTolerance});
    check_kernel({"logsumexp_backward " + x.str(),
                  {x, dy},
                  {doubles(dx, x.shape())},
                  [&](const TensorList& in, TensorList& out) {
                    kernel::logsumexp_backward(in[0], y.to(in[0].dtype()), in[1], out[0], v);
                  },
                  kTolerance});
  }
}

TEST_CASE("logsumexp_forward: −∞ rows, empty rows, one −∞ among finite, +∞") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const int64_t inner : {int64_t{1}, int64_t{2}}) {
    Tensor x = Tensor::full({3, 2, inner}, -inf), y = Tensor::empty({3, inner}), dx = Tensor::like(x);
    for (int64_t j = 0; j < inner; ++j) {
      x.data<float>()[2 * inner + j] = 1e4f;  // row 1: (1e4, −∞); row 2: (+∞, 0)
      x.data<float>()[4 * inner + j] = inf;
      x.data<float>()[5 * inner + j] = 0;
    }
    kernel::logsumexp_forward(x, y, {3, 2, inner});
    kernel::logsumexp_backward(x, y, Tensor::full(y.shape(), 2), dx, {3, 2, inner});
    const auto lse = y.to_vector<float>(), d = dx.to_vector<float>();
    for (int64_t j = 0; j < inner; ++j) {
      CHECK(lse[static_cast<size_t>(j)] == -inf);
      CHECK(lse[static_cast<size_t>(inner + j)] == 1e4f);
      CHECK(lse[static_cast<size_t>(2 * inner + j)] == inf);
      CHECK(d[static_cast<size_t>(j)] == 0);
      CHECK(d[static_cast<size_t>(2 * inner + j)] == doctest::Approx(2));
      CHECK(d[static_cast<size_t>(3 * inner + j)] == 0);
    }
    Tensor nothing = Tensor::empty({3, 0, inner});
    kernel::logsumexp_forward(nothing, y, {3, 0, inner});
    CHECK(y.to_vector<float>()[0] == -inf);
  }
}

TEST_CASE("cross_entropy_forward and cross_entropy_backward") {
  for (const auto& [N, K] : kShapes)
    for (const Tensor& x : logits(N, K)) {
      const Tensor labels = hash_labels(N, K, 7), g = hash_tensor({N}, 8);
      const auto z = x.to_vector<double>(), lse = row_logsumexp(z, N, K), scale = g.to_vector<double>();
      const auto label = labels.to_vector<int64_t>();
      std::vector<double> loss, dx(z.size());
      for (size_t n = 0; n < lse.size(); ++n) {
        const size_t row = n * static_cast<size_t>(K);
        loss.push_back(lse[n] - z[row + static_cast<size_t>(label[n])]);
        for (size_t k = 0; k < static_cast<size_t>(K); ++k)
          dx[row + k] = scale[n] * (std::exp(z[row + k] - lse[n]) - (static_cast<int64_t>(k) == label[n] ? 1 : 0));
      }
      check_kernel(
          {"cross_entropy_forward " + x.str(),
           {x, labels},
           {doubles(loss, {N}), doubles(lse, {N})},
           [](const TensorList& in, TensorList& out) { kernel::cross_entropy_forward(in[0], in[1], out[0], out[1]); },
           kTolerance});
      check_kernel({"cross_entropy_backward " + x.str(),
                    {g, x, labels},
                    {doubles(dx, {N, K})},
                    [&](const TensorList& in, TensorList& out) {
                      kernel::cross_entropy_backward(in[0], in[1], in[2], doubles(lse, {N}).to(in[0].dtype()), out[0]);
                    },
                    kRoundedLse,
                    {},
                    1});
    }
}

TEST_CASE("cross_entropy_forward: a small loss at large logits keeps its digits") {
  Tensor x = Tensor::from(std::vector<float>{1e4f, 1e4f - 8, 1e4f - 8}, {1, 3}), loss = Tensor::empty({1}),
         lse = loss.clone();
  kernel::cross_entropy_forward(x, Tensor::from(std::vector<int64_t>{0}, {1}), loss, lse);
  CHECK(loss.item() == doctest::Approx(std::log1p(2 * std::exp(-8.0))).epsilon(2e-4));  // lse − x would give 0
}

TEST_CASE(
    "softmax_forward, logsumexp_forward, cross_entropy_forward, cross_entropy_backward: wrong shapes and labels") {
  Tensor x = Tensor::zeros({2, 3}), y = Tensor::zeros({3, 2}), n = Tensor::zeros({2});
  const auto labels = [](int64_t second) { return Tensor::from(std::vector<int64_t>{0, second}, {2}); };
  CHECK(one_line_with(error_of([&] { kernel::softmax_forward(x, y); }), "[softmax_forward]", "(2, 3)", "(3, 2)"));
  CHECK(one_line_with(error_of([&] { kernel::logsumexp_forward(x, y, {2, 3, 1}); }), "[logsumexp_forward]", "(3, 2)"));
  CHECK(one_line_with(error_of([&] { kernel::cross_entropy_forward(x, labels(3), n, n); }), "[cross_entropy_forward]",
                      "0 to 2", "got 3 in row 1"));
  CHECK(one_line_with(error_of([&] { kernel::cross_entropy_backward(n, x, labels(-1), n, x); }),
                      "[cross_entropy_backward]", "got -1 in row 1"));
}

}  // namespace
}  // namespace sked::test

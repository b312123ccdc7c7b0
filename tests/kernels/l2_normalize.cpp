// l2_normalize_forward, l2_normalize_backward: row by row.

#include <cmath>

#include "core/kernels/l2_normalize.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr double kEps = 1e-3;
constexpr Tolerance kRows{1e-5, "sums of up to 2,048 squares, a root; observed below 2e-6 of the largest element"};
constexpr Tolerance kRowsOnGpu{1e-5, kRows.reason, 1};

void add_forward(KernelCases& cases, const Tensor& x, double eps) {
  cases.push_back(case_of(kernel::l2_normalize_forward, x.str(), {x}, {unset(x.shape()), unset({x.dim(0)})}, eps)
                      .gives(
                          [eps, N = x.dim(0), D = x.dim(1)](const auto& in, const auto&) {
                            Values y = in[0], r(static_cast<size_t>(N), eps);
                            for (size_t i = 0; i < y.size(); ++i) r[i / D] += y[i] * y[i];
                            for (double& v : r) v = 1 / std::sqrt(v);
                            for (size_t i = 0; i < y.size(); ++i) y[i] *= r[i / D];
                            return ValueLists{y, r};
                          },
                          kRows)
                      .on_gpu(kRowsOnGpu)
                      .stored_in_bf16({0}, {0})
                      .also_in_place(0));
}

/// What lies along the row is lost.
void add_backward(KernelCases& cases, const Tensor& dy, const Tensor& y, const Tensor& r) {
  const int64_t D = dy.dim(1);
  cases.push_back(case_of(kernel::l2_normalize_backward, dy.str(), {dy, y, r}, {unset(dy.shape())})
                      .gives(
                          [D](const auto& in, const auto&) {
                            Values dx = in[0], along(in[2].size());
                            for (size_t i = 0; i < dx.size(); ++i) along[i / D] += dx[i] * in[1][i];
                            for (size_t i = 0; i < dx.size(); ++i)
                              dx[i] = in[2][i / D] * (dx[i] - in[1][i] * along[i / D]);
                            return ValueLists{dx};
                          },
                          kRows)
                      .on_gpu({kRows.f32, kRows.reason, std::sqrt(static_cast<double>(D))})
                      .stored_in_bf16({0, 1}, {0})
                      .also_in_place(0));
}

}  // namespace

KernelCases l2_normalize_cases() {
  KernelCases cases;
  const int64_t rows[][2] = {{1, 1}, {3, 5}, {35, 17}, {4500, 3}, {70, 384}, {5, 2048}, {0, 4}};
  for (const auto& [N, D] : rows) {
    add_forward(cases, hash_tensor({N, D}, 1, 2), kEps);
    add_backward(cases, hash_tensor({N, D}, 1, 2), hash_tensor({N, D}, 2), hash_tensor({N}, 3, 0.5, 1));
  }
  // A row of zeros stays zero, with a finite gradient.
  add_forward(cases, Tensor::zeros({1, 3}), kLengthEps);
  add_backward(cases, Tensor::from<float>({1, -2, 3}, {1, 3}), Tensor::zeros({1, 3}),
               Tensor::full({1}, 1 / std::sqrt(kLengthEps)));
  const Tensor x = Tensor::zeros({4, 6}), c = Tensor::zeros({6}), n = Tensor::zeros({4}), one = Tensor::zeros({1, 6});
  cases.push_back(case_of(kernel::l2_normalize_forward, "refused", {x}, {x, c}, kEps).is_refused({"(4)", "(6)"}));
  cases.push_back(case_of(kernel::l2_normalize_backward, "refused", {one, x, n}, {x}).is_refused({"(1, 6)"}));
  return cases;
}

}  // namespace sked::test

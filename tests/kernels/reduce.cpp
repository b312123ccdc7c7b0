// reduce_forward, reduce_max_backward, argmax: one column after another; top_k: a row sorted whole.

#include "core/kernels/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kSums{1e-7, "sums are f64 inside: one rounding to f32", 1, 1e-12, true};
constexpr Tolerance kSumsOnGpu{1e-5, "sums of up to 100,000 numbers, rounded to f32 at the end", 1};
constexpr Tolerance kShares{1e-7, "one division", 1, 1e-15, true};
constexpr Tolerance kSharesOnGpu{1e-6, "a few roundings of f32"};
constexpr Tolerance kCancelled{1e-5, "29.998 beside terms of 1e8: f32 alone would lose all of it", 0, 1e-5};

/// Every path of the cut: single and several chunks, single and several blocks of columns, long rows, empty extents.
const ReduceView kViews[] = {{1, 1, 1},     {1, 5, 1},     {7, 33, 1},    {3, 4, 5},      {1, 20000, 1}, {2, 17000, 1},
                             {1, 700, 300}, {2, 130, 257}, {5, 1, 600},   {1, 9000, 3},   {300, 40, 4},  {0, 3, 2},
                             {2, 3, 0},     {4, 64, 256},  {1, 70001, 1}, {1, 100000, 1}, {3, 20011, 1}, {300, 17, 1},
                             {1, 900, 77},  {1, 5000, 40}, {40, 300, 5},  {7, 3, 65},     {2, 129, 3},   {40, 64, 2}};

/// For each output f(column), a column being x[o,·,j]; f gives y[o,j].
template <class F>
ValueLists by_column(const Values& x, ReduceView v, F f) {
  Values y;
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t j = 0; j < v.inner; ++j) {
      Values column;
      for (int64_t i = 0; i < v.n; ++i) column.push_back(x[(o * v.n + i) * v.inner + j]);
      y.push_back(f(column));
    }
  return {y};
}

/// Is b larger? NaN is largest, the first of several.
bool smaller(double a, double b) { return !std::isnan(a) && (std::isnan(b) || a < b); }
double largest(const Values& column) { return *std::max_element(column.begin(), column.end(), smaller); }

double reduced(Reduce op, const Values& column) {
  if (op == Reduce::max) return largest(column);
  double sum = 0;
  for (const double v : column) sum += v;
  return op == Reduce::mean ? sum / static_cast<double>(column.size()) : sum;
}

KernelCase forward(const Tensor& x, ReduceView v, Reduce op, const Tolerance& tolerance = kSums) {
  return case_of(kernel::reduce_forward, std::string(name(op)) + " " + x.str(), {x}, {unset({v.outer, v.inner})}, op, v)
      .gives(
          [=](const auto& in, const auto&) {
            return by_column(in[0], v, [&](const Values& column) { return reduced(op, column); });
          },
          tolerance)
      .on_gpu(kSumsOnGpu);
}

KernelCase argmax(const Tensor& x, ReduceView v) {
  return case_of(kernel::argmax, x.str(), {x}, {unset({v.outer, v.inner}, DType::i64)}, v)
      .gives(
          [v](const auto& in, const auto&) {
            return by_column(in[0], v, [](const Values& column) {
              return static_cast<double>(std::max_element(column.begin(), column.end(), smaller) - column.begin());
            });
          },
          kExact);
}

KernelCase top_k(const Tensor& x, int64_t k) {
  const Shape results{x.dim(0), k};
  return case_of(kernel::top_k, x.str() + " by " + std::to_string(k), {x}, {unset(results), unset(results, DType::i64)})
      .gives(
          [K = x.dim(1), k](const auto& in, const auto&) {
            ValueLists found(2);
            for (auto row = in[0].begin(); row != in[0].end(); row += K) {
              std::vector<std::pair<double, int64_t>> sorted;
              for (int64_t i = 0; i < K; ++i) sorted.emplace_back(row[i], i);
              std::stable_sort(sorted.begin(), sorted.end(),
                               [](const auto& a, const auto& b) { return smaller(b.first, a.first); });
              for (int64_t i = 0; i < k; ++i) {
                found[0].push_back(sorted[static_cast<size_t>(i)].first);
                found[1].push_back(static_cast<double>(sorted[static_cast<size_t>(i)].second));
              }
            }
            return found;
          },
          kExact)
      .stored_in_bf16({0}, {0});
}

KernelCase max_backward(const Tensor& x, ReduceView v) {
  const Shape results{v.outer, v.inner};
  const Values y = by_column(x.to_vector<double>(), v, largest)[0];
  return case_of(kernel::reduce_max_backward, x.str(), {x, saved(y, results), hash_tensor(results, 3, 2)},
                 {unset(x.shape())}, v)
      .gives(
          [v](const auto& in, const auto&) {
            Values dx = in[0];
            int64_t at = 0;
            by_column(in[0], v, [&](const Values& column) {
              const double max = largest(column);
              const auto ties = static_cast<double>(std::count(column.begin(), column.end(), max));
              for (int64_t i = 0; i < v.n; ++i)
                dx[(at / v.inner * v.n + i) * v.inner + at % v.inner] = column[i] == max ? in[2][at] / ties : 0;
              return static_cast<double>(++at);
            });
            return ValueLists{dx};
          },
          kShares)
      .on_gpu(kSharesOnGpu)
      .stored_in_bf16({0, 1, 2}, {0});
}

/// Whole numbers of −reach … reach − 1: many ties.
Tensor tied(const Shape& shape, uint32_t salt, float reach) {
  Tensor x = hash_tensor(shape, salt, reach);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = std::floor(x.data<float>()[i]);
  return x;
}

/// NaN wins a max, in either of two rows; −∞ alone; the sum of nothing; large terms that cancel.
void add_ends(KernelCases& cases) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (const int64_t at : {0, 20, 36}) {
    Tensor x = hash_tensor({2, 37}, 2, 2);
    x.data<float>()[at] = std::numeric_limits<float>::quiet_NaN();
    cases.push_back(forward(x, {2, 37, 1}, Reduce::max));
    cases.push_back(argmax(x, {2, 37, 1}));
    cases.push_back(top_k(x, 3));
  }
  cases.push_back(argmax(Tensor::from<double>({1, std::nan(""), 3, std::nan("")}, {4}), {1, 4, 1}));
  cases.push_back(forward(Tensor::full({2, 3}, -inf), {2, 3, 1}, Reduce::max));
  cases.push_back(forward(Tensor::zeros({2, 0}), {2, 0, 1}, Reduce::sum));
  std::vector<float> values(30000, 1e-3f);
  values[3] = 1e8f;
  values[20000] = -1e8f;
  KernelCase cancelled = forward(Tensor::from(values, {30000}), {1, 30000, 1}, Reduce::sum, kCancelled);
  cases.push_back(cancelled.on_gpu(kCancelled));
}

void add_refusals(KernelCases& cases) {
  const Tensor x = Tensor::zeros({2, 3}), y = Tensor::zeros({2}), none = Tensor::zeros({2, 0});
  const auto add = [&](const Tensor& in, Reduce op, ReduceView v, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::reduce_forward, "refused", {in}, {y}, op, v).is_refused(std::move(words)));
  };
  add(none, Reduce::mean, {2, 0, 1}, {"mean of nothing"});
  add(none, Reduce::max, {2, 0, 1}, {"max of nothing"});
  add(x, Reduce::sum, {2, 4, 1}, {"(2, 4, 1)", "(2, 3)"});
  add(x, Reduce::sum, {1, 2, 3}, {"3 outputs", "(2)"});
  add(x, Reduce::sum, {-1, -6, 1}, {"[", "-1"});
  const Tensor index = Tensor::zeros({}, DType::i64);
  cases.push_back(
      case_of(kernel::argmax, "refused", {Tensor::zeros({0})}, {index}, ReduceView{1, 0, 1}).is_refused({"nothing"}));
  cases.push_back(case_of(kernel::argmax, "refused", {x}, {y}, ReduceView{2, 3, 1}).is_refused({"[", "i64", "f32"}));
  const Tensor pairs = Tensor::zeros({2, 2}), four = Tensor::zeros({2, 4});
  cases.push_back(case_of(kernel::top_k, "refused", {x}, {pairs, pairs}).is_refused({"i64", "f32"}));
  cases.push_back(case_of(kernel::top_k, "refused", {x}, {four, four}).is_refused({"1 <= k <= K", "(2, 4)"}));
}

}  // namespace

KernelCases reduce_cases() {
  KernelCases cases;
  for (const ReduceView& v : kViews) {
    const Shape shape{v.outer, v.n, v.inner};
    for (const Reduce op : {Reduce::sum, Reduce::mean, Reduce::max})
      cases.push_back(forward(hash_tensor(shape, 1, 2), v, op).stored_in_bf16({0}, {0}));
    cases.push_back(max_backward(tied(shape, 3, 2), v));
    cases.push_back(argmax(tied(shape, 5, 6), v));
    cases.push_back(argmax(hash_tensor(shape, 1), v));
  }
  for (const int64_t k : {1, 5, 67}) {
    cases.push_back(top_k(hash_tensor({9, 67}, 1), k));
    cases.push_back(top_k(tied({9, 67}, 5, 6), k));
  }
  cases.push_back(top_k(Tensor::full({2, 5}, -std::numeric_limits<double>::infinity()), 3));
  cases.push_back(top_k(Tensor::zeros({0, 5}), 3));
  add_ends(cases);
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test

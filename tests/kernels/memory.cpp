// fill, arange, cast, add_scaled, permute, slice, slice_insert, broadcast_to: elements by their indices.

#include "core/kernels/memory.h"

#include <cmath>
#include <limits>
#include <span>

#include "core/rng.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kOneSum{2e-7, "one rounding of f32", 1, 1e-15, true};
constexpr Tolerance kSumOnGpu{1e-6, "a few roundings of f32"};
constexpr DType kAll[] = {DType::f32, DType::bf16, DType::i64, DType::u8, DType::f64};

/// 0 … n−1 (mod 251, so that u8 and bf16 hold them too).
Tensor counting(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, DType::i64);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<int64_t>()[i] = i % 251;
  return t.to(dtype);
}

Shape shape_of(const std::vector<int64_t>& extents) { return Shape(std::span<const int64_t>(extents)); }

/// Row-major indices of element `flat` of `shape`.
std::vector<int64_t> unravel(int64_t flat, const Shape& shape) {
  std::vector<int64_t> index(static_cast<size_t>(shape.ndim()));
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}

int64_t ravel(const std::vector<int64_t>& index, const Shape& shape) {
  int64_t flat = 0;
  for (int i = 0; i < shape.ndim(); ++i) flat = flat * shape[i] + index[i];
  return flat;
}

const Reference kSame = [](const auto& in, const auto&) { return in; };

void add_fill(KernelCases& cases) {
  const auto add = [&](const Tensor& y, double value, double expected) {
    cases.push_back(
        case_of(kernel::fill, y.str(), {}, {y}, value)
            .gives([=, n = y.numel()](const auto&, const auto&) { return ValueLists{Values(n, expected)}; }, kExact)
            .stored_in_bf16({}, {0}));
  };
  for (const int64_t n : {0, 1, 7, 63, 1024, 40003})
    for (const DType dtype : {DType::f32, DType::i64, DType::u8}) add(unset({n}, dtype), 3, 3);
  add(unset({7}), 2.5, 2.5);
  add(unset({2}, DType::u8), 300, 255);
  add(unset({1}, DType::i64), 0x1p53 + 2, 0x1p53 + 2);
}

void add_arange(KernelCases& cases) {
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7}, Shape{5, 3}, Shape{40003}})
    cases.push_back(case_of(kernel::arange, shape.str(), {}, {unset(shape, DType::i64)})
                        .gives(
                            [n = shape.numel()](const auto&, const auto&) {
                              Values y;
                              for (int64_t i = 0; i < n; ++i) y.push_back(static_cast<double>(i));
                              return ValueLists{y};
                            },
                            kExact));
}

/// One dtype after another: from integers to `from`, from there to `to`, and back to integers.
KernelCase chain(const Tensor& x, DType from, DType to) {
  KernelCase c =
      case_of(kernel::cast, std::string(name(from)) + " to " + name(to) + x.str(), {x}, {unset(x.shape(), DType::i64)});
  c.call = [=](const TensorList& in, TensorList& out) {
    Tensor before = Tensor::empty(in[0].shape(), from, in[0].device());
    Tensor after = Tensor::empty(in[0].shape(), to, in[0].device());
    kernel::cast(in[0], before);
    kernel::cast(before, after);
    kernel::cast(after, out[0]);
  };
  if (from == DType::f64 || to == DType::f64) c.on_cpu_alone();  // a GPU has no f64
  return c.gives(kSame, kExact);
}

void add_cast(KernelCases& cases) {
  for (const DType from : kAll)
    for (const DType to : kAll)
      for (const int64_t n : {0, 1, 100, 40001}) cases.push_back(chain(counting({n}, DType::i64), from, to));
  for (const int64_t n : {0, 1, 7, 1024, 40003})
    for (const DType to : {DType::i64, DType::u8, DType::f32}) {
      const Tensor x = hash_tensor({n}, 1, 300);
      cases.push_back(case_of(kernel::cast, x.str() + " to " + name(to), {x}, {unset({n}, to)})
                          .gives(
                              [to](const auto& in, const auto&) {
                                Values y = in[0];
                                for (double& v : y) {
                                  if (to != DType::f32) v = std::trunc(v);
                                  if (to == DType::u8) v = std::min(std::max(v, 0.0), 255.0);
                                }
                                return ValueLists{y};
                              },
                              kExact));
    }
  // To integers towards zero, clamped; NaN is 0.
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::from<double>({-1.9, 1.9, -0.5, 255.9, 256, 1e30, -1e30, inf, -inf, std::nan("")}, {10});
  const auto add = [&](const Tensor& in, DType to, const Values& expected) {
    cases.push_back(case_of(kernel::cast, std::string("clamped to ") + name(to), {in}, {unset(in.shape(), to)})
                        .gives([=](const auto&, const auto&) { return ValueLists{expected}; }, kExact));
  };
  add(x, DType::i64, {-1, 1, 0, 255, 256, 0x1p63, -0x1p63, 0x1p63, -0x1p63, 0});
  add(x, DType::u8, {0, 1, 0, 255, 255, 255, 0, 255, 0, 0});
  add(Tensor::from<int64_t>({-5, 7, 300}, {3}), DType::u8, {0, 7, 255});
  // To the nearest bf16, ties to even.
  KernelCase ties =
      case_of(kernel::cast, "ties of bf16", {Tensor::from<float>({1 + 0x1p-8f, 1 + 3 * 0x1p-8f}, {2})}, {unset({2})});
  ties.call = [](const TensorList& in, TensorList& out) {
    Tensor rounded = Tensor::empty(in[0].shape(), DType::bf16, in[0].device());
    kernel::cast(in[0], rounded);
    kernel::cast(rounded, out[0]);
  };
  cases.push_back(ties.gives([](const auto&, const auto&) { return ValueLists{{1.0, 1.015625}}; }, kExact));
}

void add_add_scaled(KernelCases& cases) {
  for (const int64_t n : {0, 1, 7, 1024, 50000})
    cases.push_back(
        case_of(kernel::add_scaled, std::to_string(n), {hash_tensor({n}, 1, 2)}, {hash_tensor({n}, 2, 2)}, -0.75)
            .gives(
                [](const auto& in, const auto& before) {
                  Values y = before[0];
                  for (size_t i = 0; i < y.size(); ++i) y[i] += -0.75 * in[0][i];
                  return ValueLists{y};
                },
                kOneSum)
            .on_gpu(kSumOnGpu)
            .stored_in_bf16({0}, {0}));
}

void add_permutation(KernelCases& cases, const Tensor& x, const std::vector<int>& perm) {
  std::vector<int64_t> extents;
  for (const int axis : perm) extents.push_back(x.dim(axis));
  const Shape moved = shape_of(extents);
  cases.push_back(case_of(kernel::permute, x.str(), {x}, {unset(moved, x.dtype())}, perm)
                      .gives(
                          [=, from = x.shape()](const auto& in, const auto&) {
                            Values y;
                            for (int64_t i = 0; i < moved.numel(); ++i) {
                              const auto index = unravel(i, moved);
                              std::vector<int64_t> source(index.size());
                              for (size_t k = 0; k < index.size(); ++k) source[perm[k]] = index[k];
                              y.push_back(in[0][ravel(source, from)]);
                            }
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
}

void add_permute(KernelCases& cases) {
  const std::pair<Shape, std::vector<int>> named[] = {{{5, 7}, {1, 0}},
                                                      {{2, 3, 4, 5}, {0, 2, 1, 3}},
                                                      {{2, 33, 65}, {0, 2, 1}},
                                                      {{3, 4, 5, 6}, {3, 2, 1, 0}},
                                                      {{1, 1}, {1, 0}},
                                                      {{2, 8, 8, 3}, {0, 3, 1, 2}},
                                                      {{6}, {0}},
                                                      {{4, 0, 2}, {2, 1, 0}},
                                                      {{2, 0}, {1, 0}},
                                                      {{130, 3, 150}, {2, 0, 1}},
                                                      {{150, 130, 3}, {1, 2, 0}}};
  for (const auto& [shape, perm] : named) add_permutation(cases, hash_tensor(shape, 1), perm);
  Rng rng({1, 2, 3});
  constexpr DType sizes[] = {DType::f32, DType::i64, DType::u8};  // and f64 and bf16 in the place of f32
  for (int trial = 0; trial < 120; ++trial) {
    const int ndim = static_cast<int>(rng.below(7));
    std::vector<int64_t> extents;
    std::vector<int> perm;
    for (int i = 0; i < ndim; ++i) {
      extents.push_back(1 + rng.below(trial % 10 == 0 ? 2 : (ndim <= 2 ? 70 : 6)));
      perm.insert(perm.begin() + rng.below(static_cast<uint32_t>(i) + 1), i);
    }
    add_permutation(cases, counting(shape_of(extents), sizes[trial % 3]), perm);
  }
}

/// x[…, start … start + length − 1, …] and the way back into a tensor of other numbers.
void add_slice(KernelCases& cases, const Shape& whole, int axis, int64_t start, int64_t length) {
  const Shape part = whole.with(axis, length);
  const auto inside = [=](int64_t flat) {
    const int64_t k = unravel(flat, whole)[whole.axis(axis)];
    return k >= start && k < start + length;
  };
  const std::string what = "axis " + std::to_string(axis) + " from " + std::to_string(start) + part.str();
  cases.push_back(case_of(kernel::slice, what, {hash_tensor(whole, 1)}, {unset(part)}, axis, start)
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values y;
                            for (int64_t i = 0; i < whole.numel(); ++i)
                              if (inside(i)) y.push_back(in[0][i]);
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
  cases.push_back(case_of(kernel::slice_insert, what, {hash_tensor(part, 1)}, {hash_tensor(whole, 2)}, axis, start)
                      .gives(
                          [=](const auto& in, const auto& before) {
                            Values y = before[0];
                            int64_t next = 0;
                            for (int64_t i = 0; i < whole.numel(); ++i)
                              if (inside(i)) y[i] = in[0][next++];
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
}

void add_slices(KernelCases& cases) {
  const Shape small{3, 4, 5};
  for (const int axis : {0, 1, 2, -1})
    for (int64_t start = 0; start <= small[axis]; ++start)
      for (int64_t length = 0; start + length <= small[axis]; ++length) add_slice(cases, small, axis, start, length);
  for (const int axis : {0, 1, 2}) add_slice(cases, {6, 10, 8}, axis, 2, 3);
}

void add_broadcast(KernelCases& cases, const Shape& from, const Shape& to) {
  cases.push_back(case_of(kernel::broadcast_to, from.str() + " to " + to.str(), {hash_tensor(from, 1)}, {unset(to)})
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values y;
                            for (int64_t i = 0; i < to.numel(); ++i) {
                              auto index = unravel(i, to);
                              index.erase(index.begin(), index.begin() + (to.ndim() - from.ndim()));
                              for (int k = 0; k < from.ndim(); ++k) index[k] = from[k] == 1 ? 0 : index[k];
                              y.push_back(in[0][ravel(index, from)]);
                            }
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
}

void add_broadcasts(KernelCases& cases) {
  const std::pair<Shape, Shape> named[] = {{{64}, {33, 64}}, {{33, 1}, {33, 64}}, {{}, {5}}, {{2, 1, 8}, {2, 3, 8}}};
  for (const auto& [from, to] : named) add_broadcast(cases, from, to);
  Rng rng({4, 5, 6});
  for (int trial = 0; trial < 80; ++trial) {
    std::vector<int64_t> big, small;
    const uint32_t ndim = rng.below(5), skipped = rng.below(ndim + 1);
    for (uint32_t i = 0; i < ndim; ++i) {
      big.push_back(rng.below(12) == 0 ? 0 : 1 + rng.below(trial % 8 == 0 ? 30 : 5));
      if (i >= skipped) small.push_back(rng.below(2) == 0 ? 1 : big.back());
    }
    add_broadcast(cases, shape_of(small), shape_of(big));
  }
}

void add_refusals(KernelCases& cases) {
  const Tensor two = Tensor::zeros({2}), three = Tensor::zeros({3}), integers = Tensor::zeros({2}, DType::i64);
  const Tensor wide = Tensor::zeros({2, 3}), high = Tensor::zeros({3, 2}), whole = Tensor::zeros({3, 4});
  cases.push_back(case_of(kernel::arange, "refused", {}, {two}).is_refused({"[arange]", "i64", "(2) f32"}));
  cases.push_back(case_of(kernel::add_scaled, "refused", {three}, {two}, 1).is_refused({"(2)", "(3)"}));
  cases.push_back(case_of(kernel::add_scaled, "refused", {integers}, {integers}, 1).is_refused({"i64"}));
  const auto permute = [&](const std::vector<int>& perm, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::permute, "refused", {wide}, {high}, perm).is_refused(std::move(words)));
  };
  permute({0, 0}, {"each axis", "got 0"});
  permute({0, 2}, {"got 2"});
  permute({0}, {"2 axes", "got 1"});
  permute({0, 1}, {"(2, 3)", "(3, 2)"});
  const auto slice = [&](int axis, int64_t start, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::slice, "refused", {whole}, {high}, axis, start).is_refused(std::move(words)));
  };
  slice(1, 3, {"3 + 2"});
  slice(1, -1, {"-1 + 2"});
  slice(2, 0, {"[", "axis", "got 2"});
  slice(0, 0, {"(3, 4)", "(3, 2)"});
  cases.push_back(case_of(kernel::slice_insert, "refused", {high}, {whole}, 1, 3).is_refused({"3 + 2"}));
  cases.push_back(case_of(kernel::broadcast_to, "refused", {two}, {wide}).is_refused({"[", "(2, 3)", "(2)"}));
  cases.push_back(case_of(kernel::broadcast_to, "refused", {Tensor::zeros({4, 2, 3})}, {wide})
                      .is_refused({"[", "(2, 3)", "(4, 2, 3)"}));
}

}  // namespace

KernelCases memory_cases() {
  KernelCases cases;
  add_fill(cases);
  add_arange(cases);
  add_cast(cases);
  add_add_scaled(cases);
  add_permute(cases);
  add_slices(cases);
  add_broadcasts(cases);
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test

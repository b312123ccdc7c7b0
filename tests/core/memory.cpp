#include "core/kernels/memory.h"

#include <limits>

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::error_of;
using test::one_line_with;
using test::random_tensor;

namespace {

constexpr DType kAll[] = {DType::f32, DType::bf16, DType::i64, DType::u8, DType::f64};

/// 0 … n−1 (mod 251, so that u8 holds them too) in any dtype.
Tensor counting(const Shape& shape, DType dtype) {
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i % 251);
  return Tensor::from(values, shape).to(dtype);
}

/// Row-major indices of element `flat` of `shape`.
std::vector<int64_t> unravel(int64_t flat, const Shape& shape) {
  std::vector<int64_t> index(static_cast<size_t>(shape.ndim()));
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    index[static_cast<size_t>(i)] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}

int64_t ravel(const std::vector<int64_t>& index, const Shape& shape) {
  int64_t flat = 0;
  for (int i = 0; i < shape.ndim(); ++i) flat = flat * shape[i] + index[static_cast<size_t>(i)];
  return flat;
}

}  // namespace

TEST_CASE("fill: every dtype, every size") {
  for (DType dtype : kAll) {
    for (int64_t n : {0, 1, 63, 40000}) {
      Tensor y = Tensor::empty({n}, dtype);
      kernel::fill(y, 3.0);
      check_close(y, std::vector<double>(static_cast<size_t>(n), 3.0), 0, "fill");
    }
  }
  check_close(Tensor::full({2}, 300.0, DType::u8), {255, 255}, 0, "fill clamps");
  check_close(Tensor::full({1}, 0x1p53 + 2, DType::i64), {0x1p53 + 2}, 0, "fill i64");
}

TEST_CASE("cast: every pair of dtypes") {
  for (DType from : kAll) {
    for (DType to : kAll) {
      for (int64_t n : {0, 1, 100, 40001}) {
        const Tensor x = counting({n}, from);
        Tensor y = Tensor::empty({n}, to);
        kernel::cast(x, y);
        check_close(y, counting({n}, DType::f64).to_vector<double>(), 0, std::string("cast to ") + name(to));
      }
    }
  }
}

TEST_CASE("cast: to integers towards zero, clamped; to bf16 to nearest even") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = Tensor::from<double>({-1.9, 1.9, -0.5, 255.9, 256, 1e30, -1e30, inf, -inf, nan}, {10});
  const int64_t top = std::numeric_limits<int64_t>::max(), bottom = std::numeric_limits<int64_t>::min();
  CHECK(x.to(DType::i64).to_vector<int64_t>() == std::vector<int64_t>{-1, 1, 0, 255, 256, top, bottom, top, bottom, 0});
  CHECK(x.to(DType::u8).to_vector<uint8_t>() == std::vector<uint8_t>{0, 1, 0, 255, 255, 255, 0, 255, 0, 0});
  CHECK(Tensor::from<int64_t>({-5, 7, 300}, {3}).to(DType::u8).to_vector<uint8_t>() == std::vector<uint8_t>{0, 7, 255});
  check_close(Tensor::from<float>({1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f}, {2}).to(DType::bf16), {1.0, 1.015625}, 0,
              "bf16");
}

TEST_CASE("add_scaled") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (int64_t n : {0, 1, 1000, 50000}) {
      const Tensor x = random_tensor({n}, dtype, 1);
      Tensor y = random_tensor({n}, dtype, 2);
      std::vector<double> expected = y.to_vector<double>();
      const std::vector<double> xs = x.to_vector<double>();
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += -0.75 * xs[i];
      kernel::add_scaled(x, y, -0.75);
      check_close(y, expected, dtype == DType::f32 ? 2e-7 : 0, "add_scaled");  // one rounding of f32
    }
  }
  Tensor y = Tensor::zeros({2});
  CHECK(one_line_with(error_of([&] { kernel::add_scaled(Tensor::zeros({3}), y, 1); }), "[add_scaled]", "(2)", "(3)"));
  Tensor i = Tensor::zeros({2}, DType::i64);
  CHECK(one_line_with(error_of([&] { kernel::add_scaled(i, i, 1); }), "[add_scaled]", "i64"));
}

TEST_CASE("permute: random shapes and orders, every element size") {
  Rng rng({1, 2, 3});
  for (int trial = 0; trial < 120; ++trial) {
    const int ndim = static_cast<int>(rng.below(7));
    std::vector<int64_t> extents;
    std::vector<int> perm;
    for (int i = 0; i < ndim; ++i) {
      extents.push_back(1 + rng.below(trial % 10 == 0 ? 2 : (ndim <= 2 ? 70 : 6)));
      perm.insert(perm.begin() + rng.below(static_cast<uint32_t>(i) + 1), i);
    }
    const Shape shape{std::span<const int64_t>(extents)};
    const Tensor x = counting(shape, kAll[trial % 5]);
    std::vector<int64_t> moved;
    for (int axis : perm) moved.push_back(shape[axis]);
    Tensor y = Tensor::empty(Shape(std::span<const int64_t>(moved)), x.dtype());
    kernel::permute(x, y, perm);
    const std::vector<double> from = x.to_vector<double>();
    std::vector<double> expected(from.size());
    for (int64_t i = 0; i < x.numel(); ++i) {
      const auto index = unravel(i, y.shape());
      std::vector<int64_t> source(index.size());
      for (size_t k = 0; k < index.size(); ++k) source[static_cast<size_t>(perm[k])] = index[k];
      expected[static_cast<size_t>(i)] = from[static_cast<size_t>(ravel(source, shape))];
    }
    check_close(y, expected, 0, "permute " + shape.str());
  }
  const Tensor big = counting({130, 3, 150}, DType::f32);  // large enough for threads
  Tensor there = Tensor::empty({150, 130, 3}), back = Tensor::empty({130, 3, 150});
  kernel::permute(big, there, {2, 0, 1});
  kernel::permute(there, back, {1, 2, 0});
  test::check_identical(back, big, "permute there and back");
}

TEST_CASE("permute: refuses what is no permutation") {
  const Tensor x = Tensor::zeros({2, 3});
  Tensor y = Tensor::zeros({3, 2});
  CHECK(one_line_with(error_of([&] { kernel::permute(x, y, {0, 0}); }), "[permute]", "each axis", "got 0"));
  CHECK(one_line_with(error_of([&] { kernel::permute(x, y, {0, 2}); }), "got 2"));
  CHECK(one_line_with(error_of([&] { kernel::permute(x, y, {0}); }), "2 axes", "got 1"));
  CHECK(one_line_with(error_of([&] { kernel::permute(x, y, {0, 1}); }), "(2, 3)", "(3, 2)"));
  Tensor empty = Tensor::zeros({0, 2});
  kernel::permute(Tensor::zeros({2, 0}), empty, {1, 0});
}

TEST_CASE("slice and slice_insert are inverse, on every axis") {
  const Tensor x = counting({3, 4, 5}, DType::f32);
  const std::vector<double> all = x.to_vector<double>();
  for (int axis : {0, 1, 2, -1}) {
    const int64_t extent = x.dim(axis);
    for (int64_t start = 0; start <= extent; ++start) {
      for (int64_t length = 0; start + length <= extent; ++length) {
        Tensor y = Tensor::empty(x.shape().with(axis, length));
        kernel::slice(x, y, axis, start);
        Tensor whole = Tensor::full(x.shape(), -1.0);
        kernel::slice_insert(y, whole, axis, start);
        std::vector<double> expected, expected_whole(all.size(), -1.0);
        for (int64_t i = 0; i < x.numel(); ++i) {
          const int64_t k = unravel(i, x.shape())[static_cast<size_t>(x.shape().axis(axis))];
          if (k < start || k >= start + length) continue;
          expected.push_back(all[static_cast<size_t>(i)]);
          expected_whole[static_cast<size_t>(i)] = all[static_cast<size_t>(i)];
        }
        check_close(y, expected, 0, "slice");
        check_close(whole, expected_whole, 0, "slice_insert");
      }
    }
  }
}

TEST_CASE("slice: refuses ranges that lie outside") {
  const Tensor x = Tensor::zeros({3, 4});
  Tensor y = Tensor::zeros({3, 2});
  CHECK(one_line_with(error_of([&] { kernel::slice(x, y, 1, 3); }), "[slice]", "3 + 2"));
  CHECK(one_line_with(error_of([&] { kernel::slice(x, y, 1, -1); }), "-1 + 2"));
  CHECK(one_line_with(error_of([&] { kernel::slice(x, y, 2, 0); }), "axis", "got 2"));
  CHECK(one_line_with(error_of([&] { kernel::slice(x, y, 0, 0); }), "(3, 4)", "(3, 2)"));
  Tensor whole = Tensor::zeros({3, 4});
  CHECK(one_line_with(error_of([&] { kernel::slice_insert(y, whole, 1, 3); }), "[slice_insert]", "3 + 2"));
}

TEST_CASE("broadcast_to: random shapes") {
  Rng rng({4, 5, 6});
  for (int trial = 0; trial < 80; ++trial) {
    std::vector<int64_t> big, small;
    const uint32_t ndim = rng.below(5), skipped = rng.below(ndim + 1);
    for (uint32_t i = 0; i < ndim; ++i) {
      big.push_back(rng.below(12) == 0 ? 0 : 1 + rng.below(trial % 8 == 0 ? 30 : 5));
      if (i >= skipped) small.push_back(rng.below(2) == 0 ? 1 : big.back());
    }
    const Shape to{std::span<const int64_t>(big)}, from{std::span<const int64_t>(small)};
    const Tensor x = random_tensor(from, trial % 2 ? DType::f32 : DType::f64, static_cast<uint64_t>(trial));
    Tensor y = Tensor::empty(to, x.dtype());
    kernel::broadcast_to(x, y);
    const std::vector<double> values = x.to_vector<double>();
    std::vector<double> expected;
    for (int64_t i = 0; i < to.numel(); ++i) {
      auto index = unravel(i, to);
      index.erase(index.begin(), index.begin() + skipped);
      for (size_t k = 0; k < index.size(); ++k) index[k] = small[k] == 1 ? 0 : index[k];
      expected.push_back(values[static_cast<size_t>(ravel(index, from))]);
    }
    check_close(y, expected, 0, "broadcast " + from.str() + " to " + to.str());
  }
  Tensor y = Tensor::zeros({2, 3});
  CHECK(one_line_with(error_of([&] { kernel::broadcast_to(Tensor::zeros({2}), y); }), "(2, 3)", "(2)"));
  CHECK(one_line_with(error_of([&] { kernel::broadcast_to(Tensor::zeros({4, 2, 3}), y); }), "(2, 3)", "(4, 2, 3)"));
}

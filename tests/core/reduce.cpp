#include "core/kernels/reduce.h"

#include <algorithm>
#include <limits>

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::error_of;
using test::one_line_with;
using test::random_tensor;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Every path of the cut: single and several chunks, single and several blocks of columns, long rows, empty extents.
const ReduceView kViews[] = {{1, 1, 1},     {1, 5, 1},     {7, 33, 1},    {3, 4, 5},   {1, 20000, 1},
                             {2, 17000, 1}, {1, 700, 300}, {2, 130, 257}, {5, 1, 600}, {1, 9000, 3},
                             {300, 40, 4},  {0, 3, 2},     {2, 3, 0},     {4, 64, 256}};

Tensor view_tensor(ReduceView v, DType dtype, uint64_t salt) {
  return random_tensor({v.outer, v.n, v.inner}, dtype, salt);
}

/// Calls f(o, j, column): column(i) is x[o,i,j].
template <class F>
void for_each_output(const Tensor& x, ReduceView v, F f) {
  const std::vector<double> values = x.to_vector<double>();
  for (int64_t o = 0; o < v.outer; ++o) {
    for (int64_t j = 0; j < v.inner; ++j) {
      std::vector<double> column;
      for (int64_t i = 0; i < v.n; ++i) column.push_back(values[static_cast<size_t>((o * v.n + i) * v.inner + j)]);
      f(o, j, column);
    }
  }
}

}  // namespace

TEST_CASE("reduce: sum, mean and max of every view") {
  for (ReduceView v : kViews) {
    for (DType dtype : {DType::f32, DType::f64}) {
      const Tensor x = view_tensor(v, dtype, 1);
      Tensor y = Tensor::empty({v.outer, v.inner}, dtype);
      for (Reduce op : {Reduce::sum, Reduce::mean, Reduce::max}) {
        std::vector<double> expected;
        for_each_output(x, v, [&](int64_t, int64_t, const std::vector<double>& column) {
          double total = op == Reduce::max ? column[0] : 0.0;
          for (double c : column) total = op == Reduce::max ? std::max(total, c) : total + c;
          expected.push_back(op == Reduce::mean ? total / static_cast<double>(v.n) : total);
        });
        kernel::reduce_forward(x, y, op, v);
        // sums are f64 inside: one rounding to f32, or a few hundred of f64 in another order
        check_close(y, expected, dtype == DType::f32 ? 1e-7 : 1e-12, name(op) + x.shape().str());
      }
    }
  }
}

TEST_CASE("reduce: NaN wins a max, and the sum of nothing is 0") {
  Tensor y = Tensor::empty({2});
  for (double at : {0.0, 20.0, 36.0}) {
    Tensor x = random_tensor({2, 37}, DType::f32, 2);
    x.data<float>()[static_cast<int64_t>(at)] = std::numeric_limits<float>::quiet_NaN();
    kernel::reduce_forward(x, y, Reduce::max, {2, 37, 1});
    CHECK(std::isnan(y.to_vector<double>()[0]));
    CHECK(!std::isnan(y.to_vector<double>()[1]));
  }
  const Tensor low = Tensor::full({2, 3}, -std::numeric_limits<double>::infinity());
  kernel::reduce_forward(low, y, Reduce::max, {2, 3, 1});
  CHECK(y.to_vector<double>()[0] == -std::numeric_limits<double>::infinity());
  const Tensor none = Tensor::zeros({2, 0});
  kernel::reduce_forward(none, y, Reduce::sum, {2, 0, 1});
  check_close(y, {0, 0}, 0, "sum of nothing");
  CHECK(one_line_with(error_of([&] { kernel::reduce_forward(none, y, Reduce::mean, {2, 0, 1}); }), "mean of nothing"));
  CHECK(one_line_with(error_of([&] { kernel::reduce_forward(none, y, Reduce::max, {2, 0, 1}); }), "max of nothing"));
}

TEST_CASE("reduce: large cancelling terms keep their small rest") {
  std::vector<float> values(30000, 1e-3f);
  values[3] = 1e8f;
  values[20000] = -1e8f;
  const Tensor x = Tensor::from(values, {30000});
  Tensor y = Tensor::empty({});
  kernel::reduce_forward(x, y, Reduce::sum, {1, 30000, 1});
  CHECK(y.item() == doctest::Approx(29.998).epsilon(1e-5));  // plain f32 loses all of it
}

TEST_CASE("reduce_max_backward: ties share") {
  for (ReduceView v : kViews) {
    for (DType dtype : {DType::f32, DType::f64}) {
      Tensor x = view_tensor(v, DType::f64, 3);
      double* values = x.data<double>();
      for (int64_t i = 0; i < x.numel(); ++i) values[i] = std::floor(values[i]);  // −2 … 1: many ties
      x = x.to(dtype);
      Tensor y = Tensor::empty({v.outer, v.inner}, dtype), dx = Tensor::like(x);
      const Tensor dy = random_tensor({v.outer, v.inner}, dtype, 4);
      kernel::reduce_forward(x, y, Reduce::max, v);
      kernel::reduce_max_backward(x, y, dy, dx, v);
      std::vector<double> expected(static_cast<size_t>(x.numel()));
      const std::vector<double> upstream = dy.to_vector<double>();
      for_each_output(x, v, [&](int64_t o, int64_t j, const std::vector<double>& column) {
        const double largest = *std::max_element(column.begin(), column.end());
        const auto ties = static_cast<double>(std::count(column.begin(), column.end(), largest));
        for (int64_t i = 0; i < v.n; ++i) {
          if (column[static_cast<size_t>(i)] != largest) continue;
          expected[static_cast<size_t>((o * v.n + i) * v.inner + j)] =
              upstream[static_cast<size_t>(o * v.inner + j)] / ties;
        }
      });
      check_close(dx, expected, dtype == DType::f32 ? 1e-7 : 1e-15, "reduce_max_backward");
    }
  }
}

TEST_CASE("argmax: the first of ties; NaN is largest") {
  for (ReduceView v : kViews) {
    Tensor x = view_tensor(v, DType::f32, 5);
    float* values = x.data<float>();
    for (int64_t i = 0; i < x.numel(); ++i) values[i] = std::floor(values[i] * 3);
    Tensor index = Tensor::empty({v.outer, v.inner}, DType::i64);
    kernel::argmax(x, index, v);
    std::vector<double> expected;
    for_each_output(x, v, [&](int64_t, int64_t, const std::vector<double>& column) {
      expected.push_back(static_cast<double>(std::max_element(column.begin(), column.end()) - column.begin()));
    });
    check_close(index, expected, 0, "argmax" + x.shape().str());
  }
  const Tensor x = Tensor::from<double>({1, kNan, 3, kNan}, {4});
  Tensor index = Tensor::empty({}, DType::i64);
  kernel::argmax(x, index, {1, 4, 1});
  CHECK(index.item() == 1);
  CHECK(one_line_with(error_of([&] { kernel::argmax(Tensor::zeros({0}), index, {1, 0, 1}); }), "[argmax]", "nothing"));
}

TEST_CASE("reduce: errors") {
  const Tensor x = Tensor::zeros({2, 3});
  Tensor y = Tensor::zeros({2});
  CHECK(one_line_with(error_of([&] { kernel::reduce_forward(x, y, Reduce::sum, {2, 4, 1}); }), "(2, 4, 1)", "(2, 3)"));
  CHECK(one_line_with(error_of([&] { kernel::reduce_forward(x, y, Reduce::sum, {1, 2, 3}); }), "3 outputs", "(2)"));
  CHECK(one_line_with(error_of([&] { kernel::reduce_forward(x, y, Reduce::sum, {-1, -6, 1}); }), "-1"));
  CHECK(one_line_with(error_of([&] { kernel::argmax(x, y, {2, 3, 1}); }), "i64", "f32"));
}

TEST_CASE("reduce: the same bits for any number of threads") {
  for (ReduceView v :
       {ReduceView{1, 70001, 1}, ReduceView{3, 20011, 1}, ReduceView{1, 900, 77}, ReduceView{40, 300, 5}}) {
    const Tensor x = view_tensor(v, DType::f32, 6);
    for (Reduce op : {Reduce::sum, Reduce::mean, Reduce::max}) {
      test::check_same_for_any_threads(
          [&] {
            Tensor y = Tensor::empty({v.outer, v.inner});
            kernel::reduce_forward(x, y, op, v);
            return y;
          },
          name(op));
    }
  }
}

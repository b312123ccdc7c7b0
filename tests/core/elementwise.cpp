#include "core/kernels/elementwise.h"

#include <functional>
#include <limits>
#include <numbers>

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::error_of;
using test::one_line_with;
using test::random_tensor;

namespace {

double cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double pdf(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }
double sigma(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double gelu_u(double x) { return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); }

/// The textbook definitions, in double.
struct UnaryCase {
  Unary op;
  double low, high;  // where it is defined
  std::function<double(double)> f, df;
};

const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases = {
      {Unary::neg, -9, 9, [](double x) { return -x; }, [](double) { return -1.0; }},
      {Unary::exp, -9, 9, [](double x) { return std::exp(x); }, [](double x) { return std::exp(x); }},
      {Unary::log, 1e-3, 9, [](double x) { return std::log(x); }, [](double x) { return 1 / x; }},
      {Unary::sqrt, 1e-3, 9, [](double x) { return std::sqrt(x); }, [](double x) { return 0.5 / std::sqrt(x); }},
      {Unary::reciprocal, 1e-2, 9, [](double x) { return 1 / x; }, [](double x) { return -1 / (x * x); }},
      {Unary::square, -9, 9, [](double x) { return x * x; }, [](double x) { return 2 * x; }},
      {Unary::abs, -9, 9, [](double x) { return std::fabs(x); },
       [](double x) { return x > 0 ? 1.0 : (x < 0 ? -1.0 : 0.0); }},
      {Unary::relu, -9, 9, [](double x) { return x > 0 ? x : 0.0; }, [](double x) { return x > 0 ? 1.0 : 0.0; }},
      {Unary::gelu, -9, 9, [](double x) { return x * cdf(x); }, [](double x) { return cdf(x) + x * pdf(x); }},
      {Unary::gelu_tanh, -9, 9, [](double x) { return 0.5 * x * (1 + std::tanh(gelu_u(x))); },
       [](double x) {
         const double t = std::tanh(gelu_u(x));
         return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
       }},
      {Unary::sigmoid, -30, 30, sigma, [](double x) { return sigma(x) * sigma(-x); }},
      {Unary::log_sigmoid, -30, 30, [](double x) { return -softplus(-x); }, [](double x) { return sigma(-x); }},
      {Unary::softplus, -30, 30, softplus, sigma},
      {Unary::tanh, -9, 9, [](double x) { return std::tanh(x); },
       [](double x) { return 1 - std::tanh(x) * std::tanh(x); }},
  };
  return cases;
}

/// f32 arithmetic is a few ulp (6e-8) off; f64 against another form of the same formula, some 1e-16.
double tolerance(DType dtype) { return dtype == DType::f32 ? 1e-6 : 1e-13; }

double apply(Binary op, double a, double b) {
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::div:
      return a / b;
    case Binary::max:
      return std::max(a, b);
    case Binary::min:
      return std::min(a, b);
  }
  return 0;
}

constexpr Binary kBinary[] = {Binary::add, Binary::sub, Binary::mul, Binary::div, Binary::max, Binary::min};

/// Element `flat` of y's shape as an element of an operand broadcast to it: NumPy's rule, one axis at a time from the
/// last.
size_t source(int64_t flat, const Shape& y, const Shape& operand) {
  int64_t at = 0, step = 1;
  for (int i = 1; i <= operand.ndim(); ++i) {
    const int64_t index = flat % y[-i];
    flat /= y[-i];
    at += (operand[-i] == 1 ? 0 : index) * step;
    step *= operand[-i];
  }
  return static_cast<size_t>(at);
}

}  // namespace

TEST_CASE("unary: every function and derivative against its definition") {
  CHECK(unary_cases().size() == 14);
  for (const UnaryCase& c : unary_cases()) {
    for (DType dtype : {DType::f32, DType::f64}) {
      for (int64_t n : {0, 1, 17, 5000}) {
        const Tensor x = random_tensor({n}, dtype, 3, c.low, c.high), dy = random_tensor({n}, dtype, 4);
        Tensor y = Tensor::like(x), dx = Tensor::like(x);
        kernel::unary_forward(x, y, c.op);
        kernel::unary_backward(x, dy, dx, c.op);
        std::vector<double> expected = x.to_vector<double>(), slope = expected;
        const std::vector<double> upstream = dy.to_vector<double>();
        for (double& v : expected) v = c.f(v);
        for (size_t i = 0; i < slope.size(); ++i) slope[i] = upstream[i] * c.df(slope[i]);
        check_close(y, expected, tolerance(dtype), name(c.op));
        check_close(dx, slope, tolerance(dtype), std::string(name(c.op)) + "'");
        Tensor in_place = x.clone();
        kernel::unary_forward(in_place, in_place, c.op);
        test::check_identical(in_place, y, name(c.op));
        in_place = dy.clone();
        kernel::unary_backward(x, in_place, in_place, c.op);
        test::check_identical(in_place, dx, name(c.op));
      }
    }
  }
}

TEST_CASE("unary: kinks, large arguments and NaN") {
  const auto at = [](Unary op, double x, DType dtype) {
    Tensor t = Tensor::full({1}, x, dtype), y = Tensor::like(t);
    kernel::unary_forward(t, y, op);
    return y.item();
  };
  const auto slope = [](Unary op, double x, DType dtype) {
    Tensor t = Tensor::full({1}, x, dtype), one = Tensor::full({1}, 1, dtype), y = Tensor::like(t);
    kernel::unary_backward(t, one, y, op);
    return y.item();
  };
  for (DType dtype : {DType::f32, DType::f64}) {
    CHECK(slope(Unary::relu, 0, dtype) == 0);
    CHECK(slope(Unary::abs, 0, dtype) == 0);
    for (Unary op : {Unary::relu, Unary::gelu, Unary::gelu_tanh, Unary::softplus}) {
      CHECK(at(op, 1e4, dtype) == 1e4);
      CHECK(at(op, -1e4, dtype) == 0);
      CHECK(slope(op, 1e4, dtype) == 1);
      CHECK(slope(op, -1e4, dtype) == 0);
    }
    CHECK(at(Unary::log_sigmoid, -1e4, dtype) == -1e4);
    CHECK(at(Unary::log_sigmoid, 1e4, dtype) == 0);
    CHECK(slope(Unary::log_sigmoid, -1e4, dtype) == 1);
    CHECK(slope(Unary::sigmoid, -1e4, dtype) == 0);
    CHECK(slope(Unary::tanh, 1e4, dtype) == 0);
    CHECK(slope(Unary::sigmoid, 20, dtype) == doctest::Approx(std::exp(-20.0)).epsilon(1e-6));  // no cancellation
    CHECK(slope(Unary::tanh, 10, dtype) == doctest::Approx(4 * std::exp(-20.0)).epsilon(1e-6));
    for (const UnaryCase& c : unary_cases()) {
      CHECK(std::isnan(at(c.op, std::numeric_limits<double>::quiet_NaN(), dtype)));
    }
  }
}

TEST_CASE("unary: errors") {
  Tensor y = Tensor::zeros({2});
  CHECK(one_line_with(error_of([&] { kernel::unary_forward(Tensor::zeros({3}), y, Unary::exp); }), "[unary_forward]",
                      "(3)"));
  CHECK(one_line_with(error_of([&] { kernel::unary_forward(y.to(DType::f64), y, Unary::exp); }), "f64", "f32"));
  Tensor i = Tensor::zeros({2}, DType::i64);
  CHECK(one_line_with(error_of([&] { kernel::unary_forward(i, i, Unary::exp); }), "[unary_forward]", "i64"));
  CHECK(one_line_with(error_of([&] { kernel::unary_backward(y, Tensor::zeros({3}), y, Unary::exp); }), "dy", "(2)"));
}

TEST_CASE("binary: random broadcasts against the definition") {
  Rng rng({7, 8, 9});
  for (int trial = 0; trial < 150; ++trial) {
    std::vector<int64_t> a_extents, b_extents;
    const uint32_t a_ndim = rng.below(5), b_ndim = rng.below(5);
    for (uint32_t i = 0; i < std::max(a_ndim, b_ndim); ++i) {  // from the last axis
      const int64_t extent = rng.below(15) == 0 ? 0 : 1 + rng.below(trial % 10 == 0 ? 20 : 5);
      if (i < a_ndim) a_extents.insert(a_extents.begin(), rng.below(3) == 0 ? 1 : extent);
      if (i < b_ndim) b_extents.insert(b_extents.begin(), rng.below(3) == 0 ? 1 : extent);
    }
    const DType dtype = trial % 2 ? DType::f32 : DType::f64;
    const Tensor a = random_tensor(Shape(std::span<const int64_t>(a_extents)), dtype, static_cast<uint64_t>(2 * trial));
    const Tensor b =
        random_tensor(Shape(std::span<const int64_t>(b_extents)), dtype, static_cast<uint64_t>(2 * trial + 1), 0.5, 2);
    const Shape shape = broadcast(a.shape(), b.shape());
    const std::vector<double> as = a.to_vector<double>(), bs = b.to_vector<double>();
    for (Binary op : kBinary) {
      Tensor y = Tensor::empty(shape, dtype);
      kernel::binary_forward(a, b, y, op);
      std::vector<double> expected(static_cast<size_t>(shape.numel())), first(expected.size());
      for (int64_t i = 0; i < shape.numel(); ++i) {
        const double p = as[source(i, shape, a.shape())], q = bs[source(i, shape, b.shape())];
        expected[static_cast<size_t>(i)] = apply(op, p, q);
        first[static_cast<size_t>(i)] = apply(op, p, q) == p ? 1 : 0;
      }
      check_close(y, expected, tolerance(dtype), name(op) + a.shape().str() + b.shape().str());
      if (op != Binary::max && op != Binary::min) continue;
      kernel::binary_took_first(a, b, y, op);
      check_close(y, first, 0, std::string("took_first ") + name(op));
    }
  }
}

TEST_CASE("binary: ties go to the first, NaN wins, an operand may be overwritten") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor a = Tensor::from<double>({1, 2, nan, 1, nan}, {5}), b = Tensor::from<double>({1, 1, 1, nan, nan}, {5});
  Tensor y = Tensor::like(a);
  kernel::binary_took_first(a, b, y, Binary::max);
  check_close(y, {1, 1, 1, 0, 1}, 0, "took_first max");
  kernel::binary_took_first(a, b, y, Binary::min);
  check_close(y, {1, 0, 1, 0, 1}, 0, "took_first min");
  for (Binary op : {Binary::max, Binary::min}) {
    kernel::binary_forward(a, b, y, op);
    check_close(y, {1, op == Binary::max ? 2.0 : 1.0, nan, nan, nan}, 0, name(op));
  }
  Tensor c = Tensor::from<float>({1, 2, 3, 4}, {2, 2});
  kernel::binary_forward(c, Tensor::from<float>({10, 20}, {2}), c, Binary::add);
  check_close(c, {11, 22, 13, 24}, 0, "in place");
  kernel::binary_forward(c, c, c, Binary::mul);
  check_close(c, {121, 484, 169, 576}, 0, "all the same");
}

TEST_CASE("binary: errors") {
  Tensor y = Tensor::zeros({2, 3});
  const Tensor row = Tensor::zeros({3});
  CHECK(
      one_line_with(error_of([&] { kernel::binary_forward(y, Tensor::zeros({2}), y, Binary::add); }), "(2, 3)", "(2)"));
  CHECK(one_line_with(error_of([&] { kernel::binary_forward(row, row, y, Binary::add); }), "(3)", "(2, 3)"));
  CHECK(one_line_with(error_of([&] { kernel::binary_forward(y, row.to(DType::f64), y, Binary::add); }), "f64"));
  CHECK(one_line_with(error_of([&] { kernel::binary_took_first(y, y, y, Binary::add); }), "max or min", "add"));
}

TEST_CASE("affine") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (int64_t n : {0, 1, 100, 40000}) {
      Tensor x = random_tensor({n}, dtype, 5);
      std::vector<double> expected = x.to_vector<double>();
      for (double& v : expected) v = -1.5 * v + 0.25;
      Tensor y = Tensor::like(x);
      kernel::affine(x, y, -1.5, 0.25);
      check_close(y, expected, tolerance(dtype), "affine");
      kernel::affine(x, x, -1.5, 0.25);
      test::check_identical(x, y, "affine in place");
    }
  }
}

TEST_CASE("elementwise: the same bits for any number of threads") {
  const Tensor x = random_tensor({40013}, DType::f32, 6, 0.1, 3), dy = random_tensor({40013}, DType::f32, 7);
  for (const UnaryCase& c : unary_cases()) {
    test::check_same_for_any_threads(
        [&] {
          Tensor y = Tensor::like(x);
          kernel::unary_forward(x, y, c.op);
          kernel::unary_backward(y, dy, y, c.op);
          return y;
        },
        name(c.op));
  }
  const Tensor a = random_tensor({401, 1, 101}, DType::f32, 8), b = random_tensor({3, 1}, DType::f32, 9, 1, 2);
  for (Binary op : kBinary) {
    test::check_same_for_any_threads(
        [&] {
          Tensor y = Tensor::empty({401, 3, 101});
          kernel::binary_forward(a, b, y, op);
          return y;
        },
        name(op));
  }
}

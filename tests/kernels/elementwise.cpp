// unary_forward, unary_backward, binary_forward, binary_took_first, affine: the textbook's functions in double.

#include "core/kernels/elementwise.h"

#include <cmath>
#include <numbers>
#include <span>

#include "core/rng.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/activations.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kPointwise{1e-6, "arithmetic in f32 is a few ulp of 6e-8 off", 1, 1e-13, true};
constexpr Tolerance kSmall{1e-6, "nothing cancels: a few ulp of 6e-8 of a small number", 0, 1e-12};
constexpr Tolerance kOnGpu{1e-6, "a few roundings of f32, functions of up to 4 ulp"};

double cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double pdf(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }
double sigma(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double gelu_u(double x) { return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); }
double gelu_tanh_slope(double x) {
  const double t = std::tanh(gelu_u(x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
}

/// The textbook's definitions.
struct Function {
  Unary op;
  double low, high;  // where it is defined, or looked at
  double (*f)(double);
  double (*df)(double);
};

const Function kFunctions[] = {
    {Unary::neg, -9, 9, [](double x) { return -x; }, [](double) { return -1.0; }},
    {Unary::exp, -9, 9, [](double x) { return std::exp(x); }, [](double x) { return std::exp(x); }},
    {Unary::log, 1e-3, 9, [](double x) { return std::log(x); }, [](double x) { return 1 / x; }},
    {Unary::sqrt, 1e-3, 9, [](double x) { return std::sqrt(x); }, [](double x) { return 0.5 / std::sqrt(x); }},
    {Unary::reciprocal, 1e-2, 9, [](double x) { return 1 / x; }, [](double x) { return -1 / (x * x); }},
    {Unary::square, -9, 9, [](double x) { return x * x; }, [](double x) { return 2 * x; }},
    {Unary::abs, -9, 9, [](double x) { return std::fabs(x); },
     [](double x) { return x > 0 ? 1.0 : (x < 0 ? -1.0 : 0.0); }},
    {Unary::relu, -9, 9, [](double x) { return x <= 0 ? 0.0 : x; }, [](double x) { return x > 0 ? 1.0 : 0.0; }},
    {Unary::gelu, -9, 9, [](double x) { return x * cdf(x); }, [](double x) { return cdf(x) + x * pdf(x); }},
    {Unary::gelu_tanh, -9, 9, [](double x) { return 0.5 * x * (1 + std::tanh(gelu_u(x))); }, gelu_tanh_slope},
    {Unary::sigmoid, -30, 30, sigma, [](double x) { return sigma(x) * sigma(-x); }},
    {Unary::log_sigmoid, -30, 30, [](double x) { return -softplus(-x); }, [](double x) { return sigma(-x); }},
    {Unary::softplus, -30, 30, softplus, sigma},
    {Unary::tanh, -9, 9, [](double x) { return std::tanh(x); },
     [](double x) { return 4 * sigma(2 * x) * sigma(-2 * x); }},
};
static_assert(std::size(kFunctions) == static_cast<size_t>(Unary::tanh) + 1);

KernelCase forward(const Function& u, const Tensor& x, const Tolerance& tolerance) {
  return case_of(kernel::unary_forward, std::string(name(u.op)) + " " + x.str(), {x}, {unset(x.shape())}, u.op)
      .gives(
          [f = u.f](const auto& in, const auto&) {
            Values y = in[0];
            for (double& v : y) v = f(v);
            return ValueLists{y};
          },
          tolerance)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0}, {0})
      .also_in_place(0);
}

KernelCase backward(const Function& u, const Tensor& x, const Tensor& dy, const Tolerance& tolerance) {
  return case_of(kernel::unary_backward, std::string(name(u.op)) + " " + x.str(), {x, dy}, {unset(x.shape())}, u.op)
      .gives(
          [df = u.df](const auto& in, const auto&) {
            Values dx = in[1];
            for (size_t i = 0; i < dx.size(); ++i) dx[i] *= df(in[0][i]);
            return ValueLists{dx};
          },
          tolerance)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1}, {0})
      .also_in_place(1);
}

void add_unary(KernelCases& cases) {
  for (const Function& u : kFunctions)
    for (const int64_t n : {0, 1, 7, 17, 1024, 5000, 40013}) {
      const auto middle = static_cast<float>((u.low + u.high) / 2), reach = static_cast<float>((u.high - u.low) / 2);
      const Tensor x = hash_tensor({n}, 3, reach, middle);
      cases.push_back(forward(u, x, kPointwise));
      cases.push_back(backward(u, x, hash_tensor({n}, 4, 2), kPointwise));
    }
}

/// Kinks, arguments far out, slopes that must not cancel, and NaN.
void add_unary_ends(KernelCases& cases) {
  const auto add = [&](const Function& u, const std::vector<double>& at, const Tolerance& tolerance) {
    const Tensor x = Tensor::from(at, {static_cast<int64_t>(at.size())}).to(DType::f32);
    cases.push_back(forward(u, x, tolerance));
    cases.push_back(backward(u, x, Tensor::full(x.shape(), 1), tolerance));
  };
  for (const Function& u : kFunctions) {
    if (u.op == Unary::relu || u.op == Unary::abs) add(u, {0}, kExact);
    if (u.op >= Unary::relu) add(u, {1e4, -1e4}, kExact);
    if (u.op == Unary::sigmoid) add(u, {20}, kSmall);
    if (u.op == Unary::tanh) add(u, {10}, kSmall);
    cases.push_back(forward(u, Tensor::full({1}, std::nan("")), kExact));
  }
}

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
      return std::isnan(a) || std::isnan(b) ? std::nan("") : std::max(a, b);
    case Binary::min:
      return std::isnan(a) || std::isnan(b) ? std::nan("") : std::min(a, b);
  }
  return 0;
}

double took_first(Binary op, double a, double b) {
  return std::isnan(a) || (!std::isnan(b) && apply(op, a, b) == a) ? 1 : 0;
}

constexpr Binary kBinary[] = {Binary::add, Binary::sub, Binary::mul, Binary::div, Binary::max, Binary::min};

/// Element `flat` of y's shape as an element of an operand broadcast to it: NumPy's rule, one axis at a time from the
/// last.
int64_t source(int64_t flat, const Shape& y, const Shape& operand) {
  int64_t at = 0, step = 1;
  for (int i = 1; i <= operand.ndim(); ++i) {
    const int64_t index = flat % y[-i];
    flat /= y[-i];
    at += (operand[-i] == 1 ? 0 : index) * step;
    step *= operand[-i];
  }
  return at;
}

Reference broadcasting(double (*f)(Binary, double, double), Binary op, const Shape& a, const Shape& b) {
  return [=, shape = broadcast(a, b)](const auto& in, const auto&) {
    Values y;
    for (int64_t i = 0; i < shape.numel(); ++i)
      y.push_back(f(op, in[0][source(i, shape, a)], in[1][source(i, shape, b)]));
    return ValueLists{y};
  };
}

void add_binary(KernelCases& cases, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast(a.shape(), b.shape());
  const int whole = a.shape() == shape ? 0 : (b.shape() == shape ? 1 : -1);
  for (const Binary op : kBinary) {
    const std::string what = std::string(name(op)) + " " + a.shape().str() + " " + b.shape().str();
    cases.push_back(case_of(kernel::binary_forward, what, {a, b}, {unset(shape)}, op)
                        .gives(broadcasting(apply, op, a.shape(), b.shape()), kPointwise)
                        .on_gpu(kOnGpu)
                        .stored_in_bf16({0, 1}, {0})
                        .also_in_place(whole));
    if (op == Binary::max || op == Binary::min)
      cases.push_back(case_of(kernel::binary_took_first, what, {a, b}, {unset(shape)}, op)
                          .gives(broadcasting(took_first, op, a.shape(), b.shape()), kExact)
                          .stored_in_bf16({0, 1}, {0}));
  }
}

/// Two shapes that broadcast, of up to four axes, some of them empty.
std::pair<Shape, Shape> random_shapes(Rng& rng, bool large) {
  std::vector<int64_t> a, b;
  const uint32_t a_ndim = rng.below(5), b_ndim = rng.below(5);
  for (uint32_t i = 0; i < std::max(a_ndim, b_ndim); ++i) {  // from the last axis
    const int64_t extent = rng.below(15) == 0 ? 0 : 1 + rng.below(large ? 20 : 5);
    if (i < a_ndim) a.insert(a.begin(), rng.below(3) == 0 ? 1 : extent);
    if (i < b_ndim) b.insert(b.begin(), rng.below(3) == 0 ? 1 : extent);
  }
  return {Shape(std::span<const int64_t>(a)), Shape(std::span<const int64_t>(b))};
}

void add_binaries(KernelCases& cases) {
  const std::pair<Shape, Shape> named[] = {
      {{33, 64}, {33, 64}},      {{33, 64}, {64}}, {{33, 64}, {33, 1}}, {{5, 1, 7}, {3, 1}},    {{}, {5}}, {{1}, {}},
      {{2, 3, 4, 8}, {3, 1, 8}}, {{0, 4}, {4}},    {{70, 130}, {1, 1}}, {{401, 1, 101}, {3, 1}}};
  for (const auto& [a, b] : named) add_binary(cases, hash_tensor(a, 1, 2), hash_tensor(b, 2, 0.5, 1.25));
  Rng rng({7, 8, 9});
  for (uint32_t trial = 0; trial < 150; ++trial) {
    const auto [a, b] = random_shapes(rng, trial % 10 == 0);
    add_binary(cases, hash_tensor(a, 2 * trial, 2), hash_tensor(b, 2 * trial + 1, 0.75, 1.25));
  }
  const double nan = std::nan("");
  add_binary(cases, Tensor::from<double>({1, 2, nan, 1, nan}, {5}), Tensor::from<double>({1, 1, 1, nan, nan}, {5}));
  KernelCase same = case_of(kernel::binary_forward, "one tensor as both operands and result", {},
                            {Tensor::from<float>({11, 22, 13, 24}, {2, 2})}, Binary::mul);
  same.call = [](const TensorList&, TensorList& out) { kernel::binary_forward(out[0], out[0], out[0], Binary::mul); };
  cases.push_back(same.gives([](const auto&, const auto&) { return ValueLists{{121, 484, 169, 576}}; }, kExact));
}

void add_affine(KernelCases& cases) {
  const Reference expected = [](const auto& in, const auto&) {
    Values y = in[0];
    for (double& v : y) v = -1.5 * v + 0.25;
    return ValueLists{y};
  };
  for (const int64_t n : {0, 1, 100, 40000}) {
    const Tensor x = hash_tensor({n}, 5, 2);
    cases.push_back(case_of(kernel::affine, x.str(), {x}, {unset({n})}, -1.5, 0.25)
                        .gives(expected, kPointwise)
                        .on_gpu(kOnGpu)
                        .stored_in_bf16({0}, {0})
                        .also_in_place(0));
  }
  // An offset of one element: the pointers are not aligned to packs.
  KernelCase second =
      case_of(kernel::affine, "from the second element", {hash_tensor({1001}, 1)}, {unset({1000})}, 0, 0);
  second.call = [](const TensorList& in, TensorList& out) { kernel::affine(in[0].rows(1, 1001), out[0], -1.5, 0.25); };
  cases.push_back(second
                      .gives(
                          [expected](const auto& in, const auto& before) {
                            ValueLists y = expected(in, before);
                            y[0].erase(y[0].begin());
                            return y;
                          },
                          kPointwise)
                      .on_gpu(kOnGpu)
                      .stored_in_bf16({0}, {0}));
}

void add_refusals(KernelCases& cases) {
  const Tensor two = Tensor::zeros({2}), three = Tensor::zeros({3}), integers = Tensor::zeros({2}, DType::i64);
  const Tensor table = Tensor::zeros({2, 3}), doubles = Tensor::zeros({3}, DType::f64);
  const auto unary = [&](const Tensor& x, const Tensor& y, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::unary_forward, "refused", {x}, {y}, Unary::exp).is_refused(std::move(words)));
  };
  unary(three, two, {"(3)"});
  unary(two.to(DType::f64), two, {"f64", "f32"});
  unary(integers, integers, {"i64"});
  cases.push_back(
      case_of(kernel::unary_backward, "refused", {two, three}, {two}, Unary::exp).is_refused({"dy", "(2)"}));
  const auto add = [&](const Tensor& a, const Tensor& b, std::vector<std::string> words) {
    cases.push_back(
        case_of(kernel::binary_forward, "refused", {a, b}, {table}, Binary::add).is_refused(std::move(words)));
  };
  add(table, two, {"[broadcast]", "(2, 3)", "(2)"});
  add(three, three, {"(3)", "(2, 3)"});
  add(table, doubles, {"f64"});
  cases.push_back(case_of(kernel::binary_took_first, "refused", {table, table}, {table}, Binary::add)
                      .is_refused({"max or min", "add"}));
}

}  // namespace

double value(Activation act, double z) {
  return act == Activation::none ? z : kFunctions[static_cast<size_t>(unary_of(act))].f(z);
}

double slope(Activation act, double z) {
  return act == Activation::none ? 1 : kFunctions[static_cast<size_t>(unary_of(act))].df(z);
}

KernelCases elementwise_cases() {
  KernelCases cases;
  add_unary(cases);
  add_unary_ends(cases);
  add_binaries(cases);
  add_affine(cases);
  add_refusals(cases);
  return cases;
}

KernelCases timed_elementwise() {
  const Tensor x = hash_tensor({16 * 197, 1536}, 1, 2);
  KernelCase gelu = forward(kFunctions[static_cast<size_t>(Unary::gelu)], x, kPointwise);
  return {gelu.timed({"unary_forward gelu 3152x1536", 0, 2 * static_cast<double>(x.bytes())})};
}

}  // namespace sked::test

// Every op's gradient against central differences, and the check itself against rules that are wrong on purpose.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/softmax.h"
#include "tests/autograd/op_cases.h"

namespace sked::test {

namespace {

using Vars = std::vector<Var>;

/// Names of the functions returning a Var, or two, that autograd/*.h declare, the tape itself (var.h, recompute.h) and
/// what ranks do together (collective.h; test_collective.cpp) excepted.
std::set<std::string> declared_ops() {
  const std::regex declaration(R"(^(?:inline )?(?:Var|NormedSum) (operator.|\w+)\()");
  std::set<std::string> ops;
  for (const auto& entry : std::filesystem::directory_iterator("autograd")) {
    const std::string file_name = entry.path().filename();
    if (!file_name.ends_with(".h") || file_name == "var.h" || file_name == "recompute.h" || file_name == "collective.h")
      continue;
    std::ifstream file(entry.path());
    std::smatch match;
    for (std::string line; std::getline(file, line);) {
      if (std::regex_search(line, match, declaration)) ops.insert(match[1]);
    }
  }
  return ops;
}

/// `op` of `op/variant`; the division's own name has a slash.
std::string op_of(const std::string& name) {
  if (name.starts_with("operator")) return name.substr(0, 9);
  return name.substr(0, name.find('/'));
}

double smallest_gap(const TensorList& inputs) {
  std::vector<double> all;
  for (const Tensor& x : inputs) {
    for (const double value : x.to_vector<double>()) all.push_back(value);
  }
  std::sort(all.begin(), all.end());
  double gap = INFINITY;
  for (size_t i = 1; i < all.size(); ++i) gap = std::min(gap, all[i] - all[i - 1]);
  return gap;
}

const TensorList kSquare{Tensor::from(std::vector<double>{0.3, -1.2, 0.7, 2.1, 0.1, -0.4}, {2, 3})};

/// Expects gradcheck to see through `f`, and to say where.
void must_fail(const std::function<Var(const Vars&)>& f, const TensorList& inputs) {
  const GradcheckResult result = gradcheck(f, inputs);
  CHECK_FALSE(result.ok);
  CHECK_FALSE(result.worst <= 1e-6);
  for (const char* part : {"input ", "element (", "got ", "expected ", "tolerance "}) {
    CHECK_MESSAGE(result.message.find(part) != std::string::npos, result.message);
  }
}

}  // namespace

TEST_CASE("every declared op has a case") {
  std::set<std::string> covered;
  for (const OpCase& op : op_cases()) covered.insert(op_of(op.name));
  const std::set<std::string> declared = declared_ops();
  CHECK(declared.size() >= 45);  // the headers were found and read
  for (const std::string& op : declared) CHECK_MESSAGE(covered.contains(op), "no case for " << op);
  for (const std::string& op : covered)
    CHECK_MESSAGE(declared.contains(op), "a case for an op that is not declared: " << op);
}

TEST_CASE("gradcheck of every case") {
  for (const OpCase& op : op_cases()) {
    const TensorList inputs = op_inputs(op, DType::f64);
    if (op.apart)
      REQUIRE_MESSAGE(smallest_gap(inputs) > 1e-4, op.name << ": elements too near each other for a difference");
    const GradcheckResult result = gradcheck(op.f, inputs);
    CHECK_MESSAGE(result.ok, op.name << ": " << result.message);
  }
}

TEST_CASE("gradcheck reports a wrong sign") {
  must_fail(
      [](const Vars& x) {
        Tensor y = Tensor::like(x[0].value());
        kernel::unary_forward(x[0].value(), y, Unary::exp);
        return record(y, x, [y](const Tensor& dy) -> Grads {
          Tensor dx = Tensor::like(y);
          kernel::binary_forward(dy, y, dx, Binary::mul);
          kernel::affine(dx, dx, -1, 0);
          return {dx};
        });
      },
      kSquare);
}

TEST_CASE("gradcheck reports a softmax without its main term, which a plain sum would not") {
  // Σ softmax = 1 whatever x is, so under a plain sum "no gradient at all" is right.
  const auto broken = [](const Vars& x) {
    Tensor y = Tensor::like(x[0].value());
    kernel::softmax_forward(x[0].value(), y);
    return record(y, x, [y](const Tensor&) -> Grads { return {Tensor::zeros_like(y)}; });
  };
  CHECK(gradcheck([&](const Vars& x) { return sum(broken(x)); }, kSquare).ok);
  must_fail(broken, kSquare);
}

TEST_CASE("gradcheck reports a layer norm without the term of its variance") {
  must_fail(
      [](const Vars& x) {
        const Tensor& in = x[0].value();
        Tensor y = Tensor::like(in), mean = Tensor::empty({2}, DType::f64), rstd = Tensor::like(mean), none;
        kernel::layer_norm_forward(in, none, none, none, none, y, mean, rstd, 1e-6);
        return record(y, x, [rstd](const Tensor& dy) -> Grads {
          // rstd (dy − mean dy), the − x̂ mean(dy x̂) left out
          const Var g(dy);
          return {((g - sked::mean(g, -1, true)) * Var(rstd.reshape(Shape{2, 1}))).value()};
        });
      },
      kSquare);
}

TEST_CASE("gradcheck reports a forgotten input and a gradient of NaN") {
  const TensorList two{kSquare[0], kSquare[0].clone()};
  const auto product = [](const Vars& x, double scale) {
    Tensor y = (x[0].detach() * x[1].detach()).value();
    return record(y, x, [b = x[1].value(), scale](const Tensor& dy) -> Grads {
      return {(Var(dy) * Var(b) * scale).value(), {}};
    });
  };
  must_fail([&](const Vars& x) { return product(x, 1); }, two);
  must_fail([&](const Vars& x) { return product(x, NAN); }, two);
}

TEST_CASE("gradcheck takes f64 only") {
  const auto f = [](const Vars& x) { return exp(x[0]); };
  CHECK_THROWS_WITH_AS(gradcheck(f, {Tensor::zeros({2})}), "[gradcheck] expected f64 inputs, got (2) f32 on cpu",
                       Error);
}

}  // namespace sked::test

#include "autograd/gradcheck.h"

#include <cmath>
#include <sstream>

#include "core/rng.h"

namespace sked {

namespace {

Tensor standard_normal(const Shape& shape, uint64_t seed) {
  Rng rng(RngAddress{.seed = seed});
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& value : values) value = rng.normal();
  return Tensor::from(values, shape);
}

std::vector<Var> leaves(const TensorList& inputs, bool requires_grad) {
  std::vector<Var> vars;
  for (const Tensor& input : inputs) vars.emplace_back(input.clone(), requires_grad);
  return vars;
}

/// `(1, 0, 2)`: where element `flat` of a tensor of this shape is.
std::string place(const Shape& shape, int64_t flat) {
  std::string text;
  for (int axis = shape.ndim() - 1; axis >= 0; --axis) {
    text = std::to_string(flat % shape[axis]) + (text.empty() ? "" : ", ") + text;
    flat /= shape[axis];
  }
  return "(" + text + ")";
}

/// <c, f(inputs + step at one element) − f(inputs − step)> / (2 step). The difference is taken before the sum: it keeps
/// the digits that two nearly equal sums would lose.
class CentralDifference {
 public:
  CentralDifference(const std::function<Var(const std::vector<Var>&)>& f, const TensorList& inputs,
                    const Tensor& cotangent, double step)
      : f_(f), inputs_(leaves(inputs, false)), cotangent_(cotangent), step_(step) {}

  double operator()(size_t input, int64_t element) {
    const std::vector<double> up = shifted(input, element, step_), down = shifted(input, element, -step_);
    const double* c = cotangent_.data<double>();
    double sum = 0;
    for (size_t i = 0; i < up.size(); ++i) sum += c[i] * (up[i] - down[i]);
    return sum / (2 * step_);
  }

 private:
  std::vector<double> shifted(size_t input, int64_t element, double by) {
    double& x = inputs_[input].mutable_value().data<double>()[element];
    const double before = x;
    x = before + by;
    const NoGrad off;
    const Tensor y = f_(inputs_).value();
    require_shape(y, cotangent_.shape(), "gradcheck", "the function's result");
    std::vector<double> values = y.to_vector<double>();
    x = before;
    return values;
  }

  const std::function<Var(const std::vector<Var>&)>& f_;
  std::vector<Var> inputs_;
  const Tensor& cotangent_;
  double step_;
};

}  // namespace

GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const TensorList& inputs,
                          const GradcheckOptions& options) {
  for (const Tensor& input : inputs) {
    require(input.defined() && input.dtype() == DType::f64, "gradcheck", "expected f64 inputs, got ", input);
  }
  const std::vector<Var> checked = leaves(inputs, true);
  const Var y = f(checked);
  require(y.dtype() == DType::f64, "gradcheck", "expected an f64 result, got ", y.value());
  const Tensor cotangent = standard_normal(y.shape(), options.seed);
  if (y.requires_grad()) y.backward(cotangent);

  GradcheckResult result;
  CentralDifference difference(f, inputs, cotangent, options.step);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // An input without a gradient claims that it is zero.
    const Tensor grad = checked[i].grad().defined() ? checked[i].grad() : Tensor::zeros_like(inputs[i]);
    require_shape(grad, inputs[i].shape(), "gradcheck", "gradient");
    for (int64_t j = 0; j < grad.numel(); ++j) {
      const double got = grad.data<double>()[j], expected = difference(i, j);
      const double error = std::abs(got - expected) / (1 + std::abs(expected));
      if (error <= result.worst) continue;  // and a NaN goes on
      result.worst = error;
      if (error <= options.tolerance) continue;
      result.ok = false;
      std::ostringstream text;
      text << "[gradcheck] input " << i << " element " << place(grad.shape(), j) << ": got " << got << ", expected "
           << expected << ", error " << error << " above the tolerance " << options.tolerance;
      result.message = text.str();
      if (std::isnan(error)) return result;
    }
  }
  return result;
}

}  // namespace sked

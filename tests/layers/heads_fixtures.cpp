// Every head against a float64 PyTorch reference that shares only the addresses of its random numbers with this code.

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/optimizer.h"
#include "core/safetensors.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr int64_t kWidth = 6, kClasses = 4;
constexpr double kTolerance = 1e-5;  // f32 against f64, relative to the largest element; measured: 3e-6

Context fixture_context(const TensorFile& file) { return {true, 20230501, 0, file.at("examples")}; }

}  // namespace

TEST_CASE("heads: predictions, gradients and ten training losses equal PyTorch's") {
  const TensorFile file = load_safetensors("tests/fixtures/heads.safetensors");
  for (const HeadCase& c : all_head_cases()) {
    CAPTURE(c.name());
    Init init(7);
    const std::unique_ptr<Head> head = make_head(c.config(), kWidth, kClasses, init);
    set_hash_parameters(*head);
    const Targets targets = c.targets(file.at("labels"), file.at("distributions"), file.at("multi_label"));
    Context context = fixture_context(file);
    CHECK(relative_error(head->predict(file.at("phi"), 9, context), file.at(c.name() + "/predict")) <= kTolerance);

    Optimizer optimizer({.kind = OptimizerKind::sgd, .momentum = 0.9}, head->parameters());
    std::vector<double> losses;
    for (context.step = 0; context.step < 10; ++context.step) {
      const Var phi(file.at("phi"), true);
      const Var loss = head->loss(phi, targets, context);
      losses.push_back(loss.value().item());
      loss.backward();
      if (context.step == 0) {
        CHECK(relative_error(phi.grad(), file.at(c.name() + "/grad/phi")) <= kTolerance);
        for (const NamedVar& p : head->parameters()) {
          CAPTURE(p.name);
          CHECK(relative_error(p.var.grad(), file.at(c.name() + "/grad/" + p.name)) <= kTolerance);
        }
      }
      optimizer.step(0.05);
      optimizer.clear_grads();
    }
    CHECK(relative_error(Tensor::from(losses, {10}), file.at(c.name() + "/losses")) <= kTolerance);
  }
}

namespace {

/// The head's loss as an op of φ and of its parameters, so that gradcheck may vary all of them: values in, gradients
/// out.
Var loss_of(Head& head, const Targets& targets, const Context& context, const std::vector<Var>& inputs) {
  std::vector<NamedVar> parameters = head.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].var.mutable_value() = inputs[i + 1].value();
    parameters[i].var.clear_grad();
  }
  const Var phi(inputs[0].value(), true);
  const Var loss = head.loss(phi, targets, context);
  if (!NoGrad::recording()) return loss;
  loss.backward();
  Grads grads = {phi.grad()};
  for (const NamedVar& p : parameters) grads.push_back(p.var.grad());
  return record(loss.value(), inputs, [grads](const Tensor& dy) {
    Grads scaled;
    for (const Tensor& g : grads) scaled.push_back((Var(g) * dy.item()).value());
    return scaled;
  });
}

}  // namespace

TEST_CASE("heads: gradients by central differences in float64") {
  const int64_t rows = 2, width = 3, classes = 3;
  const Tensor labels = Tensor::from<int64_t>({2, 0}, {rows});
  const Tensor distributions = Tensor::from<float>({0.2f, 0.5f, 0.3f, 0, 1, 0}, {rows, classes});
  const Tensor multi_label = Tensor::from<float>({1, 0, 0.25f, 0, 1, 1}, {rows, classes});
  const Context context{true, 5, 3, first_examples(rows)};
  for (const HeadCase& c : all_head_cases()) {
    CAPTURE(c.name());
    Init init(1);
    const std::unique_ptr<Head> head = make_head(c.config(), width, classes, init);
    const Targets targets = c.targets(labels, distributions, multi_label);
    TensorList inputs = {hash_tensor({rows, width}, hash_name("phi")).to(DType::f64)};
    for (const NamedVar& p : head->parameters()) inputs.push_back(hash_parameter(p.name, p.var.shape()).to(DType::f64));
    const auto f = [&](const std::vector<Var>& in) { return loss_of(*head, targets, context, in); };
    const GradcheckResult result = gradcheck(f, inputs);
    CHECK_MESSAGE(result.ok, result.message);
  }
}

}  // namespace sked::test

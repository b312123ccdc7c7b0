// Backbones of vectors: against PyTorch and scikit-learn (tests/fixtures/features.py), and what they refuse.

#include "layers/models/features.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "core/safetensors.h"
#include "layers/models/model.h"
#include "tests/common/hash_weights.h"

using namespace sked;

namespace {

constexpr int64_t kDimension = 5;

const Tensor& fixture(const std::string& key) {
  static const TensorFile file = load_safetensors("tests/fixtures/features.safetensors");
  return file.at(key);
}

void check_close(const Tensor& got, const std::string& key, double tolerance) {
  INFO(key);
  const std::vector<double> a = got.to_vector<double>(), b = fixture(key).to_vector<double>();
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  CHECK(std::sqrt(difference / norm) < tolerance);
}

/// The fixture's, near 1000; the last coordinate never changes.
Tensor vectors(int64_t count) {
  Tensor x = test::hash_tensor({count, kDimension}, test::hash_name("vectors"), 2, 1000);
  for (int64_t i = 0; i < count; ++i) x.data<float>()[i * kDimension + kDimension - 1] = 3;
  return x;
}

std::unique_ptr<Backbone> make(const ModelConfig& config, const Shape& shape = {kDimension}) {
  Init init(1);
  return make_backbone(config, shape, init);
}

/// The message of the UsageError that `config` deserves.
std::string refusal(const ModelConfig& config, const Shape& shape = {kDimension}) {
  try {
    make(config, shape);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

void standardize(Backbone& backbone) {
  dynamic_cast<Features&>(backbone).standardize_by(fixture("statistics/mean").to(DType::f32),
                                                   fixture("statistics/std").to(DType::f32));
}

/// φ of six vectors and the gradients of every parameter.
void check_network(const std::string& name, const ModelConfig& config, DType activations = DType::f32) {
  const auto network = make(config);
  standardize(*network);
  std::vector<NamedVar> parameters = network->parameters();
  CHECK(parameters.size() == (config.layer_norm ? 8 : 4));
  for (NamedVar& p : parameters) p.var.mutable_value().copy_from(test::hash_parameter(p.name, p.var.shape()));
  const Var phi = network->forward(Var(vectors(6)), {.training = true, .activations = activations});
  CHECK(phi.dtype() == DType::f32);
  const bool rounded = activations == DType::bf16;
  check_close(phi.value(), name + "/phi", rounded ? 0.02 : 2e-4);  // coordinates of 1000 ± 1 keep 4 digits in f32
  sum(phi * Var(test::hash_tensor(phi.shape(), 5))).backward();
  for (const NamedVar& p : parameters) check_close(p.var.grad(), name + "/grad/" + p.name, rounded ? 0.05 : 1e-3);
}

}  // namespace

TEST_CASE("features: none gives the vector itself, standardized as scikit-learn does it, of length 1") {
  const Var x(vectors(6));
  CHECK(make({.name = "none"})->forward(x, {}).value().to_vector<float>() == x.value().to_vector<float>());
  const auto standardized = make({.name = "none", .standardize = true});
  CHECK(standardized->parameters().empty());
  CHECK(standardized->forward(x, {}).value().to_vector<float>() ==
        x.value().to_vector<float>());  // mean 0, deviation 1
  standardize(*standardized);
  check_close(standardized->forward(x, {}).value(), "standardized/phi", 2e-4);
  const auto length = make({.name = "none", .standardize = true, .l2_normalize = true});
  standardize(*length);
  check_close(length->forward(x, {}).value(), "length/phi", 2e-4);
}

TEST_CASE("features: a coordinate that never changes is not divided by zero") {
  Init init(1);
  Features features({.standardize = true}, 2, init);
  features.standardize_by(Tensor::from(std::vector<float>{1, 3}, {2}), Tensor::from(std::vector<float>{2, 0}, {2}));
  const Var phi = features.forward(Var(Tensor::from(std::vector<float>{5, 3}, {1, 2})), {});
  CHECK(phi.value().to_vector<float>() == std::vector<float>{2, 0});
}

TEST_CASE("features: perceptrons and their gradients are PyTorch's") {
  const ModelConfig relu{.name = "mlp", .standardize = true, .widths = {7, 4}};
  const ModelConfig gelu{.name = "mlp",
                         .standardize = true,
                         .l2_normalize = true,
                         .widths = {7, 4},
                         .activation = MlpActivation::gelu,
                         .layer_norm = true};
  const ModelConfig tanh{.name = "mlp", .standardize = true, .widths = {7, 4}, .activation = MlpActivation::tanh};
  check_network("relu", relu);
  check_network("gelu-norm", gelu);
  check_network("tanh", tanh);
  check_network("tanh", tanh, DType::bf16);
  check_network("relu", relu, DType::bf16);
  CHECK(make(relu)->width() == 4);
  CHECK(make(relu)->flops_per_image() == 2 * (5 * 7 + 7 * 4));
}

TEST_CASE("features: dropout acts in training alone") {
  const auto network = make({.name = "mlp", .dropout = 0.5, .widths = {64}});
  const Var x(vectors(6));
  const auto phi = [&](bool training, uint64_t step) {
    return network->forward(x, {.training = training, .seed = 1, .step = step}).value().to_vector<float>();
  };
  CHECK(phi(false, 0) == phi(false, 1));
  CHECK(phi(true, 0) == phi(true, 0));
  CHECK(phi(true, 0) != phi(true, 1));
  CHECK(phi(true, 0) != phi(false, 0));
}

TEST_CASE("features: what does not fit is refused by its key") {
  const auto says = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  says(refusal({.name = "mlp"}), "[model.widths] expected the width of each layer of mlp, [512] say, got none");
  says(refusal({.name = "mlp", .widths = {8, 0}}), "[model.widths] expected 1 to 65536, got 0");
  says(refusal({.name = "mlp", .dropout = 1, .widths = {8}}),
       "[model.dropout] expected a probability in [0, 1), got 1");
  says(refusal({.name = "none", .widths = {8}}), "[model.widths] is not a setting of none");
  says(refusal({.name = "none", .dropout = 0.1}), "[model.dropout] is not a setting of none");
  says(refusal({.name = "none", .patch = 8}), "[model.patch] is not a setting of none");
  says(refusal({.name = "resnet20", .standardize = true}, {32, 32, 3}),
       "[model.standardize] is not a setting of resnet20");
  says(refusal({.name = "vit-ti", .widths = {8}}, {32, 32, 3}), "[model.widths] is not a setting of vit-ti");
  says(refusal({.name = "resnet20"}), "expected images (H,W,C), got (5) (vectors: none or mlp)");
  says(refusal({.name = "none"}, {32, 32, 3}), "none: expected vectors (D), as the data set embeddings has them, got");
}

// Vision transformers and heteroscedastic heads of flax programs compute here what they compute there
// (tests/fixtures/flax_vit.py).

#include <doctest/doctest.h>

#include <cmath>
#include <optional>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/initial.h"
#include "tests/apps/support.h"
#include "tests/common/hash_weights.h"
#include "tests/common/library_json.h"

using namespace sked;
using namespace sked::test;

namespace {

using Lines = std::vector<std::string>;
const Shape kImage{8, 8, 3};
const char* const kCheckpoint = "tests/fixtures/het.npz";

const TensorFile& answers() {
  static const TensorFile file = load_safetensors("tests/fixtures/flax.safetensors");
  return file;
}

/// As flax_vit.py has it: scales of norms are near 1.
Tensor weight(const std::string& name, const Shape& shape) {
  return name.ends_with("/scale") ? hash_tensor(shape, hash_name(name), 0.25F, 1) : hash_parameter(name, shape);
}

/// The file of a network: its names behind `prefix`, and weights from the formula.
TensorFile file_of(const std::string& network, const std::string& prefix = "") {
  static const auto networks = library_json(answers().metadata.at("networks"));
  TensorFile file;
  for (const auto& [name, shape] : networks.at(network).items())
    file.tensors.push_back({prefix + name, weight(name, Shape(shape.get<std::vector<int64_t>>()))});
  return file;
}

RunConfig config_of(const HeadConfig& head = {}) {
  RunConfig config;
  config.model.name = "vit";
  config.head = head;
  return config;
}

std::unique_ptr<Classifier> classifier(const RunConfig& config) {
  return make_classifier(config, kImage, 5, Device::cpu);
}

/// |got − expected| / |expected| in the Euclidean norm.
double distance(const Tensor& got, const Tensor& expected) {
  REQUIRE(got.shape() == expected.shape());
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double p = got.data<float>()[i], u = expected.data<float>()[i];
    difference += (p - u) * (p - u);
    norm += u * u;
  }
  return std::sqrt(difference / norm);
}

/// Measured: at most 3e-7.
void check_same(Classifier& model, const std::string& network) {
  INFO(network);
  const NoGrad no_tape;
  const Tensor phi = model.backbone().forward(Var(answers().at("images")), Context{}).value();
  CHECK(distance(phi, answers().at(network + "/phi")) < 1e-5);
  CHECK(distance(model.head().predict(phi, 0, Context{}), answers().at(network + "/probabilities")) < 1e-5);
}

/// Follows the file, begins with it and compares.
Lines check_same(const std::string& network, const TensorFile& file, RunConfig config = config_of()) {
  INFO(network);
  const Lines lines = follow_file(config.model, file, "x.npz", kImage);
  const auto begun = classifier(config), evaluated = classifier(config);
  CHECK(load_initial(file, "x.npz", *begun).not_found.empty());
  check_same(*begun, network);
  load_foreign(file, "x.npz", *evaluated);
  check_same(*evaluated, network);
  return lines;
}

std::string refusal(const TensorFile& file, RunConfig config = config_of()) {
  return error_of([&] {
    follow_file(config.model, file, "x.npz", kImage);
    load_initial(file, "x.npz", *classifier(config));
  });
}

}  // namespace

TEST_CASE("flax: vision transformers of uncertainty-baselines and big_vision, and what the file tells") {
  const Lines sizes{"model.patch = 4 (embedding/kernel)",
                    "model.width = 16 (embedding/kernel)",
                    "model.depth = 2 (its blocks)",
                    "model.mlp = 24 (Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel)",
                    "model.heads = 2 (Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel)",
                    "model.gelu = tanh (as in flax)"};
  CHECK(check_same("token", file_of("token")) == sizes);
  const Lines gap = check_same("gap-representation", file_of("gap-representation"));
  CHECK(Lines(gap.begin() + 6, gap.end()) == Lines{"model.pool = gap (no cls_token)",
                                                   "model.norm = tokens (Transformer/encoder_norm/scale)",
                                                   "model.representation = 12 (pre_logits/kernel)"});
  check_same("bv-gap", file_of("bv-gap"));
  check_same("bv-scan", file_of("bv-scan"));
  const Lines token = check_same("bv-token", file_of("bv-token"));
  CHECK(Lines(token.begin() + 6, token.end()) == Lines{"model.positions = patches (pos_embedding of 4 tokens)",
                                                       "model.representation = 12 (pre_logits/kernel)"});
  CHECK(check_same("bv-map", file_of("bv-map")).at(6) == "model.pool = map (MAPHead_0/probe)");
}

TEST_CASE("flax: what stands in front of the names and beside the weights does not matter") {
  for (const std::string prefix : {"params/", "opt/target/", "target/", "params/img/", "img/"}) {
    CAPTURE(prefix);
    TensorFile file = file_of("bv-gap", prefix);
    file.tensors.push_back({"opt/0/mu/embedding/kernel", Tensor::zeros({4, 4, 3, 16})});
    file.tensors.push_back({"txt/head/kernel", Tensor::zeros({2, 2})});
    file.skipped.push_back({"opt/count", "<i4", {}});
    check_same("bv-gap", file);
  }
  TensorFile file = file_of("bv-gap");
  file.tensors.push_back({"Transformer/encoderblock_0/fast_weight_alpha", Tensor::zeros({2})});
  CHECK(one_line_with(refusal(file), "x.npz", "(Transformer/encoderblock_0/fast_weight_alpha)"));
}

TEST_CASE("flax: settings that contradict the file, and files that are not whole") {
  const auto with = [](const auto& change) {
    RunConfig config = config_of();
    change(config.model);
    return config;
  };
  const TensorFile file = file_of("token");
  CHECK(one_line_with(refusal(file, with([](ModelConfig& m) { m.heads = 4; })), "model.heads is 4", "has 2", "query"));
  CHECK(
      one_line_with(refusal(file, with([](ModelConfig& m) { m.gelu = Gelu::exact; })), "model.gelu is exact", "tanh"));
  CHECK(one_line_with(refusal(file, with([](ModelConfig& m) { m.width = 32; })), "model.width is 32", "has 16"));
  CHECK(one_line_with(refusal(file, with([](ModelConfig& m) { m.depth = 3; })), "model.depth is 3", "has 2"));
  CHECK(one_line_with(refusal(file, with([](ModelConfig& m) { m.pool = Pool::map; })), "model.pool is map"));
  CHECK(one_line_with(refusal(file, with([](ModelConfig& m) { m.name = "vit-ti", m.patch = 4; })), "a width of 16",
                      "model.width is 192"));

  const auto changed = [&](const std::string& name, const std::optional<Shape>& shape) {
    TensorFile other = file;
    std::erase_if(other.tensors, [&](const NamedTensor& t) { return t.name == name; });
    if (shape) other.tensors.push_back({name, Tensor::zeros(*shape)});
    return refusal(other);
  };
  const std::string block = "Transformer/encoderblock_0/", attention = block + "MultiHeadDotProductAttention_1/";
  CHECK(one_line_with(changed(attention + "query/kernel", std::nullopt), "x.npz", "no query of a first block"));
  CHECK(one_line_with(changed(attention + "query/kernel", Shape{16, 16}), "x.npz", "expected (D,heads,D/heads)"));
  CHECK(one_line_with(changed(attention + "key/kernel", Shape{16, 2, 4}), "x.npz"));
  CHECK(one_line_with(changed(block + "MlpBlock_3/Dense_0/kernel", std::nullopt), "x.npz"));
  CHECK(one_line_with(changed(block + "LayerNorm_0/scale", std::nullopt), "x.npz"));
  CHECK(one_line_with(changed("embedding/kernel", Shape{4, 4, 16}), "x.npz"));
  CHECK(one_line_with(changed("embedding/kernel", Shape{0, 4, 3, 16}), "x.npz"));
}

/// The noise of edward2's layers.
NoiseConfig noise() { return {.rank = 2, .diagonal = DiagonalNoise::shared, .factor_bias = true}; }
HeadConfig het() { return {.kind = HeadKind::het, .noise = noise(), .temperature = {.value = 2.5}}; }
HeadConfig het_xl() {
  return {.kind = HeadKind::het_xl, .noise = noise(), .temperature = {.learn = true, .lo = 0.3, .hi = 3}};
}

/// Root mean square of the differences to the reference's probabilities of 400,000 samples, in Monte Carlo deviations.
double noise_distance(const std::string& network, const TensorFile& file, const HeadConfig& head) {
  RunConfig config = config_of(head);
  follow_file(config.model, file, "x.npz", kImage);
  const auto model = classifier(config);
  load_foreign(file, "x.npz", *model);
  const NoGrad no_tape;
  constexpr int64_t kSamples = 40'000;
  const Tensor phi = model->backbone().forward(Var(answers().at("images")), Context{}).value();
  const Tensor p = model->head().predict(phi, kSamples, {.seed = 1, .examples = Tensor::from<int64_t>({0, 1, 2}, {3})});
  const auto got = p.to_vector<double>(), expected = answers().at(network + "/noisy").to_vector<double>(),
             deviation = answers().at(network + "/deviation").to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < got.size(); ++i)
    sum += std::pow((got[i] - expected[i]) / deviation[i], 2) / (1.0 / kSamples + 1.0 / 400'000);
  return std::sqrt(sum / static_cast<double>(got.size()));
}

/// The error of evaluating the file with this head.
std::string evaluation_refusal(const TensorFile& file, const HeadConfig& head) {
  RunConfig config = config_of(head);
  return error_of([&] {
    follow_file(config.model, file, "x.npz", kImage);
    load_foreign(file, "x.npz", *classifier(config));
  });
}

TEST_CASE("flax: heads of edward2, their noise off") {
  const HeadConfig full{.kind = HeadKind::het,
                        .noise = {.factors = Factors::full, .rank = 2},
                        .link = Link::sigmoid,
                        .temperature = {.value = 0.7}};
  check_same("het-full", file_of("het-full"), config_of(full));
  const HeadConfig efficient = het();
  check_same("het", file_of("het"), config_of(efficient));

  HeadConfig no_bias = efficient;
  no_bias.noise.factor_bias = false;
  CHECK(
      one_line_with(evaluation_refusal(file_of("het"), no_bias), "scale_layer_homoscedastic/bias", "head.factor_bias"));
  CHECK(one_line_with(evaluation_refusal(file_of("het"), {}), "noise in the head", "head.kind"));
  CHECK(one_line_with(evaluation_refusal(file_of("het-full"), efficient), "x.npz"));
  CHECK(one_line_with(evaluation_refusal(file_of("het-xl"), efficient), "x.npz"));
}

TEST_CASE("flax: a checkpoint of uncertainty-baselines as it lies on disk") {
  TensorFile file;
  const std::string error = error_of([&] { file = load_weights(kCheckpoint); });
  if (error.find("built without libzip") != std::string::npos) return skip("built without libzip");
  CHECK(error.empty());
  CHECK(file.at("opt/target/Transformer/posembed_input/pos_embedding").dtype() == DType::bf16);
  CHECK(file.skipped.size() == 2);  // a step and keys of random numbers
  const RunConfig config = config_of(het_xl());
  check_same("het-xl", file, config);
  CHECK(noise_distance("het-xl", file, het_xl()) < 1.5);
}

TEST_CASE("flax: with the reference's noise its probabilities, with independent noise others") {
  CHECK(noise_distance("het", file_of("het"), het()) < 1.5);
  HeadConfig independent = het();
  independent.noise.diagonal = DiagonalNoise::independent;
  CHECK(noise_distance("het", file_of("het"), independent) > 5);
}

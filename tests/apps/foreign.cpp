// Weights as timm, torchvision and transformers name them give their networks' logits, or are refused with what is not
// here (tests/fixtures/foreign.py).

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/initial.h"
#include "autograd/matmul.h"
#include "tests/apps/support.h"
#include "tests/common/hash_weights.h"
#include "tests/common/library_json.h"

using namespace sked;
using namespace sked::test;

namespace {

using Lines = std::vector<std::string>;

const TensorFile& answers() {
  static const TensorFile file = load_safetensors("tests/fixtures/foreign.safetensors");
  return file;
}

/// As foreign.py has it: a variance is near 1.
Tensor weight(const std::string& name, const Shape& shape) {
  return name.ends_with("running_var") ? hash_tensor(shape, hash_name(name), 0.25F, 1) : hash_parameter(name, shape);
}

/// The file of a network: its names, and weights from the formula.
TensorFile file_of(const std::string& network) {
  static const auto networks = library_json(answers().metadata.at("networks"));
  TensorFile file;
  for (const auto& [name, shape] : networks.at(network).items())
    file.tensors.push_back({name, weight(name, Shape(shape.get<std::vector<int64_t>>()))});
  return file;
}

TensorFile renamed(TensorFile file, const std::function<std::string(const std::string&)>& rename) {
  for (NamedTensor& tensor : file.tensors) tensor.name = rename(tensor.name);
  return file;
}

ModelConfig vit(const ModelConfig& more = {}) {
  ModelConfig c = more;
  c.name = "vit";
  c.patch = 8;
  c.width = 24;
  c.depth = 2;
  c.heads = 3;
  c.mlp = 48;
  return c;
}

ModelConfig padded() { return {.name = "resnet-cifar", .blocks = {2, 2, 2}, .base_width = 8}; }

std::unique_ptr<Classifier> classifier(const ModelConfig& model, const Shape& image_shape = {32, 32, 3}) {
  RunConfig config;
  config.model = model;
  return make_classifier(config, image_shape, 7, Device::cpu);
}

Tensor images() { return hash_tensor({3, 32, 32, 3}, 5); }

/// |got − expected| / |expected| in the Euclidean norm, each row brought to mean 0.
double distance(const Tensor& got, const Tensor& expected) {
  REQUIRE(got.shape() == expected.shape());
  const int64_t classes = got.dim(1);
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < got.dim(0); ++i) {
    const float *p = got.data<float>() + i * classes, *u = expected.data<float>() + i * classes;
    double mean = 0;  // of got − expected
    for (int64_t k = 0; k < classes; ++k) mean += (static_cast<double>(p[k]) - u[k]) / static_cast<double>(classes);
    for (int64_t k = 0; k < classes; ++k) {
      difference += std::pow(static_cast<double>(p[k]) - u[k] - mean, 2);
      norm += std::pow(static_cast<double>(u[k]), 2);
    }
  }
  return std::sqrt(difference / norm);
}

Tensor log_probabilities(Classifier& model, const Tensor& input = images()) {
  const NoGrad no_tape;
  const Tensor phi = model.backbone().forward(Var(input), Context{}).value();
  Tensor p = model.head().predict(phi, 0, Context{});
  for (int64_t i = 0; i < p.numel(); ++i) p.data<float>()[i] = std::log(p.data<float>()[i]);
  return p;
}

/// Follows the file, begins with it and compares.
Lines check_same(const std::string& network, const TensorFile& file, ModelConfig model) {
  INFO(network);
  const Lines lines = follow_file(model, file, network, {32, 32, 3});
  const auto fine_tuned = classifier(model), evaluated = classifier(model);
  const InitialReport report = load_initial(file, network, *fine_tuned);
  CHECK(report.not_found.empty());
  CHECK_FALSE(report.head_replaced);
  CHECK(distance(log_probabilities(*fine_tuned), answers().at(network)) < 1e-5);
  load_foreign(file, network, *evaluated);
  CHECK(log_probabilities(*evaluated).to_vector<float>() == log_probabilities(*fine_tuned).to_vector<float>());
  return lines;
}
Lines check_same(const std::string& network, const ModelConfig& model) {
  return check_same(network, file_of(network), model);
}

/// The error of following the file and beginning with it.
std::string refusal(const TensorFile& file, ModelConfig model, const InitialOptions& options = {}) {
  return error_of([&] {
    follow_file(model, file, "x.safetensors", {32, 32, 3}, options.partial);
    load_initial(file, "x.safetensors", *classifier(model), options);
  });
}
std::string refusal(const std::string& network, const ModelConfig& model) { return refusal(file_of(network), model); }

}  // namespace

TEST_CASE("foreign: timm's vision transformers") {
  CHECK(check_same("vit", vit()).empty());
  CHECK(check_same("vit-layer-scale", vit()) == Lines{"model.layer_scale = 1e-05 (blocks.0.ls1.gamma)"});
  CHECK(check_same("vit-qk-norm", vit()) == Lines{"model.qk_norm = true (blocks.0.attn.q_norm.weight)"});
  CHECK(check_same("vit-pre-norm", vit()) == Lines{"model.pre_norm = true (norm_pre.weight)"});
  CHECK(check_same("vit-no-embed-class", vit()) == Lines{"model.positions = patches (pos_embed of 16 tokens)"});
  CHECK(check_same("vit-registers", vit()) == Lines{"model.registers = 4 (reg_token)"});
  CHECK(check_same("vit-registers-no-embed", vit()) ==
        Lines{"model.registers = 4 (reg_token)", "model.positions = patches (pos_embed of 16 tokens)",
              "model.layer_scale = 1e-05 (blocks.0.ls1.gamma)", "model.qk_norm = true (blocks.0.attn.q_norm.weight)"});
}

TEST_CASE("foreign: how timm's vision transformers pool") {
  CHECK(check_same("vit-gap", vit()) == Lines{"model.pool = gap (no cls_token)"});
  CHECK(
      check_same("vit-gap", vit({.pool = Pool::gap, .class_token = ClassToken::no, .norm = LastNorm::pooled})).empty());
  CHECK(check_same("vit-gap-registers", vit()) == Lines{"model.pool = gap (no cls_token)",
                                                        "model.norm = tokens (norm.weight)",
                                                        "model.registers = 3 (reg_token)"});
  CHECK(check_same("vit-gap-token", vit({.pool = Pool::gap})) ==
        Lines{"model.class_token = yes (cls_token)", "model.norm = tokens (norm.weight)"});
  CHECK(check_same("vit-gap-token-fc-norm", vit({.pool = Pool::gap})) == Lines{"model.class_token = yes (cls_token)"});
  CHECK(check_same("vit-token-fc-norm", vit({.pool = Pool::token})) == Lines{"model.norm = pooled (fc_norm.weight)"});
  CHECK(check_same("vit-map", vit()) == Lines{"model.pool = map (attn_pool.latent)"});
  // Others' pooling sees the class token too (Perception Encoder): no tensor tells.
  CHECK(one_line_with(refusal("vit-map-token", vit()), "attn_pool.latent and cls_token", "model.pool"));
  CHECK(check_same("vit-map-token", vit({.pool = Pool::map})) == Lines{"model.class_token = yes (cls_token)"});
}

TEST_CASE("foreign: vision transformers of torchvision and transformers") {
  CHECK(check_same("vit-torchvision", vit()).empty());
  CHECK(check_same("vit-torchvision-representation", vit()) ==
        Lines{"model.representation = 20 (heads.pre_logits.weight)"});
  CHECK(check_same("vit-transformers", vit()) == Lines{"model.norm_eps = 1e-12 (as in transformers)"});
  CHECK(check_same("vit-transformers", vit({.norm_eps = 1e-9})).empty());

  // The network without a classifier: its output is φ.
  ModelConfig config = vit();
  const TensorFile file = file_of("vit-transformers-bare");
  CHECK(follow_file(config, file, "bare", {32, 32, 3}).front() == "model.representation = 24 (pooler.dense.weight)");
  const auto model = classifier(config);
  const InitialReport report = load_initial(file, "bare", *model);
  CHECK(report.head_replaced);
  CHECK(report.classifier == "the classifier is new: the file has none");
  CHECK(report.not_found == Lines{"head.weight", "head.bias"});
  const Tensor phi = model->backbone().forward(Var(images()), Context{}).value(),
               &expected = answers().at("vit-transformers-bare");
  REQUIRE(phi.shape() == expected.shape());
  for (int64_t i = 0; i < phi.numel(); ++i) CHECK(std::abs(phi.data<float>()[i] - expected.data<float>()[i]) < 1e-5);
  CHECK(one_line_with(error_of([&] { load_foreign(file, "bare", *model); }), "bare", "classifier", "has none"));

  // As version 5 of transformers has it in memory.
  const auto in_memory = [](std::string name) {
    const std::vector<std::pair<std::string, std::string>> parts{{"encoder.layer.", "layers."},
                                                                 {"attention.attention.query.", "attention.q_proj."},
                                                                 {"attention.attention.key.", "attention.k_proj."},
                                                                 {"attention.attention.value.", "attention.v_proj."},
                                                                 {"attention.output.dense.", "attention.o_proj."},
                                                                 {"intermediate.dense.", "mlp.fc1."},
                                                                 {"output.dense.", "mlp.fc2."}};
    for (const auto& [from, to] : parts)
      if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    return name;
  };
  check_same("vit-transformers", renamed(file_of("vit-transformers"), in_memory), vit());
}

TEST_CASE("foreign: position embeddings keep what stands in front of the patches on another grid") {
  for (const std::string network : {"vit-registers", "vit-registers-no-embed", "vit-gap"}) {
    INFO(network);
    ModelConfig config = vit();
    const TensorFile file = file_of(network);
    if (network == "vit-registers-no-embed") {  // or of all tokens on a grid of 3×4, say
      CHECK(one_line_with(error_of([&] {
                            follow_file(config, file, network, {48, 48, 3});
                          }),
                          "pos_embed of 16 tokens", "model.positions"));
      config.positions = Positions::patches;
    }
    follow_file(config, file, network, {48, 48, 3});
    const auto model = classifier(config, {48, 48, 3});
    CHECK(load_initial(file, network, *model).interpolated == Lines{"pos_embed"});
    CHECK(distance(log_probabilities(*model, hash_tensor({2, 48, 48, 3}, 6)), answers().at(network + "-large")) < 1e-5);
    CHECK(load_foreign(file, network, *model).front() == "pos_embed is resampled to the grid of this model");

    const auto oblong = classifier(config, {32, 48, 3});
    CHECK(one_line_with(error_of([&] { load_initial(file, "x.safetensors", *oblong); }), "x.safetensors: pos_embed of",
                        "the model's patches are no square grid"));
  }
  const auto bare = classifier(vit({.positions = Positions::patches}));
  const TensorFile file = file_of("vit");
  CHECK(one_line_with(error_of([&] { load_initial(file, "x", *bare); }), "pos_embed of 17 tokens", "one of 16",
                      "patches alone", "(model.positions)"));
  CHECK(load_initial(file, "x", *bare, {.partial = true}).interpolated == Lines{"pos_embed"});
  TensorFile odd = file;
  for (NamedTensor& tensor : odd.tensors)
    if (tensor.name == "pos_embed") tensor.tensor = Tensor::zeros({1, 14, 24});
  CHECK(one_line_with(refusal(odd, vit()), "pos_embed of 14 tokens", "the file's patches are no square grid"));
}

TEST_CASE("foreign: residual networks") {
  const ModelConfig basic{.name = "resnet18", .blocks = {1, 1, 1, 1}},
      bottleneck{.name = "resnet50", .blocks = {1, 1, 1, 1}};
  CHECK(check_same("resnet", basic).empty());
  CHECK(check_same("resnext", bottleneck) ==
        Lines{"model.groups = 8 (layer1.0.conv2.weight)", "model.width_per_group = 4 (layer1.0.conv2.weight)"});
  CHECK(check_same("wide", bottleneck) == Lines{"model.width_per_group = 128 (layer1.0.conv2.weight)"});
  CHECK(check_same("resnet-d", {.name = "resnet50", .blocks = {1, 2, 1, 1}}) ==
        Lines{"model.stem = deep (conv1.0.weight)", "model.shortcut = avg (layer4.0.downsample.1.weight)"});
  CHECK(check_same("resnet-transformers", {.name = "resnet18", .blocks = {1, 2}, .base_width = 16}).empty());
  CHECK(check_same("resnet-transformers-bottleneck", {.name = "resnet50", .blocks = {1, 2}, .base_width = 16}).empty());
  CHECK(check_same("resnet-padded", padded()) == Lines{"model.shortcut = pad (no downsample tensors)"});
  CHECK(check_same("bit", {.name = "bit-resnet50", .blocks = {1, 2}, .base_width = 32}).empty());

  const auto shortcuts = [](std::string name) {
    if (const size_t at = name.find(".downsample."); at != std::string::npos) name.replace(at, 12, ".shortcut.");
    return name;
  };
  check_same("resnet", renamed(file_of("resnet"), shortcuts), basic);
}

TEST_CASE("foreign: wide residual networks for CIFAR, as PyTorch's implementations name them") {
  const ModelConfig config{.name = "wide-resnet10-1"};
  const auto model = classifier(config);
  TensorFile file;
  for (const NamedVar& p : model->parameters()) {
    std::string name = p.name;
    if (const size_t at = name.find(".downsample."); at != std::string::npos) name.replace(at, 12, ".shortcut.");
    if (name.starts_with("head.")) name.replace(0, 4, "linear");
    Tensor value = p.var.value();
    value.copy_from(weight(p.name, p.var.shape()));
    file.tensors.push_back({"module." + name, p.var.value()});
  }
  for (const auto& [name, buffer] : model->buffers()) {
    buffer->copy_from(weight(name, buffer->shape()));
    file.tensors.push_back({"module." + name, *buffer});
  }
  ModelConfig followed = config;
  CHECK(follow_file(followed, file, "x.safetensors", {32, 32, 3}).empty());
  const auto begun = classifier(followed);
  CHECK(load_initial(file, "x.safetensors", *begun).not_found.empty());
  CHECK(log_probabilities(*begun).to_vector<float>() == log_probabilities(*model).to_vector<float>());
  CHECK(one_line_with(refusal(file, {.name = "wide-resnet10-2"}), "convolutions as shortcuts"));
}

TEST_CASE("foreign: what wrappers put in front of all names goes") {
  for (const std::string prefix : {"module.", "_orig_mod.", "model.", "model._orig_mod.", "module.model."}) {
    CAPTURE(prefix);
    TensorFile file = renamed(file_of("vit"), [&](const std::string& name) { return prefix + name; });
    file.tensors.push_back({"counter", Tensor::from<int64_t>({3}, {})});  // no weight
    check_same("vit", file, vit());
  }
  TensorFile file = renamed(file_of("vit"), [](const std::string& name) { return "module." + name; });
  file.tensors.push_back({"bias", Tensor::zeros({7})});
  CHECK(one_line_with(refusal(file, vit()), "no tensor of the model is in it", "the file has bias",
                      "the model blocks.0"));
  Init init(1);
  const auto nothing = make_backbone({.name = "none"}, {6}, init);
  CHECK(one_line_with(error_of([&] { load_initial(file, "x", *nothing); }), "the file has", "the model none"));
}

TEST_CASE("foreign: halves are loaded; integers and booleans do not matter") {
  const TensorFile file = load_safetensors("tests/fixtures/init-mixed.safetensors");
  const ModelConfig config{.name = "vit", .patch = 16, .width = 8, .depth = 1, .heads = 2, .mlp = 16};
  CHECK(file.skipped.size() == 2);
  check_same("mixed", file, config);
  CHECK(load_initial(file, "x", *classifier(config)).unused == Lines{"ids", "mask"});

  TensorFile eighths = file_of("vit");
  std::erase_if(eighths.tensors, [](const NamedTensor& t) { return t.name == "blocks.1.mlp.fc1.weight"; });
  eighths.skipped.push_back({"blocks.1.mlp.fc1.weight", "F8_E4M3", {48, 24}});
  CHECK(one_line_with(refusal(eighths, vit()), "x.safetensors", "blocks.1.mlp.fc1.weight is F8_E4M3", "expected"));
  CHECK(refusal(eighths, vit(), {.partial = true}).empty());
  TensorFile bytes = file_of("vit");
  for (NamedTensor& tensor : bytes.tensors)
    if (tensor.name == "blocks.1.mlp.fc1.weight") tensor.tensor = Tensor::zeros({48, 24}, DType::u8);
  CHECK(one_line_with(refusal(bytes, vit()), "blocks.1.mlp.fc1.weight is u8", "expected a weight"));
  TensorFile more = file_of("vit");
  more.skipped.push_back({"blocks.1.mlp.fc1.scale", "F8_E8M0", {48}});
  CHECK(one_line_with(refusal(more, vit()), "the file's network has layers (blocks.1.mlp.fc1.scale)"));
}

TEST_CASE("foreign: a network with what this program does not have is refused, naming it") {
  CHECK(one_line_with(refusal("vit-depth3", vit()), "x.safetensors", "the file has 3 blocks, model.depth is 2",
                      "train.init_partial=true"));
  CHECK(one_line_with(refusal("vit-distilled", vit()), "a distillation token (dist_token and 2 more)",
                      "the model has not"));
  CHECK(one_line_with(refusal("vit-no-bias", vit()),
                      "biases of queries, keys and values (blocks.0.attn.qkv.bias and 1 more)",
                      "the file's network has not"));
  CHECK(one_line_with(refusal("bit-batch-norm", {.name = "bit-resnet50", .blocks = {1, 2}, .base_width = 32}),
                      "batch norm (stages.0.blocks.0.norm1.running_mean and 2 more)"));
  CHECK(one_line_with(refusal("resnet-se", {.name = "resnet50", .blocks = {1, 1, 1, 1}}),
                      "squeeze-and-excitation (layer1.0.se.fc1.bias and 15 more)"));
  CHECK(one_line_with(refusal("resnet", vit()), "the file has a residual network",
                      "the model is a vision transformer (model.name)"));
  for (const auto& [more, words] : std::vector<std::pair<std::string, std::string>>{
           {"blocks.0.attn.relative_position_bias_table", "relative positions"},
           {"blocks.1.mlp.w12.weight", "gated MLPs"},
           {"decoder_blocks.0.norm1.weight", "a decoder"},
           {"conv9.weight", "layers (conv9.weight)"}}) {
    TensorFile file = file_of("vit");
    file.tensors.push_back({more, Tensor::zeros({2})});
    CHECK(one_line_with(refusal(file, vit()), words, more));
    CHECK(refusal(file, vit(), {.partial = true}).empty());
  }
}

TEST_CASE("foreign: a setting that contradicts the file is refused, naming both") {
  CHECK(one_line_with(refusal("vit", vit({.pool = Pool::map})), "model.pool is map", "no attn_pool.latent"));
  CHECK(one_line_with(refusal("vit-map", vit({.pool = Pool::gap})), "model.pool is gap", "map (attn_pool.latent)"));
  CHECK(one_line_with(refusal("vit", vit({.pool = Pool::gap, .class_token = ClassToken::no})),
                      "model.class_token is no", "yes"));
  CHECK(one_line_with(refusal("vit", vit({.norm = LastNorm::pooled})), "model.norm is pooled", "tokens (norm.weight)"));
  CHECK(one_line_with(refusal("vit-gap", vit({.pool = Pool::token})), "model.pool is token", "gap (no cls_token)"));
  CHECK(one_line_with(refusal("vit-gap-token-fc-norm", vit()), "cls_token and fc_norm.weight", "set model.pool"));
  CHECK(one_line_with(refusal("vit", vit({.positions = Positions::patches})), "model.positions is patches",
                      "all (pos_embed of 17 tokens)"));
  CHECK(one_line_with(refusal("vit-registers", vit({.registers = 2})), "model.registers is 2", "4 (reg_token)"));
  CHECK(one_line_with(refusal("vit", vit({.registers = 2})), "model.registers is 2", "0 (no reg_token)"));
  CHECK(one_line_with(refusal("vit", vit({.layer_scale = 0.5})), "model.layer_scale is 0.5", "blocks.0.ls1.gamma"));
  CHECK(one_line_with(refusal("vit", vit({.qk_norm = true})), "model.qk_norm is true", "q_norm"));
  CHECK(one_line_with(refusal("vit", vit({.pre_norm = true})), "model.pre_norm is true", "norm_pre"));
  CHECK(one_line_with(refusal("vit", vit({.representation = 8})), "model.representation is 8", "0"));
  ModelConfig wide = vit();
  wide.width = 48;
  CHECK(one_line_with(refusal("vit", wide), "the file has a width of 24, model.width is 48"));
  ModelConfig heads = vit();
  heads.heads = 6;
  CHECK(one_line_with(refusal("vit-qk-norm", heads), "heads of a width of 8", "is 4"));

  ModelConfig conv = padded();
  conv.shortcut = Shortcut::conv;
  CHECK(one_line_with(refusal("resnet-padded", conv), "model.shortcut is conv", "pad (no downsample tensors)"));
  CHECK(one_line_with(refusal("resnet-padded", {.name = "resnet-cifar", .blocks = {2, 1, 2}, .base_width = 8}),
                      "the file has blocks 2, 2, 2, model.blocks is 2, 1, 2"));
  CHECK(one_line_with(refusal("resnet-d", {.name = "resnet50", .blocks = {1, 2, 1, 1}, .stem = Stem::imagenet}),
                      "model.stem is imagenet", "deep (conv1.0.weight)"));
  CHECK(one_line_with(refusal("resnext", {.name = "resnet50", .blocks = {1, 1, 1, 1}, .groups = 32}),
                      "model.groups is 32", "8 (layer1.0.conv2.weight)"));
  CHECK(one_line_with(refusal("resnet", {.name = "resnet18", .blocks = {1, 1, 1, 1}, .stem = Stem::cifar}),
                      "first convolution is 7×7, the model's 3×3 (model.stem"));
  CHECK(one_line_with(refusal("resnext", {.name = "resnet18", .blocks = {1, 1, 1, 1}}), "groups"));
}

TEST_CASE("foreign: a checkpoint of this program also tells what its tensors do not") {
  const auto saved = [](const ModelConfig& model) {
    TensorFile file = file_of("vit");
    RunConfig config;
    config.model = model;
    file.metadata["config"] = config_text(config);
    file.metadata["state"] = "{}";
    return file;
  };
  ModelConfig config = vit();
  config.heads = 0;
  CHECK(follow_file(config, saved(vit({.pool = Pool::gap, .norm_eps = 1e-5, .gelu = Gelu::tanh})), "x", {32, 32, 3}) ==
        Lines{"model.pool = gap (as in its configuration)", "model.gelu = tanh (as in its configuration)",
              "model.norm_eps = 1e-05 (as in its configuration)", "model.class_token = yes (cls_token)",
              "model.norm = tokens (norm.weight)"});
  CHECK(one_line_with(refusal(saved(vit()), vit({.gelu = Gelu::quick})), "model.gelu is quick", "exact"));
  CHECK(one_line_with(refusal(saved(vit({.gelu = Gelu::tanh})), vit({.gelu = Gelu::exact})), "model.gelu is exact",
                      "tanh"));
  CHECK(one_line_with(refusal(saved(vit()), vit({.pool = Pool::gap})), "model.pool is gap", "token"));
  check_same("vit", saved(vit()), vit());
  for (const std::string hostile : {"", "[", "3", R"({"model": 3})", R"({"model": {"heads": -1e300, "gelu": 1}})"}) {
    TensorFile file = file_of("vit");
    file.metadata["config"] = hostile;
    check_same("vit", file, vit());
  }

  // What the name of the run's model stands for counts too.
  ModelConfig small_heads = vit();
  small_heads.name = "vit-ti";  // 3 heads
  small_heads.heads = 0;
  ModelConfig six = vit();
  six.heads = 6;
  CHECK(one_line_with(refusal(saved(small_heads), six), "model.heads is 6", "3 (as in"));
  ModelConfig small = padded();
  TensorFile file = file_of("resnet-padded");
  file.metadata["state"] = "{}";
  file.metadata["config"] = R"({"model": {"name": "resnet20"}})";
  ModelConfig strided = padded();
  strided.stem = Stem::cifar2;
  CHECK(one_line_with(refusal(file, strided), "model.stem is cifar2", "cifar (as in its configuration)"));
  file.metadata["config"] = R"({"model": {"stem": "cifar2"}})";
  CHECK(follow_file(small, file, "x", {32, 32, 3}).front() == "model.stem = cifar2 (as in its configuration)");
}

TEST_CASE("foreign: bottlenecks of any width, with groups, begin with a run of their own configuration") {
  for (const ModelConfig& model :
       {ModelConfig{.name = "resnet50", .blocks = {1, 1}, .base_width = 16, .groups = 2},
        ModelConfig{.name = "wide-resnet50-2", .blocks = {1, 1}, .base_width = 16},
        ModelConfig{.name = "resnext50-32x4d", .blocks = {1, 1}, .base_width = 128},
        ModelConfig{.name = "resnet50", .blocks = {1, 1}, .base_width = 16, .groups = 2, .width_per_group = 28}}) {
    const auto run = classifier(model);
    TensorFile file;
    for (const NamedVar& p : run->parameters()) file.tensors.push_back({p.name, p.var.value()});
    for (const auto& [name, buffer] : run->buffers()) file.tensors.push_back({name, *buffer});
    ModelConfig config = model;
    CHECK(follow_file(config, file, "x", {32, 32, 3}).empty());
    const auto again = classifier(config);
    CHECK(load_foreign(file, "x", *again).size() == 1);  // whose classes
    config = {.name = "resnet50", .blocks = {1, 1}, .base_width = model.base_width};
    follow_file(config, file, "x", {32, 32, 3});
    CHECK(load_foreign(file, "x", *classifier(config)).size() == 1);
  }
}

TEST_CASE("foreign: two tensors of one name, and hostile shapes") {
  TensorFile twice = file_of("vit");
  twice.tensors.push_back({"fc.weight", Tensor::zeros({7, 24})});
  CHECK(one_line_with(refusal(twice, vit()), "fc.weight", "head.weight", "are both head.weight"));
  TensorFile joined = file_of("vit-transformers");
  joined.tensors.push_back({"blocks.0.attn.qkv.bias", Tensor::zeros({72})});
  CHECK(one_line_with(refusal(joined, vit()), "query.bias", "are both blocks.0.attn.qkv.bias"));

  // Tensors of any shape under names that are read: an error or not, but never a crash.
  for (const std::string network :
       {"vit", "vit-registers", "vit-map", "vit-transformers", "resnext", "resnet-d", "bit"}) {
    const TensorFile good = file_of(network);
    for (size_t i = 0; i < good.tensors.size(); i += 3) {
      for (const Shape& shape :
           {Shape{}, Shape{0}, Shape{1, 0, 24}, Shape{1, 3, 24}, Shape{0, 0, 0, 0}, Shape{1, 24}}) {
        TensorFile file = good;
        file.tensors[i].tensor = Tensor::zeros(shape);
        CAPTURE(file.tensors[i].name);
        const ModelConfig model = network.starts_with("vit") ? vit()
                                  : network == "bit"
                                      ? ModelConfig{.name = "bit-resnet50", .blocks = {1, 2}, .base_width = 32}
                                      : ModelConfig{.name = "resnet50", .blocks = {1, 1}, .base_width = 8};
        CHECK(refusal(file, model).find('\n') == std::string::npos);
        CHECK(refusal(file, model, {.partial = true}).find('\n') == std::string::npos);
      }
    }
  }
}

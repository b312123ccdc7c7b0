// Named backbones: sizes and names against torchvision and timm, arithmetic, and what a configuration may not say.

#include "layers/models/model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <tuple>

#include "core/safetensors.h"
#include "tests/common/hash_weights.h"

using namespace sked;

namespace {

/// Without drawing weights: half a billion of them would take their time.
std::unique_ptr<Backbone> make(const ModelConfig& config, const Shape& image = {224, 224, 3}) {
  Init init = Init::blank();
  return make_backbone(config, image, init);
}

int64_t count(const ModelConfig& config, const Shape& image = {224, 224, 3}) {
  return make(config, image)->parameter_count();
}

/// (elements, tensors, hash of names and shapes), as tests/fixtures/models.py writes them.
std::vector<int64_t> names_of(const Module& module) {
  std::vector<NamedVar> parameters = module.parameters();
  std::sort(parameters.begin(), parameters.end(), [](const NamedVar& a, const NamedVar& b) { return a.name < b.name; });
  std::ostringstream lines;
  for (const NamedVar& p : parameters) lines << p.name << ':' << p.var.shape() << '\n';
  return {module.parameter_count(), static_cast<int64_t>(parameters.size()), test::hash_name(lines.str())};
}

void check_names(const std::string& key, const Module& module) {
  static const TensorFile file = load_safetensors("tests/fixtures/models.safetensors");
  INFO(key);
  CHECK(names_of(module) == file.at(key).to_vector<int64_t>());
}
void check_names(const std::string& key, const ModelConfig& config, const Shape& image = {224, 224, 3}) {
  check_names(key, *make(config, image));
}

/// The message of the UsageError that `config` deserves.
std::string refusal(const ModelConfig& config, const Shape& image = {32, 32, 3}) {
  try {
    make(config, image);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("models: residual networks have torchvision's names and published sizes") {
  // Published counts include the classifier of 1000 classes: 512·1000 + 1000 or 2048·1000 + 1000.
  const std::vector<std::pair<std::string, int64_t>> published = {
      {"resnet18", 11'689'512 - 513'000},       {"resnet34", 21'797'672 - 513'000},
      {"resnet50", 25'557'032 - 2'049'000},     {"resnet101", 44'549'160 - 2'049'000},
      {"resnet152", 60'192'808 - 2'049'000},    {"bit-resnet50", 25'549'352 - 2'049'000},
      {"bit-resnet101", 44'541'480 - 2'049'000}};
  for (const auto& [name, parameters] : published) {
    INFO(name);
    CHECK(count({.name = name}) == parameters);
    check_names("names/" + name, {.name = name});
  }
  check_names("names/bit-resnet152", {.name = "bit-resnet152"});
}

TEST_CASE("models: grouped, wide and tweaked residual networks have torchvision's and timm's names and sizes") {
  const std::vector<std::pair<std::string, int64_t>> published = {
      {"resnext50-32x4d", 25'028'904}, {"resnext101-32x8d", 88'791'336},  {"resnext101-64x4d", 83'455'272},
      {"wide-resnet50-2", 68'883'240}, {"wide-resnet101-2", 126'886'696}, {"resnet50-d", 25'576'264},
      {"resnet101-d", 44'568'392}};
  for (const auto& [name, parameters] : published) {
    INFO(name);
    const auto backbone = make({.name = name});
    CHECK(backbone->parameter_count() == parameters - 2'049'000);
    check_names("names/" + name, *backbone);
  }
}

TEST_CASE("models: wide residual networks for CIFAR have 6n + 4 layers and the published sizes") {
  const Shape image{32, 32, 3};
  // With classifiers of 10 classes: 64 · factor · 10 + 10. Zagoruyko and Komodakis, table 4: 36.5, 8.9, 2.2, 2.7 M.
  const std::vector<std::tuple<std::string, int64_t, int64_t>> published = {{"wide-resnet28-10", 36'479'194, 10},
                                                                            {"wide-resnet40-4", 8'949'210, 4},
                                                                            {"wide-resnet40-2", 2'243'546, 2},
                                                                            {"wide-resnet16-4", 2'748'890, 4}};
  for (const auto& [name, parameters, factor] : published) {
    INFO(name);
    CHECK(count({.name = name}, image) == parameters - 640 * factor - 10);
    CHECK(make({.name = name}, image)->width() == 64 * factor);
  }
  check_names("wide-resnet28-10/names", {.name = "wide-resnet28-10"}, image);
  check_names("wide-resnet/names", {.name = "wide-resnet16-2"}, image);
  CHECK(make({.name = "wide-resnet28-10"}, image)->flops_per_image() / 2e9 == doctest::Approx(5.25).epsilon(0.01));

  const auto refused_depth = [](const std::string& name) {
    return refusal({.name = name}) ==
           "[model.name] expected wide-resnet<depth>-<factor> with a depth of 6n + 4 (10, 16, 22, 28 ...), "
           "wide-resnet50-2 or wide-resnet101-2, got " +
               name;
  };
  CHECK(refused_depth("wide-resnet26-10"));
  CHECK(refused_depth("wide-resnet4-10"));
  CHECK(refused_depth("wide-resnet-8-10"));
  CHECK(refused_depth("wide-resnet50-3"));
  CHECK(contains(refusal({.name = "wide-resnet6154-1"}), "(blocks per stage)] expected 1 to 1024, got 1025"));
  CHECK(contains(refusal({.name = "wide-resnet28-0"}), "(factor on the channels)] expected 1 to 512, got 0"));
  CHECK(contains(refusal({.name = "wide-resnet28-513"}), "got 513"));
  for (const char* name : {"wide-resnet", "wide-resnet28", "wide-resnet28-", "wide-resnet28-10x", "wide-resnet28-1e1",
                           "wide-resnet028-10", "wide-resnet99999999999999999999-1"})
    CHECK(contains(refusal({.name = name}), std::string("unknown backbone ") + name));

  CHECK(refusal({.name = "wide-resnet10-1", .dropout = 0.3}) == "accepted");
  CHECK(contains(refusal({.name = "wide-resnet10-1", .dropout = 1}), "[model.dropout]"));
  CHECK(refusal({.name = "wide-resnet10-1", .stem = Stem::cifar2}) == "accepted");
  CHECK(refusal({.name = "wide-resnet10-1", .stem = Stem::imagenet}) ==
        "[model.stem] expected cifar or cifar2 of wide-resnet10-1, got imagenet");
  CHECK(refusal({.name = "wide-resnet10-1", .shortcut = Shortcut::pad}) ==
        "[model.shortcut] is not a setting of wide-resnet10-1");
}

TEST_CASE("models: dropout in wide residual networks is of training alone") {
  const auto phi = [](double dropout, bool training) {
    Init init(1);
    const auto backbone = make_backbone({.name = "wide-resnet10-1", .dropout = dropout}, {8, 8, 3}, init);
    return backbone->forward(Var(test::hash_tensor({2, 8, 8, 3}, 1)), {.training = training})
        .value()
        .to_vector<float>();
  };
  CHECK(phi(0.5, false) == phi(0, false));
  CHECK(phi(0.5, true) != phi(0, true));
}

TEST_CASE("models: the widest BiT networks, without building them") {
  for (const std::string size : {"50x3", "101x3", "152x2", "152x4"}) {
    check_names("names/bit-resnet" + size + "/narrow", {.name = "bit-resnet" + size, .base_width = 32});
    check_names("names/bit-resnet" + size + "/cut", {.name = "bit-resnet" + size, .blocks = {1, 1}});
  }
}

TEST_CASE("models: vision transformers have timm's names and published sizes") {
  // Published counts include the classifier of 1000 classes: 1001 · 192, · 384, · 768 less the bias shared by all.
  CHECK(count({.name = "vit-ti"}) == 5'717'416 - 193'000);
  CHECK(count({.name = "vit-s"}) == 22'050'664 - 385'000);
  CHECK(count({.name = "vit-b"}) == 86'567'656 - 769'000);
  for (const char* name : {"vit-ti", "vit-s", "vit-b"}) check_names(std::string("names/") + name, {.name = name});
}

TEST_CASE("models: settings make timm's published vision transformers, but for their depth") {
  const std::vector<std::pair<std::string, ModelConfig>> published = {
      {"vit_small_patch14_reg4_dinov2",
       {.name = "vit-s", .patch = 14, .positions = Positions::patches, .registers = 4, .layer_scale = 1e-5}},
      {"vit_base_patch16_siglip_224", {.name = "vit-b", .pool = Pool::map}},
      {"vit_base_patch16_clip_224", {.name = "vit-b", .pre_norm = true, .norm_eps = 1e-5}},
      {"deit3_small_patch16_224", {.name = "vit-s", .positions = Positions::patches, .layer_scale = 1e-6}},
      {"vit_medium_patch16_reg4_gap_256",
       {.name = "vit",
        .width = 512,
        .heads = 8,
        .pool = Pool::gap,
        .positions = Positions::patches,
        .registers = 4,
        .layer_scale = 1e-6}}};
  for (auto [name, config] : published) {
    config.depth = 1;
    check_names("names/" + name, config);
  }
}

TEST_CASE("models: the largest vision transformers, without building them") {
  struct Case {
    std::string name;
    int64_t depth, published;
  };
  for (const Case& c : {Case{"vit-l", 24, 304'326'632 - 1'025'000}, Case{"vit-h", 32, 632'045'800 - 1'281'000}}) {
    INFO(c.name);
    check_names("names/" + c.name + "/1", {.name = c.name, .depth = 1});
    check_names("names/" + c.name + "/2", {.name = c.name, .depth = 2});
    // Depth from a narrow one (12 tensors a block), size by extrapolation.
    const auto tensors = [&](int64_t depth) {
      return static_cast<int64_t>(make({.name = c.name, .width = 16, .depth = depth})->parameters().size());
    };
    CHECK((tensors(0) - tensors(1)) / 12 + 1 == c.depth);
    const int64_t one = count({.name = c.name, .depth = 1}), two = count({.name = c.name, .depth = 2});
    CHECK(one + (c.depth - 1) * (two - one) == c.published);
  }
}

TEST_CASE("models: CIFAR networks have 6n+2 layers and the paper's sizes") {
  // He et al., table 6: 0.27, 0.46, 0.66 and 0.85 million with the classifier of 650, and shortcuts without parameters;
  // by default ours project (2,752 more).
  const Shape image{32, 32, 3};
  CHECK(count({.name = "resnet20"}, image) == 269'722 - 650 + 2'752);
  CHECK(count({.name = "resnet32"}, image) == 464'154 - 650 + 2'752);
  CHECK(count({.name = "resnet44"}, image) == 658'586 - 650 + 2'752);
  CHECK(count({.name = "resnet56"}, image) == 853'018 - 650 + 2'752);
  CHECK(count({.name = "resnet20", .shortcut = Shortcut::pad}, image) == 269'722 - 650);
  CHECK(count({.name = "resnet56", .shortcut = Shortcut::pad}, image) == 853'018 - 650);
  check_names("resnet20/names", {.name = "resnet20"}, image);
  CHECK(count({.name = "resnet-cifar"}, image) == count({.name = "resnet20"}, image));
}

TEST_CASE("models: first and last names of each family") {
  const auto ends = [](const ModelConfig& config) {
    const std::vector<NamedVar> p = make(config, {32, 32, 3})->parameters();
    return p.front().name + " … " + p.back().name;
  };
  CHECK(ends({.name = "resnet20"}) == "conv1.weight … layer3.2.bn2.bias");
  CHECK(ends({.name = "bit-resnet50", .blocks = {1}, .base_width = 32}) == "stem.conv.weight … norm.bias");
  CHECK(ends({.name = "vit", .depth = 1}) == "cls_token … norm.bias");
  CHECK(ends({.name = "vit", .depth = 1, .pool = Pool::gap}) == "pos_embed … fc_norm.bias");
  CHECK(ends({.name = "vit", .depth = 1, .representation = 8}) == "cls_token … pre_logits.fc.bias");
  CHECK(ends({.name = "vit", .depth = 1, .pool = Pool::map}) == "pos_embed … attn_pool.mlp.fc2.bias");
  CHECK(ends({.name = "vit", .depth = 1, .pool = Pool::map, .norm = LastNorm::pooled}) == "pos_embed … fc_norm.bias");
  CHECK(ends({.name = "resnet20", .stem = Stem::deep}) == "conv1.0.weight … layer3.2.bn2.bias");
}

TEST_CASE("models: widths, arithmetic and output shapes") {
  // Multiply-adds as papers and timm count them, twice: ResNet-50 4.09 G, ViT-S/16 4.61 G with its classifier, at
  // 224×224.
  CHECK(make({.name = "resnet50"})->flops_per_image() / 2e9 == doctest::Approx(4.09).epsilon(0.01));
  CHECK(make({.name = "resnet18"})->flops_per_image() / 2e9 == doctest::Approx(1.81).epsilon(0.01));
  CHECK(make({.name = "vit-s"})->flops_per_image() / 2e9 == doctest::Approx(4.60).epsilon(0.01));
  CHECK(make({.name = "resnet20"}, {32, 32, 3})->flops_per_image() / 2e6 == doctest::Approx(40.8).epsilon(0.01));

  const std::vector<ModelConfig> configs = {
      {.name = "resnet-cifar", .blocks = {1, 1}, .base_width = 4},
      {.name = "resnet18", .blocks = {1, 1}, .base_width = 4, .stem = Stem::cifar2},
      {.name = "bit-resnet50", .blocks = {1}, .base_width = 32, .stem = Stem::cifar},
      {.name = "resnet50-d", .blocks = {1, 1, 1}, .base_width = 4},
      {.name = "resnext50-32x4d", .blocks = {1, 1}, .base_width = 16},
      {.name = "resnet18", .blocks = {1, 1, 1}, .base_width = 4, .stem = Stem::deep},
      {.name = "resnet20", .shortcut = Shortcut::pad},
      {.name = "wide-resnet10-1", .stem = Stem::cifar2, .dropout = 0.5},
      {.name = "vit", .patch = 4, .width = 12, .depth = 1, .pool = Pool::map},
      {.name = "vit", .patch = 4, .width = 12, .depth = 1},
      {.name = "vit", .patch = 4, .width = 12, .depth = 1, .representation = 7}};
  for (const ModelConfig& config : configs) {
    const auto backbone = make(config, {12, 16, 1});
    const Var phi = backbone->forward(Var(Tensor::full({3, 12, 16, 1}, 0.5)), {});
    CHECK(phi.shape() == Shape{3, backbone->width()});
    CHECK(backbone->forward(Var(Tensor::full({1, 12, 16, 1}, 0.5)), {}).shape() == Shape{1, backbone->width()});
  }
}

TEST_CASE("models: new tokens and factors start as timm's") {
  Init init(3);
  const auto vit = make_backbone({.name = "vit",
                                  .width = 192,
                                  .depth = 1,
                                  .pool = Pool::map,
                                  .class_token = ClassToken::yes,
                                  .registers = 4,
                                  .layer_scale = 1e-5},
                                 {32, 32, 3}, init);
  const auto values = [&](const std::string& name) {
    for (const NamedVar& p : vit->parameters())
      if (p.name == name) return p.var.value().to_vector<double>();
    throw Error("no parameter " + name);
  };
  const auto rms = [&](const std::string& name) {
    double sum = 0;
    for (const double v : values(name)) sum += v * v;
    return std::sqrt(sum / static_cast<double>(values(name).size()));
  };
  for (const char* name : {"blocks.0.ls1.gamma", "blocks.0.ls2.gamma"})
    CHECK(values(name) == std::vector<double>(192, static_cast<double>(1e-5F)));
  CHECK(rms("reg_token") == doctest::Approx(1e-6).epsilon(0.1));  // of 768 draws: ± 2.6 %
  // A normal of deviation 192^−½ cut at two of them has 0.88 of it left (timm's trunc_normal_tf_); of 192 draws: ± 4 %.
  CHECK(rms("attn_pool.latent") == doctest::Approx(0.88 / std::sqrt(192.0)).epsilon(0.15));
  for (const double v : values("attn_pool.latent")) CHECK(std::abs(v) <= 2 / std::sqrt(192.0));
  CHECK(rms("attn_pool.kv.weight") == doctest::Approx(0.02).epsilon(0.02));
}

TEST_CASE("models: what a configuration may not say of the published variants") {
  using Case = std::pair<ModelConfig, std::string>;
  const std::vector<Case> of_the_other_family = {{{.name = "vit-ti", .shortcut = Shortcut::avg}, "shortcut"},
                                                 {{.name = "vit-ti", .groups = 2}, "groups"},
                                                 {{.name = "vit-ti", .width_per_group = 4}, "width_per_group"},
                                                 {{.name = "resnet20", .class_token = ClassToken::no}, "class_token"},
                                                 {{.name = "resnet20", .norm = LastNorm::pooled}, "norm"},
                                                 {{.name = "resnet20", .positions = Positions::all}, "positions"},
                                                 {{.name = "resnet20", .registers = 4}, "registers"},
                                                 {{.name = "resnet20", .layer_scale = 0.1}, "layer_scale"},
                                                 {{.name = "resnet20", .qk_norm = true}, "qk_norm"},
                                                 {{.name = "resnet20", .pre_norm = true}, "pre_norm"},
                                                 {{.name = "bit-resnet50", .norm_eps = 1e-5}, "norm_eps"},
                                                 {{.name = "bit-resnet50", .shortcut = Shortcut::avg}, "shortcut"},
                                                 {{.name = "bit-resnet50", .groups = 2}, "groups"},
                                                 {{.name = "bit-resnet50", .width_per_group = 4}, "width_per_group"},
                                                 // two 3×3 in a block
                                                 {{.name = "resnet18", .groups = 2}, "groups"},
                                                 {{.name = "resnet20", .width_per_group = 4}, "width_per_group"}};
  for (const auto& [config, key] : of_the_other_family)
    CHECK(refusal(config) == "[model." + key + "] is not a setting of " + config.name);

  CHECK(refusal({.name = "vit", .pool = Pool::token, .class_token = ClassToken::no}) ==
        "[model.class_token] expected yes with the pool token, which reads it, got no");
  CHECK(refusal({.name = "vit", .registers = -1}) == "[model.registers] expected 1 to 65536, got -1");
  CHECK(contains(refusal({.name = "vit", .layer_scale = -0.1}), "[model.layer_scale] expected 0 to 1000, got -0.1"));
  CHECK(contains(refusal({.name = "vit", .layer_scale = std::nan("")}), "[model.layer_scale]"));
  CHECK(contains(refusal({.name = "vit", .norm_eps = -1e-6}), "[model.norm_eps] expected a number between 0 and 1"));
  CHECK(contains(refusal({.name = "vit", .norm_eps = 1}), "[model.norm_eps]"));
  CHECK(refusal({.name = "vit", .pool = Pool::gap, .positions = Positions::patches}) == "accepted");

  CHECK(refusal({.name = "bit-resnet50", .stem = Stem::deep}) ==
        "[model.stem] expected imagenet, cifar, cifar2 of bit-resnet50, got deep");
  CHECK(contains(refusal({.name = "resnet20", .base_width = 7, .shortcut = Shortcut::pad}),
                 "[model.base_width] expected an even"));
  CHECK(contains(refusal({.name = "resnet20", .base_width = 7, .stem = Stem::deep}),
                 "[model.base_width] expected an even"));
  CHECK(contains(refusal({.name = "resnet50", .groups = -2}), "[model.groups] expected 1 to 65536, got -2"));
  CHECK(contains(refusal({.name = "resnet50", .width_per_group = 65537}), "[model.width_per_group]"));
  CHECK(contains(refusal({.name = "resnext50-32x4d", .base_width = 8}),
                 "[model.width_per_group (channels of the first 3×3)] expected 1 to 4096, got 0"));
  CHECK(contains(refusal({.name = "resnet50", .groups = 65536}), "(channels of the first 3×3)"));
}

TEST_CASE("models: what a configuration may not say") {
  CHECK(contains(refusal({.name = "resnet2O"}), "[model.name] unknown backbone resnet2O (did you mean \"resnet20\"?)"));
  CHECK(contains(refusal({.name = ""}), "[model.name]"));
  CHECK(refusal({.name = "vit-ti", .blocks = {1}}) == "[model.blocks] is not a setting of vit-ti");
  CHECK(refusal({.name = "vit-ti", .stem = Stem::cifar}) == "[model.stem] is not a setting of vit-ti");
  CHECK(refusal({.name = "resnet20", .patch = 4}) == "[model.patch] is not a setting of resnet20");
  CHECK(refusal({.name = "resnet20", .dropout = 0.1}) == "[model.dropout] is not a setting of resnet20");
  CHECK(contains(refusal({.name = "resnet20", .blocks = {1, 0}}), "[model.blocks] expected 1 to 1024, got 0"));
  CHECK(contains(refusal({.name = "resnet20", .base_width = -1}), "[model.base_width]"));
  CHECK(contains(refusal({.name = "bit-resnet50", .base_width = 48}), "expected a multiple of 32"));
  CHECK(contains(refusal({.name = "vit-ti", .patch = 5}), "[model.patch] expected a divisor of the image's 32 by 32"));
  CHECK(contains(refusal({.name = "vit-ti", .heads = 5}), "[model.heads] expected a divisor of the width 192, got 5"));
  CHECK(contains(refusal({.name = "vit-ti", .dropout = 1}), "[model.dropout]"));
  CHECK(contains(refusal({.name = "vit-ti", .drop_path = -0.5}), "[model.drop_path]"));
  CHECK(contains(refusal({.name = "vit-ti", .depth = 1'000'000}), "[model.depth]"));
  CHECK(contains(refusal({.name = "resnet20"}, {32, 32}), "expected images (H,W,C)"));
  const auto vit = make({.name = "vit", .depth = 1}, {32, 32, 3});
  CHECK_THROWS_AS(vit->forward(Var(Tensor::zeros({1, 48, 32, 3})), {}), Error);
  CHECK_THROWS_AS(vit->forward(Var(Tensor::zeros({1, 32, 32, 1})), {}), Error);
}

// The text tower against PyTorch's encoder layers (tests/fixtures/text.py), and what it promises beside them.

#include "layers/models/text.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "core/safetensors.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr int64_t kVocabulary = 11;

TextConfig small_config(TextPool pool) {
  return {.context = 7, .width = 8, .depth = 2, .heads = 2, .mlp = 20, .pool = pool};
}

std::unique_ptr<TextTower> tower_of(const TextConfig& config) {
  Init init(5);
  auto tower = std::make_unique<TextTower>(config, kVocabulary, init);
  set_hash_parameters(*tower);
  return tower;
}

/// Two captions, the second ending at position 3.
Tensor two_captions() { return Tensor::from<int64_t>({1, 4, 5, 6, 7, 8, 2, 1, 9, 3, 2, 0, 0, 0}, {2, 7}); }
Tensor two_ends() { return Tensor::from<int64_t>({6, 3}, {2}); }

std::vector<float> psi(const TextTower& tower, const Tensor& tokens, const Tensor& ends) {
  return tower.forward(tokens, ends, {}).value().to_vector<float>();
}

/// Row n of ψ (N,8).
std::vector<float> row(const std::vector<float>& all, size_t n) {
  return {all.begin() + static_cast<std::ptrdiff_t>(8 * n), all.begin() + static_cast<std::ptrdiff_t>(8 * n + 8)};
}

}  // namespace

TEST_CASE("text: output and every gradient equal PyTorch's") {
  const TensorFile file = load_safetensors("tests/fixtures/text.safetensors");
  for (const TextPool pool : {TextPool::last, TextPool::token}) {
    CAPTURE(pool);
    const auto tower = tower_of(small_config(pool));
    const Var out = tower->forward(file.at("tokens"), file.at("ends"), {.training = true});
    // f32 against f64, relative to the largest element
    CHECK(relative_error(out.value(), file.at(name_of(pool) + "/psi")) <= 1e-5);
    sum(out * Var(hash_tensor(out.shape(), hash_name("cotangent")))).backward();
    const std::vector<NamedVar> parameters = tower->parameters();
    CHECK(parameters.size() == 4 + 2 * 12);
    for (const NamedVar& p : parameters) {
      CAPTURE(p.name);
      CHECK(relative_error(p.var.grad(), file.at(name_of(pool) + "/grad/" + p.name)) <= 1e-4);
    }
  }
}

TEST_CASE("text: with causal attention, nothing behind the end marker is seen; with full attention, everything is") {
  Tensor other = two_captions();
  for (const int64_t at : {11, 12, 13}) other.data<int64_t>()[at] = 10;
  const auto last = tower_of(small_config(TextPool::last)), token = tower_of(small_config(TextPool::token));
  CHECK(psi(*last, other, two_ends()) == psi(*last, two_captions(), two_ends()));
  CHECK(row(psi(*token, other, {}), 0) == row(psi(*token, two_captions(), {}), 0));
  CHECK(row(psi(*token, other, {}), 1) != row(psi(*token, two_captions(), {}), 1));
  // What stands before the marker is seen.
  other = two_captions();
  other.data<int64_t>()[8] = 10;
  CHECK(row(psi(*last, other, two_ends()), 1) != row(psi(*last, two_captions(), two_ends()), 1));
  CHECK(row(psi(*last, other, two_ends()), 0) == row(psi(*last, two_captions(), two_ends()), 0));
}

TEST_CASE("text: dropout draws by seed and step, and a recomputed block gives the same bits") {
  TextConfig config = small_config(TextPool::last);
  config.dropout = 0.2;
  const auto results = [&](const Context& context) {
    const auto tower = tower_of(config);
    const Var out = tower->forward(two_captions(), two_ends(), context);
    sum(square(out)).backward();
    std::vector<float> all = out.value().to_vector<float>();
    for (const NamedVar& p : tower->parameters())
      for (const float g : p.var.grad().to_vector<float>()) all.push_back(g);
    return all;
  };
  const std::vector<float> once = results({.training = true, .seed = 3, .step = 4});
  CHECK(results({.training = true, .seed = 3, .step = 5}) != once);
  config.recompute = true;
  CHECK(results({.training = true, .seed = 3, .step = 4}) == once);
  const auto tower = tower_of(config);
  CHECK(tower->forward(two_captions(), two_ends(), {.seed = 1}).value().to_vector<float>() ==
        tower->forward(two_captions(), two_ends(), {.seed = 2}).value().to_vector<float>());
}

TEST_CASE("text: initial embeddings, sizes and operations") {
  Init init(1);
  TextTower tower({.context = 16, .width = 64, .depth = 1, .heads = 2}, 500, init);
  CHECK(tower.width() == 64);
  CHECK(tower.vocabulary() == 500);
  // 2 T (4 W² + 2 W · 4 W) + 4 T² W
  CHECK(tower.flops_per_text() == 2.0 * 16 * 12 * 64 * 64 + 4.0 * 16 * 16 * 64);
  for (const NamedVar& p : tower.parameters()) {
    const double std = p.name == "token_embedding.weight" ? 0.02 : p.name == "positional_embedding" ? 0.01 : 0;
    if (std == 0) continue;
    CAPTURE(p.name);
    const double got = std::sqrt(mean(square(p.var)).value().item());
    CHECK(got == doctest::Approx(std).epsilon(0.1));  // 1,024 elements and more: 4 standard errors of 2.2 %
  }
}

TEST_CASE("text: tokens and ends that do not fit are refused") {
  const auto tower = tower_of(small_config(TextPool::last));
  const auto message = [&](const Tensor& tokens, const Tensor& ends) {
    return error_of([&] { psi(*tower, tokens, ends); });
  };
  CHECK(message(two_captions(), two_ends()).empty());
  CHECK(one_line_with(message(two_captions().reshape({7, 2}), two_ends()), "[text] expected tokens (N, 7)", "(7, 2)"));
  CHECK(one_line_with(message(two_captions(), {}), "[text] ends expected (2)"));
  CHECK(one_line_with(message(two_captions(), Tensor::from<int64_t>({6, 7}, {2})), "ends in 0 to 6", "7", "row 1"));
  CHECK(one_line_with(message(two_captions(), Tensor::from<int64_t>({-1, 6}, {2})), "-1", "row 0"));
  CHECK(one_line_with(message(two_captions(), Tensor::from<float>({1, 2}, {2})), "ends in i64"));
  Tensor unknown = two_captions();
  unknown.data<int64_t>()[5] = kVocabulary;
  CHECK(one_line_with(message(unknown, two_ends()), "11", "5"));
}

TEST_CASE("text: a wrong configuration is refused by its key") {
  const auto refusal = [](auto&& change, int64_t vocabulary = kVocabulary) {
    TextConfig config = small_config(TextPool::last);
    change(config);
    try {
      Init init = Init::blank();
      TextTower(config, vocabulary, init);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal([](TextConfig& c) { c.mlp = 0; }) == "accepted");
  CHECK(refusal([](TextConfig& c) { c.context = 0; }).starts_with("[text.context] expected 1 to 65536"));
  CHECK(refusal([](TextConfig& c) { c.width = 0; }).starts_with("[text.width]"));
  CHECK(refusal([](TextConfig& c) { c.width = INT64_MAX, c.mlp = 0; }).starts_with("[text.width]"));
  CHECK(refusal([](TextConfig& c) { c.depth = -1; }).starts_with("[text.depth]"));
  CHECK(refusal([](TextConfig& c) { c.heads = 3; }) == "[text.heads] expected a divisor of the width 8, got 3");
  CHECK(refusal([](TextConfig& c) { c.heads = 0; }).starts_with("[text.heads]"));
  CHECK(refusal([](TextConfig& c) { c.mlp = -4; }).starts_with("[text.mlp]"));
  CHECK(refusal([](TextConfig& c) { c.dropout = 1; }).starts_with("[text.dropout]"));
  CHECK(refusal([](TextConfig&) {}, 0).starts_with("[text (size of the vocabulary)]"));
}

}  // namespace sked::test

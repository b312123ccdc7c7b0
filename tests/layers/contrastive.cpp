// Contrastive image–text training: the head against PyTorch (tests/fixtures/contrastive.py), and the streaming loss
// against the composition of ops it replaces, over sizes that no tile divides.

#include "layers/heads/contrastive.h"

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "core/allocator.h"
#include "core/kernel.h"
#include "core/safetensors.h"
#include "layers/heads/composed.h"
#include "layers/heads/streaming.h"
#include "tests/common/compare.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"
#include "tests/layers/sampled_logits.h"

namespace sked::test {
namespace {

/// B pairs in a space of width D.
Problem pairs(int64_t B, int64_t S, int64_t D, int64_t R, Problem more = {}) {
  more.B = B, more.S = S, more.D = D, more.K = B, more.R = R, more.bias = false;
  return more;
}

const std::vector<Problem> kGrid = {
    pairs(6, 5, 6, 2, {.normalize = true}),
    pairs(6, 5, 6, 2),
    pairs(5, 4, 6, 3, {.full = true, .normalize = true}),
    pairs(5, 4, 6, 3, {.full = true}),
    pairs(7, 3, 5, 0, {.normalize = true}),
    pairs(7, 3, 5, 0),
    pairs(5, 7, 6, 2, {.antithetic = true, .normalize = true}),
    pairs(5, 6, 6, 0, {.antithetic = true}),
    pairs(1, 3, 4, 2, {.normalize = true}),
    pairs(6, 1, 4, 2, {.normalize = true}),
    pairs(1, 1, 1, 1, {.normalize = true}),
    pairs(9, 1, 4, 0, {.noise = false}),
    pairs(1, 1, 3, 0, {.noise = false}),
    pairs(33, 6, 17, 3, {.normalize = true}),
    pairs(90, 2, 9, 2, {.antithetic = true, .normalize = true}),
    pairs(6, 5, 6, 2, {.normalize = true, .shared_diagonal = true}),
    pairs(7, 4, 5, 0, {.antithetic = true, .shared_diagonal = true}),
};

const std::vector<TileSize> kTiles = {{0, 0}, {1, 4}, {2, 8}, {3, 20}, {1000, 1000}};

std::string describe(const Problem& p, TileSize tile) {
  std::ostringstream out;
  out << "B" << p.B << " S" << p.S << " D" << p.D << " R" << p.R << (p.full ? " full" : "")
      << (p.normalize ? " normalized" : "") << (p.antithetic ? " antithetic" : "") << (p.noise ? "" : " without noise")
      << (p.shared_diagonal ? " shared" : "") << " tile " << tile.samples << "x" << tile.classes;
  return out.str();
}

/// As values(), with texts over a temperature of about 0.2.
TensorList pair_values(const Problem& p) {
  TensorList x = values(p);
  x[4] = hash_tensor({p.B, p.D}, 5, 5);
  return x;
}

Result streaming(const Problem& p, TileSize tile) {
  const std::vector<Var> x = leaves(pair_values(p));
  return run(x, mean(streaming_contrastive(logits_of(p, x), tile)));
}

std::unique_ptr<ContrastiveHead> head_of(const ContrastConfig& config, int64_t image_width, int64_t text_width) {
  Init init(5);
  return std::make_unique<ContrastiveHead>(config, image_width, text_width, init);
}

ContrastConfig small_config(ContrastKind kind, Factors factors, ContrastNoise noise) {
  ContrastConfig config;
  config.kind = kind;
  config.width = 6;
  config.noise.factors = factors;
  config.noise.rank = 2;
  config.train_samples = 12;
  config.noise_place = noise;
  return config;
}

struct Case {
  ContrastKind kind;
  Factors factors;
  ContrastNoise noise;
  std::string name() const {
    return name_of(kind) + "/" + (kind == ContrastKind::det ? "none" : name_of(factors)) + "/" + name_of(noise);
  }
  ContrastConfig config() const { return small_config(kind, factors, noise); }
};

std::vector<Case> all_cases() {
  std::vector<Case> cases = {{ContrastKind::det, Factors::efficient, ContrastNoise::before}};
  for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal})
    for (const ContrastNoise noise : {ContrastNoise::before, ContrastNoise::after})
      cases.push_back({ContrastKind::het_xl, factors, noise});
  return cases;
}

Tensor images(int64_t pairs, int64_t width = 7) { return hash_tensor({pairs, width}, hash_name("image"), 1.5F); }
Tensor texts(int64_t pairs) { return hash_tensor({pairs, 5}, hash_name("text"), 1.5F); }

/// The loss and its gradients by image, text and parameters.
std::vector<NamedTensor> evaluate(ContrastiveHead& head, const Tensor& image, const Tensor& text,
                                  const Context& context) {
  for (NamedVar& p : head.parameters()) p.var.clear_grad();
  const Var x(image, true), y(text, true);
  const Var loss = head.loss(x, y, context);
  loss.backward();
  std::vector<NamedTensor> all = {{"loss", loss.value()}, {"grad/image", x.grad()}, {"grad/text", y.grad()}};
  for (const NamedVar& p : head.parameters()) all.emplace_back("grad/" + p.name, p.var.grad());
  return all;
}

}  // namespace

TEST_CASE("contrastive: loss and every gradient equal PyTorch's") {
  const TensorFile file = load_safetensors("tests/fixtures/contrastive.safetensors");
  for (const Case& c : all_cases()) {
    for (const Likelihood likelihood : {Likelihood::streaming, Likelihood::composed}) {
      ContrastConfig config = c.config();
      config.likelihood = likelihood;
      const auto head = head_of(config, 7, 5);
      set_hash_parameters(*head);
      for (const auto& [name, got] : evaluate(*head, images(5), texts(5), {true, 20230501, 0, file.at("examples")})) {
        const std::string key = c.name() + "/" + name;
        CAPTURE(key);
        CAPTURE(likelihood);
        // f32 against f64, relative to the largest element.
        CHECK(relative_error(got, file.at(key)) <= 1e-4);
      }
    }
  }
}

TEST_CASE("contrastive: streaming gives the composition's loss and gradients, whatever the tiles") {
  for (const Problem& p : kGrid) {
    const std::vector<Var> x = leaves(pair_values(p));
    const Result want = run(x, mean(composed_contrastive(logits_of(p, x))));
    for (const TileSize tile : kTiles) {
      CAPTURE(describe(p, tile));
      check_same(streaming(p, tile), want, 1e-5);
    }
  }
}

TEST_CASE("contrastive: gradcheck in float64") {
  for (const Problem& p : kGrid) {
    if (p.B * p.S * p.D > 200) continue;
    CAPTURE(describe(p, {2, 4}));
    TensorList inputs;
    for (const Tensor& t : pair_values(p))
      if (t.defined()) inputs.push_back(t.to(DType::f64));
    const auto f = [&](const std::vector<Var>& in) {
      std::vector<Var> x;
      size_t next = 0;
      for (const Tensor& t : pair_values(p)) x.push_back(t.defined() ? in[next++] : Var());
      return streaming_contrastive(logits_of(p, x), {2, 4});
    };
    const GradcheckResult result = gradcheck(f, inputs);
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("contrastive: one thread and two give the same bits") {
  const ReferenceOnly definitions;  // a library's products may be cut by the number of threads
  const Problem p = pairs(40, 6, 24, 3, {.normalize = true});
  const auto all = [&] {
    const Result result = streaming(p, {2, 16});
    std::vector<double> bits = {result.loss};
    for (const Tensor& g : result.gradients)
      if (g.defined())
        for (const double v : g.to_vector<double>()) bits.push_back(v);
    const auto count = static_cast<int64_t>(bits.size());
    return Tensor::from(bits, {count});
  };
  check_same_for_any_threads(all, "contrastive");
}

TEST_CASE("contrastive: pairs carry their noise with them, and the loss does not see their order") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.name());
    const auto head = head_of(c.config(), 7, 5);
    const Tensor image = images(4), text = texts(4);
    const auto order = Tensor::from<int64_t>({2, 0, 3, 1}, {4});
    const auto ordered = [&](const Tensor& t) {
      Tensor y = Tensor::like(t);
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t from = order.data<int64_t>()[i];
        y.rows(i, i + 1).copy_from(t.rows(from, from + 1));
      }
      return y;
    };
    const Context plain{true, 3, 8, first_examples(4)}, turned{true, 3, 8, order};
    const double loss = head->loss(Var(image), Var(text), plain).value().item();
    CHECK(head->loss(Var(ordered(image)), Var(ordered(text)), turned).value().item() ==
          doctest::Approx(loss).epsilon(1e-5));
    // The noise is there: it changes with the step, and for DET it is not.
    const double later = head->loss(Var(image), Var(text), {true, 3, 9, first_examples(4)}).value().item();
    CHECK((later == loss) == (c.kind == ContrastKind::det));
  }
}

TEST_CASE("contrastive: embeddings have length 1, no noise, and no memory of training") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.name());
    const auto head = head_of(c.config(), 7, 5);
    const std::vector<float> image = head->embed_images(images(4)).to_vector<float>(),
                             text = head->embed_texts(texts(4)).to_vector<float>();
    for (const std::vector<float>& e : {image, text}) {
      REQUIRE(e.size() == 4 * 6);
      for (size_t i = 0; i < 4; ++i) {
        double square = 0;
        for (size_t d = 0; d < 6; ++d) square += double{e[6 * i + d]} * e[6 * i + d];
        CHECK(square == doctest::Approx(1).epsilon(1e-6));
      }
    }
    for (const uint64_t seed : {1, 2}) {
      head->loss(Var(images(4)), Var(texts(4)), {true, seed, seed, first_examples(4)});
      CHECK(head->embed_images(images(4)).to_vector<float>() == image);
      CHECK(head->embed_texts(texts(4)).to_vector<float>() == text);
    }
  }
}

TEST_CASE("contrastive: without noise left, HET-XL is DET") {
  const Context context{true, 3, 8, first_examples(6)};
  const auto det = head_of(small_config(ContrastKind::det, Factors::efficient, ContrastNoise::before), 7, 5);
  set_hash_parameters(*det);
  const double want = det->loss(Var(images(6)), Var(texts(6)), context).value().item();
  for (const Case& c : all_cases()) {
    if (c.kind == ContrastKind::det) continue;
    CAPTURE(c.name());
    const auto head = head_of(c.config(), 7, 5);
    set_hash_parameters(*head);
    for (NamedVar& p : head->parameters())
      if (p.name.starts_with("noise.")) p.var.mutable_value().fill(p.name == "noise.diagonal.bias" ? -100 : 0);
    // d(x) = 1e-3 is left, which moves logits of 1/τ = 10 by about a hundredth, averaged over samples
    CHECK(head->loss(Var(images(6)), Var(texts(6)), context).value().item() == doctest::Approx(want).epsilon(5e-3));
  }
}

// Without V and all but without d the noise is its mean: v(x) ⊙ c is added to φ, which the projection's bias would be
// with v = 1. So the loss is that of images moved by what the projection maps to c.
TEST_CASE("contrastive: a bias of the factors moves the images") {
  const Context context{true, 3, 8, first_examples(6)};
  ContrastConfig config = small_config(ContrastKind::het_xl, Factors::efficient, ContrastNoise::before);
  config.noise.factor_bias = true;
  const auto head = head_of(config, 6, 5), plain = head_of(config, 6, 5);
  for (ContrastiveHead* h : {head.get(), plain.get()}) {
    set_hash_parameters(*h);
    for (NamedVar& p : h->parameters()) {
      Tensor& value = p.var.mutable_value();
      if (p.name.starts_with("noise.")) value.fill(p.name == "noise.diagonal.bias" ? -100 : 0);
      if (p.name == "noise.factors.bias") value.fill(1);
      if (p.name == "noise.v_bias" && h == head.get()) value.fill(0.5);
      if (p.name == "image_projection.weight") {  // the identity
        value.fill(0);
        for (int64_t i = 0; i < 6; ++i) value.data<float>()[7 * i] = 1;
      }
    }
  }
  const Var moved = Var(images(6, 6)) + 0.5;
  const double want = plain->loss(moved, Var(texts(6)), context).value().item();
  CHECK(head->loss(Var(images(6, 6)), Var(texts(6)), context).value().item() == doctest::Approx(want).epsilon(5e-3));
  CHECK(std::abs(plain->loss(Var(images(6, 6)), Var(texts(6)), context).value().item() - want) > 0.05 * want);
}

TEST_CASE("contrastive: names, temperature and extra parameters") {
  const int64_t D = 6, R = 2;
  for (const Case& c : all_cases()) {
    CAPTURE(c.name());
    ContrastConfig config = c.config();
    const auto head = head_of(config, 7, 5);
    const std::vector<NamedVar> parameters = head->parameters();
    CHECK(parameters[0].name == "image_projection.weight");
    CHECK(parameters[0].var.shape() == Shape{D, 7});
    CHECK(parameters[1].name == "text_projection.weight");
    CHECK(parameters[1].var.shape() == Shape{D, 5});
    CHECK(parameters[2].name == "temperature.t");
    CHECK(head->temperature() == doctest::Approx(0.1));
    int64_t expected = 1;
    if (c.kind == ContrastKind::het_xl) {
      expected += D * (D + 1);
      if (c.factors == Factors::full) expected += D * R * (D + 1);
      if (c.factors == Factors::efficient) expected += D * (D + 1) + D * R;
    }
    CHECK(head->extra_parameters() == expected);
    config.temperature.learn = false;
    config.temperature.value = 0.07;
    CHECK(head_of(config, 7, 5)->temperature() == 0.07);
    CHECK(head_of(config, 7, 5)->extra_parameters() == expected - 1);
  }
}

TEST_CASE("contrastive: a tensor of all sampled logits never exists") {
  const auto extra = [](int64_t S) {  // bytes above what inputs and their gradients need
    const Problem p = pairs(256, S, 8, 2, {.normalize = true});
    const std::vector<Var> x = leaves(pair_values(p));
    CachingAllocator& memory = allocator(Device::cpu);
    memory.reset_peak();
    const size_t before = memory.stats().live;
    mean(streaming_contrastive(logits_of(p, x), {4, 64})).backward();
    return static_cast<double>(memory.stats().peak - before);
  };
  const double few = extra(4), many = extra(32);
  CHECK(many <= few + 16 * 256 * 28 * 4);  // O(B S): a handful of numbers a sample and pair
  CHECK(many < 0.2 * 256 * 32 * 256 * 4);
  CHECK(few < 256 * 4 * 256 * 4);
}

TEST_CASE("contrastive: what does not fit is refused") {
  const Problem p = pairs(3, 2, 4, 1, {.normalize = true});
  const std::vector<Var> x = leaves(pair_values(p));
  const auto refusal = [&](auto&& change) {
    SampledLogits a = logits_of(p, x);
    change(a);
    return error_of([&] { streaming_contrastive(a); });
  };
  CHECK(refusal([](SampledLogits&) {}).empty());
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.weight = Var(a.weight.value().rows(0, 2)); }),
                      "as many texts as images, 3", "got 2"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.weight = Var(); }), "weight beside normalize"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.scales.d = Var(); }), "one sample", "2 samples"));
  CHECK(
      one_line_with(refusal([](SampledLogits& a) { a.scales.v = a.scales.factors; }), "[streaming] v expected (3, 4)"));

  const auto head = head_of(small_config(ContrastKind::het_xl, Factors::full, ContrastNoise::before), 7, 5);
  const auto message = [&](const Tensor& image, const Tensor& text, const Context& context) {
    return error_of([&] { head->loss(Var(image), Var(text), context); });
  };
  const Context good{true, 1, 0, first_examples(2)};
  CHECK(message(images(2), texts(2), good).empty());
  CHECK(message(texts(2), texts(2), good) == "[contrast] expected images (B, 7) with B >= 1, got (2, 5) f32 on cpu");
  CHECK(message(images(2), images(2), good) == "[contrast] expected texts (B, 5) with B >= 1, got (2, 7) f32 on cpu");
  CHECK(one_line_with(message(images(0), texts(0), good), "[contrast] expected images", "(0, 7)"));
  CHECK(one_line_with(message(images(2), texts(3), good), "as many texts as images", "(3, 5)", "(2, 7)"));
  CHECK(one_line_with(message(images(2), texts(2), {}), "[head] expected the global index of each of 2"));
}

TEST_CASE("contrastive: a wrong configuration is refused by its key") {
  const auto refusal = [](auto&& change, int64_t image_width = 7) {
    ContrastConfig config = small_config(ContrastKind::het_xl, Factors::efficient, ContrastNoise::before);
    change(config);
    try {
      head_of(config, image_width, 5);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal([](ContrastConfig&) {}) == "accepted");
  CHECK(refusal([](ContrastConfig& c) { c.width = 0; }) == "[contrast.width] expected 1 to 65536, got 0");
  CHECK(refusal([](ContrastConfig& c) { c.width = int64_t{1} << 40; }).starts_with("[contrast.width]"));
  CHECK(refusal([](ContrastConfig& c) { c.noise.rank = 0; }).starts_with("[contrast.rank] expected 1 to 6"));
  CHECK(refusal([](ContrastConfig& c) { c.noise.rank = 7; }).starts_with("[contrast.rank]"));
  CHECK(refusal([](ContrastConfig& c) { c.noise.rank = 7, c.noise.factors = Factors::diagonal; }) == "accepted");
  CHECK(refusal([](ContrastConfig& c) { c.noise.rank = 7, c.kind = ContrastKind::det; }) == "accepted");
  for (const int64_t samples : {int64_t{0}, int64_t{1} << 40})
    CHECK(refusal([=](ContrastConfig& c) { c.train_samples = samples; }).starts_with("[contrast.train_samples]"));
  CHECK(refusal([](ContrastConfig& c) { c.temperature.value = -1; }).starts_with("[contrast.temperature]"));
  CHECK(refusal([](ContrastConfig& c) { c.temperature.lo = 0; }).starts_with("[contrast.temperature_lo]"));
  CHECK(refusal([](ContrastConfig& c) { c.temperature.hi = 0.005; }).starts_with("[contrast.temperature_hi]"));
  CHECK(
      refusal([](ContrastConfig& c) { c.noise.init_scale = std::nan(""); }).starts_with("[contrast.noise_init_scale]"));
  CHECK(refusal([](ContrastConfig&) {}, 0).starts_with("[contrast] expected towers"));
}

}  // namespace sked::test

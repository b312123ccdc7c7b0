// A weight that is not a number makes every head say so: it must not become a probability of 0 or a uniform answer.

#include <doctest/doctest.h>

#include <cmath>

#include "layers/heads/contrastive.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr int64_t kRows = 5, kWidth = 6, kClasses = 7;

bool any_nan(const Tensor& t) {
  for (const double v : t.to_vector<double>())
    if (std::isnan(v)) return true;
  return false;
}

std::unique_ptr<Head> head_of(const HeadConfig& config) {
  Init init(5);
  return make_head(config, kWidth, kClasses, init);
}

/// Calls check(name) with one element of each parameter made NaN in turn: the first, and the last.
template <class F>
void for_each_spoiled(Module& module, F&& check) {
  for (NamedVar& p : module.parameters()) {
    Tensor value = p.var.mutable_value();
    const int64_t last = value.numel() - 1;
    for (const int64_t i : {int64_t{0}, last}) {
      const float before = value.data<float>()[i];
      value.data<float>()[i] = std::nanf("");
      check(p.name);
      value.data<float>()[i] = before;
    }
  }
}

void check_heads() {
  const Tensor phi = hash_tensor({kRows, kWidth}, hash_name("phi"), 1.5F);
  const Tensor distributions = Tensor::full({kRows, kClasses}, 1.0 / kClasses);
  const Tensor labels = hash_labels(kRows, kClasses, 3), multi_label = hash_tensor({kRows, kClasses}, 8, 0.5F, 0.5F);
  const Context context{true, 3, 8, first_examples(kRows)};
  for (const HeadCase& c : all_head_cases()) {
    for (const Likelihood likelihood : {Likelihood::streaming, Likelihood::composed}) {
      HeadConfig config = c.config();
      config.likelihood = likelihood;
      CAPTURE(c.name());
      CAPTURE(likelihood);
      const auto head = head_of(config);
      const Targets targets = c.targets(labels, distributions, multi_label);
      CHECK(!any_nan(head->loss(Var(phi), targets, context).value()));
      for_each_spoiled(*head, [&](const std::string& name) {
        CAPTURE(name);
        CHECK(any_nan(head->loss(Var(phi), targets, context).value()));
        CHECK(any_nan(head->predict(phi, 12, context)));
        CHECK(any_nan(head->predict(phi, 0, context)) == !name.starts_with("noise."));  // which it does not read
        CHECK(any_nan(head->noise_scale(phi)) == (name.starts_with("noise.") && name != "noise.v_bias"));
      });
      Tensor spoiled = phi.clone();
      spoiled.data<float>()[kWidth] = std::nanf("");  // of example 1
      CHECK(any_nan(head->loss(Var(spoiled), targets, context).value()));
      for (const int64_t samples : {0, 12}) {
        const Tensor p = head->predict(spoiled, samples, context);
        CHECK(!any_nan(p.rows(0, 1)));
        CHECK(any_nan(p.rows(1, 2)));
        CHECK(!any_nan(p.rows(2, kRows)));
      }
    }
  }
}

}  // namespace

TEST_CASE("nan: in a weight it reaches the loss and the probabilities of every head, link and likelihood") {
  check_heads();
}

TEST_CASE("nan: in a weight it reaches them with products in bf16 too") {
  if (!offers(Device::cpu, Precision::bf16)) return skip("no AVX512_BF16 here: NaN in products in bf16");
  const InBf16 rounded;
  check_heads();
}

TEST_CASE("nan: in a weight it reaches the loss and the embeddings of image-text training") {
  const Tensor image = hash_tensor({kRows, 7}, 1), text = hash_tensor({kRows, 5}, 2);
  const Context context{true, 3, 8, first_examples(kRows)};
  for (const ContrastKind kind : {ContrastKind::det, ContrastKind::het_xl}) {
    for (const Likelihood likelihood : {Likelihood::streaming, Likelihood::composed}) {
      for (const ContrastNoise noise : {ContrastNoise::before, ContrastNoise::after}) {
        ContrastConfig config{.kind = kind, .width = kWidth, .noise_place = noise, .likelihood = likelihood};
        config.noise.rank = 2;
        CAPTURE(kind);
        CAPTURE(likelihood);
        CAPTURE(noise);
        Init init(5);
        ContrastiveHead head(config, 7, 5, init);
        CHECK(!any_nan(head.loss(Var(image), Var(text), context).value()));
        for_each_spoiled(head, [&](const std::string& name) {
          CAPTURE(name);
          CHECK(any_nan(head.loss(Var(image), Var(text), context).value()));
          CHECK(any_nan(head.embed_images(image)) == name.starts_with("image_projection"));
          CHECK(any_nan(head.embed_texts(text)) == name.starts_with("text_projection"));
        });
      }
    }
  }
}

}  // namespace sked::test

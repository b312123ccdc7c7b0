// Smoothed targets: losses and gradients of every head against PyTorch (tests/fixtures/targets.py).

#include "layers/heads/targets.h"

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "core/safetensors.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {

namespace {

constexpr int64_t kRows = 5, kWidth = 6, kClasses = 4;
constexpr TargetValues kOnOff{.on = 0.95, .off = 0.02};

}  // namespace

TEST_CASE("targets: smoothed labels, smoothed distributions, on and off values as PyTorch has them") {
  const TensorFile file = load_safetensors("tests/fixtures/targets.safetensors");
  const Context context{true, 20230501, 0, file.at("examples")};
  const Tensor phi = hash_tensor({kRows, kWidth}, hash_name("phi"), 1.5F);
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    for (const std::string target : {"labels", "distributions", "on_off"}) {
      const std::string name = name_of(kind) + "/" + target;
      CAPTURE(name);
      const bool on_off = target == "on_off";
      Init init(7);
      const std::unique_ptr<Head> head = make_head(
          head_config(kind, Factors::efficient, on_off ? Link::sigmoid : Link::softmax), kWidth, kClasses, init);
      set_hash_parameters(*head);
      const Targets given = target == "distributions" ? Targets{.distributions = file.at("distributions")}
                                                      : Targets{.labels = file.at("labels")};
      const TargetValues values = on_off ? kOnOff : label_smoothing(0.1, kClasses);
      const Var loss = head->loss(Var(phi), with_values(given, values, kClasses, phi), context);
      const double expected = file.at(name + "/loss").item();
      CHECK(loss.value().item() == doctest::Approx(expected).epsilon(2e-6));  // f32 against f64
      CHECK(head->loss(Var(phi), given, context).value().item() != doctest::Approx(expected).epsilon(1e-5));
      loss.backward();
      for (const NamedVar& p : head->parameters()) {
        CAPTURE(p.name);
        CHECK(relative_error(p.var.grad(), file.at(name + "/grad/" + p.name)) <= 1e-5);
      }
    }
  }
}

TEST_CASE("targets: values of 1 and 0 change nothing, smoothed mixtures are mixtures of smoothed targets") {
  const Tensor labels = Tensor::from<int64_t>({2, 0, 3}, {3}), like = Tensor::zeros({1});
  const Targets hard{.labels = labels};
  CHECK(with_values(hard, {}, kClasses, like).labels.shares_storage(labels));
  CHECK(label_smoothing(0, kClasses) == TargetValues{});

  const Targets other{.labels = Tensor::from<int64_t>({1, 0, 2}, {3})};
  const auto mixed = [](const Tensor& a, const Tensor& b) { return (Var(a) * 0.3 + Var(b) * 0.7).value(); };
  const Tensor mixture = mixed(dense_targets(hard, kClasses, like), dense_targets(other, kClasses, like));
  for (const TargetValues values : {label_smoothing(0.2, kClasses), kOnOff}) {
    const auto smoothed = [&](const Targets& t) { return with_values(t, values, kClasses, like).distributions; };
    CHECK(relative_error(smoothed({.distributions = mixture}), mixed(smoothed(hard), smoothed(other))) < 2e-7);
  }
  double sum = 0;
  for (const double q :
       with_values(hard, label_smoothing(0.9, kClasses), kClasses, like).distributions.to_vector<double>())
    sum += q;
  CHECK(sum == doctest::Approx(3));
}

}  // namespace sked::test

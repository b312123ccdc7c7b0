// The contrastive loss of a batch of which each rank has some pairs, against one process that has all of them.

#include <doctest/doctest.h>

#include <numeric>

#include "autograd/elementwise.h"
#include "layers/heads/contrastive.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr int64_t kPairs = 11, kImage = 7, kText = 5;

struct Batch {
  Tensor image, text, examples = first_examples(kPairs);

  explicit Batch(DType dtype)
      : image(hash_tensor({kPairs, kImage}, 1, 1.5F).to(dtype)),
        text(hash_tensor({kPairs, kText}, 2, 1.5F).to(dtype)) {}
  Context context(Span rows, Communicator& ranks) const {
    Context context{true, 3, 8, examples.rows(rows.begin, rows.end)};
    context.ranks = &ranks;
    return context;
  }
};

std::unique_ptr<ContrastiveHead> head_of(const ContrastConfig& config, DType dtype) {
  Init init(5);
  auto head = std::make_unique<ContrastiveHead>(config, kImage, kText, init);
  for (NamedVar& p : head->parameters()) p.var.mutable_value() = hash_parameter(p.name, p.var.shape()).to(dtype);
  return head;
}

void check_on_ranks(const ContrastConfig& config, DType dtype, const std::vector<int64_t>& rows, double tolerance) {
  const Batch batch(dtype);
  const auto whole = head_of(config, dtype);
  const Var images(batch.image, true), texts(batch.text, true);
  const Var want = whole->loss(images, texts, batch.context({0, kPairs}, alone()));
  want.backward();
  on_ranks(std::ssize(rows), [&](Communicator& ranks) {
    const auto head = head_of(config, dtype);
    const int64_t begin = std::accumulate(rows.begin(), rows.begin() + ranks.rank(), int64_t{0});
    const Span mine{begin, begin + rows[static_cast<size_t>(ranks.rank())]};
    const Var image(batch.image.rows(mine.begin, mine.end), true), text(batch.text.rows(mine.begin, mine.end), true);
    const Var loss = head->loss(image, text, batch.context(mine, ranks));
    CHECK(loss.value().item() == doctest::Approx(want.value().item()).epsilon(tolerance));
    (loss * (static_cast<double>(mine.size()) / kPairs)).backward();
    const auto check = [&](const std::string& name, const Tensor& got, const Tensor& wanted) {
      CAPTURE(name);
      if (ranks.rank() == 0) CHECK(relative_error(got, wanted) <= tolerance);
    };
    check("image", all_gather_rows(ranks, image.grad()), images.grad());
    check("text", all_gather_rows(ranks, text.grad()), texts.grad());
    const std::vector<NamedVar> wholes = whole->parameters(), own = head->parameters();
    for (size_t i = 0; i < own.size(); ++i) {
      Tensor grad = own[i].var.grad();
      ranks.all_reduce(grad);
      check(own[i].name, grad, wholes[i].var.grad());
    }
  });
}

}  // namespace

TEST_CASE("contrastive on ranks: loss and every gradient are those of one process with all pairs") {
  for (const ContrastKind kind : {ContrastKind::det, ContrastKind::het_xl}) {
    for (const ContrastNoise place : {ContrastNoise::before, ContrastNoise::after}) {
      for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal}) {
        if (kind == ContrastKind::det && (factors != Factors::full || place != ContrastNoise::before)) continue;
        for (const Likelihood likelihood : {Likelihood::streaming, Likelihood::composed}) {
          CAPTURE(kind);
          CAPTURE(place);
          CAPTURE(factors);
          CAPTURE(likelihood);
          ContrastConfig config;
          config.kind = kind;
          config.width = 6;
          config.noise.factors = factors;
          config.noise.rank = 2;
          config.noise.factor_bias = factors == Factors::efficient;
          config.noise.antithetic = place == ContrastNoise::after;
          config.train_samples = 6;
          config.noise_place = place;
          config.likelihood = likelihood;
          check_on_ranks(config, DType::f64, {6, 5}, 1e-10);
          check_on_ranks(config, DType::f64, {2, 5, 1, 3}, 1e-10);
          check_on_ranks(config, DType::f32, {4, 1, 6}, 1e-4);
        }
      }
    }
  }
}

}  // namespace sked::test

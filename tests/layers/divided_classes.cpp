// Classes divided among ranks against one process that has them all: likelihoods, predictions and gradients, of
// descriptions of logits and of heads.

#include <doctest/doctest.h>

#include <numeric>
#include <sstream>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "layers/heads/streaming.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"
#include "tests/layers/heads_common.h"
#include "tests/layers/sampled_logits.h"

namespace sked::test {
namespace {

Tensor cut(const Tensor& t, int axis, Span part) {
  return t.defined() ? slice(Var(t), axis, part.begin, part.end).value() : t;
}

/// Which axis of each of values() are classes; −1: none.
std::vector<int> class_axes(const Problem& p) {
  if (p.classifier) return {-1, -1, -1, -1, 0, 0};
  return {1, 1, 1, p.full ? 1 : 0, -1, -1};
}

/// Of values(), what a rank with these classes has.
TensorList own_values(const Problem& p, TensorList all, Span classes) {
  const std::vector<int> axes = class_axes(p);
  for (size_t i = 0; i < all.size(); ++i)
    if (axes[i] >= 0) all[i] = cut(all[i], axes[i], classes).clone();
  return all;
}

TensorList in_dtype(TensorList list, DType dtype) {
  for (Tensor& t : list)
    if (t.defined()) t = t.to(dtype);
  return list;
}

/// Loss, gradients and predictions of a rank's classes are its part of `want` and `probabilities`.
void check_rank(Communicator& ranks, const Problem& p, const Target& target, DType dtype, TileSize tile,
                const Result& want, const Tensor& probabilities) {
  const ClassShard shard(p.K, ranks);
  const Span classes = shard.rows();
  const std::vector<Var> x = leaves(own_values(p, in_dtype(values(p), dtype), classes));
  SampledLogits a = logits_of(p, x);
  a.shard = shard;
  Target own = target;
  own.targets.distributions = cut(target.targets.distributions, 1, classes);
  Result got = run(x, mean(own.streaming(a, tile)));
  Result part = want;
  const std::vector<int> axes = class_axes(p);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!want.gradients[i].defined()) continue;
    if (axes[i] >= 0) part.gradients[i] = cut(want.gradients[i], axes[i], classes);
    // What every rank has, each with the gradient of its own classes.
    else
      ranks.all_reduce(got.gradients[i]);
  }
  const double tolerance = p.size > 1 ? (dtype == DType::f64 ? 1e-9 : 4e-3) : (dtype == DType::f64 ? 1e-10 : 1e-4);
  check_same(got, part, tolerance);
  CHECK(relative_error(streaming_predict(target.link(), a, tile), cut(probabilities, 1, classes)) <= tolerance);
}

/// Rows of each of `size` ranks, `total` together: uneven, the second without any.
std::vector<int64_t> uneven(int64_t total, int64_t size) {
  std::vector<int64_t> rows(static_cast<size_t>(size), 0);
  for (int64_t i = 0; i < total; ++i) {
    const int64_t to = i * i % size;
    ++rows[static_cast<size_t>(to == 1 ? size - 1 : to)];
  }
  return rows;
}

constexpr int64_t kWidth = 6, kRows = 7;

/// Parameters by the formula of hash_parameter, of the whole where they are divided.
void set_parameters(Head& head, DType dtype) {
  for (NamedVar& p : head.parameters()) {
    const Tensor whole = hash_parameter(p.name, p.whole_shape()).to(dtype);
    const int64_t first = p.shard.first;
    p.var.mutable_value() = (p.shard.divided() ? whole.rows(first, first + p.var.dim(0)) : whole).clone();
  }
}

/// What a head says of a batch: by name, each of a rank's own rows.
std::vector<NamedTensor> said(Head& head, const Tensor& phi, const Context& context) {
  std::vector<NamedTensor> all = {{"p", head.predict(phi, 6, context)},
                                  {"p of means", head.predict(phi, 0, context)},
                                  {"logits", head.classifier_logits(phi)},
                                  {"scale", head.noise_scale(phi)},
                                  {"variance", head.noise_variance(phi)}};
  const NoiseParts parts = head.noise_parts(phi);
  if (parts.deviation.defined()) all.push_back({"d", parts.deviation});
  if (parts.factors.defined()) all.push_back({"V", parts.factors});
  return all;
}

/// A case's batch: φ and targets of all rows.
struct HeadProblem {
  HeadConfig config;
  int64_t classes;
  Tensor phi, examples;
  Targets targets;

  HeadProblem(const HeadCase& c, int64_t classes, DType dtype)
      : config(c.config()), classes(classes), phi(hash_tensor({kRows, kWidth}, hash_name("phi"), 1.5F).to(dtype)) {
    examples = first_examples(kRows);
    for (int64_t& e : std::span(examples.data<int64_t>(), kRows)) e = 5 * e + 3;
    const Tensor some = hash_tensor({kRows, classes}, 9, 0.5F, 0.5F);
    const Tensor q = (Var(some) / sum(Var(some), 1, true)).value();
    targets = c.targets(hash_labels(kRows, classes, 7), q, some);
  }

  std::unique_ptr<Head> head(Communicator& ranks) const {
    Init init(5);
    return make_head(config, kWidth, classes, init, ranks);
  }
  Context context(Span rows) const { return {true, 3, 8, examples.rows(rows.begin, rows.end)}; }
  Targets targets_of(Span rows) const { return {cut(targets.labels, 0, rows), cut(targets.distributions, 0, rows)}; }
};

void check_heads(const HeadProblem& problem, int64_t size, DType dtype, double tolerance) {
  const auto whole = problem.head(alone());
  set_parameters(*whole, dtype);
  const Var whole_phi(problem.phi, true);
  const Span all{0, kRows};
  const Var want = whole->loss(whole_phi, problem.targets, problem.context(all));
  want.backward();
  const std::vector<NamedTensor> expected = said(*whole, problem.phi, problem.context(all));
  const std::vector<int64_t> rows = uneven(kRows, size);
  on_ranks(size, [&](Communicator& ranks) {
    HeadProblem divided = problem;
    divided.config.shard_classes = true;
    const auto head = divided.head(ranks);
    set_parameters(*head, dtype);
    const auto rank = ranks.rank();
    const int64_t begin = std::accumulate(rows.begin(), rows.begin() + rank, int64_t{0});
    const Span mine{begin, begin + rows[static_cast<size_t>(rank)]};
    const Var phi(problem.phi.rows(mine.begin, mine.end), true);
    const Var loss = head->loss(phi, problem.targets_of(mine), problem.context(mine));
    CHECK(loss.value().item() == doctest::Approx(want.value().item()).epsilon(tolerance));
    (loss * (static_cast<double>(mine.size()) / kRows)).backward();

    const auto check = [&](const std::string& name, const Tensor& got, const Tensor& wanted) {
      CAPTURE(name);
      if (rank == 0) CHECK(relative_error(got, wanted) <= tolerance);
    };
    check("phi", all_gather_rows(ranks, phi.grad()), whole_phi.grad());
    const std::vector<NamedVar> wholes = whole->parameters(), own = head->parameters();
    REQUIRE(own.size() == wholes.size());
    for (size_t i = 0; i < own.size(); ++i) {
      Tensor grad = own[i].var.grad();
      if (own[i].shard.divided())
        grad = all_gather_rows(ranks, grad);
      else
        ranks.all_reduce(grad);
      check(own[i].name, grad, wholes[i].var.grad());
    }
    CHECK(head->parameter_count() == whole->parameter_count());
    CHECK(head->extra_parameters() == whole->extra_parameters());
    const std::vector<NamedTensor> got = said(*head, phi.value(), problem.context(mine));
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      check(got[i].name, all_gather_rows(ranks, got[i].tensor), expected[i].tensor);
  });
}

}  // namespace

TEST_CASE("divided classes: loss, gradients and predictions of the whole, whatever form, target and tile") {
  for (const Problem& p : streaming_grid()) {
    if (p.K < 4) continue;
    for (const DType dtype : {DType::f64, DType::f32}) {
      for (const Target& target : all_targets(p.B, p.K)) {
        const std::vector<Var> x = leaves(in_dtype(values(p), dtype));
        const Result want = run(x, mean(target.streaming(logits_of(p, x), {})));
        const Tensor probabilities = streaming_predict(target.link(), logits_of(p, x));
        for (const int64_t size : {2, 3, 4}) {
          const TileSize tile = size == 2 ? TileSize{} : size == 3 ? TileSize{2, 4} : TileSize{4, 8};
          if (p.B * p.S * p.K > 100000 && size == 3) continue;  // many tiny tiles: slow, and nothing new
          CAPTURE(p.K);
          CAPTURE(p.classifier);
          CAPTURE(target.name);
          CAPTURE(size);
          on_ranks(size, [&](Communicator& ranks) { check_rank(ranks, p, target, dtype, tile, want, probabilities); });
        }
      }
    }
  }
}

TEST_CASE("divided classes: heads of every kind on ranks with uneven rows are the heads of one process") {
  for (const HeadCase& c : all_head_cases()) {
    CAPTURE(c.name());
    const int64_t size = 2 + static_cast<int64_t>(hash_name(c.name()) % 3);
    CAPTURE(size);
    check_heads({c, 11, DType::f64}, size, DType::f64, 1e-10);
    HeadProblem pairs{c, 13, DType::f32};
    pairs.config.noise.antithetic = true;
    check_heads(pairs, size, DType::f32, 1e-4);
  }
  // One-hot targets of the sigmoid link.
  HeadProblem one_hot{{HeadKind::het, Factors::efficient, "labels"}, 9, DType::f64};
  one_hot.config.link = Link::sigmoid;
  check_heads(one_hot, 4, DType::f64, 1e-10);
}

TEST_CASE("divided classes: initial weights are the rows that one process draws, bit for bit") {
  for (const HeadCase& c : all_head_cases()) {
    CAPTURE(c.name());
    const HeadProblem problem{c, 11, DType::f32};
    const std::vector<NamedVar> wholes = problem.head(alone())->parameters();
    on_ranks(3, [&](Communicator& ranks) {
      HeadProblem divided = problem;
      divided.config.shard_classes = true;
      const auto head = divided.head(ranks);
      const std::vector<NamedVar> own = head->parameters();
      REQUIRE(own.size() == wholes.size());
      for (size_t i = 0; i < own.size(); ++i) {
        const NamedVar& p = own[i];
        CAPTURE(p.name);
        CHECK(p.name == wholes[i].name);
        CHECK(p.whole_shape() == wholes[i].var.shape());
        const bool per_class =
            !p.name.starts_with("temperature") && (!p.name.starts_with("noise") || c.kind == HeadKind::het);
        CHECK(p.shard.divided() == per_class);
        const int64_t first = p.shard.first;
        const Tensor whole = wholes[i].var.value();
        CHECK(p.var.value().to_vector<float>() ==
              (per_class ? whole.rows(first, first + p.var.dim(0)) : whole).to_vector<float>());
      }
    });
  }
}

TEST_CASE("divided classes: one rank alone, and ranks whose classes are not divided, have all") {
  HeadProblem problem{{HeadKind::het, Factors::full, "labels"}, 5, DType::f32};
  problem.config.shard_classes = true;
  for (const NamedVar& p : problem.head(alone())->parameters()) CHECK_FALSE(p.shard.divided());
  problem.config.shard_classes = false;
  on_ranks(2, [&](Communicator& ranks) {
    for (const NamedVar& p : problem.head(ranks)->parameters()) CHECK_FALSE(p.shard.divided());
  });
}

TEST_CASE("divided classes: what they are not for is refused") {
  const HeadProblem problem{{HeadKind::het, Factors::full, "labels"}, 5, DType::f32};
  on_ranks(3, [&](Communicator& ranks) {
    const auto refusal = [&](auto&& change) {
      HeadProblem p = problem;
      p.config.shard_classes = true;
      change(p);
      return error_of([&] { p.head(ranks); });
    };
    CHECK(refusal([](HeadProblem&) {}).empty());
    CHECK(refusal([](HeadProblem& p) { p.config.likelihood = Likelihood::composed; }) ==
          "[head.shard_classes] expected head.likelihood streaming beside it, got composed");
    CHECK(refusal([](HeadProblem& p) { p.classes = 2; }) ==
          "[head.shard_classes] expected 3 or more classes for as many ranks, got 2");
    HeadProblem p = problem;
    p.config.shard_classes = true;
    const auto head = p.head(ranks);
    CHECK(one_line_with(error_of([&] { head->logit_covariance(p.phi); }), "expected all 5 classes here"));
    // A wrong label is found by every rank, whichever has it and its class.
    Targets wrong = p.targets;
    wrong.labels = Tensor::full({kRows}, ranks.rank() == 1 ? 5 : 0, DType::i64);
    CHECK(one_line_with(error_of([&] {
                          head->loss(Var(p.phi), wrong, p.context({0, kRows}));
                        }),
                        "labels in 0 to 4", "got 5", "row 7"));
  });
}

}  // namespace sked::test

// Batch norm by the rows of several ranks is batch norm of one rank that has them all.

#include <doctest/doctest.h>

#include "autograd/batch_norm.h"
#include "autograd/recompute.h"
#include "tests/common/compare.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

namespace sked::test {

namespace {

/// What a call of batch norm is made with, all ranks' rows.
struct Given {
  Tensor x, residual, dy;  // (B,…,C); no residual: undefined
  DType statistics = DType::f64;
  BatchNormOptions options = {};
  bool recomputed = false;
};

/// Of rows; running statistics are those behind the call.
struct Outcome {
  Tensor y, dx, dresidual, dgamma, dbeta, mean, var;
};

Outcome outcome_of_rows(const Given& given, int64_t begin, int64_t end, Communicator* ranks) {
  const int64_t C = given.x.dim(-1);
  const Var x(given.x.rows(begin, end), true), gamma(hash_tensor({C}, 3, 0.5, 1).to(given.statistics), true);
  const Var beta(hash_tensor({C}, 4).to(given.statistics), true);
  const Var residual = given.residual.defined() ? Var(given.residual.rows(begin, end), true) : Var();
  Outcome o;
  o.mean = hash_tensor({C}, 5).to(given.statistics), o.var = hash_tensor({C}, 6, 0.5, 1).to(given.statistics);
  BatchNormOptions options = given.options;
  options.ranks = ranks;
  const auto norm = [&](const std::vector<Var>& in) {
    return batch_norm(in[0], residual, gamma, beta, o.mean, o.var, options);
  };
  const Var y = given.recomputed ? recompute(norm, {x}) : norm({x});
  y.backward(given.dy.rows(begin, end));
  o.y = y.value(), o.dx = x.grad(), o.dgamma = gamma.grad(), o.dbeta = beta.grad();
  if (residual.defined()) o.dresidual = residual.grad();
  return o;
}

using Rows = std::vector<int64_t>;  // of each rank

std::vector<Outcome> outcomes_of_ranks(const Given& given, const Rows& rows) {
  std::vector<Outcome> outcomes(rows.size());
  on_ranks(std::ssize(rows), [&](Communicator& ranks) {
    int64_t begin = 0;
    for (int64_t r = 0; r < ranks.rank(); ++r) begin += rows[static_cast<size_t>(r)];
    const auto mine = static_cast<size_t>(ranks.rank());
    outcomes[mine] = outcome_of_rows(given, begin, begin + rows[mine], &ranks);
  });
  return outcomes;
}

void check_close(const char* what, const std::vector<double>& got, const Tensor& expected, double tolerance) {
  test::check_close(what, Tensor::from(got, expected.shape()), expected.to(DType::f64), tolerance, 1);
}

/// Ranks with `rows` have what one has: rows behind one another, sums of γ's and β's gradients, the same running
/// statistics on every rank.
void check_as_one(const Given& given, const Rows& rows, double tolerance) {
  std::string each;
  for (const int64_t r : rows) each += " " + std::to_string(r);
  INFO(given.x.str() << " on ranks with" << each << (given.residual.defined() ? ", residual" : "")
                     << (given.options.relu ? ", ReLU" : ""));
  const Outcome one = outcome_of_rows(given, 0, given.x.dim(0), nullptr);
  const std::vector<Outcome> some = outcomes_of_ranks(given, rows);
  const auto joined = [&](Tensor Outcome::*what) {
    std::vector<double> all;
    for (const Outcome& o : some)
      for (const double v : (o.*what).to_vector<double>()) all.push_back(v);
    return all;
  };
  const auto total = [&](Tensor Outcome::*what) {
    std::vector<double> sum(static_cast<size_t>(given.x.dim(-1)));
    for (const Outcome& o : some) {
      const std::vector<double> part = (o.*what).to_vector<double>();
      for (size_t c = 0; c < sum.size(); ++c) sum[c] += part[c];
    }
    return sum;
  };
  check_close("y", joined(&Outcome::y), one.y, tolerance);
  check_close("dx", joined(&Outcome::dx), one.dx, tolerance);
  if (given.residual.defined()) check_close("dresidual", joined(&Outcome::dresidual), one.dresidual, tolerance);
  check_close("dgamma", total(&Outcome::dgamma), one.dgamma, tolerance);
  check_close("dbeta", total(&Outcome::dbeta), one.dbeta, tolerance);
  for (const Outcome& o : some) {
    check_close("running mean", o.mean.to_vector<double>(), one.mean, tolerance);
    check_close("running variance", o.var.to_vector<double>(), one.var, tolerance);
    CHECK(o.mean.to_vector<double>() == some[0].mean.to_vector<double>());
    CHECK(o.var.to_vector<double>() == some[0].var.to_vector<double>());
  }
}

Given given(const Shape& shape, DType dtype, bool residual, bool relu, float mean = 1) {
  Given g;
  g.x = hash_tensor(shape, 1, 1, mean).to(dtype), g.dy = hash_tensor(shape, 7).to(dtype);
  if (residual) g.residual = hash_tensor(shape, 2).to(dtype);
  g.statistics = dtype == DType::f64 ? DType::f64 : DType::f32;
  g.options.relu = relu;
  return g;
}

const Rows kCuts[] = {{5, 6}, {10, 1}, {1, 4, 6}, {3, 1, 6, 1}};

}  // namespace

TEST_CASE("batch norm over ranks: what one rank with all rows computes") {
  for (const Shape& shape : {Shape{11, 3}, Shape{11, 3, 2, 5}})
    for (const Rows& rows : kCuts)
      for (const bool residual : {false, true})
        for (const bool relu : {false, true}) {
          check_as_one(given(shape, DType::f64, residual, relu), rows, 1e-10);
          // Sums of up to 66 f32 terms of order 1 in another order, and γ rstd of up to 3 times them.
          check_as_one(given(shape, DType::f32, residual, relu), rows, 1e-5);
        }
}

TEST_CASE("batch norm over ranks: nothing cancels far from 0, and a momentum of 1 forgets") {
  for (const Rows& rows : kCuts) {
    check_as_one(given({11, 4, 4, 3}, DType::f64, false, true, 1000), rows, 1e-10);
    // f32 keeps 6e-5 of a mean near 1000, of which x̂ sees 1e-4; variances from E[x²] − E[x]² would keep nothing.
    check_as_one(given({11, 4, 4, 3}, DType::f32, false, false, 1000), rows, 4e-4);
    Given forgets = given({11, 3}, DType::f64, false, false);
    forgets.options.momentum = 1;
    check_as_one(forgets, rows, 1e-10);
  }
}

TEST_CASE("batch norm over ranks: activations in bf16 beside statistics in f32") {
  // Both round y, up to 4, to bf16; where they differ by less than f32's noise, by one of its units: 2^-7 of 4.
  for (const Rows& rows : kCuts) check_as_one(given({11, 3, 5}, DType::bf16, true, false), rows, 0.032);
}

TEST_CASE("batch norm over ranks: recomputed, the same bits, and running statistics move once") {
  for (const Rows& rows : kCuts) {
    Given g = given({11, 3, 5}, DType::f32, true, true);
    const std::vector<Outcome> plain = outcomes_of_ranks(g, rows);
    g.recomputed = true;
    const std::vector<Outcome> again = outcomes_of_ranks(g, rows);
    for (size_t r = 0; r < rows.size(); ++r)
      for (Tensor Outcome::*what : {&Outcome::y, &Outcome::dx, &Outcome::dresidual, &Outcome::dgamma, &Outcome::dbeta,
                                    &Outcome::mean, &Outcome::var})
        CHECK((again[r].*what).to_vector<double>() == (plain[r].*what).to_vector<double>());
  }
}

TEST_CASE("batch norm over ranks: a communicator of one changes no bit, and evaluation meets nobody") {
  Given g = given({11, 3, 5}, DType::f32, true, true);
  const Outcome without = outcome_of_rows(g, 0, 11, nullptr), with = outcome_of_rows(g, 0, 11, &alone());
  for (Tensor Outcome::*what : {&Outcome::y, &Outcome::dx, &Outcome::dgamma, &Outcome::dbeta, &Outcome::var})
    CHECK((with.*what).to_vector<float>() == (without.*what).to_vector<float>());
  CHECK_FALSE(meets_nobody([&](Communicator& ranks) { outcome_of_rows(g, 0, 11, &ranks); }));
  g.options.training = false;
  CHECK(meets_nobody([&](Communicator& ranks) {
    const Outcome evaluated = outcome_of_rows(g, 0, 11, &ranks);
    CHECK(evaluated.var.to_vector<float>() == hash_tensor({5}, 6, 0.5, 1).to_vector<float>());
  }));
}

}  // namespace sked::test

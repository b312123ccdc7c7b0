// Ops of several ranks: their gradients are those of the sum of what every rank makes of them.

#include "autograd/collective.h"

#include <doctest/doctest.h>

#include <numeric>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

namespace sked::test {
namespace {

using Vars = std::vector<Var>;
using Values = std::vector<double>;

Tensor f64(const Shape& shape, uint32_t salt) { return hash_tensor(shape, salt).to(DType::f64); }

/// Rows of each rank, one without any.
std::vector<int64_t> uneven(int64_t size) {
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < size; ++r) rows.push_back((2 * r + 1) % (size + 1));
  return rows;
}

/// This rank's of the rows `whole`.
Tensor own_rows(const Tensor& whole, const std::vector<int64_t>& rows, int64_t rank) {
  int64_t begin = 0;
  for (int64_t r = 0; r < rank; ++r) begin += rows[static_cast<size_t>(r)];
  return whole.rows(begin, begin + rows[static_cast<size_t>(rank)]);
}

}  // namespace

TEST_CASE("collective: rows are gathered in the order of ranks, and every rank's gradient comes back to its own") {
  for (const int64_t size : {2, 3, 4}) {
    const std::vector<int64_t> rows = uneven(size);
    const Tensor whole = f64({std::accumulate(rows.begin(), rows.end(), int64_t{0}), 3}, 5);
    on_ranks(size, [&](Communicator& ranks) {
      // What each rank makes of all rows is another function: their sum is what is differentiated.
      const auto of_rank = [&](const Var& y, int64_t rank) {
        return sum(square(y) * (1.0 + static_cast<double>(rank)) + exp(y));
      };
      const Var x(own_rows(whole, rows, ranks.rank()), true), all(whole, true);
      const Var y = all_gather_rows(x, ranks);
      CHECK(y.value().to_vector<double>() == whole.to_vector<double>());
      of_rank(y, ranks.rank()).backward();
      for (int64_t r = 0; r < size; ++r) of_rank(all, r).backward();
      const Values got = x.grad().to_vector<double>();
      const Values want = own_rows(all.grad(), rows, ranks.rank()).to_vector<double>();
      REQUIRE(got.size() == want.size());
      for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-12));
    });
  }
}

// All ranks take the same differences of one function of all rows, which they compute together: each from its own rows
// its own element of the result. The loss of every rank being that of all elements, their sum counts it N times.
TEST_CASE("collective: gradcheck of what ranks compute together") {
  for (const int64_t size : {2, 3}) {
    on_ranks(size, [size](Communicator& ranks) {
      const std::vector<int64_t> rows = uneven(size);
      const auto f = [&](const Vars& in) {
        const double share = 1.0 / static_cast<double>(size);
        const Var whole = share * all_reduce_gradient(in[0], ranks) + (1 - share) * in[0].detach();
        const int64_t begin = std::accumulate(rows.begin(), rows.begin() + ranks.rank(), int64_t{0});
        const Var all = all_gather_rows(slice(whole, 0, begin, begin + rows[static_cast<size_t>(ranks.rank())]), ranks);
        const Var column = slice(all, 1, ranks.rank(), ranks.rank() + 1);
        return all_gather_rows(reshape(sum(square(column) * exp(mean(all, 1, true))), {1}), ranks);
      };
      const GradcheckResult result = gradcheck(f, {f64({std::accumulate(rows.begin(), rows.end(), int64_t{0}), 3}, 7)});
      CHECK_MESSAGE(result.ok, result.message);
    });
  }
}

TEST_CASE("collective: a value that ranks have in common passes on the gradients of all of them") {
  on_ranks(4, [](Communicator& ranks) {
    const Var x(Tensor::full({2}, 3, DType::f64), true);
    const Var y = all_reduce_gradient(x, ranks);
    CHECK(y.value().to_vector<double>() == Values{3, 3});
    (sum(y) * static_cast<double>(ranks.rank())).backward();
    CHECK(x.grad().to_vector<double>() == Values{6, 6});  // 0 + 1 + 2 + 3
  });
}

TEST_CASE("collective: one rank alone gets what it gave") {
  const Var x(f64({2, 3}, 1), true);
  CHECK(all_gather_rows(x, alone()).value().shares_storage(x.value()));
  CHECK(all_reduce_gradient(x, alone()).value().shares_storage(x.value()));
}

TEST_CASE("collective: nothing is recorded where no gradient is wanted") {
  on_ranks(2, [](Communicator& ranks) {
    const Var x(f64({1 + ranks.rank(), 2}, 1));
    CHECK_FALSE(all_gather_rows(x, ranks).requires_grad());
    CHECK_THROWS_AS(all_gather_rows(x, {2, 2, 2}, ranks), Error);
  });
}

}  // namespace sked::test

#include "autograd/gradient_sums.h"

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "core/error.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

namespace sked {
namespace {

using test::hash_tensor;
using test::on_ranks;

/// Two layers, the second of which is read twice; `unused` is in no loss.
struct Net {
  std::vector<NamedVar> parameters;

  Net() {
    add("first", {4, 3}, 1);
    add("frozen", {4}, 2);
    add("second", {4, 4}, 3);
    add("unused", {2}, 4);
    add("scale", {}, 5);
    parameters[1].var.set_requires_grad(false);
  }
  void add(const char* name, const Shape& shape, uint32_t seed) {
    parameters.push_back({name, Var(hash_tensor(shape, seed).to(DType::f64), true)});
  }
  const Var& operator[](size_t i) const { return parameters[i].var; }

  /// Σ over the rows of x of what they become.
  Var loss(const Tensor& x) const {
    const Var hidden = linear(Var(x), (*this)[0]) + (*this)[1];
    const Var again = linear(square(linear(hidden, (*this)[2])), (*this)[2]);
    return sum(again * (*this)[4]);
  }
};

Tensor rows(int64_t begin, int64_t end) { return hash_tensor({7, 3}, 9).to(DType::f64).rows(begin, end); }

}  // namespace

TEST_CASE("gradient sums: those of all ranks' rows, whatever the size of a bucket") {
  const Net whole;
  whole.loss(rows(0, 7)).backward();
  for (const int64_t size : {1, 2, 3}) {
    for (const int64_t bytes : {1, 100, 1 << 20}) {
      CAPTURE(size);
      CAPTURE(bytes);
      on_ranks(size, [&](Communicator& ranks) {
        const Net net;
        GradientSums sums(net.parameters, ranks, bytes);
        const Span mine = span_of(7, ranks.rank(), ranks.size());
        for (int pass = 0; pass < 2; ++pass) {
          for (NamedVar p : net.parameters) p.var.clear_grad();
          sums.backward(net.loss(rows(mine.begin, mine.end)));
          for (const size_t i : {0, 2, 4}) {
            const auto want = whole[i].grad().to_vector<double>(), got = net[i].grad().to_vector<double>();
            for (size_t e = 0; e < want.size(); ++e) CHECK(got[e] == doctest::Approx(want[e]).epsilon(1e-12));
          }
          CHECK(!net[1].grad().defined());
          CHECK(net[3].grad().to_vector<double>() == std::vector<double>{0, 0});
        }
        CHECK(sums.seconds() >= sums.seconds_waited());
      });
    }
  }
}

TEST_CASE("gradient sums: gradients of earlier parts of a batch are summed with the last") {
  const Net whole;
  whole.loss(rows(0, 7)).backward();
  on_ranks(2, [&](Communicator& ranks) {
    const Net net;
    GradientSums sums(net.parameters, ranks);
    const int64_t begin = 4 * ranks.rank(), end = begin + (ranks.rank() == 0 ? 4 : 3);
    net.loss(rows(begin, begin + 1)).backward();
    sums.backward(net.loss(rows(begin + 1, end)));
    const auto want = whole[2].grad().to_vector<double>(), got = net[2].grad().to_vector<double>();
    for (size_t e = 0; e < want.size(); ++e) CHECK(got[e] == doctest::Approx(want[e]).epsilon(1e-12));
  });
}

TEST_CASE("gradient sums: divided parameters are a rank's own; what changes behind its sum is an error") {
  on_ranks(2, [](Communicator& ranks) {
    Net net;
    net.parameters[0].shard = {.first = 4 * ranks.rank(), .total = 8};
    const Net same;
    same.loss(rows(0, 2)).backward();
    GradientSums(net.parameters, ranks).backward(net.loss(rows(0, 2)));
    CHECK(net[0].grad().to_vector<double>() == same[0].grad().to_vector<double>());
    const double of_scale = net[4].grad().item();
    CHECK(of_scale == doctest::Approx(2 * same[4].grad().item()));

    const Net twice;
    const auto block = [&](const std::vector<Var>& inputs) { return square(linear(inputs[0], twice[0])); };
    const Var x(rows(0, 2));
    GradientSums one(twice.parameters, ranks);
    CHECK_THROWS_WITH_AS(one.backward(sum(recompute(block, {x}) + recompute(block, {x}))),
                         "[gradient_sums] the gradient of first was complete and has changed: an op reads the "
                         "parameter in a recomputation and elsewhere",
                         Error);
  });
}

TEST_CASE("gradients are told of once, when no op that read the leaf is left, dropped branches included") {
  const Net net;
  std::vector<const Tensor*> told;
  const OnGradient listening([&](const Tensor& grad) { told.push_back(&grad); });
  const Var dropped = net.loss(rows(0, 2));
  net.loss(rows(0, 2)).backward();
  CHECK(told.empty());  // `dropped` might still be differentiated
  dropped.backward();
  CHECK(told == std::vector<const Tensor*>{&net[4].grad(), &net[2].grad(), &net[0].grad()});
  told.clear();
  { const Var gone = net.loss(rows(0, 2)); }
  net.loss(rows(0, 2)).backward();
  CHECK(told.size() == 3);
}

}  // namespace sked

// What a piece of a program asks of its device is counted, by kernel.

#include "core/work_count.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/error.h"
#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "tests/common/thread_ranks.h"

namespace sked::test {

TEST_CASE("work is counted by kernel, with the bytes of its operands, by the youngest counter alone") {
  const Tensor a = Tensor::full({2, 3}, 1), b = Tensor::full({3, 4}, 1);
  Tensor c = Tensor::empty({2, 4});
  const WorkCount outer;
  kernel::matmul(a, b, c, false, false, false);
  {
    const WorkCount inner;
    kernel::add_scaled(c, c, 1);
    CHECK(inner.total().calls == 1);
    CHECK(inner.total().bytes == 2 * 8 * 4);
  }
  kernel::matmul(a, b, c, false, false, true);
  REQUIRE(outer.entries().size() == 1);
  const WorkCount::Entry& product = outer.entries().at("matmul");
  CHECK(product.calls == 2);
  CHECK(product.bytes == 2 * (6 + 12 + 8) * 4);
  CHECK(product.launches == 0);  // there are none on the CPU
}

TEST_CASE("nothing is counted where nobody counts") {
  CHECK(WorkCount::active() == nullptr);
  {
    const WorkCount::Call call("matmul", Device::cpu, [] { return WorkCount::Entry{.calls = 1}; });
  }
  const WorkCount count;
  CHECK(count.entries().empty());
  CHECK(count.total().bytes == 0);
}

/// A clock that is a second further at every look.
int64_t looks = 0;
int64_t counting_clock() { return ++looks * 1'000'000'000; }

TEST_CASE("with a clock calls are timed by two looks at it, and with what passes between them are all there was") {
  Tensor a = Tensor::full({4}, 1);
  looks = 0;
  std::vector<std::string> told;
  const WorkCount count(counting_clock, [&](const char* kernel, const WorkCount::Entry& call, int64_t begin) {
    told.push_back(std::string(kernel) + " " + std::to_string(begin / 1'000'000'000));
    CHECK(call.calls == 1);
    CHECK(call.seconds() == 1);
  });
  kernel::add_scaled(a, a, 1);
  kernel::fill(a, 3);
  kernel::fill(a, 4);
  CHECK(looks == 1 + 2 * 3);  // at its beginning, and two a call
  CHECK(told == std::vector<std::string>{"add_scaled 2", "fill 4", "fill 6"});
  CHECK(count.entries().at("fill").seconds() == 2);
  CHECK(count.total().seconds() == 3);
  CHECK(count.between() == 4'000'000'000);  // looks 1 to 2, 3 to 4, 5 to 6 and 7 to 8
}

TEST_CASE("without a clock nobody looks at one") {
  Tensor a = Tensor::full({4}, 1);
  looks = 0;
  kernel::fill(a, 3);
  const WorkCount count;
  kernel::fill(a, 3);
  CHECK(looks == 0);
  CHECK(count.total().nanoseconds == 0);
  CHECK(count.between() == 0);
}

TEST_CASE("a call within a call belongs to the outer one, also where it fails") {
  looks = 0;
  const WorkCount count(counting_clock);
  const auto entry = [](int64_t bytes) { return [bytes] { return WorkCount::Entry{.calls = 1, .bytes = bytes}; }; };
  Tensor a = Tensor::full({4}, 1);
  const int64_t before = looks;
  {
    const WorkCount::Call outer("outer", Device::cpu, entry(7));
    kernel::fill(a, 2);
    WorkCount::launch("fill");
  }
  CHECK(looks == before + 2);
  CHECK(count.entries().at("outer").bytes == 7);
  CHECK(count.entries().at("outer").seconds() == 1);
  CHECK(count.entries().at("fill").launches == 1);
  const int64_t fills = count.entries().at("fill").calls;
  const auto failing = [&] {
    const WorkCount::Call outer("outer", Device::cpu, entry(1));
    throw std::runtime_error("no");
  };
  CHECK_THROWS(failing());
  kernel::fill(a, 2);
  CHECK(count.entries().at("outer").calls == 2);
  CHECK(count.entries().at("fill").calls == fills + 1);

  // The definition of this one is made of two others.
  const WorkCount inner;
  Tensor dy = Tensor::full({2, 4}, 1), w = Tensor::full({4, 3}, 1), x = Tensor::full({2, 3}, 1), none;
  const ReferenceOnly definitions;
  const int64_t made = inner.total().calls;
  kernel::linear_backward_activation(dy, w, x, x, none, Activation::relu);
  CHECK(inner.total().calls == made + 1);
  CHECK(inner.entries().at("linear_backward_activation").bytes == (8 + 12 + 6 + 6) * 4);
}

TEST_CASE("operations of products, convolutions and attention are counted: 2 for each product of two numbers") {
  const auto operations = [](const auto& call) {
    const DryRun dry;
    const WorkCount count;
    call();
    return count.total().operations;
  };
  const auto t = [](const Shape& shape) { return Tensor::empty(shape); };
  Tensor none;
  CHECK(operations([&] {
          Tensor c = t({5, 2, 4});
          kernel::matmul(t({5, 2, 3}), t({3, 4}), c, false, false, true);
        }) == 2 * 5 * 2 * 3 * 4);
  CHECK(operations([&] {
          Tensor c = t({5, 3, 4});
          kernel::matmul(t({5, 2, 3}), t({5, 4, 2}), c, true, true, false);
        }) == 2 * 5 * 2 * 3 * 4);
  const Tensor w = t({4, 3});
  Tensor x = t({7, 3}), y = t({7, 4}), dw = t({4, 3});
  CHECK(operations([&] { kernel::linear_forward(x, w, none, y, none, Activation::none); }) == 2 * 7 * 3 * 4);
  CHECK(operations([&] { kernel::linear_backward_input(y, w, x); }) == 2 * 7 * 3 * 4);
  CHECK(operations([&] { kernel::linear_backward_activation(y, w, x, x, none, Activation::relu); }) == 2 * 7 * 3 * 4);
  CHECK(operations([&] { kernel::linear_backward_weight(y, x, dw, none); }) == 2 * 7 * 3 * 4);

  Tensor qkv = t({2, 5, 3, 4, 8}), out = t({2, 5, 4, 8}), lse = t({2, 4, 5});
  const int64_t heads = 2 * 4, pairs = 5 * 5, earlier = 5 + 4 + 3 + 2 + 1;
  CHECK(operations([&] { kernel::attention_forward(qkv, out, lse, 1, false); }) == heads * 2 * 2 * pairs * 8);
  CHECK(operations([&] { kernel::attention_forward(qkv, out, lse, 1, true); }) == heads * 2 * 2 * earlier * 8);
  CHECK(operations([&] { kernel::attention_backward(out, qkv, out, lse, qkv, 1, false); }) ==
        heads * 5 * 2 * pairs * 8);

  const Window window{.kernel = 3, .stride = 2, .padding = 1, .groups = 2};
  Tensor image = t({2, 8, 8, 4}), filter = t({6, 2, 3, 3}), result = t({2, 4, 4, 6});
  const int64_t products = 2 * 4 * 4 * 6 * (2 * 3 * 3);
  CHECK(operations([&] { kernel::conv2d_forward(image, filter, none, result, window); }) == 2 * products);
  CHECK(operations([&] { kernel::conv2d_backward_input(result, filter, image, window); }) == 2 * products);
  CHECK(operations([&] { kernel::conv2d_backward_weight(result, image, filter, none, window); }) == 2 * products);
  CHECK(operations([&] { kernel::fill(image, 1); }) == 0);
}

TEST_CASE("a dry run checks and counts its calls, and carries none of them out") {
  const Tensor a = Tensor::full({2, 3}, 1), b = Tensor::full({3, 4}, 1);
  Tensor c = Tensor::full({2, 4}, 5), wrong = Tensor::full({2, 5}, 5);
  {
    const DryRun dry;
    const WorkCount count;
    kernel::matmul(a, b, c, false, false, false);
    c.fill(7);
    CHECK(count.total().calls == 2);
    CHECK_THROWS_AS(kernel::matmul(a, b, wrong, false, false, false), Error);
  }
  CHECK(c.to_vector<float>() == std::vector<float>(8, 5));
  kernel::matmul(a, b, c, false, false, false);
  CHECK(c.to_vector<float>() == std::vector<float>(8, 3));
}

TEST_CASE("what ranks ask of each other is counted on each of them, and nothing of one alone") {
  const auto ask = [](Communicator& ranks) {
    const std::vector<int64_t> rows = span_sizes(7, ranks.size());
    Tensor sum = Tensor::full({3}, 1), mine = Tensor::full({rows[static_cast<size_t>(ranks.rank())], 2}, 1),
           all = Tensor::empty({7, 2});
    const WorkCount count;
    ranks.all_reduce(sum);
    ranks.start_all_reduce(sum);
    ranks.finish();
    ranks.all_gather(mine, rows, all);
    ranks.reduce_scatter(all, rows, mine);
    ranks.broadcast(sum);
    ranks.barrier();
    return count.entries();
  };
  CHECK(ask(alone()).empty());
  on_ranks(2, [&](Communicator& ranks) {
    const auto entries = ask(ranks);
    for (const auto& [name, bytes] : {std::pair("all_reduce", 12),
                                      {"start_all_reduce", 12},
                                      {"all_gather", 56},
                                      {"reduce_scatter", 56},
                                      {"broadcast", 12},
                                      {"barrier", 0}}) {
      CHECK(entries.at(name).calls == 1);
      CHECK(entries.at(name).bytes == bytes);
    }
  });
}

}  // namespace sked::test

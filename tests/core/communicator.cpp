#include "core/communicator.h"

#include <doctest/doctest.h>

#include <numeric>

#include "core/error.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using sked::test::on_ranks;

TEST_CASE("communicator: spans divide whole numbers without gap") {
  for (const int64_t count : {0, 1, 7, 10, 29593}) {
    for (const int64_t size : {1, 2, 3, 4, 7}) {
      int64_t next = 0;
      const std::vector<int64_t> sizes = span_sizes(count, size);
      for (int64_t rank = 0; rank < size; ++rank) {
        CHECK(span_of(count, rank, size).begin == next);
        CHECK(sizes[static_cast<size_t>(rank)] == span_of(count, rank, size).size());
        CHECK(span_of(count, rank, size).size() - count / size <= 1);
        next = span_of(count, rank, size).end;
      }
      CHECK(next == count);
    }
  }
}

TEST_CASE("communicator: one process alone") {
  Tensor t = Tensor::from(std::vector<float>{1, 2}, {2});
  alone().all_reduce(t);
  alone().start_all_reduce(t);
  alone().finish();
  Tensor all = Tensor::empty({2}), mine = Tensor::empty({2});
  alone().all_gather(t, {2}, all);
  alone().reduce_scatter(t, {2}, mine);
  CHECK(t.to_vector<float>() == std::vector<float>{1, 2});
  CHECK(all.to_vector<float>() == std::vector<float>{1, 2});
  CHECK(mine.to_vector<float>() == std::vector<float>{1, 2});
  CHECK(all_gather_text(alone(), "a") == std::vector<std::string>{"a"});
  CHECK_THROWS_WITH_AS(alone().all_gather(t, {3}, all), "[communicator] a rank's rows expected (3), got (2) f32 on cpu",
                       Error);
}

TEST_CASE("communicator: ranks that are threads") {
  on_ranks(3, [](Communicator& ranks) {
    const auto rank = static_cast<float>(ranks.rank());
    Tensor t = Tensor::full({2}, rank);
    ranks.all_reduce(t);
    const Tensor begun = Tensor::full({2}, rank);
    ranks.start_all_reduce(begun);
    ranks.finish();
    Tensor most = Tensor::full({1}, rank, DType::i64);
    ranks.all_reduce(most, Reduction::max);
    const Tensor rows = all_gather_rows(ranks, Tensor::full({ranks.rank(), 2}, rank));
    Tensor mine = Tensor::empty({ranks.rank(), 2});
    ranks.reduce_scatter(rows, {0, 1, 2}, mine);
    Tensor said = Tensor::full({1}, rank, DType::f64);
    ranks.broadcast(said, 1);
    const std::vector<std::string> texts = all_gather_text(ranks, std::string(static_cast<size_t>(ranks.rank()), 'x'));
    CHECK(t.to_vector<float>() == std::vector<float>{3, 3});
    CHECK(begun.to_vector<float>() == std::vector<float>{3, 3});
    CHECK(most.item() == 2);
    CHECK(rows.to_vector<float>() == std::vector<float>{1, 1, 2, 2, 2, 2});
    CHECK(mine.to_vector<float>() == std::vector<float>(static_cast<size_t>(2 * ranks.rank()), 3 * rank));
    CHECK(said.item() == 1);
    CHECK(texts == std::vector<std::string>{"", "x", "xx"});
  });
  CHECK_THROWS_WITH_AS(on_ranks(2,
                                [](Communicator& ranks) {
                                  if (ranks.rank() == 1) fail("test", "of rank 1");
                                  ranks.barrier();
                                }),
                       "[test] of rank 1", Error);
}

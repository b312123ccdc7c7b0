// Images left out of batches, counted over ranks.

#include "data/skipped.h"

#include <doctest/doctest.h>

#include "tests/common/files.h"
#include "tests/common/thread_ranks.h"

namespace sked {
namespace {

using test::error_of;
using test::on_ranks;
using test::one_line_with;

Skipped image(int64_t index) { return {index, "no image " + std::to_string(index)}; }

}  // namespace

TEST_CASE("skipped: each is told once, one more than the limit is an error on every rank, and an epoch without any") {
  for (const int64_t size : {1, 2, 3}) {
    on_ranks(size, [&](Communicator& ranks) {
      const auto of_all = [&](const std::vector<int64_t>& indices) {
        std::vector<Skipped> mine;
        const Span span = span_of(std::ssize(indices), ranks.rank(), ranks.size());
        for (int64_t i = span.begin; i < span.end; ++i) mine.push_back(image(indices[static_cast<size_t>(i)]));
        return all_gather_skipped(ranks, mine);
      };
      std::vector<int64_t> told;
      SkipCount count(3, [&](const Skipped& s) {
        CHECK(s.message == image(s.index).message);
        told.push_back(s.index);
      });
      count.start(false);
      count.add(0, of_all({7, 2}), false);
      count.add(1, of_all({}), false);
      count.add(0, of_all({2}), true);
      count.start(false);
      count.add(0, of_all({2, 5}), false);
      CHECK(told == std::vector<int64_t>{7, 2, 5});
      CHECK(count.count() == 3);
      CHECK(one_line_with(error_of([&] { count.add(0, of_all({5, 7}), true); }), "no image of the epoch", "image 7"));
      CHECK(one_line_with(error_of([&] {
                            count.add(4, of_all({2, 5, 9}), false);
                          }),
                          "no image 9", "so far: 4", "data.skip_limit is 3"));
    });
  }
}

}  // namespace sked

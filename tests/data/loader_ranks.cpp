// The ranks' shares of a batch are the batch.

#include <doctest/doctest.h>

#include <map>

#include "data/loader.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_dataset;

/// The numbers of an example's image and target, by its index; an index that comes twice is a failure.
using Seen = std::map<int64_t, std::pair<std::vector<float>, std::vector<float>>>;

void add(Seen& seen, const Batch& batch) {
  for (int64_t b = 0; b < batch.images.dim(0); ++b) {
    const auto row = [b](const Tensor& t) {
      return t.defined() ? t.rows(b, b + 1).to_vector<float>() : std::vector<float>{};
    };
    CHECK(seen.emplace(batch.indices.data<int64_t>()[b], std::pair(row(batch.images), row(batch.targets))).second);
  }
}

/// The first epoch of 23 images in batches of 7.
std::vector<Batch> epoch(const char* pipeline, const LoaderOptions& options) {
  Loader loader(counted_dataset(23), Pipeline::parse(pipeline), options);
  loader.start(0);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(*batch);
  return batches;
}

}  // namespace

TEST_CASE("loader: the shares of ranks are the batch, in its order, mixed with the same neighbors") {
  for (const char* pipeline : {"random_crop(4,2)|flip|value_range(0,1)", "flip|value_range(0,1)|mixup(0.4)",
                               "flip|value_range(0,1)|cutmix(1)"}) {
    CAPTURE(pipeline);
    LoaderOptions options{.batch_size = 7, .seed = 5};
    const std::vector<Batch> whole = epoch(pipeline, options);
    for (const int64_t parts : {1, 3}) {
      for (const int64_t ranks : {2, 3, 4, 9}) {
        options.parts = parts, options.ranks = ranks;
        std::vector<Seen> seen(whole.size());
        std::vector<std::vector<int64_t>> order(whole.size());
        for (options.rank = 0; options.rank < ranks; ++options.rank) {
          const std::vector<Batch> shares = epoch(pipeline, options);
          REQUIRE(shares.size() == whole.size());
          for (size_t i = 0; i < shares.size(); ++i) {
            add(seen[i], shares[i]);
            REQUIRE(std::ssize(shares[i].part_rows) == parts);
            CHECK(shares[i].part_rows[0] ==
                  span_of(span_of(whole[i].images.dim(0), 0, parts).size(), options.rank, ranks).size());
            if (parts > 1) continue;
            const auto indices = shares[i].indices.to_vector<int64_t>();
            order[i].insert(order[i].end(), indices.begin(), indices.end());
          }
        }
        for (size_t i = 0; i < whole.size(); ++i) {
          Seen all;
          add(all, whole[i]);
          CHECK(seen[i] == all);
          if (parts == 1) CHECK(order[i] == whole[i].indices.to_vector<int64_t>());
        }
      }
    }
  }
}

}  // namespace sked

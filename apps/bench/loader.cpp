// The loader beside a bare loop over the same files.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "apps/bench/bare.h"
#include "apps/bench/bench.h"
#include "core/error.h"
#include "data/catalog.h"
#include "data/loader.h"

namespace sked::bench {
namespace {

constexpr int64_t kSize = 56;

/// Seconds of reading, decoding and resizing every image of `data` on `threads` threads.
double bare_seconds(const Dataset& data, int threads) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      std::vector<uint8_t> out(kSize * kSize * 3);
      for (int64_t i = next++; i < data.size(); i = next++) bare_decode(data.file(i), kSize, out.data());
    });
  }
  for (std::thread& worker : workers) worker.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double loader_seconds(Loader& loader, int64_t epoch) {
  const auto begin = std::chrono::steady_clock::now();
  loader.start(epoch);
  while (loader.next()) {
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The loader's first batch against the bare loop's pixels.
void check(Loader& loader) {
  loader.start(0);
  const Batch batch = *loader.next();
  std::vector<uint8_t> bare(kSize * kSize * 3);
  for (int64_t b = 0; b < batch.indices.dim(0); ++b) {
    bare_decode(loader.dataset().file(batch.indices.data<int64_t>()[b]), kSize, bare.data());
    const float* ours = batch.images.data<float>() + b * kSize * kSize * 3;
    for (int64_t i = 0; i < kSize * kSize * 3; ++i) {
      const float theirs = bare[static_cast<size_t>(i)];
      require(ours[i] == theirs, "bench", "loader: expected ", theirs, ", got ", ours[i]);
    }
  }
}

}  // namespace

double loader_share(const Settings& settings, const std::string& data_root) {
  DataSpec spec;
  spec.name = "tiny-imagenet-200";
  spec.root = data_root;
  const auto data = load_splits(spec, 0).train;
  Loader loader(data, Pipeline::parse("decode|resize(" + std::to_string(kSize) + ")|value_range(0,255)"),
                {.batch_size = 128, .seed = 1, .threads = settings.threads, .prefetch = 2 * settings.threads});
  check(loader);
  bare_seconds(*data, settings.threads);
  std::vector<double> bare, ours, shares;
  for (int round = 0; round < settings.rounds; ++round) {
    bare.push_back(bare_seconds(*data, settings.threads));
    ours.push_back(loader_seconds(loader, round));
    shares.push_back(bare.back() / ours.back());
  }
  const auto images = static_cast<double>(data->size());
  const LoaderStatistics& s = loader.statistics();
  std::printf("%lld JPEG files of 64x64 in shards, to %lldx%lld, median of %d rounds in turn\n",
              static_cast<long long>(data->size()), static_cast<long long>(kSize), static_cast<long long>(kSize),
              settings.rounds);
  std::printf("  bare loop of libjpeg and resize       %7.0f images/s\n", images / median(bare));
  std::printf(
      "  loader                                %7.0f images/s  %.1f %% of it (reading and decoding: %.0f %% of its "
      "time)\n",
      images / median(ours), 100 * median(shares), 100 * s.decode_seconds / s.seconds);
  return median(shares);
}

}  // namespace sked::bench

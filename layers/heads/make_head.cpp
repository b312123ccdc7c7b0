#include "layers/heads/make_head.h"

#include <cmath>

#include "layers/heads/deterministic.h"
#include "layers/heads/heteroscedastic.h"

namespace sked {

namespace {

void check_sampling(const HeadConfig& config) {
  const auto check = [](int64_t samples, int64_t least, const char* key) {
    require_usage(samples >= least && samples <= kMostSamples, key, "expected ", least, " to ", kMostSamples, ", got ",
                  samples);
  };
  check(config.train_samples, 1, "head.train_samples");
  check(config.test_samples, 0, "head.test_samples");
  require_usage(config.sample_chunk >= 1, "head.sample_chunk", "expected 1 or more, got ", config.sample_chunk);
  require_usage(!config.shard_classes || config.likelihood == Likelihood::streaming, "head.shard_classes",
                "expected head.likelihood streaming beside it, got ", config.likelihood);
}

}  // namespace

std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init,
                                Communicator& ranks) {
  const int64_t least = config.link == Link::softmax ? 2 : 1;
  require_usage(width >= 1, "head", "expected a width of 1 or more, got ", width);
  require_usage(classes >= least, "head.link", "expected ", least, " or more classes for the ", config.link,
                " link, got ", classes);
  require_usage(std::isfinite(config.bias_init), "head.bias_init", "expected a finite value, got ", config.bias_init);
  require_usage(!config.shard_classes || classes >= ranks.size(), "head.shard_classes", "expected ", ranks.size(),
                " or more classes for as many ranks, got ", classes);
  const ClassShard own = config.shard_classes ? ClassShard(classes, ranks) : ClassShard(classes);
  if (config.kind == HeadKind::det) return std::make_unique<Deterministic>(config, width, own, init);
  check_sampling(config);
  return std::make_unique<Heteroscedastic>(config, width, own, init);
}

}  // namespace sked

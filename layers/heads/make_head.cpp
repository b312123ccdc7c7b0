#include "layers/heads/make_head.h"

#include <array>
#include <cmath>

#include "layers/heads/deterministic.h"
#include "layers/heads/heteroscedastic.h"

namespace sked {

namespace {

void check_sampling(const HeadConfig& config) {
  require_usage(config.train_samples >= 1, "head.train_samples", "expected 1 or more, got ", config.train_samples);
  require_usage(config.test_samples >= 0, "head.test_samples", "expected 0 or more, got ", config.test_samples);
  detail::position(config.likelihood, {"streaming", "composed"}, "head.likelihood");
  require_usage(config.sample_chunk >= 1, "head.sample_chunk", "expected 1 or more, got ", config.sample_chunk);
}

}  // namespace

std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init) {
  constexpr std::array links = {Link::softmax, Link::sigmoid};
  const size_t kind = detail::position(config.kind, {"det", "het", "het-xl"}, "head.kind");
  detail::factors_of(config.noise, "head");
  const Link link = links[detail::position(config.link, {"softmax", "sigmoid"}, "head.link")];
  const int64_t least = link == Link::softmax ? 2 : 1;
  require_usage(width >= 1, "head", "expected a width of 1 or more, got ", width);
  require_usage(classes >= least, "head.link", "expected ", least, " or more classes for the ", config.link,
                " link, got ", classes);
  require_usage(std::isfinite(config.bias_init), "head.bias_init", "expected a finite value, got ", config.bias_init);
  if (kind == 0) return std::make_unique<Deterministic>(config, link, width, classes, init);
  check_sampling(config);
  const NoisePlace place = kind == 1 ? NoisePlace::logits : NoisePlace::pre_logits;
  return std::make_unique<Heteroscedastic>(config, place, link, width, classes, init);
}

}  // namespace sked

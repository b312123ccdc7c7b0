// From a configuration to a head.

#include "layers/heads/head.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/text.h"
#include "layers/heads/deterministic.h"
#include "layers/heads/heteroscedastic.h"

namespace sked {

namespace {

/// The position of `value` in `names`.
size_t position(const std::string& value, const std::vector<std::string>& names, std::string_view key) {
  const auto at = std::find(names.begin(), names.end(), value);
  require_usage(at != names.end(), key, "expected one of ", join(names), ", got \"", value, "\" (did you mean \"",
                nearest(value, names), "\"?)");
  return static_cast<size_t>(at - names.begin());
}

void check_temperature(const HeadConfig& config) {
  const double tau = config.temperature, lo = config.temperature_lo, hi = config.temperature_hi;
  require_usage(std::isfinite(tau) && tau > 0, "head.temperature", "expected a finite value > 0, got ", tau);
  if (!config.learn_temperature) return;
  require_usage(lo > 0, "head.temperature_lo", "expected a value > 0, got ", lo);
  require_usage(std::isfinite(hi) && lo < hi, "head.temperature_hi", "expected a finite value > temperature_lo = ", lo,
                ", got ", hi);
}

void check_noise(const HeadConfig& config, Factors factors, int64_t coordinates) {
  require_usage(factors == Factors::diagonal || (config.rank >= 1 && config.rank <= coordinates), "head.rank",
                "expected 1 … ", coordinates, " (number of noisy coordinates), got ", config.rank);
  require_usage(config.train_samples >= 1, "head.train_samples", "expected 1 or more, got ", config.train_samples);
  require_usage(config.test_samples >= 0, "head.test_samples", "expected 0 or more, got ", config.test_samples);
  position(config.likelihood, {"streaming", "composed"}, "head.likelihood");
  require_usage(config.sample_chunk >= 1, "head.sample_chunk", "expected 1 or more, got ", config.sample_chunk);
  require_usage(std::isfinite(config.noise_init_scale) && config.noise_init_scale >= 0, "head.noise_init_scale",
                "expected a finite value >= 0, got ", config.noise_init_scale);
}

}  // namespace

std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init) {
  constexpr std::array kinds = {HeadKind::det, HeadKind::het, HeadKind::het_xl};
  constexpr std::array forms = {Factors::full, Factors::efficient, Factors::diagonal};
  constexpr std::array links = {Link::softmax, Link::sigmoid};
  const HeadKind kind = kinds[position(config.kind, {"det", "het", "het-xl"}, "head.kind")];
  const Factors factors = forms[position(config.factors, {"full", "efficient", "diagonal"}, "head.factors")];
  const Link link = links[position(config.link, {"softmax", "sigmoid"}, "head.link")];
  const int64_t least = link == Link::softmax ? 2 : 1;
  require_usage(width >= 1, "head", "expected a width of 1 or more, got ", width);
  require_usage(classes >= least, "head.link", "expected ", least, " or more classes for the ", config.link,
                " link, got ", classes);
  require_usage(std::isfinite(config.bias_init), "head.bias_init", "expected a finite value, got ", config.bias_init);
  check_temperature(config);
  if (kind == HeadKind::det) return std::make_unique<Deterministic>(config, link, width, classes, init);
  check_noise(config, factors, kind == HeadKind::het ? classes : width);
  return std::make_unique<Heteroscedastic>(config, kind, factors, link, width, classes, init);
}

}  // namespace sked

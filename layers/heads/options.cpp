#include "layers/heads/options.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/text.h"

namespace sked::detail {

size_t position(const std::string& value, const std::vector<std::string>& names, const std::string& key) {
  const auto at = std::find(names.begin(), names.end(), value);
  require_usage(at != names.end(), key, "expected one of ", join(names), ", got \"", value, "\" (did you mean \"",
                nearest(value, names), "\"?)");
  return static_cast<size_t>(at - names.begin());
}

Factors factors_of(const HeadConfig& config, const std::string& section) {
  constexpr std::array forms = {Factors::full, Factors::efficient, Factors::diagonal};
  return forms[position(config.factors, {"full", "efficient", "diagonal"}, section + ".factors")];
}

void check_temperature(const HeadConfig& config, const std::string& section) {
  const double tau = config.temperature, lo = config.temperature_lo, hi = config.temperature_hi;
  require_usage(std::isfinite(tau) && tau > 0, section + ".temperature", "expected a finite value > 0, got ", tau);
  if (!config.learn_temperature) return;
  require_usage(lo > 0, section + ".temperature_lo", "expected a value > 0, got ", lo);
  require_usage(std::isfinite(hi) && lo < hi, section + ".temperature_hi",
                "expected a finite value > temperature_lo = ", lo, ", got ", hi);
}

void check_noise(const HeadConfig& config, Factors factors, int64_t coordinates, const std::string& section) {
  require_usage(factors == Factors::diagonal || (config.rank >= 1 && config.rank <= coordinates), section + ".rank",
                "expected 1 to ", coordinates, " (number of noisy coordinates), got ", config.rank);
  require_usage(config.train_samples >= 1, section + ".train_samples", "expected 1 or more, got ",
                config.train_samples);
  require_usage(config.test_samples >= 0, section + ".test_samples", "expected 0 or more, got ", config.test_samples);
  position(config.likelihood, {"streaming", "composed"}, section + ".likelihood");
  require_usage(config.sample_chunk >= 1, section + ".sample_chunk", "expected 1 or more, got ", config.sample_chunk);
  require_usage(std::isfinite(config.noise_init_scale) && config.noise_init_scale >= 0, section + ".noise_init_scale",
                "expected a finite value >= 0, got ", config.noise_init_scale);
}

}  // namespace sked::detail

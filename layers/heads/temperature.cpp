#include "layers/heads/temperature.h"

#include <cmath>

#include "autograd/elementwise.h"

namespace sked {

namespace {

const TemperatureConfig& checked(const TemperatureConfig& c, const std::string& section) {
  require_usage(std::isfinite(c.value) && c.value > 0, section + ".temperature", "expected a finite value > 0, got ",
                c.value);
  if (!c.learn) return c;
  require_usage(c.lo > 0, section + ".temperature_lo", "expected a value > 0, got ", c.lo);
  require_usage(std::isfinite(c.hi) && c.lo < c.hi, section + ".temperature_hi",
                "expected a finite value > temperature_lo = ", c.lo, ", got ", c.hi);
  require_usage(c.init == 0 || (c.lo < c.init && c.init < c.hi), section + ".temperature_init",
                "expected a value between temperature_lo = ", c.lo, " and temperature_hi = ", c.hi,
                " (or 0: their middle), got ", c.init);
  return c;
}

/// t at which τ is c.init.
double initial_t(const TemperatureConfig& c) { return c.init == 0 ? 0 : std::log((c.init - c.lo) / (c.hi - c.init)); }

}  // namespace

Temperature::Temperature(const TemperatureConfig& config, const std::string& section, Init& init)
    : config_(checked(config, section)) {
  if (!config.learn) return;
  t_ = parameter(init.constant({}, initial_t(config)));
  add("t", t_);
}

Var Temperature::var(const Var& logits) const {
  if (t_.defined()) return (config_.hi - config_.lo) * sigmoid(t_) + config_.lo;
  return Var(Tensor::full({}, config_.value, logits.dtype(), logits.device()));
}

double Temperature::value() const {
  if (!t_.defined()) return config_.value;
  return config_.lo + (config_.hi - config_.lo) / (1 + std::exp(-t_.value().item()));
}

}  // namespace sked

#pragma once
// What a configuration file says about heads, and reading it.

#include <string>
#include <vector>

#include "core/error.h"

namespace sked {

/// The noise of a head (noise.h).
struct NoiseConfig {
  std::string factors = "efficient";  // full | efficient | diagonal
  int64_t rank = 8;                   // R; ignored (0) for diagonal factors
  bool antithetic = false;            // samples in pairs ε, −ε: still unbiased, less variance
  double init_scale = 1;              // factor on the covariance layers' lecun-normal initialization
};

/// The temperature of a head (temperature.h).
struct TemperatureConfig {
  bool learn = false;  // τ = lo + (hi − lo) sigmoid(t)
  double value = 1;    // τ when it is not learned
  double lo = 0.05, hi = 5;
};

/// A head of classes (make_head.h).
struct HeadConfig {
  std::string kind = "det";  // det | het | het-xl
  NoiseConfig noise = {};
  std::string link = "softmax";          // softmax | sigmoid
  int64_t train_samples = 64;            // S while training, ≥ 1
  int64_t test_samples = 512;            // S for prediction; 0: deterministic, link((Wφ + b)/τ)
  std::string likelihood = "streaming";  // streaming | composed: the plain composition of ops it is tested against
  int64_t sample_chunk = 16;             // samples the composed likelihood holds in memory at once
  TemperatureConfig temperature = {};
  double bias_init = 0;  // the classifier's bias starts here
};

}  // namespace sked

namespace sked::detail {

/// The position of `value` in `names`; else a UsageError of `key` with the nearest of them.
size_t position(const std::string& value, const std::vector<std::string>& names, const std::string& key);

}  // namespace sked::detail

#pragma once
// What a configuration may ask of a model's sizes.

#include <string>

#include "core/error.h"

namespace sked::detail {

constexpr int64_t kMaxWidth = 1 << 16, kMaxDepth = 1024;

/// Throws UsageError naming the key unless 1 ≤ value ≤ limit.
inline void check_size(int64_t value, int64_t limit, const std::string& key) {
  require_usage(value >= 1 && value <= limit, key, "expected 1 to ", limit, ", got ", value);
}

inline void check_probability(double p, const std::string& key) {
  require_usage(p >= 0 && p < 1, key, "expected a probability in [0, 1), got ", p);
}

/// Heads must divide the width.
inline void check_heads(int64_t width, int64_t heads, const std::string& key) {
  require_usage(width % heads == 0, key, "expected a divisor of the width ", width, ", got ", heads);
}

}  // namespace sked::detail

#pragma once
// The command line of ranks.h.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/options.h"
#include "apps/scale/ranks.h"

namespace sked::scale {

struct RanksOptions {
  std::vector<std::string> ranks;  // empty: not asked for
  std::vector<std::string> batches = {"4096", "16384", "65536"};
  std::string model = "vit-l", activations;
  int64_t image = 224, at_once = 64;
  std::string rate = "400e12", link = "50e9", latency = "5e-6", memory = "1.5e12", hidden = "1";
};

std::vector<Option> options_of(RanksOptions& options);

/// Activations, where nobody chose, are bf16, and f32 where the CPU has to `measure`. Throws UsageError
/// naming the option for what is no number, or out of range.
RanksCase ranks_case(const RanksOptions& options, const std::vector<HeadKindConfig>& heads, int64_t classes,
                     bool measure);

}  // namespace sked::scale

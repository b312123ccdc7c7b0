#pragma once
// From a configuration to a head.

#include <memory>

#include "core/communicator.h"
#include "layers/heads/head.h"
#include "layers/heads/options.h"

namespace sked {

/// Throws UsageError naming the key for an unknown name or a value out of range: K < 2 with softmax, S < 1, R < 1 with
/// factors that have a rank, R > J (the number of noisy coordinates), τ ≤ 0, lo ≥ hi; with config.shard_classes for a
/// composed likelihood, and fewer classes than ranks. Else `ranks` play no part.
std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init,
                                Communicator& ranks = alone());

}  // namespace sked

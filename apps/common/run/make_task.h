#pragma once
// Which kind of learning a configuration asks for.

#include <memory>

#include "apps/common/run/task.h"

namespace sked {

/// The task of a configuration on its data, the model as initialized by the seed; what it is to begin with or go on
/// from decides its vocabulary. `ranks`, which are to live as long, train it together. Throws UsageError naming the key
/// for what does not fit together.
std::unique_ptr<Task> make_task(const RunConfig& config, Splits splits, Device device, const Beginning& from = {},
                                Communicator& ranks = alone());

}  // namespace sked

#pragma once
// State of optimizers and weight averages as checkpoints keep it: tensors by name.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace sked::detail {

/// Overwrites each tensor of `to` with the one of the same name in `from`. Nothing is written unless both have the same
/// names and every pair the same shape and dtype.
void load_named(std::vector<std::pair<std::string, Tensor>> to, const std::vector<std::pair<std::string, Tensor>>& from,
                std::string_view where);

}  // namespace sked::detail

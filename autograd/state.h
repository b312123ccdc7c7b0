#pragma once
// State of optimizers and weight averages as checkpoints keep it: tensors by name.

#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sked::detail {

/// Overwrites each tensor of `to` with the one of the same name in `from`. Nothing is written unless both have the same
/// names and every pair the same shape and dtype.
void load_named(std::vector<NamedTensor> to, const std::vector<NamedTensor>& from, std::string_view where);

}  // namespace sked::detail

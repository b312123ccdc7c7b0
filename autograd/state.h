#pragma once
// State of optimizers and weight averages as checkpoints keep it: tensors by name.

#include <string_view>
#include <vector>

#include "autograd/var.h"

namespace sked::detail {

/// Overwrites each tensor of `to`, which may be a rank's share of it, with the one of the same name in `from`: the
/// whole, or an equal share. Nothing is written unless both have the same names and every pair the same shape and
/// dtype.
void load_named(std::vector<SharedTensor> to, const std::vector<SharedTensor>& from, std::string_view where);

/// Overwrites a tensor, which may be a rank's share, with the whole of it or with an equal share.
void copy_share(const SharedTensor& from, SharedTensor& to);

/// How a tensor beside a parameter's elements, in their order, is divided: as the parameter is.
ElementShare share_of(const NamedVar& parameter);

}  // namespace sked::detail

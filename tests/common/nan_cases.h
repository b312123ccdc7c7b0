#pragma once
// A number that is not one must be seen: one NaN in what a kernel of the softmax family, of the likelihood or of
// attention reads has to reach everything computed from it. Maxima are where it gets lost: a comparison with NaN is
// false, and fmax drops it.

#include "core/tensor.h"

namespace sked::test {

/// Fails, naming kernel and place, where a NaN is lost on `device`: at the first, a middle and the last place of rows
/// of several lengths, in the first tile or a later one, beside finite numbers and beside −∞.
void check_nan_is_seen(Device device);

}  // namespace sked::test

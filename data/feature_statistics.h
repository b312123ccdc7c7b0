#pragma once
// Mean and deviation of a data set's vectors, coordinate by coordinate.

#include "core/tensor.h"
#include "data/dataset.h"

namespace sked {

/// f32 (D) on the CPU; the deviation is that of the whole set, sqrt(mean (x - mean)²).
struct FeatureStatistics {
  Tensor mean, deviation;
};

/// Reads every vector once. Sums are in f64, of differences from the first vector, so that a large common offset takes
/// no digits. Throws Error for a data set of images or of no example, and as Dataset::read_features() does.
FeatureStatistics feature_statistics(const Dataset& data);

}  // namespace sked

#pragma once
// Training images held out for validation, and subsets to train on.

#include <memory>

#include "data/splits.h"

namespace sked {

/// Throws UsageError unless `validation` is a number of images or a share below 1.
void check_validation(double validation);

/// Cuts training images into training and validation. However the files are sorted, by class say, both are fair
/// samples: parts of one permutation of the images that depends on their number alone. Validation comes from its end
/// and a training subset of `train_size` images (0: all) from its beginning, so that neither changes with the size of
/// the other. Within each, images keep the files' order.
///
/// `validation` of 1 or more is a number of examples. Below 1 it is a share s of the N images: round(s N) of them, of
/// each class n_k the integer below or above s n_k (largest remainders first), but never the last image of a class.
/// Throws UsageError where no image would stay, or none would be held out.
void hold_out(Splits& splits, const std::shared_ptr<const Dataset>& all, double validation, int64_t train_size);

}  // namespace sked

#pragma once
// A dataset's examples with other labels, or with a p(y | x) or covariance that the files beside them do not have.

#include <functional>
#include <memory>
#include <string>

#include "data/dataset.h"

namespace sked {

/// The same examples with labels i64 (N), without targets. Throws Error, naming `source`, for another number of labels
/// or one that is none of the K classes'.
std::shared_ptr<const Dataset> with_labels(std::shared_ptr<const Dataset> base, Tensor labels,
                                           const std::string& source);

/// The same examples with p(y | x): `distribution(i)` is f32 (K).
std::shared_ptr<const Dataset> with_distributions(std::shared_ptr<const Dataset> base,
                                                  std::function<Tensor(int64_t)> distribution);

/// The same examples with Σ(x) of the logits' noise: `covariance(i)` is f32 (K, K).
std::shared_ptr<const Dataset> with_covariances(std::shared_ptr<const Dataset> base,
                                                std::function<Tensor(int64_t)> covariance);

/// i64 (N) of the integers (N) in a .npy file. Throws Error for others.
Tensor load_labels(const std::string& path);

/// i64 (N): all labels.
Tensor labels_of(const Dataset& data);

}  // namespace sked

#pragma once
// What evaluate says of several runs together.

#include <functional>
#include <string>
#include <vector>

#include "apps/common/run/ensemble.h"

namespace sked {

/// Measures the members and their ensemble on its images, `on_mean` being called as Ensemble::evaluate() has it, prints
/// a table and returns {checkpoint [...], split, members
/// [{checkpoint, samples, temperature, <split> {...}}], mean {nll {mean, standard_error, count} ...}, ensemble {<split>
/// {...}, disagreement}}, measures as evaluation_json() has them. `runs`: as they were named.
Json report_ensemble(const Ensemble& ensemble, const std::vector<std::string>& runs, const std::string& split,
                     const std::function<void(const Tensor&, const Batch&)>& on_mean = {});

}  // namespace sked

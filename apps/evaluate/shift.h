#pragma once
// How a model bears images that are not quite those it was trained on: its measures under corruptions.

#include <functional>
#include <memory>
#include <string>

#include "apps/common/run/asked.h"
#include "data/corrupted.h"

namespace sked {

/// The corruptions in the folder `where` (find_corruptions), their classes matched with the model's, or of `images`
/// themselves where it is `made` (made_corruptions); what there is to note is said.
Corruptions shift_data(const Asked& asked, const std::string& where, const std::shared_ptr<const Dataset>& images);

/// Measures a model on each corruption and severity. `measure` is evaluation_json() of its predictions on images in the
/// shape and with the classes of `like`. Prints a table; returns {path, corruptions [{corruption, in_mean, severities
/// [{severity, nll, accuracy ...}], mean {...}}], mean {...}, severities [{severity, nll, ...}],
/// mean_corruption_error}: a corruption's mean is over its severities, the mean is over the corruptions, and
/// `severities` those of one severity. The mean corruption error is 1 - accuracy of that mean, not divided by another
/// model's as the paper's mCE is. Where no corruption is of the mean (in_mean) there are the first two alone.
Json report_shift(const Corruptions& corruptions, const std::string& where, const Dataset& like,
                  const std::function<Json(std::shared_ptr<const Dataset>)>& measure);

}  // namespace sked

#pragma once
// evaluate --calibrate and --calibrated: temperature and class shifts, fitted after training or taken from then.

#include <memory>
#include <string>

#include "apps/common/run/asked.h"
#include "core/json.h"

namespace sked {

/// The images of `fit` (validation or test) of the run; that calibration.json can be written is found out. Throws
/// UsageError where none are held out.
std::shared_ptr<const Dataset> calibration_images(const Asked& s, const std::string& fit);

/// Fits to `images`, those of the split `fit`, writes calibration.json, and prints a table of the measures on the
/// images of `split`, which are looked at once more. Returns what calibration.json holds, and under `measures`
/// {as_trained, temperature, shift}, each as evaluation_json has it. Throws what evaluate() throws.
Json report_calibration(Asked& s, const std::shared_ptr<const Dataset>& images, const std::string& fit,
                        const std::string& split, const std::string& command);

/// From here on the predictions of `s` are calibrated as calibration.json says: `name` is temperature or shift. Prints
/// that, and says on stderr where `split` is what it was fitted to. Throws what stored_calibration() throws.
Json use_calibration(Asked& s, const std::string& name, const std::string& split);

}  // namespace sked

#pragma once
// What the noise of a study's cells looks like, for results.json: so that a page is made from it alone.

#include <filesystem>

#include "apps/replicate/results.h"

namespace sked {

/// Is there something to say of the cell's first run: classification by a head with noise, of at most 60 classes (those
/// that a heat map names)?
bool has_noise(const Cell& cell);

/// Of the cell's first run, by its weights:
///   {"classes": [K names], "learned": [K lists of K], "true": likewise where it is known,
///    "images": [{"picture": data URI, "label", "prediction", "noise"}, …]}
/// learned and true are means over some test images of the covariance of the logits u/τ, centered over the classes;
/// the images are those of the most noise, at most 12, none where examples are vectors. Throws Error where weights or
/// images cannot be read.
Json cell_noise(const Cell& cell, const std::filesystem::path& out);

}  // namespace sked

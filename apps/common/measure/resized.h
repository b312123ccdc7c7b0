#pragma once
// Images of one dataset in the shape another's model expects.

#include <memory>

#include "data/catalog.h"

namespace sked {

/// What a command line calls a data set: `name` or `name:path`.
DataSpec named_data(const std::string& name, const std::string& root);

/// The images of `base` as (H,W,C) = `shape`: color becomes gray by the luma of ITU-R BT.601 (.299 R + .587 G + .114
/// B), gray is repeated over the channels; the image is resized (antialiased bilinear) until its shorter side fits, and
/// cut to H×W around its center. With H = W = 0 only the channels change: the model's own pipeline takes any size.
/// Throws Error for a shape that is not square or channels other than 1 and 3. Returns `base` itself where nothing has
/// to change.
std::shared_ptr<const Dataset> resized(std::shared_ptr<const Dataset> base, const Shape& shape);

/// Another data set by `name` or `name:path`, its images in the shape of a model's data (`shape`, as
/// Dataset::image_shape() has it); what there is to say about it is said. Throws what load_splits() and resized() do,
/// and for vectors of another length, or in place of images. Collections without test images have none: `test` is null.
Splits other_splits(const std::string& name, const std::string& root, const Shape& shape);
/// The same with all that a configuration says of it; `name` for people.
Splits other_splits(const DataSpec& spec, const std::string& name, const Shape& shape);
/// The same for images alone: the test images, of data without any all there are (said), of a folder without classes
/// all below it.
std::shared_ptr<const Dataset> other_images(const std::string& name, const std::string& root, const Shape& shape);

}  // namespace sked

#include "apps/common/measure/resized.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "data/image_collection.h"
#include "data/image_paths.h"
#include "data/image_resample.h"
#include "data/transforms.h"

namespace sked {
namespace {

class Resized final : public DatasetView {
 public:
  Resized(std::shared_ptr<const Dataset> base, const Shape& shape) : DatasetView(std::move(base)), shape_(shape) {}

  Shape image_shape() const override { return shape_[0] == 0 ? base().image_shape().with(2, shape_[2]) : shape_; }
  bool encoded() const override { return false; }
  Tensor image(int64_t i) const override {
    const Tensor colored = with_channels(base().image(i));  // (h,w,C)
    const int64_t side = shape_[0];
    if (side == 0 || colored.shape() == shape_) return colored;
    const Shape size = small_size(colored.shape(), side);
    Tensor resized = Tensor::empty({size[0], size[1], shape_[2]}, DType::u8), out = Tensor::empty(shape_, DType::u8);
    resample(colored.data<uint8_t>(), colored.shape(), {0, 0, colored.dim(0), colored.dim(1)}, size[0], size[1],
             resized.data<uint8_t>());
    const Crop window = central_window(resized.shape(), side);
    crop(resized.data<uint8_t>(), resized.shape(), window.top, window.left, side, out.data<uint8_t>());
    return out;
  }

 private:
  Tensor with_channels(const Tensor& image) const {
    const int64_t from = image.dim(2), to = shape_[2];
    if (from == to) return image;
    Tensor out = Tensor::empty(image.shape().with(2, to), DType::u8);
    const uint8_t* in = image.data<uint8_t>();
    uint8_t* bytes = out.data<uint8_t>();
    for (int64_t pixel = 0; pixel < image.dim(0) * image.dim(1); ++pixel) {
      const uint8_t* p = in + pixel * from;
      const auto gray =
          from == 1 ? p[0] : static_cast<uint8_t>(std::lround(0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]));
      for (int64_t c = 0; c < to; ++c) bytes[pixel * to + c] = gray;
    }
    return out;
  }

  Shape shape_;
};

}  // namespace

/// Reads the first images, up to one that can be used: what is wrong with all of them is known before the work.
static void check_first_images(const Dataset& images) {
  constexpr int64_t kFirst = 8;
  if (!images.encoded()) return;
  for (int64_t i = 0; i < std::min(kFirst, images.size()); ++i) {
    try {
      images.image(i);
      return;
    } catch (const Error&) {  // others may be better
    }
  }
  if (images.size() > 0) images.image(0);
}

static void note_resized(const std::string& name, const Shape& from, const Shape& to) {
  if (from == to) return;
  note("images of " + name + ", " + (from[0] == 0 ? "of several sizes" : from.str()) +
       ", are resized, cropped around their center, and made gray or color, to " + to.str());
}

DataSpec named_data(const std::string& name, const std::string& root) {
  DataSpec spec;
  spec.name = name.substr(0, name.find(':'));
  if (spec.name.size() < name.size()) spec.path = name.substr(spec.name.size() + 1);
  spec.root = root;
  std::error_code error;
  const std::vector<std::string> known = known_datasets();
  require_usage(std::ranges::count(known, spec.name) > 0 || !std::filesystem::is_directory(name, error), "evaluate",
                name, " is a folder and no data set: image-folder:", name, " has images in folders of their classes");
  return spec;
}

std::shared_ptr<const Dataset> resized(std::shared_ptr<const Dataset> base, const Shape& shape) {
  if (base->image_shape() == shape || (shape[0] == 0 && base->image_shape()[2] == shape[2])) return base;
  const auto known = [](int64_t channels) { return channels == 1 || channels == 3; };
  require(shape.ndim() == 3 && shape[0] == shape[1] && known(shape[2]) && known(base->image_shape()[2]), "evaluate",
          "cannot make square images ", shape, " of 1 or 3 channels from ", base->name(), "'s ", base->image_shape());
  return std::make_shared<Resized>(std::move(base), shape);
}

Splits other_splits(const std::string& name, const std::string& root, const Shape& shape) {
  return other_splits(named_data(name, root), name, shape);
}

Splits other_splits(const DataSpec& spec, const std::string& name, const Shape& shape) {
  Splits splits = load_parts(spec);
  const Shape got = splits.train->image_shape();
  require(got == shape || (got.ndim() == 3 && shape.ndim() == 3), "evaluate", name, ": expected ",
          shape.ndim() == 1 ? "vectors " : "images ", shape, " as the model's, got ",
          got.ndim() == 1 ? "vectors " : "images ", got);
  for (const std::string& line : splits.notes) note(line);
  for (auto* images : {&splits.train, &splits.test}) {
    if (*images == nullptr) continue;
    check_first_images(**images);
    *images = resized(*images, shape);
  }
  note_resized(name, got, shape);
  return splits;
}

std::shared_ptr<const Dataset> other_images(const std::string& name, const std::string& root, const Shape& shape) {
  const DataSpec spec = named_data(name, root);
  if (spec.name == "image-folder" && !spec.path.empty() && class_names_of(spec).empty()) {
    const ImagePaths files = image_paths({spec.path});
    require(files.refused.empty(), "evaluate", name, ": ", files.refused.empty() ? "" : files.refused.front());
    if (files.others > 0) note(other_files(files));
    const auto images = listed_images(spec.name, {}, files.paths);
    check_first_images(*images);
    note_resized(name, images->image_shape(), shape);
    return resized(images, shape);
  }
  const Splits splits = other_splits(spec, name, shape);
  if (splits.test) return splits.test;
  note(name + " has no test images: all " + std::to_string(splits.train->size()) + " of its images are taken");
  return splits.train;
}

}  // namespace sked

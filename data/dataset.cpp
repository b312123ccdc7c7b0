#include "data/dataset.h"

#include <cmath>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "core/xxh64.h"

namespace sked {
namespace {

/// One element of a tensor's first axis without that axis, sharing storage.
Tensor element(const Tensor& tensor, int64_t i) { return tensor.rows(i, i + 1).reshape(tensor.shape().without(0)); }

void check_distributions(const Tensor& distributions, const Shape& expected, const std::string& source) {
  require(distributions.dtype() == DType::f32 && distributions.shape() == expected, "dataset", source,
          ": expected distributions ", expected, " f32, got ", distributions);
  const float* p = distributions.data<float>();
  for (int64_t i = 0; i < expected[0]; ++i) {
    double sum = 0.0;
    bool valid = true;
    for (int64_t k = 0; k < expected[1]; ++k) {
      const float share = p[i * expected[1] + k];
      valid = valid && share >= 0.0f;
      sum += share;
    }
    require(valid && std::abs(sum - 1.0) <= 1e-4, "dataset", source, ": distribution ", i,
            " is not one: expected shares >= 0 that sum to 1, got a sum of ", sum);
  }
}

/// The base of a view, once it is known to be there.
const Dataset& defined(const std::shared_ptr<const Dataset>& base) {
  require(base != nullptr, "dataset", "expected a dataset, got none");
  return *base;
}

std::vector<int64_t> range(const Dataset& base, int64_t begin, int64_t end) {
  require(begin >= 0 && begin <= end && end <= base.size(), "subset", base.name(), ": expected a range in 0 to ",
          base.size(), ", got [", begin, ", ", end, ")");
  std::vector<int64_t> indices(static_cast<size_t>(end - begin));
  std::iota(indices.begin(), indices.end(), begin);
  return indices;
}

}  // namespace

Dataset::Dataset(std::string name, std::vector<std::string> class_names)
    : name_(std::move(name)), class_names_(std::move(class_names)) {
  for (std::string& c : class_names_) c = valid_utf8(c);
}

std::string Dataset::source(int64_t i) const { return name_ + ", image " + std::to_string(i); }

void Dataset::read_features(int64_t, float*) const { fail("dataset", name_, " is made of images, not of vectors"); }

void Dataset::add_identity(int64_t i, Fingerprint& f) const {
  const int64_t y = label(i);
  f.add(&y, sizeof y);
}

void Dataset::add_image(int64_t i, Fingerprint& f) const {
  const Tensor pixels = image(i);
  f.add(pixels.shape().begin(), sizeof(int64_t) * static_cast<size_t>(pixels.ndim()));
  f.add(pixels.raw(), pixels.bytes());
}

EncodedImage Dataset::file(int64_t) const { fail("dataset", name_, " is not made of image files"); }

Tensor Dataset::target(int64_t) const { fail("dataset", name_, " has no targets but its labels"); }

Tensor Dataset::distribution(int64_t) const { fail("dataset", name_, " has no distributions"); }

Tensor Dataset::covariance(int64_t) const { fail("dataset", name_, " has no known covariances"); }

std::string Dataset::caption(int64_t, Rng&) const { fail("dataset", name_, " has no captions"); }

void Dataset::check_index(int64_t i) const {
  require(i >= 0 && i < size(), "dataset", name_, ": expected an index in 0 to ", size() - 1, ", got ", i);
}

void check_labels(const Tensor& labels, int64_t classes, const std::string& source) {
  require(labels.defined() && labels.dtype() == DType::i64 && labels.ndim() == 1, "labels", source,
          ": expected labels (N) i64, got ", labels);
  const int64_t* y = labels.data<int64_t>();
  for (int64_t i = 0; i < labels.dim(0); ++i) {
    require(y[i] >= 0 && y[i] < classes, "labels", source, ": label ", i, " is ", y[i], ", expected 0 to ",
            classes - 1);
  }
}

ImageDataset::ImageDataset(std::string name, std::vector<std::string> class_names, Tensor images, Tensor labels,
                           Tensor distributions)
    : Dataset(std::move(name), std::move(class_names)),
      images_(std::move(images)),
      labels_(std::move(labels)),
      distributions_(std::move(distributions)) {
  require(images_.defined() && images_.dtype() == DType::u8 && images_.ndim() == 4, "dataset", this->name(),
          ": expected images (N, H, W, C) u8, got ", images_);
  check_labels(labels_, classes(), this->name());
  require(labels_.dim(0) == images_.dim(0), "dataset", this->name(), ": expected a label per image, got ",
          images_.dim(0), " images and ", labels_.dim(0), " labels");
  image_shape_ = images_.shape().without(0);
  if (distributions_.defined()) check_distributions(distributions_, {size(), classes()}, this->name());
}

Tensor ImageDataset::image(int64_t i) const {
  check_index(i);
  return element(images_, i);
}

int64_t ImageDataset::label(int64_t i) const {
  check_index(i);
  return labels_.data<int64_t>()[i];
}

void ImageDataset::add_identity(int64_t i, Fingerprint& f) const {
  Dataset::add_identity(i, f);
  const auto bytes = static_cast<size_t>(image_shape_.numel());
  const uint64_t checksum = xxh64_value(images_.data<uint8_t>() + static_cast<size_t>(i) * bytes, bytes);
  f.add(&checksum, sizeof checksum);
}

Tensor ImageDataset::distribution(int64_t i) const {
  if (!has_distributions()) return Dataset::distribution(i);
  check_index(i);
  return element(distributions_, i);
}

DatasetView::DatasetView(std::shared_ptr<const Dataset> base)
    : Dataset(defined(base).name(), defined(base).class_names()), base_(std::move(base)) {}

DatasetView::DatasetView(std::shared_ptr<const Dataset> base, std::vector<std::string> class_names)
    : Dataset(defined(base).name(), std::move(class_names)), base_(std::move(base)) {}

Subset::Subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices)
    : DatasetView(std::move(base)), indices_(std::move(indices)) {
  for (const int64_t i : indices_) {
    require(i >= 0 && i < this->base().size(), "subset", name(), ": expected indices in 0 to ", this->base().size() - 1,
            ", got ", i);
  }
}

Subset::Subset(std::shared_ptr<const Dataset> base, int64_t begin, int64_t end)
    : Subset(base, range(defined(base), begin, end)) {}

int64_t Subset::base_index(int64_t i) const {
  check_index(i);
  return indices_[static_cast<size_t>(i)];
}

std::vector<std::vector<int64_t>> examples_by_image(const Dataset& data) {
  std::vector<std::vector<int64_t>> images;
  std::unordered_map<std::string, size_t> place;
  for (int64_t i = 0; i < data.size(); ++i) {
    const size_t image =
        data.has_captions() ? place.emplace(data.source(i), images.size()).first->second : images.size();
    if (image == images.size()) images.emplace_back();
    images[image].push_back(i);
  }
  return images;
}

std::string identity_fingerprint(const Dataset& data) {
  Fingerprint f;
  for (int64_t i = 0; i < data.size(); ++i) data.add_identity(i, f);
  return f.hex();
}

std::string image_fingerprint(const Dataset& data) {
  Fingerprint f;
  for (int64_t i = 0; i < data.size(); ++i) data.add_image(i, f);
  return f.hex();
}

std::string epoch_caption(const Dataset& data, uint64_t seed, int64_t epoch, int64_t i) {
  constexpr uint64_t kCaptions = 0x64617461'00000004;  // a stream of the loader's seed
  Rng rng({seed, kCaptions, static_cast<uint64_t>(epoch)}, static_cast<uint64_t>(i));
  return data.caption(i, rng);
}

}  // namespace sked

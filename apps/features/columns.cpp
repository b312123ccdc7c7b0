#include "apps/features/columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/xxh64.h"

namespace sked {
namespace {

FeatureColumn id_column(const Dataset& images, const std::function<std::string(int64_t)>& id) {
  size_t length = 1;
  for (int64_t i = 0; i < images.size(); ++i) length = std::max(length, id(i).size());
  return {"ids", "U8", {static_cast<int64_t>(length)}, [id, length](int64_t i, void* row) {
            const std::string text = id(i);
            std::memset(row, 0, length);
            std::memcpy(row, text.data(), text.size());
          }};
}

/// A row f32 (K) of each image.
FeatureColumn distribution_column(const Dataset& images, Tensor (Dataset::*of)(int64_t) const) {
  return {"label_distribution", "F32", {images.classes()}, [&images, of](int64_t i, void* row) {
            const Tensor shares = (images.*of)(i);
            std::memcpy(row, shares.raw(), shares.bytes());
          }};
}

/// Targets are several labels where each is 0 or 1, else shares.
FeatureColumn target_column(const Dataset& images) {
  const int64_t classes = images.classes();
  int64_t soft = -1, not_one = -1;  // the last image with a share between 0 and 1, and with a sum other than 1
  for (int64_t i = 0; i < images.size(); ++i) {
    const Tensor target = images.target(i);
    double sum = 0;
    for (int64_t k = 0; k < classes; ++k) {
      const float share = target.data<float>()[k];
      if (share != 0 && share != 1) soft = i;
      sum += static_cast<double>(share);
    }
    if (std::abs(sum - 1) > 1e-4) not_one = i;
  }
  require(soft < 0 || not_one < 0, "features", soft < 0 ? "" : images.source(soft), " has shares of classes and ",
          not_one < 0 ? "" : images.source(not_one), " several labels: expected one or the other of all images");
  if (soft >= 0) return distribution_column(images, &Dataset::target);
  return {"labels", "U8", {classes}, [&images, classes](int64_t i, void* row) {
            const Tensor target = images.target(i);
            std::transform(target.data<float>(), target.data<float>() + classes, static_cast<uint8_t*>(row),
                           [](float share) { return static_cast<uint8_t>(share); });
          }};
}

}  // namespace

std::vector<FeatureColumn> columns_of(const Dataset& images, const std::function<std::string(int64_t)>& id) {
  std::vector<FeatureColumn> columns{id_column(images, id)};
  if (images.classes() == 0) return columns;
  if (images.has_targets()) {
    columns.push_back(target_column(images));
    return columns;
  }
  columns.push_back({"labels", "I64", {}, [&images](int64_t i, void* row) {
                       const int64_t label = images.label(i);
                       std::memcpy(row, &label, sizeof label);
                     }});
  if (images.has_distributions()) columns.push_back(distribution_column(images, &Dataset::distribution));
  return columns;
}

std::string fingerprint_of(const std::vector<FeatureColumn>& columns, int64_t images) {
  Xxh64 sum;
  std::vector<char> row;
  for (const FeatureColumn& column : columns) {
    sum.add(column.name.data(), column.name.size() + 1);
    row.resize(row_bytes(column));
    for (int64_t i = 0; i < images; ++i) {
      column.at(i, row.data());
      sum.add(row.data(), row.size());
    }
  }
  return sum.hex();
}

}  // namespace sked

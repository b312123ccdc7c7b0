#include "apps/common/measure/covariance.h"

#include <algorithm>
#include <cmath>

#include "apps/common/config/outputs.h"
#include "apps/common/measure/heat_map.h"
#include "apps/common/measure/predictions_file.h"
#include "apps/common/measure/uncertainty.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/kernels/matmul.h"
#include "core/safetensors.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kAbout = "skedastic covariance";
constexpr int64_t kMostSampled = int64_t{1} << 24;  // logits at a time
constexpr size_t kMostKept = size_t{1} << 25;       // numbers of all images' own covariances
constexpr uint64_t kMostSvgBytes = uint64_t{1} << 24;
constexpr double kStill = 1e-8;  // below: rounding of f32 probabilities, not noise

bool holds_covariance(const std::string& path) {
  const auto metadata = load_safetensors_header(path).metadata;
  const auto about = metadata.find("about");
  return about != metadata.end() && about->second == kAbout;
}

bool holds_heat_map(const std::string& path) {
  return read_file(path, kMostSvgBytes).find(kHeatMapMark) != std::string::npos;
}

}  // namespace

void check_covariance(const HeadConfig& head, int64_t classes, int64_t samples) {
  require_usage(head.kind != HeadKind::det, "covariance",
                "--covariance: expected a head that predicts noise, got DET, whose logits do not move");
  require_usage(samples >= 2, "covariance", "--covariance: expected --samples of 2 or more, got ", samples);
  require_usage(classes <= kMostCovariantClasses, "covariance", "--covariance: expected at most ",
                kMostCovariantClasses, " classes, got ", classes);
}

void CovarianceAccumulator::add(const Tensor& logits, const BatchRows& rows, const std::vector<std::string>& ids) {
  const int64_t place = std::ssize(ids_) + rows.mine().begin;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  samples_ = logits.dim(0);
  classes_ = logits.dim(2);
  if (rows.mine().size() > 0) add_at(place, logits);
}

/// The first of the images has that place among all.
void CovarianceAccumulator::add_at(int64_t place, const Tensor& logits) {
  const int64_t samples = logits.dim(0), images = logits.dim(1), classes = logits.dim(2);
  sums_.resize(static_cast<size_t>(classes * classes), 0.0);
  std::vector<double> mean(static_cast<size_t>(classes));
  Tensor centered = Tensor::empty({samples, classes}), products = Tensor::empty({classes, classes});
  for (int64_t b = 0; b < images; ++b) {
    const auto row = [&](int64_t s) { return logits.data<float>() + (s * images + b) * classes; };
    std::fill(mean.begin(), mean.end(), 0.0);
    for (int64_t s = 0; s < samples; ++s)
      for (size_t k = 0; k < mean.size(); ++k) mean[k] += static_cast<double>(row(s)[k]) / static_cast<double>(samples);
    float* out = centered.data<float>();
    for (int64_t s = 0; s < samples; ++s)
      for (size_t k = 0; k < mean.size(); ++k) *out++ = static_cast<float>(static_cast<double>(row(s)[k]) - mean[k]);
    kernel::matmul(centered, centered, products, true, false, false);
    for (size_t i = 0; i < sums_.size(); ++i)
      sums_[i] += static_cast<double>(products.data<float>()[i]) / static_cast<double>(samples);
    if (!keeps()) continue;
    places_.push_back(place + b);
    for (int64_t i = 0; i < products.numel(); ++i)
      each_.push_back(products.data<float>()[i] / static_cast<float>(samples));
  }
  images_ += images;
  if (!keeps()) each_.clear();
}

/// Each image's own?
bool CovarianceAccumulator::keeps() const {
  return !ids_.empty() && ids_.size() <= kMostKept / static_cast<size_t>(classes_ * classes_);
}

void CovarianceAccumulator::add(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context,
                                const BatchRows& rows, const std::vector<std::string>& ids) {
  const int64_t place = std::ssize(ids_) + rows.mine().begin;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  samples_ = samples;
  if (classes_ == 0) classes_ = head.classifier_logits(phi.rows(0, 1)).dim(1);
  for (const BatchRows::Piece& piece : rows.pieces(std::max<int64_t>(1, kMostSampled / (samples * classes_)))) {
    Context some = context;
    some.examples = context.examples.rows(piece.begin, piece.end);
    const Tensor logits = sampled_logits(head, phi.rows(piece.begin, piece.end), samples, sigmoid, some);
    if (!piece.stands_in) add_at(place + piece.begin, logits);
  }
}

/// Each image's, in the order of all of them.
Tensor CovarianceAccumulator::each(Communicator& ranks) const {
  const auto count = std::ssize(places_);
  const Tensor all = all_gather_rows(ranks, Tensor::from(each_, {count, classes_, classes_}));
  const Tensor places = all_gather_rows(ranks, Tensor::from(places_, {count}));
  Tensor ordered = Tensor::empty(all.shape());
  for (int64_t i = 0; i < places.numel(); ++i) {
    const int64_t place = places.data<int64_t>()[i];
    ordered.rows(place, place + 1).copy_from(all.rows(i, i + 1));
  }
  return ordered;
}

LogitCovariance CovarianceAccumulator::result(Communicator& ranks) const {
  std::vector<double> sums = sums_;  // and how many images
  sums.resize(static_cast<size_t>(classes_ * classes_), 0.0);
  sums.push_back(static_cast<double>(images_));
  add_over(ranks, sums);
  const double images = sums.back();
  require(images > 0, "covariance", "expected images, got none");
  LogitCovariance result{static_cast<int64_t>(images), samples_, Tensor::empty({classes_, classes_}),
                         Tensor::empty({classes_, classes_})};
  const auto mean = [&](int64_t i, int64_t j) {
    const auto sum = [&](int64_t r, int64_t c) { return sums[static_cast<size_t>(r * classes_ + c)]; };
    return (sum(i, j) + sum(j, i)) / (2 * images);  // symmetric to the last digit
  };
  for (int64_t i = 0; i < classes_; ++i) {
    for (int64_t j = 0; j < classes_; ++j) {
      const double spread = std::sqrt(mean(i, i) * mean(j, j)), together = mean(i, j);
      result.covariance.data<float>()[i * classes_ + j] = static_cast<float>(together);
      const double correlation = spread < kStill ? 0.0 : std::clamp(together / spread, -1.0, 1.0);
      result.correlation.data<float>()[i * classes_ + j] = static_cast<float>(correlation);
    }
  }
  if (!keeps()) return result;
  result.each = each(ranks);
  result.ids = ids_;
  return result;
}

std::vector<std::string> check_covariance_files(const std::string& prefix) {
  if (prefix.empty()) return {};
  const std::string arrays = prefix + ".safetensors", picture = prefix + ".svg";
  check_writable(arrays);
  refuse_foreign(arrays, holds_covariance);
  check_writable(picture);
  refuse_foreign(picture, holds_heat_map);
  return {arrays, picture};
}

std::string write_covariance(const std::string& prefix, const LogitCovariance& result,
                             const std::vector<std::string>& names) {
  Json list = Json::array();
  for (const std::string& name : names) list.push_back(valid_utf8(name));
  std::vector<NamedTensor> tensors{{"covariance", result.covariance}, {"correlation", result.correlation}};
  if (result.each.defined()) {
    std::vector<std::string> ids;
    for (const std::string& id : result.ids) ids.push_back(valid_utf8(id));
    tensors.push_back({"image_covariance", result.each});
    tensors.push_back({"ids", text_rows(ids)});
  }
  save_safetensors(prefix + ".safetensors", tensors,
                   {{"about", kAbout},
                    {"class_names", list.dump()},
                    {"images", std::to_string(result.images)},
                    {"samples", std::to_string(result.samples)}});
  write_file(prefix + ".svg", heat_map_svg({.title = "Correlation of the classes' sampled logits",
                                            .names = names,
                                            .values = result.correlation,
                                            .alone = true}));
  return "covariance of the logits, " +
         std::string(result.each.defined() ? "mean and each image's" : "mean without each image's") + ": " +
         printable(prefix) + ".safetensors, " + printable(prefix) + ".svg\n";
}

}  // namespace sked

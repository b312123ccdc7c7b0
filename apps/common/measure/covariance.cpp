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

void CovarianceAccumulator::add(const Tensor& logits, const std::vector<std::string>& ids) {
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
    if (!ids.empty()) {
      ids_.push_back(ids[static_cast<size_t>(b)]);
      keep(products, samples);
    }
  }
  images_ += images;
  samples_ = samples;
  classes_ = classes;
}

void CovarianceAccumulator::keep(const Tensor& products, int64_t samples) {
  if (ids_.size() > kMostKept / static_cast<size_t>(products.numel())) {
    each_.clear();
    return;
  }
  for (int64_t i = 0; i < products.numel(); ++i)
    each_.push_back(products.data<float>()[i] / static_cast<float>(samples));
}

void CovarianceAccumulator::add(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context,
                                const std::vector<std::string>& ids) {
  const int64_t rows = phi.dim(0);
  for (int64_t begin = 0, end = 0; begin < rows; begin = end) {
    // The first image tells K.
    end = classes_ == 0 ? 1 : std::min(rows, begin + std::max<int64_t>(1, kMostSampled / (samples * classes_)));
    Context some = context;
    some.examples = context.examples.rows(begin, end);
    std::vector<std::string> names;
    if (!ids.empty()) names.assign(ids.begin() + begin, ids.begin() + end);
    add(sampled_logits(head, phi.rows(begin, end), samples, sigmoid, some), names);
  }
}

LogitCovariance CovarianceAccumulator::result() const {
  require(images_ > 0, "covariance", "expected images, got none");
  LogitCovariance result{images_, samples_, Tensor::empty({classes_, classes_}), Tensor::empty({classes_, classes_})};
  const auto mean = [&](int64_t i, int64_t j) {
    const auto sum = [&](int64_t r, int64_t c) { return sums_[static_cast<size_t>(r * classes_ + c)]; };
    return (sum(i, j) + sum(j, i)) / (2 * static_cast<double>(images_));  // symmetric to the last digit
  };
  for (int64_t i = 0; i < classes_; ++i) {
    for (int64_t j = 0; j < classes_; ++j) {
      const double spread = std::sqrt(mean(i, i) * mean(j, j)), together = mean(i, j);
      result.covariance.data<float>()[i * classes_ + j] = static_cast<float>(together);
      const double correlation = spread < kStill ? 0.0 : std::clamp(together / spread, -1.0, 1.0);
      result.correlation.data<float>()[i * classes_ + j] = static_cast<float>(correlation);
    }
  }
  if (each_.empty()) return result;
  result.each = Tensor::empty({images_, classes_, classes_});
  std::copy(each_.begin(), each_.end(), result.each.data<float>());
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

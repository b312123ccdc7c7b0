#include "apps/evaluate/mahalanobis.h"

#include <algorithm>
#include <limits>

#include "apps/common/measure/cholesky.h"
#include "core/error.h"

namespace sked {
namespace {

/// A coordinate of which this share of its variance, or less, is its own is taken for a combination of others: f32
/// representations of that cannot be told from rounding.
constexpr double kOwnVariance = 1e-10;
constexpr double kRegularization = 1e-6;  // of the mean variance

/// A −= w x xᵀ, lower triangle.
void subtract_outer(std::vector<double>& a, const std::vector<double>& x, double w) {
  const size_t d = x.size();
#pragma omp parallel for schedule(dynamic, 8)
  for (size_t i = 0; i < d; ++i)
    for (size_t j = 0; j <= i; ++j) a[i * d + j] -= w * x[i] * x[j];
}

void add_to_diagonal(std::vector<double>& a, size_t d, double value) {
  for (size_t i = 0; i < d; ++i) a[i * d + i] += value;
}

double squared_distance(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum;
}

}  // namespace

Mahalanobis::Mahalanobis(int64_t classes, int64_t width)
    : width_(width),
      counts_(static_cast<size_t>(classes), 0),
      means_(static_cast<size_t>(classes), std::vector<double>(static_cast<size_t>(width), 0.0)),
      overall_(static_cast<size_t>(width), 0.0),
      total_(static_cast<size_t>(width * width), 0.0) {}

Tensor Mahalanobis::shifted(const Tensor& phi) const {
  require(phi.ndim() == 2 && phi.dim(1) == width_, "mahalanobis", "expected representations (B, ", width_, "), got ",
          phi);
  Tensor x = phi.to(Device::cpu).to(DType::f64).clone();
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] -= shift_[static_cast<size_t>(i % width_)];
  return x;
}

void Mahalanobis::add(const Tensor& phi, const Tensor& labels) {
  require_shape(labels, {phi.dim(0)}, "mahalanobis", "labels");
  if (shift_.empty()) {
    shift_.assign(static_cast<size_t>(width_), 0.0);
    const Tensor first = shifted(phi);
    std::vector<double> mean(shift_.size(), 0.0);
    for (int64_t i = 0; i < first.numel(); ++i)
      mean[static_cast<size_t>(i % width_)] += first.data<double>()[i] / static_cast<double>(first.dim(0));
    shift_ = std::move(mean);
  }
  const Tensor x = shifted(phi);
  for (int64_t b = 0; b < x.dim(0); ++b) {
    const int64_t y = labels.data<int64_t>()[b], classes = static_cast<int64_t>(counts_.size());
    require(y >= 0 && y < classes, "mahalanobis", "expected a label in 0 to ", classes - 1, ", got ", y);
    ++counts_[static_cast<size_t>(y)];
    for (int64_t j = 0; j < width_; ++j)
      means_[static_cast<size_t>(y)][static_cast<size_t>(j)] += x.data<double>()[b * width_ + j];
  }
  add_gram(x, total_);
  count_ += x.dim(0);
}

void Mahalanobis::fit() {
  require(count_ > 0, "mahalanobis", "expected training images, got none");
  const auto d = static_cast<size_t>(width_);
  const auto n = static_cast<double>(count_);
  within_ = total_;
  for (size_t k = 0; k < means_.size(); ++k) {
    if (counts_[k] == 0) continue;
    const auto of_class = static_cast<double>(counts_[k]);
    for (size_t j = 0; j < d; ++j) overall_[j] += means_[k][j] / n, means_[k][j] /= of_class;
    subtract_outer(within_, means_[k], of_class);
  }
  subtract_outer(total_, overall_, n);
  for (std::vector<double>* a : {&within_, &total_})
    for (double& v : *a) v /= n;
  double variance = 0;
  for (size_t i = 0; i < d; ++i) variance += within_[i * d + i] / static_cast<double>(d);
  std::vector<double> within = within_, total = total_;
  if (cholesky(within, width_, kOwnVariance) || cholesky(total, width_, kOwnVariance)) {
    regularization_ = kRegularization * variance;
    for (std::vector<double>* a : {&within_, &total_}) add_to_diagonal(*a, d, regularization_);
    within = within_, total = total_;
    require(variance > 0 && !cholesky(within, width_) && !cholesky(total, width_), "mahalanobis",
            "expected representations that vary within classes, got a variance of ", variance, " over ", count_,
            " training images");
  }
  within_ = std::move(within), total_ = std::move(total);
  for (std::vector<double>& mean : means_) solve_lower(within_, mean);
  solve_lower(total_, overall_);
}

std::vector<Mahalanobis::Distances> Mahalanobis::distances(const Tensor& phi) const {
  const Tensor x = shifted(phi);
  std::vector<Distances> result(static_cast<size_t>(x.dim(0)));
#pragma omp parallel for
  for (int64_t b = 0; b < x.dim(0); ++b) {
    const double* row = x.data<double>() + b * width_;
    std::vector<double> z(row, row + width_), z0 = z;
    solve_lower(within_, z);
    solve_lower(total_, z0);
    double nearest = std::numeric_limits<double>::infinity();
    for (size_t k = 0; k < means_.size(); ++k)
      if (counts_[k] > 0) nearest = std::min(nearest, squared_distance(z, means_[k]));
    result[static_cast<size_t>(b)] = {nearest, nearest - squared_distance(z0, overall_)};
  }
  return result;
}

}  // namespace sked

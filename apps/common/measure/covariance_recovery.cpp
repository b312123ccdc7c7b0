#include "apps/common/measure/covariance_recovery.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/loader.h"

namespace sked {
namespace {

constexpr int64_t kMostNumbers = int64_t{1} << 24;  // of the covariances and W diag(d) of a few rows

/// Pearson's correlation of n pairs; NaN where one side does not vary.
double correlation(double n, double a, double b, double aa, double bb, double ab) {
  const double variances = (aa - a * a / n) * (bb - b * b / n);
  return variances > 0 ? std::clamp((ab - a * b / n) / std::sqrt(variances), -1.0, 1.0) : kNotMeasured;
}

}  // namespace

std::vector<double> centered_over_classes(const float* s, int64_t classes) {
  const auto k = static_cast<size_t>(classes);
  const auto n = static_cast<double>(classes);
  std::vector<double> result(s, s + k * k), rows(k, 0.0), columns(k, 0.0);
  double all = 0;
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j) rows[i] += result[i * k + j] / n, columns[j] += result[i * k + j] / n;
  for (const double row : rows) all += row / n;
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j) result[i * k + j] += all - rows[i] - columns[j];
  return result;
}

CovarianceRecoveryAccumulator::CovarianceRecoveryAccumulator(const Dataset& dataset) : dataset_(dataset) {
  if (!dataset.has_covariances() || dataset.classes() > kMostRecoveredClasses) return;
  const std::vector<int64_t> order = shuffled_order(std::min(dataset.size(), kMostRecoveredImages), 0, 0);
  other_.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) other_[static_cast<size_t>(order[i])] = order[(i + 1) % order.size()];
}

void CovarianceRecoveryAccumulator::add(Head& head, const Tensor& phi, const Tensor& indices, const BatchRows& rows) {
  const int64_t classes = dataset_.classes();
  const auto compared = [&](int64_t index) { return index < std::ssize(other_); };
  if (std::ranges::none_of(indices.to_vector<int64_t>(), compared)) return;
  const Tensor own = rows.own(indices);
  for (const BatchRows::Piece& piece :
       rows.pieces(std::max<int64_t>(1, kMostNumbers / (classes * std::max(classes, phi.dim(1)))))) {
    const Tensor learned = head.logit_covariance(phi.rows(piece.begin, piece.end)).to(Device::cpu);
    for (int64_t b = piece.begin; b < piece.end && !piece.stands_in; ++b)
      if (const int64_t index = own.data<int64_t>()[b]; compared(index))
        add(learned.rows(b - piece.begin, b - piece.begin + 1).reshape({classes, classes}), index);
  }
}

void CovarianceRecoveryAccumulator::add(const Tensor& learned, int64_t index) {
  const int64_t classes = dataset_.classes();
  const std::vector<double> centered = centered_over_classes(learned.data<float>(), classes);
  require(std::ranges::all_of(centered, [](double x) { return std::isfinite(x); }), "evaluate", dataset_.source(index),
          ": the covariance of its logits: expected finite numbers (are the weights finite?)");
  const auto known = [&](int64_t i) { return centered_over_classes(dataset_.covariance(i).data<float>(), classes); };
  own_.add(centered, known(index), classes);
  shuffled_.add(centered, known(other_.at(static_cast<size_t>(index))), classes);
  ++count_;
}

void CovarianceRecoveryAccumulator::Sums::add(const std::vector<double>& learned, const std::vector<double>& known,
                                              int64_t classes) {
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const double x = learned[static_cast<size_t>(i * classes + j)], y = known[static_cast<size_t>(i * classes + j)];
      const double times = i == j ? 1 : 2;
      a += x, b += y, aa += x * x, bb += y * y, ab += x * y;
      whole_aa += times * x * x, whole_bb += times * y * y, whole_ab += times * x * y;
    }
  }
}

CovarianceRecoveryAccumulator::Sums CovarianceRecoveryAccumulator::Sums::over(Communicator& ranks) const {
  std::vector<double> all{a, b, aa, bb, ab, whole_aa, whole_bb, whole_ab};
  add_over(ranks, all);
  return {all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7]};
}

CovarianceRecovery CovarianceRecoveryAccumulator::result(Communicator& ranks) const {
  CovarianceRecovery result;
  for (const int64_t count : all_gather_number(ranks, count_)) result.count += count;
  if (result.count == 0) return result;
  const int64_t classes = dataset_.classes();
  const double entries = static_cast<double>(result.count) * static_cast<double>(classes * (classes + 1) / 2);
  const Sums own = own_.over(ranks), shuffled = shuffled_.over(ranks);
  const auto correlation_of = [&](const Sums& s) { return correlation(entries, s.a, s.b, s.aa, s.bb, s.ab); };
  const auto scale_of = [](const Sums& s) { return s.whole_aa > 0 ? s.whole_ab / s.whole_aa : 0.0; };
  const auto error_of = [&](const Sums& s) {
    const double c = scale_of(s), squares = c * c * s.whole_aa - 2 * c * s.whole_ab + s.whole_bb;
    return s.whole_bb > 0 ? std::sqrt(std::max(0.0, squares) / s.whole_bb) : kNotMeasured;
  };
  result.correlation = correlation_of(own);
  result.scale = scale_of(own);
  result.error = error_of(own);
  result.correlation_shuffled = correlation_of(shuffled);
  result.error_shuffled = error_of(shuffled);
  return result;
}

}  // namespace sked

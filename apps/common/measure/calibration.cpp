#include "apps/common/measure/calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "core/error.h"

namespace sked {
namespace {

constexpr double kSmallestFloat = 0x1p-149, kHalfGapBelowOne = 0x1p-25;
constexpr double kConverged = 1e-14;  // of the objective and 1: what the last Newton step promises to take off
constexpr double kNothing = 1e-12;    // an NLL, or a curvature likewise, of rounding
constexpr int kMostSteps = 200;       // of Newton's method; from anywhere a dozen or two
constexpr double kSystemAccuracy = 1e-4;

/// z of p^(1/T) = exp(z/T), up to a constant.
double logit(float p, bool sigmoid) {
  const double log_p = std::log(std::max<double>(p, kSmallestFloat));
  return sigmoid ? log_p - std::log(std::max(1.0 - static_cast<double>(p), kHalfGapBelowOne)) : log_p;
}

double sum_of_products(const std::vector<double>& x, const std::vector<double>& y, size_t from = 0) {
  double sum = 0;
  for (size_t i = from; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// u → the probabilities of the link, in place. Returns log Σ_k exp u_k, or Σ_k log(1 + exp u_k).
double link(std::vector<double>& u, bool sigmoid) {
  double normalizer = 0;
  if (sigmoid) {
    for (double& v : u) {
      const double e = std::exp(-std::abs(v));
      normalizer += std::max(v, 0.0) + std::log1p(e);
      v = (v > 0 ? 1 : e) / (1 + e);
    }
    return normalizer;
  }
  const double most = *std::ranges::max_element(u);
  for (double& v : u) normalizer += v = std::exp(v - most);
  for (double& v : u) v /= normalizer;
  return most + std::log(normalizer);
}

/// The objective f(x), x = (1/T, b_1 … b_K): Σ_i L_i + ½ Σ_k b_k². Points, gradients and directions have 1 + K numbers.
class Objective {
 public:
  Objective(const CalibrationSet& set, bool shift) : set_(set), shift_(shift) {}

  double value(const std::vector<double>& x) const { return likelihood(x) + ridge(x); }
  /// Σ_i L_i.
  double likelihood(const std::vector<double>& x) const {
    return sums(x, 1, [](const Row& row, std::vector<double>& to) { to[0] += row.loss; })[0];
  }
  /// f and what of it may be rounding, ∂f/∂x (1+K), the diagonal of H (1+K), and what H is beside ∂²f/∂x²: `damping`
  /// more in the first coordinate. It keeps steps of 1/T within its range where the probabilities, all 0 or 1, have no
  /// curvature left, and vanishes with the gradient.
  struct Derivatives {
    double value, rounding = 0;
    std::vector<double> gradient = {}, diagonal = {};
    double damping = 0;
  };
  Derivatives derivatives(const std::vector<double>& x) const;
  /// ∂²f/∂x² · v.
  std::vector<double> curvature(const std::vector<double>& x, const std::vector<double>& v) const;

 private:
  /// An example at x: z, p, the sum s of its targets t (of the softmax link; else 1), L, and the size of what L is the
  /// difference of.
  struct Row {
    int64_t i;
    const float* z;
    const std::vector<double>& p;
    double s, loss, terms;
  };

  static double ridge(const std::vector<double>& x) { return 0.5 * sum_of_products(x, x, 1); }
  /// b does not move where there is none.
  void hold(std::vector<double>& v) const {
    if (!shift_) std::fill(v.begin() + 1, v.end(), 0.0);
  }
  /// Sums over the examples of what `visit(row, sum)` adds, `width` numbers. Blocks of rows are summed on their own and
  /// then in order: the threads' number changes nothing.
  template <class Visit>
  std::vector<double> sums(const std::vector<double>& x, size_t width, Visit visit) const;

  const CalibrationSet& set_;
  bool shift_;
};

template <class Visit>
std::vector<double> Objective::sums(const std::vector<double>& x, size_t width, Visit visit) const {
  constexpr int64_t kBlocks = 32;
  const auto classes = static_cast<size_t>(set_.classes());
  std::vector<std::vector<double>> blocks(kBlocks, std::vector<double>(width, 0.0));
#pragma omp parallel for schedule(dynamic)
  for (int64_t block = 0; block < kBlocks; ++block) {
    std::vector<double> p(classes);
    for (int64_t i = set_.size() * block / kBlocks; i < set_.size() * (block + 1) / kBlocks; ++i) {
      const float* z = set_.logits(i);
      double s = 0, agreed = 0, size = 0;
      for (size_t k = 0; k < classes; ++k) {
        p[k] = x[0] * z[k] + x[1 + k];
        const double t = set_.target(i, static_cast<int64_t>(k));
        s += t;
        agreed += t * p[k];
        size += t * std::abs(p[k]);
      }
      if (set_.sigmoid()) s = 1;
      const double normalizer = link(p, set_.sigmoid());
      const Row row{i, z, p, s, s * normalizer - agreed, s * (1 + std::abs(normalizer)) + size};
      visit(row, blocks[static_cast<size_t>(block)]);
    }
  }
  for (size_t block = 1; block < blocks.size(); ++block)
    for (size_t j = 0; j < width; ++j) blocks[0][j] += blocks[block][j];
  return blocks[0];
}

Objective::Derivatives Objective::derivatives(const std::vector<double>& x) const {
  const size_t n = x.size();
  const std::vector<double> sum = sums(x, 2 + 2 * n, [&](const Row& row, std::vector<double>& to) {
    double *g = to.data() + 2, *h = g + n, mean = 0, square = 0;
    to[0] += row.loss;
    to[1] += row.terms;
    for (size_t k = 0; k + 1 < n; ++k) {
      const double z = row.z[k], p = row.p[k], r = row.s * p - set_.target(row.i, static_cast<int64_t>(k));
      const double weight = set_.sigmoid() ? p * (1 - p) : p;
      g[0] += r * z;
      g[1 + k] += r;
      h[1 + k] += row.s * p * (1 - p);
      mean += weight * z;
      square += weight * z * z;
    }
    h[0] += row.s * (set_.sigmoid() ? square : square - mean * mean);
  });
  Derivatives d{.value = sum[0] + ridge(x)};
  d.rounding = 16 * std::numeric_limits<double>::epsilon() * (sum[1] + ridge(x));
  d.gradient.assign(sum.begin() + 2, sum.begin() + 2 + static_cast<int64_t>(n));
  d.diagonal.assign(sum.end() - static_cast<int64_t>(n), sum.end());
  for (size_t k = 1; k < n; ++k) d.gradient[k] += x[k], d.diagonal[k] += 1;
  hold(d.gradient);
  d.damping = std::abs(d.gradient[0]) * kLeastTemperature + kNothing * (1 + d.value);
  d.diagonal[0] += d.damping;
  return d;
}

std::vector<double> Objective::curvature(const std::vector<double>& x, const std::vector<double>& v) const {
  std::vector<double> result = sums(x, x.size(), [&](const Row& row, std::vector<double>& to) {
    const auto along = [&](size_t k) { return v[0] * row.z[k] + v[1 + k]; };
    double mean = 0;
    for (size_t k = 0; k < row.p.size() && !set_.sigmoid(); ++k) mean += row.p[k] * along(k);
    for (size_t k = 0; k < row.p.size(); ++k) {
      const double p = row.p[k], h = set_.sigmoid() ? p * (1 - p) * along(k) : row.s * p * (along(k) - mean);
      to[0] += h * row.z[k];
      to[1 + k] += h;
    }
  });
  for (size_t k = 1; k < x.size(); ++k) result[k] += v[k];
  hold(result);
  return result;
}

/// d of H d = −g by conjugate gradients, preconditioned by the diagonal; coordinate 0 stays where `fixed`.
std::vector<double> newton_direction(const Objective& f, const std::vector<double>& x, const Objective::Derivatives& at,
                                     bool fixed) {
  std::vector<double> d(x.size(), 0.0), r(x.size()), y(x.size());
  const auto preconditioned = [&] {
    for (size_t j = 0; j < r.size(); ++j) y[j] = r[j] / at.diagonal[j];
    if (fixed) y[0] = 0;
  };
  std::ranges::transform(at.gradient, r.begin(), std::negate<>());
  preconditioned();
  std::vector<double> v = y;
  double size = sum_of_products(r, y);
  const double enough = size * kSystemAccuracy * kSystemAccuracy;
  for (size_t step = 0; step < 2 * x.size() && size > enough; ++step) {
    std::vector<double> hv = f.curvature(x, v);
    hv[0] += at.damping * v[0];
    const double bend = sum_of_products(v, hv);
    if (!(bend > 0)) break;  // rounding
    for (size_t j = 0; j < d.size(); ++j) d[j] += size / bend * v[j], r[j] -= size / bend * hv[j];
    preconditioned();
    const double before = std::exchange(size, sum_of_products(r, y));
    for (size_t j = 0; j < v.size(); ++j) v[j] = y[j] + size / before * v[j];
  }
  return d;
}

}  // namespace

Tensor calibrated(const Tensor& probabilities, const Calibration& calibration) {
  const auto classes = static_cast<size_t>(probabilities.dim(1));
  const std::vector<double>& b = calibration.shift;
  require(b.empty() || b.size() == classes, "calibration", "expected a shift of ", classes, " classes, got ", b.size());
  Tensor result = Tensor::empty(probabilities.shape());
  std::vector<double> u(classes);
  for (int64_t i = 0; i < probabilities.dim(0); ++i) {
    const auto row = static_cast<size_t>(i) * classes;
    for (size_t k = 0; k < classes; ++k)
      u[k] = logit(probabilities.data<float>()[row + k], calibration.sigmoid) / calibration.temperature +
             (b.empty() ? 0 : b[k]);
    link(u, calibration.sigmoid);
    std::ranges::transform(u, result.data<float>() + row, [](double p) { return static_cast<float>(p); });
  }
  return result;
}

CalibrationSet::CalibrationSet(int64_t classes, bool sigmoid) : classes_(classes), sigmoid_(sigmoid) {
  require(classes >= 1, "calibration", "expected at least one class, got ", classes);
}

void CalibrationSet::add(const Tensor& probabilities, const Tensor& labels, const Tensor& targets) {
  require_shape(probabilities, {labels.numel(), classes_}, "calibration", "probabilities");
  if (targets.defined()) require_shape(targets, probabilities.shape(), "calibration", "targets");
  require(count_ == 0 || targets.defined() == !targets_.empty(), "calibration",
          "expected targets for all batches, or for none");
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t y = labels.data<int64_t>()[i];
    require(y >= 0 && y < classes_, "calibration", "expected a label in 0 to ", classes_ - 1, ", got ", y);
    const float* p = probabilities.data<float>() + i * classes_;
    const double most = sigmoid_ ? 0 : logit(*std::max_element(p, p + classes_), false);
    for (int64_t k = 0; k < classes_; ++k) logits_.push_back(static_cast<float>(logit(p[k], sigmoid_) - most));
    if (targets.defined())
      targets_.insert(targets_.end(), targets.data<float>() + i * classes_, targets.data<float>() + (i + 1) * classes_);
    labels_.push_back(y);
  }
  count_ += labels.numel();
}

CalibrationFit fit_calibration(const CalibrationSet& set, bool shift) {
  require(set.size() > 0, "calibration", "expected predictions to fit to, got none");
  constexpr double kLeast = 1 / kMostTemperature, kMost = 1 / kLeastTemperature;
  const Objective f(set, shift);
  std::vector<double> x(1 + static_cast<size_t>(set.classes()), 0.0);
  x[0] = 1;
  for (int step = 0;; ++step) {
    const Objective::Derivatives at = f.derivatives(x);
    const auto leaves = [&](double way) { return (x[0] <= kLeast && way < 0) || (x[0] >= kMost && way > 0); };
    std::vector<double> d = newton_direction(f, x, at, leaves(-at.gradient[0]));
    if (leaves(d[0])) d = newton_direction(f, x, at, true);
    const double slope = sum_of_products(at.gradient, d);
    const bool last = -slope <= kConverged * (1 + at.value);
    require(last || step < kMostSteps, "calibration", "not converged after ", step, " steps: ", -slope, " nats to go");
    std::vector<double> next(x.size());
    for (double length = 1;; length /= 2) {  // Armijo's condition, within rounding
      for (size_t j = 0; j < x.size(); ++j) next[j] = x[j] + length * d[j];
      next[0] = std::clamp(next[0], kLeast, kMost);
      if (f.value(next) <= at.value + 1e-4 * length * slope + at.rounding) break;
      require(length > 1e-30, "calibration", "no step lowers ", at.value, " nats: expected finite predictions");
    }
    x = std::move(next);
    if (last) break;
  }
  CalibrationFit fit{.calibration = {.temperature = 1 / x[0], .sigmoid = set.sigmoid()}};
  if (shift) fit.calibration.shift.assign(x.begin() + 1, x.end());
  fit.nll = f.likelihood(x) / static_cast<double>(set.size());
  fit.unbounded = x[0] <= kLeast || x[0] >= kMost || fit.nll < kNothing;
  return fit;
}

}  // namespace sked

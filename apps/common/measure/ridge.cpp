#include "apps/common/measure/ridge.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "apps/common/measure/cholesky.h"
#include "core/error.h"

namespace sked {
namespace {

/// W ← A⁻¹ W, A = LLᵀ, W (D,K).
void substitute(const std::vector<double>& l, Tensor& w) {
  const int64_t d = w.dim(0), classes = w.dim(1);
  std::vector<double> column(static_cast<size_t>(d));
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t i = 0; i < d; ++i) column[static_cast<size_t>(i)] = w.data<double>()[i * classes + c];
    solve_lower(l, column);
    solve_upper(l, column);
    for (int64_t i = 0; i < d; ++i) w.data<double>()[i * classes + c] = column[static_cast<size_t>(i)];
  }
}

/// Mean of the rows of an f64 (N,D).
std::vector<double> column_means(const Tensor& x) {
  std::vector<double> means(static_cast<size_t>(x.dim(1)), 0.0);
  const double* p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) means[static_cast<size_t>(i % x.dim(1))] += p[i];
  for (double& mean : means) mean /= static_cast<double>(x.dim(0));
  return means;
}

void subtract_columns(Tensor& x, const std::vector<double>& means) {
  double* p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) p[i] -= means[static_cast<size_t>(i % x.dim(1))];
}

/// One over the deviation of the columns of a centered x (N,D); 1 where a column does not vary.
std::vector<double> inverse_deviations(const Tensor& x) {
  std::vector<double> inverse(static_cast<size_t>(x.dim(1)), 0.0);
  const double* p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) inverse[static_cast<size_t>(i % x.dim(1))] += p[i] * p[i];
  for (double& v : inverse) v = v > 0 ? std::sqrt(static_cast<double>(x.dim(0)) / v) : 1;
  return inverse;
}

void scale_columns(Tensor& x, const std::vector<double>& factors) {
  double* p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) p[i] *= factors[static_cast<size_t>(i % x.dim(1))];
}

/// Rows of phi and labels at `positions`.
std::pair<Tensor, Tensor> rows_at(const Tensor& phi, const Tensor& labels, const std::vector<int64_t>& positions) {
  const auto count = static_cast<int64_t>(positions.size());
  Tensor rows = Tensor::empty({count, phi.dim(1)}), chosen = Tensor::empty({count}, DType::i64);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = positions[static_cast<size_t>(i)];
    rows.rows(i, i + 1).copy_from(phi.rows(from, from + 1));
    chosen.data<int64_t>()[i] = labels.data<int64_t>()[from];
  }
  return {rows, chosen};
}

/// Throws unless there are examples, with labels of the classes.
void check_examples(const Tensor& phi, const Tensor& labels, int64_t classes, const char* what) {
  require(phi.ndim() == 2 && phi.dim(0) > 0 && labels.shape() == Shape{phi.dim(0)}, "few_shot", "expected ", what,
          " images (N, D) with a label each, got ", phi, " and ", labels);
  for (const int64_t label : labels.to_vector<int64_t>())
    require(label >= 0 && label < classes, "few_shot", "expected labels in 0 to ", classes - 1, ", got ", label);
}

/// ‖X W − Y‖² + λ‖W‖² for any λ: what does not depend on it is computed once.
class Normal {
 public:
  Normal(const Tensor& x, const Tensor& y)
      : xx_(static_cast<size_t>(x.dim(1) * x.dim(1)), 0.0), xy_(Tensor::zeros({x.dim(1), y.dim(1)}, DType::f64)) {
    add_gram(x, xx_);
    const int64_t n = x.dim(0), d = x.dim(1), classes = y.dim(1);
    const double *px = x.data<double>(), *py = y.data<double>();
    double* p = xy_.data<double>();
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t i = 0; i < d; ++i) {
        for (int64_t c = 0; c < classes; ++c) p[i * classes + c] += px[k * d + i] * py[k * classes + c];
      }
    }
  }
  Tensor solution(double lambda) const {
    const int64_t d = xy_.dim(0);
    std::vector<double> a = xx_;
    for (int64_t i = 0; i < d; ++i) a[static_cast<size_t>(i * d + i)] += lambda;
    const std::optional<double> pivot = cholesky(a, d);
    require(!pivot, "ridge", "expected a positive definite matrix, got pivot ", pivot.value_or(0), ": raise lambda");
    Tensor w = xy_.clone();
    substitute(a, w);
    return w;
  }

 private:
  std::vector<double> xx_;
  Tensor xy_;
};

/// Ridge regression onto ±1 targets, features standardized by the training ones.
class RidgeClassifier {
 public:
  RidgeClassifier(const Tensor& phi, const Tensor& labels, int64_t classes);
  /// Accuracies on test images, one for each λ.
  std::vector<double> accuracies(const Tensor& phi, const Tensor& labels, const std::vector<double>& lambdas) const;

 private:
  std::vector<double> mean_, scale_, bias_;
  std::optional<Normal> normal_;
};

RidgeClassifier::RidgeClassifier(const Tensor& phi, const Tensor& labels, int64_t classes) {
  Tensor x = phi.to(DType::f64).clone();
  Tensor y = Tensor::full({x.dim(0), classes}, -1, DType::f64);
  for (int64_t i = 0; i < x.dim(0); ++i) y.data<double>()[i * classes + labels.data<int64_t>()[i]] = 1;
  mean_ = column_means(x);
  bias_ = column_means(y);
  subtract_columns(x, mean_);
  subtract_columns(y, bias_);
  scale_ = inverse_deviations(x);
  scale_columns(x, scale_);
  normal_.emplace(x, y);
}

std::vector<double> RidgeClassifier::accuracies(const Tensor& phi, const Tensor& labels,
                                                const std::vector<double>& lambdas) const {
  Tensor test = phi.to(DType::f64).clone();
  subtract_columns(test, mean_);
  scale_columns(test, scale_);
  const auto classes = static_cast<int64_t>(bias_.size());
  const int64_t d = test.dim(1);
  std::vector<double> all;
  for (const double lambda : lambdas) {
    const Tensor w = normal_->solution(lambda);
    int64_t right = 0;
#pragma omp parallel for reduction(+ : right)
    for (int64_t i = 0; i < test.dim(0); ++i) {
      std::vector<double> scores = bias_;
      for (int64_t j = 0; j < d; ++j) {
        const double feature = test.data<double>()[i * d + j];
        const double* row = w.data<double>() + j * classes;
        for (int64_t c = 0; c < classes; ++c) scores[static_cast<size_t>(c)] += feature * row[c];
      }
      const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
      right += best == labels.data<int64_t>()[i];
    }
    all.push_back(static_cast<double>(right) / static_cast<double>(test.dim(0)));
  }
  return all;
}

}  // namespace

Tensor ridge(const Tensor& x, const Tensor& y, double lambda) {
  require(x.defined() && y.defined() && x.ndim() == 2 && y.ndim() == 2 && x.dim(0) == y.dim(0), "ridge",
          "expected (N, D) and (N, K), got ", x, " and ", y);
  return Normal(x, y).solution(lambda);
}

double few_shot_accuracy(const Tensor& train_phi, const Tensor& train_labels, const Tensor& test_phi,
                         const Tensor& test_labels, int64_t classes, double lambda) {
  check_examples(train_phi, train_labels, classes, "training");
  check_examples(test_phi, test_labels, classes, "test");
  return RidgeClassifier(train_phi, train_labels, classes).accuracies(test_phi, test_labels, {lambda}).front();
}

double choose_lambda(const Tensor& phi, const Tensor& labels, int64_t classes, int64_t shots,
                     const std::vector<double>& candidates) {
  if (shots < 2) return 1;
  const int64_t folds = std::min<int64_t>(5, shots);
  std::vector<double> right(candidates.size(), 0.0);
  for (int64_t fold = 0; fold < folds; ++fold) {
    std::vector<int64_t> seen(static_cast<size_t>(classes), 0), held, kept;
    for (int64_t i = 0; i < labels.dim(0); ++i) {
      const int64_t j = seen[static_cast<size_t>(labels.data<int64_t>()[i])]++;
      (j % folds == fold ? held : kept).push_back(i);
    }
    const auto [train, train_labels] = rows_at(phi, labels, kept);
    const auto [test, test_labels] = rows_at(phi, labels, held);
    check_examples(train, train_labels, classes, "training");
    check_examples(test, test_labels, classes, "test");
    const std::vector<double> accuracies =
        RidgeClassifier(train, train_labels, classes).accuracies(test, test_labels, candidates);
    for (size_t c = 0; c < candidates.size(); ++c) right[c] += accuracies[c] * static_cast<double>(held.size());
  }
  size_t best = 0;
  for (size_t c = 1; c < candidates.size(); ++c) {
    const bool equal = std::abs(right[c] - right[best]) < 0.5;  // counts
    if (equal ? candidates[c] > candidates[best] : right[c] > right[best]) best = c;
  }
  return candidates[best];
}

}  // namespace sked

#include "apps/common/measure/cholesky.h"

#include <cmath>

namespace sked {

void add_gram(const Tensor& x, std::vector<double>& a) {
  const int64_t n = x.dim(0), d = x.dim(1);
  const double* px = x.data<double>();
#pragma omp parallel for schedule(dynamic, 8)
  for (int64_t i = 0; i < d; ++i) {
    double* row = a.data() + i * d;
    for (int64_t k = 0; k < n; ++k) {
      const double* example = px + k * d;
      for (int64_t j = 0; j <= i; ++j) row[j] += example[i] * example[j];
    }
  }
}

std::optional<double> cholesky(std::vector<double>& a, int64_t d, double tolerance) {
  for (int64_t i = 0; i < d; ++i) {
    double* row = a.data() + i * d;
    const double least = tolerance * row[i];
    for (int64_t j = 0; j <= i; ++j) {
      const double* other = a.data() + j * d;
      double sum = row[j];
      for (int64_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      if (i == j && !(sum > 0 && sum > least)) return sum;
      row[j] = i == j ? std::sqrt(sum) : sum / other[j];
    }
  }
  return std::nullopt;
}

void solve_lower(const std::vector<double>& l, std::vector<double>& x) {
  const size_t d = x.size();
  for (size_t i = 0; i < d; ++i) {
    double sum = x[i];
    for (size_t k = 0; k < i; ++k) sum -= l[i * d + k] * x[k];
    x[i] = sum / l[i * d + i];
  }
}

void solve_upper(const std::vector<double>& l, std::vector<double>& x) {
  const size_t d = x.size();
  for (size_t i = d; i-- > 0;) {
    double sum = x[i];
    for (size_t k = i + 1; k < d; ++k) sum -= l[k * d + i] * x[k];
    x[i] = sum / l[i * d + i];
  }
}

}  // namespace sked

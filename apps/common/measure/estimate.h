#pragma once
// Several runs, or several sets of images, as one number each.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"

namespace sked {

/// What |t| of Student's distribution with `degrees` ≥ 1 of freedom is below with `probability` in (0, 1).
double student_t(double probability, int64_t degrees);

/// A mean over runs and its standard error s/sqrt(n), s the sample standard deviation; the error is 0 for n = 1
/// (unknown).
struct Estimate {
  double mean = 0, standard_error = 0;
  int64_t count = 0;
  /// Half the width of the interval around the mean of normal values that holds the true one with `probability`:
  /// Student's t times the standard error. Infinite for n < 2.
  double half_width(double probability = 0.95) const;
  /// `0.4123 ± 0.0021`, or the mean alone for one seed and for whole numbers that do not vary; both times `scale`.
  std::string text(int digits, double scale = 1) const;
};
Estimate estimate(const std::vector<double>& values);
/// {mean, standard_error, count}.
Json json_of(const Estimate& estimate);

/// What evaluation_json() wrote of each, as one object of that form: every number that all of them have becomes what
/// `by` makes of their values. Counts and lists are left out.
Json combined(const std::vector<Json>& evaluations, const std::function<Json(const std::vector<double>&)>& by);

}  // namespace sked

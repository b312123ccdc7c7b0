#include "apps/common/measure/estimate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numbers>

namespace sked {
namespace {

std::string number(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

}  // namespace

// P(|T| < √n tan θ) is a finite sum in cos θ (Abramowitz & Stegun 26.7.3, 26.7.4), which is solved for θ by bisection.
double student_t(double probability, int64_t n) {
  const auto below = [n](double theta) {
    const double c = std::cos(theta);
    double term = n % 2 == 0 ? 1 : c, sum = 0;
    for (int64_t j = n % 2; j <= n - 2; j += 2) {
      sum += term;
      term *= c * c * static_cast<double>(j + 1) / static_cast<double>(j + 2);
    }
    sum *= std::sin(theta);
    return n % 2 == 0 ? sum : (theta + sum) * 2 / std::numbers::pi;
  };
  double low = 0, high = std::numbers::pi / 2;
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = (low + high) / 2;
    (below(middle) < probability ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(n)) * std::tan(low);
}

double Estimate::half_width(double probability) const {
  return count < 2 ? std::numeric_limits<double>::infinity() : student_t(probability, count - 1) * standard_error;
}

std::string Estimate::text(int digits, double scale) const {
  const std::string value = number(mean * scale, digits);
  const bool spread = count > 1 && !(digits == 0 && standard_error == 0);  // a count that never varies needs no ± 0
  return spread ? value + " ± " + number(standard_error * scale, digits) : value;
}

Estimate estimate(const std::vector<double>& values) {
  Estimate e;
  e.count = static_cast<int64_t>(values.size());
  const auto n = static_cast<double>(values.size());
  if (values.empty()) return e;
  for (double v : values) e.mean += v / n;
  double squares = 0;
  for (double v : values) squares += (v - e.mean) * (v - e.mean);
  if (values.size() > 1) e.standard_error = std::sqrt(squares / (n - 1) / n);
  return e;
}

Json json_of(const Estimate& e) { return {{"mean", e.mean}, {"standard_error", e.standard_error}, {"count", e.count}}; }

Json combined(const std::vector<Json>& evaluations, const std::function<Json(const std::vector<double>&)>& by) {
  Json result = Json::object();
  if (evaluations.empty()) return result;
  for (const auto& [key, first] : evaluations.front().members()) {
    std::vector<Json> all;
    for (const Json& evaluation : evaluations)
      if (const Json* value = evaluation.find(key)) all.push_back(*value);
    const auto every = [&](bool (Json::*is)() const) {
      return all.size() == evaluations.size() && std::ranges::all_of(all, is);
    };
    if (every(&Json::is_object)) {
      result[key] = combined(all, by);
    } else if (every(&Json::is_number) && key != "count") {
      std::vector<double> values;
      for (const Json& value : all) values.push_back(value.number());
      result[key] = by(values);
    }
  }
  return result;
}

}  // namespace sked

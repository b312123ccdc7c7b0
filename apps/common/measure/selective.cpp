#include "apps/common/measure/selective.h"

#include <algorithm>
#include <cmath>

namespace sked {
namespace {

/// By falling confidence. Of equal ones each is as right as they are on average: the expectation over their orders.
void rank(std::vector<Graded>& graded) {
  std::ranges::sort(graded, [](const Graded& a, const Graded& b) { return a.confidence > b.confidence; });
  for (size_t begin = 0, end = 0; begin < graded.size(); begin = end) {
    double right = 0;
    for (; end < graded.size() && graded[end].confidence == graded[begin].confidence; ++end) right += graded[end].right;
    for (size_t i = begin; i < end; ++i) graded[i].right = right / static_cast<double>(end - begin);
  }
}

}  // namespace

Selective selective(std::vector<Graded> graded) {
  Selective s;
  const size_t count = graded.size();
  if (count == 0) return s;
  rank(graded);
  const auto n = static_cast<double>(count);
  std::vector<double> right(count + 1, 0.0);  // among the first i
  for (size_t i = 0; i < count; ++i) right[i + 1] = right[i] + graded[i].right;
  double best = 0;
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && graded[end].confidence == graded[begin].confidence) ++end;
    s.aurc += static_cast<double>(end - begin) / n * (1 - right[end] / static_cast<double>(end));
    for (size_t i = begin + 1; i <= end; ++i) best += std::max(0.0, 1 - right[count] / static_cast<double>(i)) / n;
  }
  s.count = static_cast<int64_t>(count);
  s.e_aurc = s.aurc - best;
  for (size_t c = 0; c < kCoverages.size(); ++c) {
    const size_t kept = (static_cast<size_t>(kCoverages[c]) * count + 99) / 100;
    s.accuracy[c] = right[kept] / static_cast<double>(kept);
    s.oracle[c] = (static_cast<double>(count - kept) + right[kept]) / n;
  }
  return s;
}

double equal_mass_calibration_error(std::vector<Graded> graded, int bins) {
  rank(graded);
  double error = 0;
  const size_t n = graded.size(), parts = static_cast<size_t>(bins);
  for (size_t bin = 0; bin < parts; ++bin) {
    double difference = 0;
    for (size_t i = bin * n / parts; i < (bin + 1) * n / parts; ++i)
      difference += graded[i].right - graded[i].confidence;
    error += std::abs(difference);
  }
  return n > 0 ? error / static_cast<double>(n) : 0;
}

}  // namespace sked

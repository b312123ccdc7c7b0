#include "apps/common/run/grid.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace sked {
namespace {

/// Keys' kernel with a = -1/2.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/// (to, from): each output's normalized weights, as wide as the scale where the grid shrinks.
std::vector<double> weights(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), filter = std::max(scale, 1.0);
  std::vector<double> w(static_cast<size_t>(from * to), 0.0);
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max(int64_t{0}, static_cast<int64_t>(center - 2 * filter + 0.5));
    const auto end = std::min(from, static_cast<int64_t>(center + 2 * filter + 0.5));
    double sum = 0;
    for (int64_t k = begin; k < end; ++k)
      sum += w[static_cast<size_t>(i * from + k)] = cubic((static_cast<double>(k) - center + 0.5) / filter);
    for (int64_t k = begin; k < end; ++k) w[static_cast<size_t>(i * from + k)] /= sum;
  }
  return w;
}

}  // namespace

std::optional<int64_t> square_root(int64_t n) {
  if (n < 1 || n > int64_t{1} << 52) return std::nullopt;  // a double holds those exactly
  const auto root = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n))));
  return root * root == n ? std::optional(root) : std::nullopt;
}

Tensor resample_grid(const Tensor& tokens, int64_t from, int64_t to) {
  const int64_t width = tokens.dim(1);
  const std::vector<double> w = weights(from, to);
  const float* in = tokens.data<float>();
  std::vector<double> half(static_cast<size_t>(from * to * width), 0.0);  // (from rows, to columns, D)
  for (int64_t r = 0; r < from; ++r)
    for (int64_t c = 0; c < to; ++c)
      for (int64_t k = 0; k < from; ++k)
        for (int64_t d = 0; d < width; ++d)
          half[static_cast<size_t>((r * to + c) * width + d)] +=
              w[static_cast<size_t>(c * from + k)] * static_cast<double>(in[(r * from + k) * width + d]);
  Tensor out = Tensor::empty({to * to, width});
  for (int64_t r = 0; r < to; ++r)
    for (int64_t i = 0; i < to * width; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < from; ++k)
        sum += w[static_cast<size_t>(r * from + k)] * half[static_cast<size_t>(k * to * width + i)];
      out.data<float>()[r * to * width + i] = static_cast<float>(sum);
    }
  return out;
}

}  // namespace sked

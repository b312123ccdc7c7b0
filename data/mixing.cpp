#include "data/mixing.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace sked {
namespace {

/// Gamma(α, 1) by Marsaglia and Tsang (ACM TOMS 2000); below 1 from Gamma(α+1)·U^(1/α).
double gamma(double alpha, Rng& rng) {
  const auto positive = [&rng] { return 1.0 - static_cast<double>(rng.uniform()); };  // (0, 1]
  if (alpha < 1) {
    const double boosted = gamma(alpha + 1, rng);
    return boosted * std::pow(positive(), 1 / alpha);
  }
  const double d = alpha - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const auto x = static_cast<double>(rng.normal());
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(positive()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

/// The last row of a batch, kept because the first takes from it after it has changed.
template <class T>
std::vector<T> last_row(const Tensor& x) {
  const int64_t row = x.numel() / x.dim(0);
  const T* end = x.data<T>() + x.numel();
  return {end - row, end};
}

template <class T>
void paste(Tensor& images, const Crop& w) {
  const int64_t batch = images.dim(0), width = images.dim(2), channels = images.dim(3), row = images.numel() / batch;
  const std::vector<T> last = last_row<T>(images);
  for (int64_t b = batch - 1; b >= 0; --b) {
    T* to = images.data<T>() + b * row;
    const T* from = b > 0 ? to - row : last.data();
    for (int64_t r = w.top; r < w.top + w.height; ++r) {
      const int64_t at = (r * width + w.left) * channels;
      std::copy_n(from + at, w.width * channels, to + at);
    }
  }
}

}  // namespace

void mixup(Tensor& x, double lambda) {
  if (x.numel() == 0) return;
  const int64_t batch = x.dim(0), row = x.numel() / batch;
  const std::vector<float> last = last_row<float>(x);
  const auto own = static_cast<float>(lambda), other = static_cast<float>(1 - lambda);
  for (int64_t b = batch - 1; b >= 0; --b) {
    float* to = x.data<float>() + b * row;
    const float* from = b > 0 ? to - row : last.data();
    for (int64_t i = 0; i < row; ++i) to[i] = own * to[i] + other * from[i];
  }
}

void cutmix(Tensor& images, const Crop& w) {
  if (images.numel() == 0) return;
  images.dtype() == DType::u8 ? paste<uint8_t>(images, w) : paste<float>(images, w);
}

Crop cutmix_window(const Shape& image, double lambda, double y, double x) {
  const double half = 0.5 * std::sqrt(1 - lambda);
  const auto cut = [half](double center, int64_t side) {
    const auto middle = static_cast<int64_t>(center * static_cast<double>(side));
    const auto reach = static_cast<int64_t>(half * static_cast<double>(side));
    return std::pair(std::max<int64_t>(0, middle - reach), std::min(side, middle + reach));
  };
  const auto [top, bottom] = cut(y, image[0]);
  const auto [left, right] = cut(x, image[1]);
  return {top, left, bottom - top, right - left};
}

double beta(double alpha, Rng& rng) {
  const double a = gamma(alpha, rng), b = gamma(alpha, rng);
  return a + b > 0 ? a / (a + b) : 0.5;
}

void mix(const Mixing& mixing, Tensor& images, Tensor& targets, Rng& rng) {
  if (mixing.kind == Mixing::Kind::none) return;
  double lambda = beta(mixing.alpha, rng);
  if (mixing.kind == Mixing::Kind::mixup) {
    mixup(images, lambda);
  } else {
    const Shape shape = images.shape().without(0);
    const auto y = static_cast<double>(rng.uniform()), x = static_cast<double>(rng.uniform());
    const Crop window = cutmix_window(shape, lambda, y, x);
    cutmix(images, window);
    lambda = 1 - static_cast<double>(window.height * window.width) / static_cast<double>(shape[0] * shape[1]);
  }
  mixup(targets, lambda);
}

}  // namespace sked

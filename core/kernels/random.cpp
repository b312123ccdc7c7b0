#include "core/kernels/random.h"

#include "core/kernels/checks.h"

namespace sked {
namespace {

/// Samples and blocks of coordinates fit 32 bits.
void check_noise(const char* where, const Tensor& examples, const Tensor& noise, RngAddress, NoiseOrigin origin) {
  require(noise.defined() && noise.ndim() == 3, where, "expected noise (B, S, J), got ", noise);
  require_indices(examples, noise.dim(0), noise, where, "examples");
  require(origin.coordinate % 4 == 0, where, "expected a first coordinate that is a multiple of 4, got ",
          origin.coordinate);
  require(!origin.antithetic || origin.sample % 2 == 0, where,
          "expected an even first sample of antithetic pairs, got ", origin.sample);
  constexpr int64_t kWords = int64_t{1} << 32;
  const int64_t share = origin.antithetic ? 2 : 1, first = origin.sample / share, block = origin.coordinate / 4;
  require(origin.sample >= 0 && (noise.dim(1) + share - 1) / share <= kWords - first, where,
          "expected samples in 0 to 2^32 − 1, got ", noise.dim(1), " from ", origin.sample);
  require(block >= 0 && (noise.dim(2) + 3) / 4 <= kWords - block, where, "expected coordinates in 0 to 2^34 − 1, got ",
          noise.dim(2), " from ", origin.coordinate);
}

/// y like x, for draws from number `first` on.
void require_drop(const Tensor& x, const Tensor& y, int64_t first, double p, const char* where) {
  require_alike(x, y, where);
  require_shape(y, x.shape(), where, "y");
  require(first >= 0, where, "expected a first draw >= 0, got ", first);
  require(p >= 0.0 && p < 1.0, where, "expected a probability in [0, 1), got ", p);
}

void check_dropout(const char* where, const Tensor& x, const Tensor& y, RngAddress, int64_t first, double p) {
  require_drop(x, y, first, p, where);
}

void check_drop_path(const char* where, const Tensor& x, const Tensor& y, RngAddress, int64_t first, double p) {
  require(x.defined() && x.ndim() >= 1, where, "expected a first axis, got ", x);
  require_drop(x, y, first, p, where);
}

[[maybe_unused]] const bool registered = kernel::gaussian_noise.expect(check_noise) &&
                                         kernel::dropout.expect(check_dropout) &&
                                         kernel::drop_path.expect(check_drop_path);

}  // namespace
}  // namespace sked

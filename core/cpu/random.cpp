#include "core/kernels/random.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu/lanes.h"
#include "core/cpu/parallel.h"

namespace sked::cpu {
namespace {

// ---- normals -------------------------------------------------------------------------------------

/// noise (B,S,J) as blocks of up to four coordinates, numbered row by row.
struct NoisePlan {
  const int64_t* examples;
  int64_t S, J, first_sample, first_block;
  RngAddress address;

  int64_t blocks_per_row() const { return (J + 3) / 4; }
  void check(int64_t B) const {
    for (int64_t b = 0; b < B; ++b) {
      require(examples[b] >= 0, "gaussian_noise", "expected example indices >= 0, got ", examples[b], " in row ", b);
    }
  }

  /// The counters of the `count` ≤ 64 blocks from `first` on; the lanes beyond are set too, but mean nothing.
  void counters(int64_t first, int64_t count, Lanes& lanes) const {
    int64_t block = first % blocks_per_row(), sample = first / blocks_per_row() % S, b = first / blocks_per_row() / S;
    std::fill_n(lanes.word[3], kLanes, static_cast<uint32_t>(address.step));
    for (int64_t lane = 0; lane < kLanes;) {
      const int64_t run = std::min(kLanes - lane, blocks_per_row() - block);  // lanes in the same row
      for (int64_t k = 0; k < run; ++k) lanes.word[0][lane + k] = static_cast<uint32_t>(first_block + block + k);
      std::fill_n(lanes.word[1] + lane, run, static_cast<uint32_t>(first_sample + sample));
      std::fill_n(lanes.word[2] + lane, run, static_cast<uint32_t>(lane < count ? examples[b] : 0));
      lane += run;
      block = 0;
      if (++sample < S) continue;
      sample = 0;
      ++b;
    }
  }
};

/// Writes the coordinates of blocks [first, first + count) from z, four a block, leaving out what lies beyond J. A
/// row's last block is written whole as well where the next row, coming after, covers the excess: a copy of known
/// length is worth it.
template <class T>
void store_blocks(const float* z, T* noise, int64_t J, int64_t first, int64_t count) {
  const int64_t per_row = (J + 3) / 4;
  int64_t block = first % per_row;
  T* row = noise + first / per_row * J;
  for (int64_t i = 0; i < count; ++i, z += 4) {
    const int64_t used = i + 1 < count && J >= 4 ? 4 : std::min<int64_t>(4, J - 4 * block);
    if (used == 4) {
      std::copy_n(z, 4, row + 4 * block);
    } else {
      std::copy_n(z, used, row + 4 * block);
    }
    if (++block == per_row) {
      block = 0;
      row += J;
    }
  }
}

/// noise[b,s] = ±half[b,s/2], minus for odd s.
void spread_pairs(const Tensor& half, Tensor& noise) {
  const int64_t S = noise.dim(1), J = noise.dim(2), pairs = half.dim(1);
  visit_float(noise.dtype(), "gaussian_noise", [&](auto type) {
    using T = decltype(type);
    const T* from = half.data<T>();
    T* to = noise.data<T>();
#pragma omp parallel for schedule(static) if (noise.numel() > kLight)
    for (int64_t row = 0; row < noise.dim(0) * S; ++row) {
      const int64_t s = row % S;
      const T sign = s % 2 == 0 ? T{1} : T{-1}, *source = from + (row / S * pairs + s / 2) * J;
#pragma omp simd
      for (int64_t j = 0; j < J; ++j) to[row * J + j] = sign * source[j];
    }
  });
}

void gaussian_noise(const Tensor& examples, Tensor& noise, RngAddress address, NoiseOrigin origin) {
  if (origin.antithetic) {
    Tensor half = Tensor::empty({noise.dim(0), (noise.dim(1) + 1) / 2, noise.dim(2)}, noise.dtype());
    gaussian_noise(examples, half, address, {origin.sample / 2, origin.coordinate});
    return spread_pairs(half, noise);
  }
  const NoisePlan plan{examples.data<int64_t>(), noise.dim(1), noise.dim(2), origin.sample,
                       origin.coordinate / 4,    address};
  plan.check(noise.dim(0));
  const int64_t blocks = noise.dim(0) * noise.dim(1) * plan.blocks_per_row();
  visit_float(noise.dtype(), "gaussian_noise", [&](auto type) {
    using T = decltype(type);
    T* out = noise.data<T>();
    parallel_ranges(blocks, kHeavy / 4, [&, out](int64_t begin, int64_t end) {
      Lanes lanes;
      float z[4 * kLanes];
      for (int64_t first = begin; first < end; first += kLanes) {
        const int64_t count = std::min(kLanes, end - first);
        plan.counters(first, count, lanes);
        philox(lanes, address.key());
        normals(lanes, z);
        if (plan.J % 4 == 0) {
          std::copy_n(z, 4 * count, out + 4 * first);
        } else {
          store_blocks(z, out, plan.J, first, count);
        }
      }
    });
  });
}

// ---- dropping ------------------------------------------------------------------------------------

/// How draws below p drop an element: kept where word >> 8 ≥ threshold, that is uniform01(word) ≥ p, and scaled to keep
/// the mean.
struct Dropping {
  uint32_t threshold;
  double scale;

  explicit Dropping(double p) {
    threshold = static_cast<uint32_t>(std::ceil(p * 0x1p24));
    scale = 1.0 / (1.0 - p);
  }
};

/// keep[4 lane + w] = scale or 0 for draws 256 group … 256 group + 255 of the address.
template <class T>
void keep_factors(RngAddress address, int64_t group, const Dropping& drop, T* keep) {
  Lanes lanes;
  const int64_t block = group * kLanes;
  const auto step = static_cast<uint32_t>(address.step), upper = static_cast<uint32_t>(block >> 32);
  for (int64_t i = 0; i < kLanes; ++i) {
    lanes.word[0][i] = static_cast<uint32_t>(block) + static_cast<uint32_t>(i);
    lanes.word[1][i] = upper;
    lanes.word[2][i] = 0;
    lanes.word[3][i] = step;
  }
  philox(lanes, address.key());
  const T scale = static_cast<T>(drop.scale);
#pragma omp simd
  for (int64_t i = 0; i < kLanes; ++i) {
    for (int64_t w = 0; w < 4; ++w) keep[4 * i + w] = lanes.word[w][i] >> 8 >= drop.threshold ? scale : T{0};
  }
}

/// y = x · keep, `width` consecutive elements sharing one draw, of draws [first, first + draws).
template <class T, class A = Arithmetic<T>>
void drop(const T* x, T* y, int64_t first, int64_t draws, int64_t width, RngAddress address, const Dropping& dropping) {
  constexpr int64_t kDraws = 4 * kLanes;
  const int64_t end = first + draws, groups = (end + kDraws - 1) / kDraws;
#pragma omp parallel for schedule(static) if (draws * width > kHeavy)
  for (int64_t group = first / kDraws; group < groups; ++group) {
    A all[kDraws];
    keep_factors(address, group, dropping, all);
    const int64_t begin = std::max(first, group * kDraws), count = std::min(end, (group + 1) * kDraws) - begin;
    const A* keep = all + (begin - group * kDraws);
    const T* from = x + (begin - first) * width;
    T* to = y + (begin - first) * width;
    if (width == 1) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) store(A(from[i]) * keep[i], to[i]);
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      const A factor = keep[i];
      const T* in = from + i * width;
      T* out = to + i * width;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) store(A(in[j]) * factor, out[j]);
    }
  }
}

void run_drop(const Tensor& x, Tensor& y, int64_t first, int64_t draws, int64_t width, RngAddress address, double p,
              const char* where) {
  const Dropping dropping(p);
  visit_stored(x.dtype(), where,
               [&]<class T>(T) { drop(x.data<T>(), y.data<T>(), first, draws, width, address, dropping); });
}

void dropout(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p) {
  run_drop(x, y, first, x.numel(), 1, address, p, "dropout");
}

void drop_path(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p) {
  run_drop(x, y, first, x.dim(0), x.shape().product(1, x.ndim()), address, p, "drop_path");
}

const bool registered = kernel::gaussian_noise.define(Device::cpu, gaussian_noise) &&
                        kernel::dropout.define(Device::cpu, dropout, true) &&
                        kernel::drop_path.define(Device::cpu, drop_path, true);

}  // namespace
}  // namespace sked::cpu

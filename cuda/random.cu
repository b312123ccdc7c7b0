// Addressed random numbers, bit for bit the CPU's: core/rng.h and core/math.h's *_exact functions are compiled for the
// device, and leave nothing to contract (--use_fast_math would change their square root: it is never passed).

#include "core/kernels/random.h"

#include <cmath>

#include "cuda/recording.h"
#include "cuda/strided.cuh"
#include "cuda/teams.cuh"

namespace sked::cuda {
namespace {

/// An address as kernels get it, its key computed once for all threads: in a recording, each replay has a step of its
/// own.
struct DeviceAddress {
  std::array<uint32_t, 2> key;
  uint64_t fixed_step;
  const uint64_t* step;

  DeviceAddress(const RngAddress& address)
      : key(address.key()), fixed_step(address.step), step(replayed_step(address.step)) {}
  __device__ std::array<uint32_t, 4> words(uint64_t example, uint64_t sample, uint64_t block) const {
    return random_words(key, step ? *step : fixed_step, example, sample, block);
  }
};

/// In one piece: nvcc 13.0 takes the plain store of a pack into four here.
template <int N, class T>
__device__ void store_whole(T* to, const Pack<T, N>& pack) {
  if constexpr (sizeof(pack) == sizeof(uint4)) {
    __stcg(reinterpret_cast<uint4*>(to), std::bit_cast<uint4>(pack));
  } else if constexpr (sizeof(pack) == sizeof(uint2)) {
    __stcg(reinterpret_cast<uint2*>(to), std::bit_cast<uint2>(pack));
  } else {
    store(to, pack);
  }
}

/// One thread a block of up to four coordinates. B·S·J elements written, and bound by arithmetic: machine code for
/// sm_90, a number: 67 instructions, Philox, Box and Muller, of which an H100 issues 39 while it moves 4 bytes.
template <class T, class Index>
__global__ void gaussian_noise_kernel(Index blocks, Divisor<Index> per_row, Divisor<Index> S, int64_t J,
                                      DeviceAddress address, NoiseOrigin origin, const int64_t* examples, T* noise,
                                      FaultSite site) {
  const auto i = static_cast<Index>(global_thread());
  if (i >= blocks) return;
  const Index in_rows = i / per_row, example_of = in_rows / S;
  const int64_t row = in_rows, block = i - in_rows * per_row.by(), b = example_of, s = in_rows - example_of * S.by();
  const int64_t example = examples[b];
  if (!is_index(example, INT64_MAX, b, site)) return;
  const int64_t sample = origin.sample + s;  // with antithetic pairs 2i and 2i + 1 are ± sample i
  const auto words =
      address.words(static_cast<uint64_t>(example), static_cast<uint64_t>(origin.antithetic ? sample / 2 : sample),
                    static_cast<uint64_t>(origin.coordinate / 4 + block));
  const NormalPair low = normal2(words[0], words[1]), high = normal2(words[2], words[3]);
  const float sign = origin.antithetic && sample % 2 != 0 ? -1.0f : 1.0f;
  const float z[4] = {sign * low.first, sign * low.second, sign * high.first, sign * high.second};
  T* to = noise + row * J + 4 * block;
  if (J % 4 == 0) {  // rows start at whole packs
    Pack<T, 4> pack;
#pragma unroll
    for (int k = 0; k < 4; ++k) pack.v[k] = narrow<T>(z[k]);
    if (reinterpret_cast<uintptr_t>(to) % sizeof(pack) == 0) return store_whole(to, pack);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (4 * block + k < J) to[k] = narrow<T>(z[k]);
}

void gaussian_noise(const Tensor& examples, Tensor& noise, RngAddress address, NoiseOrigin origin) {
  const int64_t S = noise.dim(1), J = noise.dim(2), blocks = noise.dim(0) * S * ceil_div(J, 4);
  visit_device(noise.dtype(), "gaussian_noise", [&]<class T>(T) {
    visit_index(blocks, [&]<class Index>(Index) {
      launch("gaussian_noise", gaussian_noise_kernel<T, Index>, ceil_div(blocks, kThreads), kThreads,
             static_cast<Index>(blocks), Divisor<Index>(ceil_div(J, 4)), Divisor<Index>(S), J, address, origin,
             examples.data<int64_t>(), noise.data<T>(), fault_site("gaussian_noise"));
    });
  });
}

// ---- dropping ------------------------------------------------------------------------------------

/// The four draws 4 block … 4 block + 3.
__device__ inline std::array<uint32_t, 4> drop_words(const DeviceAddress& address, int64_t block) {
  return address.words(0, static_cast<uint64_t>(block) >> 32, static_cast<uint64_t>(block));
}

/// One thread a block of four draws: y = x · keep, x's elements being `first` … first + n − 1 of the whole, as one pack
/// where `packs`: `first` is a multiple of 4 and the pointers are aligned. 2 · n elements moved.
/// Machine code for sm_90, an element: 35 instructions; an H100 issues 39 while it moves 4 bytes.
template <class T>
__global__ void dropout_kernel(int64_t n, int64_t first, bool packs, DeviceAddress address, uint32_t threshold,
                               float scale, const T* x, T* y) {
  const int64_t block = first / 4 + global_thread(), begin = 4 * block - first;  // −3 at least
  if (begin >= n) return;
  const bool whole = packs && begin + 4 <= n;
  const Pack<T, 4> in = load_if<4>(whole, x, begin);
  const auto words = drop_words(address, block);
  const auto dropped = [&](T value, int k) {
    return narrow<T>(widen(value) * (words[static_cast<size_t>(k)] >> 8 >= threshold ? scale : 0.0f));
  };
  if (whole) {
    Pack<T, 4> out;
#pragma unroll
    for (int k = 0; k < 4; ++k) out.v[k] = dropped(in.v[k], k);
    return store_whole(y + begin, out);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t i = begin + k;
    if (i >= 0 && i < n) y[i] = dropped(x[i], k);
  }
}

constexpr int kBatch = 4;  // packs a thread

/// A team of threads, a warp or a block, takes a piece of a row, kBatch packs a thread; each thread makes the row's
/// draw once for all its packs, and they are under way meanwhile. Floor: 2 · n elements moved. Machine code for sm_90,
/// bf16, an element: 11 instructions and 0.125 loads (with a draw and a 64-bit division for each element: 213 and 1);
/// an H100 issues 39 instructions while it moves 4 bytes.
template <int kLanes, int kN, class T>
__global__ void drop_path_kernel(int64_t rows, int64_t width, int64_t pieces, int64_t first_row, DeviceAddress address,
                                 uint32_t threshold, float scale, const T* x, T* y) {
  const Team<kLanes> team;
  const int64_t row = team.row / pieces, first = ((team.row - row * pieces) * kBatch * kLanes + team.lane) * kN;
  if (row >= rows) return;
  Pack<T, kN> in[kBatch];
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    const int64_t d = first + int64_t{b} * kLanes * kN;
    in[b] = load_if<kN>(d < width, x, row * width + d);
  }
  const auto words = drop_words(address, (first_row + row) / 4);
  const int which = static_cast<int>((first_row + row) % 4);
  const uint32_t word = which == 0 ? words[0] : (which == 1 ? words[1] : (which == 2 ? words[2] : words[3]));
  const float keep = word >> 8 >= threshold ? scale : 0.0f;
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    const int64_t d = first + int64_t{b} * kLanes * kN;
    if (d >= width) return;
    Pack<T, kN> out;
#pragma unroll
    for (int k = 0; k < kN; ++k) out.v[k] = narrow<T>(widen(in[b].v[k]) * keep);
    store_whole(y + row * width + d, out);
  }
}

/// Kept where word >> 8 ≥ threshold, that is uniform01(word) ≥ p.
uint32_t threshold_of(double p) { return static_cast<uint32_t>(std::ceil(p * 0x1p24)); }

void dropout(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p) {
  const uint32_t threshold = threshold_of(p);
  const int64_t n = x.numel();
  visit_device(x.dtype(), "dropout", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    launch("dropout", dropout_kernel<T>, ceil_div(ceil_div(first % 4 + n, 4), kThreads), kThreads, n, first,
           first % 4 == 0 && aligned16({in, out}), address, threshold, static_cast<float>(1.0 / (1.0 - p)), in, out);
  });
}

void drop_path(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p) {
  const uint32_t threshold = threshold_of(p);
  const int64_t rows = x.dim(0), width = x.shape().product(1, x.ndim());
  visit_device(x.dtype(), "drop_path", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const auto run = [&]<int kLanes, int kN>(std::integral_constant<int, kLanes>, std::integral_constant<int, kN>) {
      const int64_t pieces = ceil_div(width, int64_t{kBatch} * kLanes * kN);
      launch("drop_path", drop_path_kernel<kLanes, kN, T>, team_blocks<kLanes>(rows * pieces), kThreads, rows, width,
             pieces, first, address, threshold, static_cast<float>(1.0 / (1.0 - p)), in, out);
    };
    visit_team(width, [&](auto lanes) {
      if (width % kWide<T> == 0 && aligned16({in, out})) return run(lanes, std::integral_constant<int, kWide<T>>{});
      run(lanes, std::integral_constant<int, 1>{});
    });
  });
}

[[maybe_unused]] const bool registered = kernel::gaussian_noise.define(Device::cuda, gaussian_noise) &&
                                         kernel::dropout.define(Device::cuda, dropout) &&
                                         kernel::drop_path.define(Device::cuda, drop_path);

}  // namespace
}  // namespace sked::cuda

#include "core/cpu/tile_gemm.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sked::cpu {
namespace {

// A tile is 16 rows of 64 bytes. Of `a` it holds 16 rows × 32 columns, of `b` 32 rows × 16 columns with two rows interleaved; either
// way 16 × 16 words, a word being two bf16 neighbours along Q, and one form is the other's transpose.
constexpr int64_t kTile = 16, kDepth = 2 * kTile, kParts = 3;
constexpr int64_t kBlock = 2 * kTile;                  // c is computed in blocks of 2 × 2 tiles
constexpr int64_t kTileN = 512, kTileQ = 8 * kDepth;   // the block of b that stays in L2: 768 KiB
constexpr int64_t kTileM = 1024;

typedef uint32_t Words __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));
using Tile = Words[kTile];

/// Exchanges the off-diagonal S × S blocks of every 2S × 2S block.
template <int S>
void exchange(Tile& t) {
  Words low, high;
  for (int j = 0; j < kTile; ++j) {
    low[j] = static_cast<uint32_t>(j & S ? j - S + kTile : j);
    high[j] = static_cast<uint32_t>(j & S ? j + kTile : j + S);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) {
    if (i & S) continue;
    const Words a = t[i], b = t[i + S];
    t[i] = __builtin_shuffle(a, b, low);
    t[i + S] = __builtin_shuffle(a, b, high);
  }
}

void transpose(Tile& t) {
  exchange<8>(t);
  exchange<4>(t);
  exchange<2>(t);
  exchange<1>(t);
}

/// The bf16 nearest to each x, as the upper half of a word; x becomes what is left.
inline Words take_part(Floats& x) {
  const Words part = (std::bit_cast<Words>(x) + 0x8000u) & 0xffff0000u;
  x -= std::bit_cast<Floats>(part);
  return part;
}

/// Row `row` of the tiles of each part: words of neighbours along Q, the even one below.
inline void split(Floats even, Floats odd, int row, Tile* parts) {
  for (int p = 0; p < kParts; ++p) {
    const Words low = take_part(even) >> 16;
    parts[p][row] = take_part(odd) | low;
  }
}

inline Floats load(const float* x) {
  Floats v;
  std::memcpy(&v, x, sizeof v);
  return v;
}

/// The parts of 16 rows × 32 columns, columns contiguous: word (i, k) holds columns 2k and 2k + 1 of row i.
void split_rows(const float* x, int64_t stride, Tile* parts) {
  Words even, odd;
  for (uint32_t j = 0; j < kTile; ++j) even[j] = 2 * j, odd[j] = 2 * j + 1;
  for (int i = 0; i < kTile; ++i, x += stride) {
    const Floats first = load(x), second = load(x + kTile);
    split(__builtin_shuffle(first, second, even), __builtin_shuffle(first, second, odd), i, parts);
  }
}

/// The same of rows that are contiguous, transposed: word (k, i) holds columns 2k and 2k + 1 of row i.
void split_columns(const float* x, int64_t stride, Tile* parts) {
  for (int k = 0; k < kTile; ++k, x += 2 * stride) split(load(x), load(x + stride), k, parts);
}

/// The parts of rows [first, first + 16), columns [q, q + 32) of `m`, zero beyond its extents.
void split_tile(const MatrixView<float>& m, int64_t rows, int64_t Q, int64_t first, int64_t q, bool transposed,
                Tile* parts) {
  const int64_t height = std::min(kTile, rows - first), depth = std::min(kDepth, Q - q);
  const float* from = m.data + first * m.row + q * m.col;
  MatrixView<float> whole{from, m.row, m.col};
  float padded[kTile * kDepth];
  if (height < kTile || depth < kDepth) {
    std::fill_n(padded, kTile * kDepth, 0.0f);
    for (int64_t i = 0; i < height; ++i)
      for (int64_t k = 0; k < depth; ++k) padded[i * kDepth + k] = from[i * m.row + k * m.col];
    whole = {padded, kDepth, 1};
  }
  const bool by_columns = whole.col != 1;
  if (by_columns)
    split_columns(whole.data, whole.col, parts);
  else
    split_rows(whole.data, whole.row, parts);
  if (by_columns == transposed) return;
  for (int p = 0; p < kParts; ++p) transpose(parts[p]);
}

/// Panels of 32 rows of `m` (rows, Q): for each 32 columns the parts of the upper 16 rows, then of the lower.
void split_panels(const MatrixView<float>& m, int64_t rows, int64_t Q, bool transposed, Tile* out) {
  for (int64_t first = 0; first < rows; first += kBlock) {
    for (int64_t q = 0; q < Q; q += kDepth) {
      for (int64_t half = 0; half < 2; ++half, out += kParts) {
        if (first + half * kTile < rows)
          split_tile(m, rows, Q, first + half * kTile, q, transposed, out);
        else
          std::fill_n(&out[0][0], kParts * kTile, Words{});
      }
    }
  }
}

/// c (32,32) = [c +] Σ over `steps` of a panel · b panel. Tiles 0 … 3 are c's; 4, 5 hold a part of a, 6, 7 one of b.
__attribute__((target("amx-tile,amx-bf16"))) void multiply_block(int64_t steps, const Tile* a, const Tile* b, float* c,
                                                                int64_t ldc, bool accumulate) {
  const int64_t stride = ldc * static_cast<int64_t>(sizeof(float));
  if (accumulate) {
    _tile_loadd(0, c, stride);
    _tile_loadd(1, c + kTile, stride);
    _tile_loadd(2, c + kTile * ldc, stride);
    _tile_loadd(3, c + kTile * ldc + kTile, stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; ++step, a += 2 * kParts, b += 2 * kParts) {
    for (int64_t i = kParts - 1; i >= 0; --i) {  // the smallest products first
      _tile_loadd(4, &a[i], 64);
      _tile_loadd(5, &a[kParts + i], 64);
      for (int64_t j = kParts - 1 - i; j >= 0; --j) {
        _tile_loadd(6, &b[j], 64);
        _tile_loadd(7, &b[kParts + j], 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, c, stride);
  _tile_stored(1, c + kTile, stride);
  _tile_stored(2, c + kTile * ldc, stride);
  _tile_stored(3, c + kTile * ldc + kTile, stride);
}

/// A block of c that may lie over its edge: rows × cols of it exist.
void multiply_edge(int64_t rows, int64_t cols, int64_t steps, const Tile* a, const Tile* b, float* c, int64_t ldc,
                   bool accumulate) {
  if (rows == kBlock && cols == kBlock) return multiply_block(steps, a, b, c, ldc, accumulate);
  float block[kBlock * kBlock];
  multiply_block(steps, a, b, block, kBlock, false);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j)
      c[i * ldc + j] = accumulate ? c[i * ldc + j] + block[i * kBlock + j] : block[i * kBlock + j];
  }
}

/// All eight tiles: 16 rows of 64 bytes.
__attribute__((target("amx-tile"))) void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  _tile_loadconfig(&configuration);
}
__attribute__((target("amx-tile"))) void release_tiles() { _tile_release(); }

struct Panels {
  std::vector<Words> a, b;
  Panels()
      : a(kParts * kTile * 2 * (kTileQ / kDepth)), b(kParts * kTile * 2 * (kTileQ / kDepth) * (kTileN / kBlock)) {}
};

/// One part of c: N ≤ kTileN.
void multiply_part(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c, int64_t ldc,
                   bool accumulate) {
  thread_local Panels panels;
  Tile *pa = reinterpret_cast<Tile*>(panels.a.data()), *pb = reinterpret_cast<Tile*>(panels.b.data());
  configure_tiles();
  for (int64_t q = 0; q < Q; q += kTileQ) {
    const int64_t depth = std::min(kTileQ, Q - q), steps = (depth + kDepth - 1) / kDepth;
    split_panels(MatrixView<float>{b.data + q * b.row, b.row, b.col}.transposed(), N, depth, true, pb);
    for (int64_t i = 0; i < M; i += kBlock) {
      const int64_t rows = std::min(kBlock, M - i);
      split_panels({a.data + i * a.row + q * a.col, a.row, a.col}, rows, depth, false, pa);
      for (int64_t j = 0; j < N; j += kBlock)
        multiply_edge(rows, std::min(kBlock, N - j), steps, pa, pb + j / kBlock * steps * 2 * kParts, c + i * ldc + j,
                      ldc, accumulate || q > 0);
    }
  }
  release_tiles();
}

bool request_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const unsigned bf16 = 1u << 22, tile = 1u << 24;
  if ((d & bf16) == 0 || (d & tile) == 0) return false;
  const long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA (Linux 5.16)
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace

bool has_tiles() {
  static const bool granted = request_tiles();
  return granted;
}

void tile_gemm(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c, int64_t ldc,
               bool accumulate) {
  // Parts of equal height, at least two a thread: their cut changes no sum.
  const int64_t columns = (N + kTileN - 1) / kTileN;
  const int64_t wanted = std::max((M + kTileM - 1) / kTileM, (2 * omp_get_max_threads() + columns - 1) / columns);
  const int64_t height = ((M + wanted - 1) / wanted + kBlock - 1) / kBlock * kBlock;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t i = 0; i < M; i += height) {
    for (int64_t j = 0; j < N; j += kTileN) {
      multiply_part(std::min(height, M - i), std::min(kTileN, N - j), Q, {a.data + i * a.row, a.row, a.col},
                    {b.data + j * b.col, b.row, b.col}, c + i * ldc + j, ldc, accumulate);
    }
  }
}

}  // namespace sked::cpu

#else

namespace sked::cpu {

bool has_tiles() { return false; }
void tile_gemm(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c, int64_t ldc,
               bool accumulate) {
  gemm(M, N, Q, a, b, c, ldc, accumulate);
}

}  // namespace sked::cpu

#endif

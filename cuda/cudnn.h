#pragma once
// Convolutions, attention, and linear layers with the exact GELU by cuDNN's graph API (cudnn.cpp; cudnn_none.cpp in a
// build without it). libcudnn is opened when the first of them is asked for, so programs start where it is missing;
// conv.cu, attention.cu and matmul.cu have kernels for whatever it does not take.

#include <string>
#include <vector>

#include "core/candidates.h"
#include "core/dtype.h"
#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"

namespace sked::cuda::cudnn {

enum class Pass { forward, backward_input, backward_weight };

/// x (N,H,W,I), filters (O,kernel,kernel,I/groups), y (N,P,Q,O), all in `dtype`, f32 or bf16; sums in f32. f32 is IEEE
/// single unless product_precision() is tf32.
struct Convolution {
  Pass pass;
  DType dtype;
  ConvSizes s;
  Window window;

  /// The kernel's.
  const char* name() const {
    if (pass == Pass::forward) return "conv2d_forward";
    return pass == Pass::backward_input ? "conv2d_backward_input" : "conv2d_backward_weight";
  }
};

/// bf16: qkv (N,T,3,H,E), y (N,T,H,E); lse (N,H,T) in f32, natural logarithms. E a multiple of 8.
struct Attention {
  Pass pass;  // forward, or backward_input
  AttentionSizes s;
  float scale;
  bool causal;

  const char* name() const { return pass == Pass::forward ? "attention_forward" : "attention_backward"; }
};

/// A linear layer and the exact GELU behind it as one kernel: y (N,O) = GELU(x (N,I) wᵀ + b), w (O,I), b (O). Or the
/// way back through a layer and the GELU before it: dx (N,I) = (dy (N,O) w) ⊙ GELU'(pre (N,I)), db (I) = Σ_n dx[n].
/// bf16, but for b in `bias_dtype` and db in f32; sums in f32. cuDNN adds up db in an order that varies.
struct LinearGelu {
  Pass pass;  // forward, or backward_input
  LinearSizes s;
  bool bias = false;  // b is there; db is wanted
  DType bias_dtype = DType::f32;
  bool pre = false;  // forward: what the GELU is taken of is kept, in (N,O)

  const char* name() const { return pass == Pass::forward ? "linear_forward" : "linear_backward_activation"; }
  /// cuDNN compiles one for each shape, some second of the host's time, and spares the card a pass over the product's
  /// result: for the least of these 3 µs forward, 6 back, which twelve layers repay in 20,000 steps. Rows that are no
  /// multiple of 16 bytes get no tensor cores of Hopper's.
  bool pays() const {
    const int64_t result = s.N * (pass == Pass::forward ? s.O : s.I);
    return s.I > 0 && s.O > 0 && s.I % 8 == 0 && s.O % 8 == 0 && result >= int64_t{1} << 22;
  }
};

/// Queues it on the compute stream. `a`, `b`, `c`: x, filters, y; dy, filters, dx; or dy, x, dfilters. False where
/// cuDNN is missing, has no plan (each said once on stderr), or an operand does not start at a multiple of 16 bytes:
/// then nothing has happened.
bool run(const Convolution& problem, const void* a, const void* b, void* c);
/// The same: y and lse from qkv.
bool run_forward(const Attention& problem, const void* qkv, void* y, float* lse);
/// The same: dqkv from the rest.
bool run_backward(const Attention& problem, const void* dy, const void* qkv, const void* y, const float* lse,
                  void* dqkv);
/// The same: y, and pre where it is kept, from the rest; b is null where there is none.
bool run_forward(const LinearGelu& problem, const void* x, const void* w, const void* b, void* y, void* pre);
/// The same: dx, and db unless it is null, from the rest.
bool run_backward(const LinearGelu& problem, const void* dy, const void* w, const void* pre, void* dx, float* db);

/// Each of cuDNN's first plans for it that can be built, at most `most` (core/candidates.h); none where cuDNN is
/// missing.
std::vector<Candidate> candidates(const Convolution& problem, const Tensor& a, const Tensor& b, const Tensor& c,
                                  int most);

// ---- what cuDNN would say of a card that is not here: for tests

/// A card as cuDNN writes one down: CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION.
struct Card {
  std::string properties;
  int capability;  // 10 · major + minor
};

/// Can libcudnn be opened on this machine?
bool found();
/// Empty where cuDNN has a plan for the problem on `card`, in the precision and determinism set now; else its reason.
/// Needs no GPU; for attention, whose kernels are compiled as they are asked for, it stops short of loading them, and
/// still needs some libcuda.so.1.
std::string why_not(const Convolution& problem, const Card& card);
std::string why_not(const Attention& problem, const Card& card);
/// Of the first kernel on offer, compiled: without a GPU cuDNN's reason is then that the driver does not load it.
std::string why_not(const LinearGelu& problem, const Card& card);
/// The GPU of this machine.
Card this_card();

}  // namespace sked::cuda::cudnn

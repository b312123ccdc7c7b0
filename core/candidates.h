#pragma once
// The ways in which a device could do one piece of work, for programs that hold them against each other. What the
// program itself computes takes the way its backend chose.

#include <functional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/tensor.h"

namespace sked {

/// Queues the work once, on the tensors it was made for. Throws Error where the device refuses.
struct Candidate {
  std::string name;
  std::function<void()> run;
};

/// c (M,N) = op(a) op(b), row-major, a and b in one dtype, the others in c's; what is not defined does not ride on it.
struct ProductWork {
  Tensor a, b, c;
  bool transpose_a = false, transpose_b = false;
  Tensor bias = {};                   // (N), added to each row
  Activation act = Activation::none;  // none or gelu_tanh, behind the bias
  Tensor pre = {};                    // (M,N), what a GELU was taken of
  Tensor through = {};                // (M,N): c is multiplied by GELU' of it
  Tensor sum_of_c = {};               // (N), with through: Σ over M of c
  Tensor sum_of_a = {};               // (M) f32: Σ of op(a) over its columns; without b and c that alone, op(a) = aᵀ
};

/// y from x and filters (forward), dx from dy and filters, or the filters' gradient from dy and x, all in one dtype: x
/// (N,H,W,I), filters (O, I/groups, kernel, kernel) with their elements in the order that the library wants, y
/// (N,P,Q,O).
struct ConvolutionWork {
  enum class Pass { forward, backward_input, backward_weight } pass;
  Tensor x, filters, y;
  Window window;
};

/// How a device lists them: at most `most`, in the order in which its libraries recommend them.
struct CandidateLists {
  std::vector<Candidate> (*product)(const ProductWork& work, int most);
  std::vector<Candidate> (*convolution)(const ConvolutionWork& work, int most);
};
void register_candidates(Device device, const CandidateLists& lists);

/// Nullptr: it has no choice.
const CandidateLists* candidates_of(Device device);

}  // namespace sked

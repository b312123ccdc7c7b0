#pragma once
// One description of one call of a kernel, from which everything follows that is asked of the kernel:
//
//   tests/core/kernels.cpp   on the CPU: the definition in f64 and f32 beside the reference, on one, two and three
//                            threads bit for bit; the tuned version; operands in bf16; in place; refusals
//   tests/cuda/parity.cpp    on the GPU, or the emulated one, beside the CPU's definition in f64
//   apps/bench/kernels.cpp   checked, then timed: those that have a Timing
//
// tests/kernels/<family>.cpp has the cases of core/kernels/<family>.h, without doctest, which the benchmark has not.

#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/kernel.h"
#include "core/tensor.h"

namespace sked::test {

/// A tensor's elements, row-major, integers too; empty for an undefined tensor.
using Values = std::vector<double>;
using ValueLists = std::vector<Values>;
/// Indices of inputs or outputs.
using Which = std::vector<size_t>;
/// The outputs that a call must have, from its inputs and what the outputs held before: a formula written out in
/// double, which shares no code with the kernel.
using Reference = std::function<ValueLists(const ValueLists& in, const ValueLists& before)>;

/// |got − expected| ≤ tolerance · max(scale, size), where size is the largest |expected| of the output, or with `each`
/// that of the element itself. Integers must be equal whatever it says.
struct Tolerance {
  double f32;
  const char* reason;  // of f32
  double scale = 0;    // the size of the terms, where they may cancel
  double f64 = 1e-12;  // sums of a few thousand roundings of 1.1e-16, in another order
  bool each = false;
};

/// What only moves or chooses numbers.
constexpr Tolerance kExact{0, "nothing is rounded", 0, 0};

/// Of results in bf16, or of products of factors in bf16. Half a unit in the last place is 2^-8 of a number at most; a
/// result may be rounded once more on the way (a product stored before its activation), and sums see factors that were.
constexpr double kBf16Tolerance = 8e-3;

/// What a benchmark calls it, and what one call does.
struct Timing {
  std::string row = {};
  double operations = 0;  // of floating point; 0 where bytes say more
  double bytes = 0;       // read and written at least once
};

/// The inputs and outputs that are stored in bf16; the rest (parameters, statistics) stays f32.
struct Storage {
  Which in, out;
};

struct KernelCase {
  std::string kernel;  // its name in the registry
  std::string what;    // sizes and options, for messages
  TensorList inputs;   // computed with in f32 and f64, or bf16, i64 and u8 as they are; undefined ones stay so
  TensorList outputs;  // what they hold before the call; undefined ones stay so
  std::function<void(const TensorList& in, TensorList& out)> call;

  Reference reference = {};  // empty: the CPU's definition in f64 is all there is to compare with
  Tolerance tolerance = kExact, gpu = kExact;
  std::vector<Storage> in_bf16 = {};
  Which factors = {};  // inputs that Precision::bf16 rounds, and it alone
  int in_place = -1;   // the input that output 0 may be
  std::vector<std::string> refusal =
      {};                  // not empty: the call throws one line with these words and [kernel], or what is first
  bool cpu_alone = false;  // what a GPU has not
  Timing timing = {};

  KernelCase& gives(Reference expected, const Tolerance& t) { return reference = std::move(expected), within(t); }
  KernelCase& within(const Tolerance& t) { return tolerance = gpu = t, *this; }
  /// Where a GPU takes sums in another order, or functions of its own.
  KernelCase& on_gpu(const Tolerance& t) { return gpu = t, *this; }
  /// One more run with these in bf16.
  KernelCase& stored_in_bf16(Which in, Which out) { return in_bf16.push_back({std::move(in), std::move(out)}), *this; }
  KernelCase& rounds(Which products) { return factors = std::move(products), *this; }
  KernelCase& also_in_place(int input) { return in_place = input, *this; }
  KernelCase& is_refused(std::vector<std::string> words = {""}) { return refusal = std::move(words), *this; }
  KernelCase& on_cpu_alone() { return cpu_alone = true, *this; }
  KernelCase& timed(Timing t) { return timing = std::move(t), *this; }
};
using KernelCases = std::vector<KernelCase>;

namespace detail {
/// The next operand of a call: inputs are its const tensors, outputs the others, each in their order.
template <class T>
T operand(const TensorList& in, TensorList& out, size_t& next_in, size_t& next_out) {
  if constexpr (std::is_same_v<T, const Tensor&>)
    return in[next_in++];
  else
    return out[next_out++];
}
}  // namespace detail

/// A call of `kernel` with these tensors and, behind them, options.
template <class... Args, class... Options>
KernelCase case_of(const Kernel<void(Args...)>& kernel, const std::string& what, const TensorList& inputs,
                   const TensorList& outputs, Options... options) {
  using Operands = std::tuple<Args...>;
  const auto call = [&kernel, options...](const TensorList& in, TensorList& out) {
    size_t i = 0, o = 0;
    [&]<size_t... I>(std::index_sequence<I...>) {
      const std::tuple<std::tuple_element_t<I, Operands>...> tensors{
          detail::operand<std::tuple_element_t<I, Operands>>(in, out, i, o)...};
      std::apply([&](auto&... t) { kernel(t..., options...); }, tensors);
    }
    (std::make_index_sequence<sizeof...(Args) - sizeof...(Options)>());
  };
  return {kernel.name(), what, inputs, outputs, call};
}

/// An output that nothing may keep: NaN, or 99.
inline Tensor unset(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::full(shape, is_floating(dtype) ? std::numeric_limits<double>::quiet_NaN() : 99, dtype);
}

/// In f64: what a kernel saved for another, exact until the call's dtype rounds it.
inline Tensor saved(const Values& values, const Shape& shape) { return Tensor::from(values, shape); }

KernelCases elementwise_cases();
KernelCases softmax_cases();
KernelCases memory_cases();
KernelCases reduce_cases();
KernelCases index_cases();
KernelCases random_cases();
KernelCases optimizer_cases();
KernelCases matmul_cases();
KernelCases conv_cases();
KernelCases pool_cases();
KernelCases norm_cases();
KernelCases l2_normalize_cases();
KernelCases attention_cases();
KernelCases likelihood_cases();

/// What belongs together, under the name that tests/gpu_check.sh has for it.
struct Family {
  const char* name;
  KernelCases (*cases)();
};
const std::vector<Family>& families();

// What the benchmark times, at its sizes.
KernelCases timed_elementwise();
KernelCases timed_softmax();
KernelCases timed_random();
KernelCases timed_matmul();
KernelCases timed_conv();
KernelCases timed_norm();
KernelCases timed_attention();

}  // namespace sked::test

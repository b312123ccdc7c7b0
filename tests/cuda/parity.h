#pragma once
// A kernel on the GPU beside its CPU definition in double.

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/kernels/case.h"

namespace sked::test {

/// One call of a kernel. The reference is the CPU's definition in f64 on the same numbers; f64 exists on no GPU.
struct ParityCase {
  std::string kernel;  // its name in the registry
  std::string what;    // sizes and options, for messages
  TensorList inputs;   // f32, i64 or u8; undefined ones stay so
  TensorList outputs;  // what they hold before the call; undefined ones stay so
  std::function<void(const TensorList& in, TensorList& out)> call;
  double tolerance;  // |got − expected| ≤ tolerance · max(scale, max |expected|) in f32; i64 and u8 must be equal
  double scale = 0;
  /// Inputs and outputs that may be bf16, the rest (parameters, statistics) staying f32; empty: no such run.
  std::vector<size_t> bf16_inputs = {}, bf16_outputs = {};
};
using ParityCases = std::vector<ParityCase>;

ParityCases memory_parity();
ParityCases reduce_parity();
ParityCases index_parity();
ParityCases random_parity();
ParityCases optimizer_parity();
ParityCases matmul_parity();
ParityCases conv_parity();
ParityCases norm_parity();
ParityCases attention_parity();
ParityCases likelihood_parity();

/// Runs a case in bf16 on the GPU and compares with the definition in f64 on the CPU: inputs are rounded for both.
void check_bf16_parity(const ParityCase& c);

}  // namespace sked::test

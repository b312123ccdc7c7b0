#pragma once
// A kernel on the GPU beside its CPU definition in double.

#include "tests/kernels/case.h"

namespace sked::test {

/// Runs a case in bf16 on the GPU and compares with the definition in f64 on the CPU: inputs are rounded for both.
void check_bf16_parity(const KernelCase& c);

}  // namespace sked::test

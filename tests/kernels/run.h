#pragma once
// How a case is run and what it must give: what its drivers share.

#include "tests/common/closeness.h"
#include "tests/kernels/case.h"

namespace sked::test {

/// Inputs and outputs of one call, copies of a case's.
struct Operands {
  TensorList in, out;

  /// All floating ones in `dtype`.
  Operands(const KernelCase& c, DType dtype);
  /// In f32, but for those that are stored in bf16.
  static Operands stored_in_bf16(const KernelCase& c, const Storage& storage);
  /// In f32, factors rounded to bf16.
  static Operands with_rounded_factors(const KernelCase& c);
};

/// The outputs of the call on `device`, there on the CPU again. `in_place`: output 0 is the input that it may be.
TensorList run(const KernelCase& c, const Operands& operands, Device device = Device::cpu, bool in_place = false);

ValueLists values_of(const TensorList& list);

/// What the CPU's definition in f64 makes of operands of any dtype.
ValueLists by_definition(const KernelCase& c, const Operands& operands);
/// What the reference does, where there is one, else the definition.
ValueLists expected_of(const KernelCase& c, const Operands& operands);

/// As outputs that are stored in bf16 hold them: where nothing else is rounded they must be just that.
void round_results(ValueLists& expected, const Operands& operands);

/// Tells of each defined output how close it is. Throws Error where the number of its elements is another.
void for_each_output(const TensorList& got, const ValueLists& expected, double tolerance, double scale, bool each,
                     const std::function<void(size_t output, const Closeness&)>& tell);

}  // namespace sked::test

#include "tests/kernels/run.h"

#include <algorithm>

#include "core/error.h"

namespace sked::test {
namespace {

/// Copies, floating ones in `dtype`.
TensorList all_as(const TensorList& list, DType dtype) {
  TensorList result;
  for (const Tensor& t : list) result.push_back((t.defined() && is_floating(t.dtype()) ? t.to(dtype) : t).clone());
  return result;
}

TensorList on(const TensorList& list, Device device) {
  TensorList result;
  for (const Tensor& t : list) result.push_back(t.defined() ? t.to(device) : t);
  return result;
}

}  // namespace

Operands::Operands(const KernelCase& c, DType dtype) : in(all_as(c.inputs, dtype)), out(all_as(c.outputs, dtype)) {}

Operands Operands::stored_in_bf16(const KernelCase& c, const Storage& storage) {
  Operands operands(c, DType::f32);
  const auto store = [](TensorList& list, const std::vector<size_t>& which) {
    for (const size_t i : which)
      if (list[i].defined() && is_floating(list[i].dtype())) list[i] = list[i].to(DType::bf16);
  };
  store(operands.in, storage.in);
  store(operands.out, storage.out);
  return operands;
}

Operands Operands::with_rounded_factors(const KernelCase& c) {
  Operands operands(c, DType::f32);
  for (const size_t i : c.factors) operands.in[i] = operands.in[i].to(DType::bf16).to(DType::f32);
  return operands;
}

TensorList run(const KernelCase& c, const Operands& operands, Device device, bool in_place) {
  const auto given = static_cast<size_t>(c.in_place);
  TensorList in = on(operands.in, device), out;
  for (const Tensor& t : operands.out) out.push_back(t.defined() ? t.to(device).clone() : t);
  if (in_place) in[given] = out[0] = in[given].clone();
  c.call(in, out);
  return on(out, Device::cpu);
}

ValueLists values_of(const TensorList& list) {
  ValueLists values;
  for (const Tensor& t : list) values.push_back(t.defined() ? t.to_vector<double>() : Values());
  return values;
}

ValueLists by_definition(const KernelCase& c, const Operands& operands) {
  const ReferenceOnly definition;
  Operands exact = operands;
  exact.in = all_as(exact.in, DType::f64);
  exact.out = all_as(exact.out, DType::f64);
  return values_of(run(c, exact));
}

ValueLists expected_of(const KernelCase& c, const Operands& operands) {
  return c.reference ? c.reference(values_of(operands.in), values_of(operands.out)) : by_definition(c, operands);
}

void round_results(ValueLists& expected, const Operands& operands) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (operands.out[i].defined() && operands.out[i].dtype() == DType::bf16)
      expected[i] = saved(expected[i], operands.out[i].shape()).to(DType::bf16).to_vector<double>();
}

void for_each_output(const TensorList& got, const ValueLists& expected, double tolerance, double scale, bool each,
                     const std::function<void(size_t output, const Closeness&)>& tell) {
  require(got.size() == expected.size(), "case", got.size(), " outputs, expected ", expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (!got[i].defined() && expected[i].empty()) continue;
    const Values values = got[i].to_vector<double>();
    require(values.size() == expected[i].size(), "case", "output ", i, " has ", values.size(), " elements, expected ",
            expected[i].size());
    tell(i, closeness(values, expected[i], is_floating(got[i].dtype()) ? tolerance : 0, scale, each));
  }
}

}  // namespace sked::test

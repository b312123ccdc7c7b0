#include "tests/cuda/parity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "core/kernel.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// Half a unit in bf16's last place is 2^-9 of a number; a result may be rounded once more on the way (a product stored
// before its activation), and sums see factors that were.
constexpr double kBf16Tolerance = 8e-3;

Tensor as(const Tensor& t, DType dtype) { return t.defined() && is_floating(t.dtype()) ? t.to(dtype) : t; }

TensorList all_as(const TensorList& list, DType dtype) {
  TensorList result;
  for (const Tensor& t : list) result.push_back(as(t, dtype).clone());
  return result;
}

TensorList on(const TensorList& list, Device device) {
  TensorList result;
  for (const Tensor& t : list) result.push_back(t.defined() ? t.to(device) : t);
  return result;
}

TensorList reference(const ParityCase& c, const TensorList& inputs, const TensorList& outputs) {
  const ReferenceOnly definition;
  const TensorList in = all_as(inputs, DType::f64);
  TensorList out = all_as(outputs, DType::f64);
  c.call(in, out);
  return out;
}

void compare(const ParityCase& c, const TensorList& got, const TensorList& expected, const char* way,
             double tolerance) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].defined()) continue;
    const bool floating = is_floating(expected[i].dtype());
    check_close(c.kernel + " " + c.what + ", " + way + ", output " + std::to_string(i), got[i].to(Device::cpu),
                expected[i], floating ? tolerance : 0, c.scale);
  }
}

TensorList run(const ParityCase& c, const TensorList& inputs, const TensorList& outputs, Device device) {
  const TensorList in = on(inputs, device);
  TensorList out;
  for (const Tensor& t : outputs) out.push_back(t.defined() ? t.to(device).clone() : t);
  c.call(in, out);
  return on(out, Device::cpu);
}

}  // namespace

ParityCases all_parity() {
  ParityCases all;
  for (const auto family :
       {elementwise_parity, memory_parity, reduce_parity, index_parity, random_parity, optimizer_parity, matmul_parity,
        conv_parity, norm_parity, softmax_parity, attention_parity, likelihood_parity}) {
    for (ParityCase& c : family()) all.push_back(std::move(c));
  }
  return all;
}

void check_parity(const ParityCase& c, Device device) {
  const TensorList expected = reference(c, c.inputs, c.outputs);
  compare(c, run(c, c.inputs, c.outputs, device), expected, "as it is called", c.tolerance);
  const ReferenceOnly definition;
  compare(c, run(c, c.inputs, c.outputs, device), expected, "definition", c.tolerance);
}

void check_bf16_parity(const ParityCase& c) {
  TensorList inputs = c.inputs, outputs = c.outputs;
  for (const size_t i : c.bf16_inputs) inputs[i] = as(inputs[i], DType::bf16);
  for (const size_t i : c.bf16_outputs) outputs[i] = as(outputs[i], DType::bf16);
  compare(c, run(c, inputs, outputs, Device::cuda), reference(c, inputs, outputs), "bf16", kBf16Tolerance);
}

namespace {

/// Kernels without a CUDA implementation, and why.
const std::vector<std::pair<std::string, std::string>> kReasons = {};

/// All cases of a family: on the GPU, or where there is none one line that says so, and how many were not run.
void run_family(const char* family, const ParityCases& cases) {
  REQUIRE(!cases.empty());
  if (!is_available(Device::cuda)) {
    std::cout << "skipped: no usable GPU here: " << cases.size() << " comparisons of " << family << " with the CPU\n";
    return;
  }
  for (const ParityCase& c : cases) {
    CAPTURE(c.kernel);
    CAPTURE(c.what);
    check_parity(c, Device::cuda);
    if (!c.bf16_inputs.empty() || !c.bf16_outputs.empty()) check_bf16_parity(c);
  }
}

}  // namespace

TEST_CASE("coverage: every kernel has a CUDA implementation and a comparison, or a stated reason") {
  std::set<std::string> compared, excused;
  for (const ParityCase& c : all_parity()) compared.insert(c.kernel);
  for (const auto& [kernel, reason] : kReasons) {
    CHECK(!reason.empty());
    excused.insert(kernel);
  }
  std::set<std::string> names;
  for (const KernelBase* kernel : all_kernels()) {
    const std::string name = kernel->name();
    names.insert(name);
    const bool implemented = kernel->implemented(Device::cuda), reason = excused.count(name) == 1;
    CHECK_MESSAGE(implemented != reason, name << ": expected a CUDA implementation or a stated reason");
    CHECK_MESSAGE((!implemented || compared.count(name) == 1), name << " is compared by no case");
  }
  for (const std::string& name : compared) CHECK_MESSAGE(names.count(name) == 1, name << " is no kernel");
}

// Proves the cases and their tolerances where there is no GPU: the CPU's f32 must satisfy them as well.
TEST_CASE("parity cases hold for the CPU in f32") {
  for (const ParityCase& c : all_parity()) check_parity(c, Device::cpu);
}

TEST_CASE("parity: element-wise") { run_family("element-wise kernels", elementwise_parity()); }
TEST_CASE("parity: memory") { run_family("memory kernels", memory_parity()); }
TEST_CASE("parity: reductions") { run_family("reductions", reduce_parity()); }
TEST_CASE("parity: index") { run_family("index kernels", index_parity()); }
TEST_CASE("parity: random") { run_family("random kernels", random_parity()); }
TEST_CASE("parity: optimizers") { run_family("optimizer steps", optimizer_parity()); }
TEST_CASE("parity: products") { run_family("products", matmul_parity()); }
TEST_CASE("parity: convolution and pooling") { run_family("convolutions and pooling", conv_parity()); }
TEST_CASE("parity: norms") { run_family("norms", norm_parity()); }
TEST_CASE("parity: softmax") { run_family("the softmax family", softmax_parity()); }
TEST_CASE("parity: attention") { run_family("attention", attention_parity()); }
TEST_CASE("parity: likelihood") { run_family("the likelihood's tiles", likelihood_parity()); }

}  // namespace sked::test

// Every case of tests/kernels on the CPU: the definition and the tuned version beside the reference, in every dtype, on
// any number of threads; and every kernel has one.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "core/kernel.h"
#include "tests/common/compare.h"
#include "tests/common/files.h"
#include "tests/common/in_bf16.h"
#include "tests/kernels/run.h"

namespace sked::test {
namespace {

void compare(const KernelCase& c, const TensorList& got, const ValueLists& expected, const std::string& way,
             double tolerance, double scale, bool each = false) {
  for_each_output(got, expected, tolerance, scale, each, [&](size_t i, const Closeness& found) {
    if (found.wrong > 0)
      FAIL_CHECK(c.kernel, " ", c.what, ", ", way, ", output ", i, ": ", found.str(got[i].numel()), " (",
                 std::string(c.tolerance.reason), ")");
  });
}

void check_same_bits(const KernelCase& c, const TensorList& a, const TensorList& b, const std::string& what) {
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() && !same_bits(a[i], b[i]))
      FAIL_CHECK(c.kernel, " ", c.what, ": ", what, " differ in output ", i);
}

TensorList on_threads(int count, const KernelCase& c) {
  const Threads threads(count);
  return run(c, Operands(c, DType::f32));
}

/// In f32, by the definition or by the tuned version: on one, two and three threads, and in place.
void check_f32(const KernelCase& c, const ValueLists& expected, const char* way) {
  const Tolerance& t = c.tolerance;
  const TensorList one = on_threads(1, c), two = on_threads(2, c);
  compare(c, two, expected, way, t.f32, t.scale, t.each);
  if (ReferenceOnly::active()) {
    check_same_bits(c, one, two, "one and two threads");
    check_same_bits(c, one, on_threads(3, c), "one and three threads");
  } else {
    compare(c, one, expected, way, t.f32, t.scale, t.each);
  }
  if (c.in_place >= 0)
    check_same_bits(c, two, run(c, Operands(c, DType::f32), Device::cpu, true), "in place and out of it");
}

/// Operands stored in bf16, and f32 operands whose products round their factors.
void check_bf16(const KernelCase& c) {
  for (const Storage& storage : c.in_bf16) {
    const Operands operands = Operands::stored_in_bf16(c, storage);
    const bool exact = c.tolerance.f32 == 0;
    ValueLists expected = expected_of(c, operands);
    if (exact) round_results(expected, operands);
    compare(c, run(c, operands), expected, "stored in bf16", exact ? 0 : kBf16Tolerance, c.gpu.scale);
  }
  if (c.factors.empty() || !offers(Device::cpu, Precision::bf16)) return;
  const ValueLists expected = expected_of(c, Operands::with_rounded_factors(c));
  const InBf16 on;
  // Products of two bf16 numbers are exact in f32; sums round as ever.
  compare(c, run(c, Operands(c, DType::f32)), expected, "products in bf16", c.tolerance.f32, c.tolerance.scale);
}

void check_refusal(const KernelCase& c) {
  TensorList out = c.outputs;
  const std::string message = error_of([&] { c.call(c.inputs, out); });
  std::vector<std::string> words = c.refusal;
  if (!words[0].starts_with("[")) words.push_back("[" + c.kernel + "]");
  for (const std::string& word : words)
    CHECK_MESSAGE(one_line_with(message, word), c.kernel, ": expected ", word, ", got: ", message);
}

void check_case(const KernelCase& c) {
  if (!c.refusal.empty()) {
    check_refusal(c);
    const ReferenceOnly definition;
    return check_refusal(c);
  }
  const Operands in_f32(c, DType::f32), in_f64(c, DType::f64);
  const ValueLists expected = expected_of(c, in_f32);
  {
    const ReferenceOnly definition;
    const Tolerance& t = c.tolerance;
    const bool rounded = std::any_of(c.inputs.begin(), c.inputs.end(),
                                     [](const Tensor& t) { return t.defined() && t.dtype() == DType::f64; });
    const TensorList exact = run(c, in_f64);
    compare(c, exact, rounded ? expected_of(c, in_f64) : expected, "definition in f64", t.f64, t.scale, t.each);
    if (c.in_place >= 0) check_same_bits(c, exact, run(c, in_f64, Device::cpu, true), "in place and out of it");
    check_f32(c, expected, "definition in f32");
  }
  check_f32(c, expected, "as it is called");
  check_bf16(c);
}

void check_family(const char* name) {
  bool rounding = false;
  for (const Family& family : families()) {
    if (family.name != std::string(name)) continue;
    for (const KernelCase& c : family.cases()) {
      try {
        check_case(c);
        rounding |= !c.factors.empty();
      } catch (const std::exception& error) {
        FAIL_CHECK(c.kernel, " ", c.what, " threw ", std::string(error.what()));
      }
    }
  }
  if (rounding && !offers(Device::cpu, Precision::bf16))
    skip(std::string(name) + ", factors rounded to bf16: this processor has no instructions for it");
}

}  // namespace

TEST_CASE("kernels: element-wise") { check_family("element-wise"); }
TEST_CASE("kernels: memory") { check_family("memory"); }
TEST_CASE("kernels: reductions") { check_family("reductions"); }
TEST_CASE("kernels: index") { check_family("index"); }
TEST_CASE("kernels: random") { check_family("random"); }
TEST_CASE("kernels: optimizers") { check_family("optimizers"); }
TEST_CASE("kernels: products") { check_family("products"); }
TEST_CASE("kernels: convolution and pooling") { check_family("convolution and pooling"); }
TEST_CASE("kernels: norms") { check_family("norms"); }
TEST_CASE("kernels: softmax") { check_family("softmax"); }
TEST_CASE("kernels: attention") { check_family("attention"); }
TEST_CASE("kernels: likelihood") { check_family("likelihood"); }

}  // namespace sked::test

#include "tests/cuda/parity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <set>

#include "core/kernel.h"
#include "core/precision.h"
#include "tests/common/gpu.h"
#include "tests/common/in_bf16.h"
#include "tests/cuda/case_log.h"
#include "tests/kernels/run.h"

namespace sked::test {
namespace {

/// Compares and, where there is a log, notes every output. Returns the largest error, relative to the largest number
/// expected.
double compare(const KernelCase& c, const TensorList& got, const ValueLists& expected, const char* way,
               double tolerance, CaseLog* log) {
  double largest = 0;
  for_each_output(got, expected, tolerance, c.gpu.scale, c.gpu.each, [&](size_t i, Closeness found) {
    if (log && log->planted_failure()) {
      found.error = std::max(found.error, 2 * found.allowed + 1);
      found.got = found.want + found.error;
      found.wrong = std::max<int64_t>(found.wrong, 1);
    }
    if (log) log->compared({c.kernel, c.what, way, i, got[i].dtype()}, found);
    if (found.allowed > 0) largest = std::max(largest, found.error / found.allowed * tolerance);
    if (found.wrong > 0)
      FAIL_CHECK(c.kernel, " ", c.what, ", ", std::string(way), ", output ", i, ": ", found.str(got[i].numel()), " (",
                 std::string(c.gpu.reason), ")");
  });
  return largest;
}

/// Those that a GPU can run.
KernelCases runnable(KernelCases cases) {
  std::erase_if(cases, [](const KernelCase& c) { return !c.refusal.empty() || c.cpu_alone; });
  return cases;
}
KernelCases family_cases(const std::string& name) {
  for (const Family& family : families())
    if (family.name == name) return runnable(family.cases());
  return {};
}

void check_as_called(const KernelCase& c, CaseLog& log) {
  const Operands operands(c, DType::f32);
  compare(c, run(c, operands, Device::cuda), by_definition(c, operands), "as called", c.gpu.f32, &log);
}

void check_definition(const KernelCase& c, CaseLog& log) {
  const ReferenceOnly definition;
  const Operands operands(c, DType::f32);
  compare(c, run(c, operands, Device::cuda), by_definition(c, operands), "definition", c.gpu.f32, &log);
}

/// Inputs are rounded to bf16 for both sides.
void check_bf16(const KernelCase& c, const Storage& storage, CaseLog* log) {
  const Operands operands = Operands::stored_in_bf16(c, storage);
  const bool exact = c.reference && c.gpu.f32 == 0;
  ValueLists expected = by_definition(c, operands);
  if (exact) round_results(expected, operands);
  compare(c, run(c, operands, Device::cuda), expected, "bf16", exact ? 0 : kBf16Tolerance, log);
}

/// Of f32 tensors whose products have their factors rounded, relative to the largest number. bf16: half a unit is up to
/// 2^-8 of each of two factors, 8e-3 where one product is all, less in a sum. tf32
/// keeps 10 bits; a library may cut the rest off, 2^-10 of each factor.
constexpr double rounded_tolerance(Precision precision) { return precision == Precision::bf16 ? kBf16Tolerance : 2e-3; }

/// Does the device still do anything? A fault that a kernel reported is thrown once and no more; a context that CUDA
/// has given up throws for ever.
bool device_answers() {
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      memory(Device::cuda).synchronize();
      return true;
    } catch (const std::exception& error) {
      std::cout << "the GPU says: " << error.what() << std::endl;
    }
  }
  return false;
}

/// `step`, and what it throws as a failure of its case alone.
void guarded(CaseLog& log, const KernelCase& c, const std::function<void()>& step) {
  try {
    step();
  } catch (const std::exception& error) {
    log.thrown(error.what());
    FAIL_CHECK(c.kernel, " ", c.what, " threw ", std::string(error.what()));
    if (!device_answers()) log.dead();
  }
}

/// Kernels without a CUDA implementation, and why.
const std::vector<std::pair<std::string, std::string>> kReasons = {};

/// The cases of a family, each by `check`: on the GPU, or where there is none one line that says so, and how many were
/// not run.
template <class Check>
void run_cases(const std::string& family, const KernelCases& cases, const Check& check) {
  REQUIRE(!cases.empty());
  if (no_gpu(std::to_string(cases.size()) + " comparisons of " + family + " with the CPU")) return;
  CaseLog log(family);
  const int64_t count = static_cast<int64_t>(cases.size()), first = log.first(), last = log.last(count);
  if (first > 0 || last < count - 1)
    std::cout << "skipped: asked for cases " << first << " to " << last << " of the " << count << " of " << family
              << "\n";
  for (int64_t i = first; i <= last; ++i) {
    const KernelCase& c = cases[static_cast<size_t>(i)];
    guarded(log, c, [&] {
      log.begin(i, c.kernel, c.what);
      check(c, log);
    });
  }
}

void run_family(const std::string& family) {
  run_cases(family, family_cases(family), [](const KernelCase& c, CaseLog& log) {
    guarded(log, c, [&] { check_as_called(c, log); });
    guarded(log, c, [&] { check_definition(c, log); });
    for (const Storage& storage : c.in_bf16) guarded(log, c, [&] { check_bf16(c, storage, &log); });
  });
}

/// The same f32 tensors with factors of products rounded, as heads and losses have them in bf16 runs and all layers in
/// tf32 ones. Returns the largest relative error in bf16.
double run_rounded(const std::string& title, const std::string& family) {
  double largest = 0;
  run_cases(title, family_cases(family), [&](const KernelCase& c, CaseLog& log) {
    for (const Precision precision : {Precision::tf32, Precision::bf16}) {
      if (!offers(Device::cuda, precision)) continue;
      guarded(log, c, [&] {
        const Operands operands(c, DType::f32);
        const ValueLists expected = by_definition(c, operands);
        const ProductsIn rounded(precision);
        const std::string way = std::string("products in ") + name(precision);
        const double error = compare(c, run(c, operands, Device::cuda), expected, way.c_str(),
                                     std::max(c.gpu.f32, rounded_tolerance(precision)), &log);
        if (precision == Precision::bf16) largest = std::max(largest, error);
      });
    }
  });
  return largest;
}

}  // namespace

void check_bf16_parity(const KernelCase& c) {
  for (const Storage& storage : c.in_bf16) check_bf16(c, storage, nullptr);
}

TEST_CASE("coverage: every kernel has a CUDA implementation and a comparison, or a stated reason") {
  std::set<std::string> compared, excused;
  for (const Family& family : families())
    for (const KernelCase& c : runnable(family.cases())) compared.insert(c.kernel);
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

// tests/gpu_check.sh runs each of these in a process of its own, by its name.
TEST_CASE("parity: element-wise") { run_family("element-wise"); }
TEST_CASE("parity: memory") { run_family("memory"); }
TEST_CASE("parity: reductions") { run_family("reductions"); }
TEST_CASE("parity: index") { run_family("index"); }
TEST_CASE("parity: random") { run_family("random"); }
TEST_CASE("parity: optimizers") { run_family("optimizers"); }
TEST_CASE("parity: products") { run_family("products"); }
TEST_CASE("parity: convolution and pooling") { run_family("convolution and pooling"); }
TEST_CASE("parity: norms") { run_family("norms"); }
TEST_CASE("parity: softmax") { run_family("softmax"); }
TEST_CASE("parity: attention") { run_family("attention"); }
TEST_CASE("parity: likelihood") { run_family("likelihood"); }

TEST_CASE("parity: products with rounded factors") {
  const double largest = run_rounded("products with rounded factors", "products");
  // They are rounded indeed: f32 alone is a hundred times nearer.
  if (is_available(Device::cuda) && offers(Device::cuda, Precision::bf16) && !std::getenv("SKEDASTIC_LAST_CASE"))
    CHECK(largest > 1e-3);
}
TEST_CASE("parity: convolutions with rounded factors") {
  run_rounded("convolutions with rounded factors", "convolution and pooling");
}
TEST_CASE("parity: attention with rounded factors") { run_rounded("attention with rounded factors", "attention"); }

}  // namespace sked::test

// Kernels on the shapes that the benchmarked models use: the tests' cases of that size, checked and timed.

#include <algorithm>
#include <iterator>
#include <limits>

#include "apps/bench/bench.h"
#include "core/kernel.h"
#include "core/kernels/matmul.h"
#include "core/kernels/random.h"
#include "core/precision.h"
#include "tests/kernels/run.h"

namespace sked::bench {

Tensor random_tensor(const Shape& shape, Device device, DType dtype) {
  static uint64_t stream = 0;
  Tensor noise = Tensor::empty({1, 1, shape.numel()}, DType::f32, device);
  kernel::gaussian_noise(Tensor::zeros({1}, DType::i64).to(device), noise, RngAddress{11, ++stream, 0}, 0);
  return noise.reshape(shape).to(dtype);
}

double gemm_peak(const Settings& settings) {
  const bool gpu = settings.device == Device::cuda;
  const int64_t n = gemm_size(settings);
  const int calls = gpu ? 10 : 1;
  const auto factor = [&] { return random_tensor({n, n}, settings.device, activation_dtype(settings.device)); };
  const Tensor a = factor(), b = factor();
  Tensor c = Tensor::like(a);
  const auto multiply = [&] {
    for (int i = 0; i < calls; ++i) kernel::matmul(a, b, c, false, false, false);
    memory(settings.device).synchronize();
  };
  double seconds = std::numeric_limits<double>::infinity();  // the fastest, so that a busy moment cannot lower the peak
  for (int i = 0; i < std::max(settings.rounds, 15); ++i)
    seconds = std::min(seconds, median_seconds(multiply, 1, i == 0));
  return 2.0 * static_cast<double>(n * n * n) * calls / seconds;
}

namespace {

bool tuned(const std::string& name) {
  for (const KernelBase* kernel : all_kernels())
    if (name == kernel->name()) return kernel->tuned(Device::cpu);
  return false;
}

/// A tuned kernel beside its definition, a definition beside the reference. The errors are relative to the largest
/// number expected.
void check(Row& row, const test::KernelCase& c, const test::Operands& operands) {
  // Sums of up to 65,536 products in another order: sqrt(n) 2^-24 leaves a wide margin below 1e-4.
  constexpr double kLimit = 1e-4;
  const TensorList got = test::run(c, operands);
  test::ValueLists expected;
  if (tuned(c.kernel)) {
    const ReferenceOnly definition;
    expected = test::values_of(test::run(c, operands));
  } else {
    expected = test::expected_of(c, operands);
  }
  test::for_each_output(got, expected, kLimit, c.tolerance.scale, false, [&](size_t i, const test::Closeness& found) {
    row.error = std::max(row.error, found.allowed > 0 ? found.error / found.allowed * kLimit : found.error);
    if (found.wrong > 0) row.failure = c.kernel + ", output " + std::to_string(i) + ": " + found.str(got[i].numel());
  });
}

/// The families that are timed, and linked (UNTIMED in the Makefile), in this order.
test::KernelCases timed_cases() {
  using namespace test;
  KernelCases all;
  for (const auto family :
       {timed_conv, timed_matmul, timed_attention, timed_norm, timed_elementwise, timed_softmax, timed_random})
    std::ranges::move(family(), std::back_inserter(all));
  return all;
}

}  // namespace

void kernel_rows(const Settings& settings, const Report& report) {
  for (const test::KernelCase& c : timed_cases()) {
    if (!settings.wants(c.timing.row)) continue;
    Row row{.name = c.timing.row, .operations = c.timing.operations, .bytes = c.timing.bytes};
    test::Operands operands(c, DType::f32);
    check(row, c, operands);
    row.seconds = median_seconds([&] { c.call(operands.in, operands.out); }, settings.rounds);
    report(row, true);
  }
}

}  // namespace sked::bench

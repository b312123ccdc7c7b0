// Not a number in, not a number out, on the GPU too.

#include <doctest/doctest.h>

#include <cmath>

#include "core/device.h"
#include "core/kernels/pool.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/common/nan_cases.h"

namespace sked::test {

TEST_CASE("nan: no maximum, sum or tile of the softmax family loses it on the GPU") {
  if (no_gpu("NaN in kernels")) return;
  check_nan_is_seen(Device::cuda);
}

TEST_CASE("nan: max pooling names the tap that the CPU names, in packs and alone") {
  if (no_gpu("NaN in pooling")) return;
  const Window window{3, 2, 1};
  for (const int64_t C : {3, 8})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Tensor x = hash_tensor({2, 7, 6, C}, 1);
      float* values = x.data<float>();
      for (int64_t i = 0; i < x.numel(); i += 11) values[i] = i % 3 == 0 ? -INFINITY : NAN;
      const auto pool = [&](Device device) {
        const Tensor in = x.to(dtype).to(device);
        Tensor y = Tensor::empty({2, 4, 3, C}, dtype, device), which = Tensor::empty(y.shape(), DType::u8, device);
        kernel::max_pool2d_forward(in, y, which, window);
        return std::pair{y.to(DType::f32).to_vector<float>(), which.to_vector<uint8_t>()};
      };
      const auto [got, got_tap] = pool(Device::cuda);
      const auto [expected, expected_tap] = pool(Device::cpu);
      CHECK(got_tap == expected_tap);
      for (size_t i = 0; i < got.size(); ++i)
        CHECK((std::isnan(expected[i]) ? std::isnan(got[i]) : got[i] == expected[i]));
    }
}

}  // namespace sked::test

// Memory, copies, stream and faults of the GPU.

#include <doctest/doctest.h>

#include <iostream>

#include "core/allocator.h"
#include "core/kernels/index.h"
#include "core/kernels/memory.h"
#include "core/kernels/softmax.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"

namespace sked::test {
namespace {

/// Says once a case that it cannot run here.
bool no_gpu(const char* what) {
  if (is_available(Device::cuda)) return false;
  std::cout << "skipped: no usable GPU here: " << what << "\n";
  return true;
}

}  // namespace

TEST_CASE("device: where there is no usable GPU, a tensor on it is refused in one line") {
  if (is_available(Device::cuda)) {
    CHECK(Tensor::zeros({3}, DType::f32, Device::cuda).to_vector<float>() == std::vector<float>(3));
  } else {
    CHECK(one_line_with(error_of([] { Tensor::empty({3}, DType::f32, Device::cuda); }), "[device]", "cuda"));
  }
}

TEST_CASE("device: copies come back as they went, more at a time than there are buffers") {
  if (no_gpu("copies")) return;
  TensorList host, device;
  for (uint32_t i = 0; i < 20; ++i) {
    host.push_back(hash_tensor({static_cast<int64_t>(1) << i}, i));
    device.push_back(host.back().to(Device::cuda));
  }
  Tensor overwritten = host.back().clone();
  const Tensor sent = overwritten.to(Device::cuda);
  overwritten.fill(0.0);  // the call has taken the bytes
  CHECK(sent.to_vector<float>() == host.back().to_vector<float>());
  for (size_t i = 0; i < host.size(); ++i) {
    CHECK(device[i].to_vector<float>() == host[i].to_vector<float>());
    CHECK(device[i].clone().to_vector<float>() == host[i].to_vector<float>());
  }
  const Tensor large = hash_tensor({70 << 20}, 1);  // 280 MiB: past the buffers
  const Tensor back = large.to(Device::cuda).to(Device::cpu);
  CHECK(back.rows(69 << 20, 70 << 20).to_vector<float>() == large.rows(69 << 20, 70 << 20).to_vector<float>());
}

TEST_CASE("device: a freed block is handed out again without harm to what was queued on it") {
  if (no_gpu("the allocator's order")) return;
  const Tensor x = hash_tensor({1 << 20}, 1).to(Device::cuda);
  Tensor y = Tensor::like(x);
  for (int i = 0; i < 50; ++i) {
    Tensor scratch = Tensor::like(x);
    scratch.copy_from(x);
    y.copy_from(scratch);
    scratch = Tensor();
    Tensor again = Tensor::full({1 << 20}, i, DType::f32, Device::cuda);  // the same block
  }
  CHECK(y.to_vector<float>() == x.to_vector<float>());
}

TEST_CASE("device: an index out of range is named with its row when the host next looks, and only once") {
  if (no_gpu("faults")) return;
  const Tensor table = hash_tensor({4, 2}, 1).to(Device::cuda);
  Tensor y = Tensor::zeros({3, 2}, DType::f32, Device::cuda);
  for (const int64_t bad : {int64_t{4}, int64_t{-1}}) {
    const Tensor ids = Tensor::from<int64_t>({0, bad, 1}, {3}).to(Device::cuda);
    CHECK(one_line_with(error_of([&] {
                          kernel::gather_rows(table, ids, y);
                          memory(Device::cuda).synchronize();
                        }),
                        "[gather_rows]", "0 … 3", "got " + std::to_string(bad) + " in row 1"));
    memory(Device::cuda).synchronize();
  }
  const Tensor labels = Tensor::from<int64_t>({7, 0, 0}, {3}).to(Device::cuda);
  Tensor loss = Tensor::zeros({3}, DType::f32, Device::cuda), lse = loss.clone();
  CHECK(
      one_line_with(error_of([&] {
                      kernel::cross_entropy_forward(Tensor::zeros({3, 2}, DType::f32, Device::cuda), labels, loss, lse);
                      loss.to_vector<float>();
                    }),
                    "[cross_entropy_forward]", "got 7 in row 0"));
}

TEST_CASE("device: what cannot be done there is refused before anything is launched") {
  if (no_gpu("refusals")) return;
  Tensor y = Tensor::zeros({2, 2}, DType::f32, Device::cuda);
  const Tensor table = Tensor::zeros({4, 2}, DType::f32, Device::cuda), host_ids = Tensor::from<int64_t>({0, 1}, {2});
  CHECK(one_line_with(error_of([&] { kernel::gather_rows(table, host_ids, y); }), "[gather_rows]", "cuda", "cpu"));
  CHECK(one_line_with(error_of([&] { Tensor::zeros({2}, DType::f64, Device::cuda); }), "[fill]", "f64"));
  CHECK(one_line_with(error_of([&] { Tensor::empty({int64_t{1} << 45}, DType::f32, Device::cuda); }), "[allocator]",
                      "cuda"));
  CHECK(y.to_vector<float>() == std::vector<float>(4));  // and the device is as it was
}

}  // namespace sked::test

// Memory, copies, stream and faults of the GPU.

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>

#include "core/allocator.h"
#include "core/candidates.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/index.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"
#include "core/kernels/softmax.h"
#include "core/recording.h"
#include "core/work_count.h"
#include "cuda/offers.h"
#include "tests/common/files.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/common/shell.h"

namespace sked::test {
namespace {

Tensor on_gpu(const Shape& shape, uint32_t salt) { return hash_tensor(shape, salt).to(Device::cuda); }

}  // namespace

TEST_CASE("device: where there is no usable GPU, a tensor on it is refused in one line") {
  if (is_available(Device::cuda)) {
    CHECK(Tensor::zeros({3}, DType::f32, Device::cuda).to_vector<float>() == std::vector<float>(3));
  } else {
    const std::string reason = reason_unavailable(Device::cuda);
    CHECK(!reason.empty());
    CHECK(one_line_with(error_of([] { Tensor::empty({3}, DType::f32, Device::cuda); }), "[device]", "cuda", reason));
    std::cout << "device: " << reason << "\n";
  }
}

TEST_CASE("device: why no GPU is usable is said as CUDA says it") {
  const auto said_with = [&](const std::string& environment) {
    const Shell asked =
        shell("env " + environment + " '" + own_program() + "' -tc='device: where there is no usable GPU*'");
    CHECK(asked.code == 0);
    return asked.text;
  };
  const auto has = [](const std::string& text, const char* part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  const std::string hidden = said_with("CUDA_VISIBLE_DEVICES=-1");
  if (!is_available(Device::cuda)) return has(hidden, "device: no NVIDIA driver is installed");
  has(hidden, "device: CUDA says: no CUDA-capable device is detected");
  const std::string none = said_with("CUDA_ON_HOST_DRIVER=0");
  if (none.find("no NVIDIA driver is installed") == std::string::npos) {
    std::cout << "skipped: a real GPU is here: how other machines' drivers and cards are refused\n";
    return;
  }
  has(said_with("CUDA_ON_HOST_DRIVER=12020"),
      "the NVIDIA driver is too old: it serves CUDA 12.2, this program wants 13.0");
  has(said_with("CUDA_ON_HOST_CAPABILITY=75"), "device 0, CPU, has compute capability 7.5, expected at least 8.0");
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
                        "[gather_rows]", "0 to 3", "got " + std::to_string(bad) + " in row 1"));
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

TEST_CASE("device: a layer norm's backward pass is one launch, two with its parameters' gradients") {
  if (no_gpu("layer norm")) return;
  for (const int64_t D : {3, 17, 384, 2048, 5000}) {
    const Tensor dy = on_gpu({40, D}, 1), gamma = on_gpu({D}, 2), mean = on_gpu({40}, 3);
    Tensor dx = Tensor::like(dy), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma), none;
    const auto launches = [&](Tensor& for_gamma, Tensor& for_beta) {
      const WorkCount count;
      kernel::layer_norm_backward(dy, dy, gamma, mean, mean, dy, dx, for_gamma, for_beta);
      return count.total().launches;
    };
    CHECK(launches(none, none) == 1);
    CHECK(launches(dgamma, dbeta) == 2);
  }
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

TEST_CASE("device: of a library's offers the first that it carries out is taken from then on") {
  cuda::Offers<int> offers({3, 5, 4});
  std::vector<int> tried;
  const auto take = [&](int best) {
    return offers.take([&](int offer) {
      tried.push_back(offer);
      return offer == best;
    });
  };
  CHECK(take(5));
  CHECK(take(5));
  CHECK(tried == std::vector<int>{3, 5, 5});
  CHECK_FALSE(take(3));  // refused before, so not tried again
  CHECK_FALSE(offers.any());
  CHECK_FALSE(take(4));
  CHECK(tried == std::vector<int>{3, 5, 5, 5, 4});
  CHECK_FALSE(cuda::Offers<int>().any());
}

TEST_CASE("device: a profiler may be told when to look") {
  for (const Device device : {Device::cpu, Device::cuda}) {
    if (!is_available(device)) continue;
    memory(device).profile(true);
    memory(device).profile(false);
    memory(device).synchronize();
  }
}

TEST_CASE("candidates: each computes the product, or the sum alone") {
  if (no_gpu("candidates")) return;
  const CandidateLists* lists = candidates_of(Device::cuda);
  REQUIRE(lists != nullptr);
  CHECK(candidates_of(Device::cpu) == nullptr);
  const Tensor a = on_gpu({48, 64}, 1), b = on_gpu({48, 32}, 2);
  Tensor expected = Tensor::empty({64, 32}, DType::f32, Device::cuda), c = Tensor::like(expected);
  kernel::matmul(a, b, expected, true, false, false);
  const std::vector<Candidate> products = lists->product({.a = a, .b = b, .c = c, .transpose_a = true}, 8);
  CHECK(products.size() >= 1);
  CHECK(products.size() <= 8);
  int64_t computed = 0;
  for (const Candidate& candidate : products) {
    CAPTURE(candidate.name);
    c.fill(0.0);
    if (const std::string refused = error_of(candidate.run); !refused.empty()) {
      std::cout << "candidates: " << candidate.name << ": " << refused << "\n";
      continue;
    }
    ++computed;
    const std::vector<float> got = c.to_vector<float>(), want = expected.to_vector<float>();
    for (size_t i = 0; i < want.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1e-4);  // 48 terms in another order
  }
  CHECK(computed >= 1);
  Tensor sum = Tensor::empty({64}, DType::f32, Device::cuda), rows = Tensor::like(sum);
  for (const Candidate& candidate : lists->product({.a = a, .b = {}, .c = {}, .transpose_a = true, .sum_of_a = sum}, 8))
    candidate.run();
  kernel::reduce_forward(a, rows, Reduce::sum, {1, 48, 64});
  const std::vector<float> got = sum.to_vector<float>(), want = rows.to_vector<float>();
  for (size_t i = 0; i < want.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1e-5);
}

// ---- recordings ----------------------------------------------------------------------------------

TEST_CASE("recording: it works on what lies in its inputs, as often as it is replayed") {
  if (no_gpu("recordings")) return;
  REQUIRE(can_record(Device::cuda));
  Tensor x = on_gpu({64, 32}, 1), y;
  const Tensor w = on_gpu({32, 48}, 2);
  const auto work = [&] {
    Tensor product = Tensor::empty({64, 48}, DType::f32, Device::cuda);
    kernel::matmul(x, w, product, false, false, false);
    y = Tensor::like(product);
    kernel::unary_forward(product, y, Unary::exp);
    product = Tensor::like(y);  // the block of the product again
    kernel::binary_forward(y, y, product, Binary::add);
    y = product;
  };
  work();
  const std::vector<float> once = y.to_vector<float>();
  const auto recording = record_work(Device::cuda, 0, work);
  recording->replay(0);
  CHECK(y.to_vector<float>() == once);
  const Tensor recorded = y;
  for (uint32_t salt = 3; salt < 6; ++salt) {
    x.copy_from(hash_tensor({64, 32}, salt));
    recording->replay(salt);
    work();
    CHECK(recorded.to_vector<float>() == y.to_vector<float>());
  }
}

TEST_CASE("recording: noise has the step of the replay, and only where it had the recorded one") {
  if (no_gpu("recorded noise")) return;
  constexpr uint64_t kRecorded = 5, kElsewhere = 3;
  const Tensor examples = Tensor::from<int64_t>({7, 1, 9}, {3}).to(Device::cuda), x = on_gpu({3, 40}, 1);
  Tensor noise, fixed, dropped, paths;
  const auto work = [&](uint64_t step) {
    noise = Tensor::empty({3, 4, 10}, DType::f32, Device::cuda);
    fixed = Tensor::like(noise);
    dropped = Tensor::like(x), paths = Tensor::like(x);
    kernel::gaussian_noise(examples, noise, {1, 2, step}, {0, 0, true});
    kernel::gaussian_noise(examples, fixed, {1, 2, kElsewhere}, {});
    kernel::dropout(x, dropped, {1, 3, step}, 0, 0.5);
    kernel::drop_path(x, paths, {1, 4, step}, 0, 0.5);
  };
  work(kRecorded);
  const auto recording = record_work(Device::cuda, kRecorded, [&] { work(kRecorded); });
  const TensorList recorded{noise, fixed, dropped, paths};
  for (const uint64_t step : {kRecorded, uint64_t{6}, uint64_t{0}, (uint64_t{1} << 32) + 6, kElsewhere}) {
    CAPTURE(step);
    recording->replay(step);
    work(step);
    const TensorList plain{noise, fixed, dropped, paths};
    for (size_t i = 0; i < plain.size(); ++i) {
      CAPTURE(i);
      CHECK(recorded[i].to_vector<float>() == plain[i].to_vector<float>());
    }
  }
}

TEST_CASE("recording: its memory is nobody else's until it is gone") {
  if (no_gpu("a recording's memory")) return;
  constexpr int64_t kCount = 1 << 20;
  const size_t before = allocator(Device::cuda).stats().live;
  {
    const Tensor x = on_gpu({kCount}, 1);
    Tensor y;
    const auto work = [&] {
      Tensor half = Tensor::like(x);
      kernel::affine(x, half, 0.5, 0);
      y = Tensor::like(x);
      kernel::affine(half, y, 2, 1);  // half is freed, but each replay writes there
    };
    work();
    const auto recording = record_work(Device::cuda, 0, work);
    std::vector<Tensor> others;
    for (int i = 0; i < 8; ++i) others.push_back(Tensor::full({kCount}, i, DType::f32, Device::cuda));
    recording->replay(0);
    Tensor expected = Tensor::like(x);
    kernel::affine(x, expected, 1, 1);
    CHECK(y.to_vector<float>() == expected.to_vector<float>());
    for (int i = 0; i < 8; ++i)
      CHECK(others[static_cast<size_t>(i)].to_vector<float>() == std::vector<float>(kCount, static_cast<float>(i)));
  }
  CHECK(allocator(Device::cuda).stats().live == before);
}

TEST_CASE("recording: what waits or comes from the host is refused, and the device goes on as if nothing had been") {
  if (no_gpu("refused recordings")) return;
  const Tensor x = on_gpu({100}, 1), host = hash_tensor({100}, 2);
  Tensor y = Tensor::zeros({100}, DType::f32, Device::cuda);
  const auto refusal = [&](const std::function<void()>& f) {
    return error_of([&] {
      record_work(Device::cuda, 0, [&] {
        y.copy_from(x);
        f();
      });
    });
  };
  CHECK(one_line_with(refusal([&] { (void)x.to_vector<float>(); }), "[cuda]", "cannot be recorded"));
  CHECK(one_line_with(refusal([&] { (void)host.to(Device::cuda); }), "[cuda]", "from the host", "cannot be recorded"));
  CHECK(one_line_with(refusal([&] { memory(Device::cuda).synchronize(); }), "[cuda]", "cannot be recorded"));
  CHECK(one_line_with(refusal([&] { record_work(Device::cuda, 0, [] {}); }), "[cuda]", "within a recording"));
  CHECK(one_line_with(refusal([] { fail("test", "something else"); }), "[test]"));
  CHECK(y.to_vector<float>() == std::vector<float>(100));
  y.copy_from(x);
  CHECK(y.to_vector<float>() == x.to_vector<float>());
}

TEST_CASE("recording: more than 20000 launches are refused, and the device goes on as if nothing had been") {
  if (no_gpu("long recordings")) return;
  Tensor x = Tensor::zeros({3}, DType::f32, Device::cuda);
  const Tensor same = Tensor::like(x);
  const auto add = [&](int times) {
    return [&x, times] {
      for (int i = 0; i < times; ++i) kernel::affine(x, x, 1, 1);
    };
  };
  add(1)();
  const std::string error = error_of([&] { record_work(Device::cuda, 0, add(20001)); });
  CHECK(one_line_with(error, "[cuda]", "more than 20000 launches", "cannot be recorded"));
  CHECK(one_line_with(error_of([&] {
                        record_work(Device::cuda, 0, [&] {
                          add(20000)();
                          x.copy_from(same);  // a copy is one more
                        });
                      }),
                      "more than 20000 launches"));
  add(1)();
  CHECK(x.to_vector<float>() == std::vector<float>(3, 2));
  const auto recording = record_work(Device::cuda, 0, add(20000));  // counted anew
  recording->replay(0);
  CHECK(x.to_vector<float>() == std::vector<float>(3, 20002));
}

TEST_CASE("recording: where memory has to be given back for it, that is the reason it is refused for") {
  if (no_gpu("recordings without memory")) return;
  Tensor x = on_gpu({100}, 1);
  { const Tensor cached = Tensor::like(x); }
  const auto refused = [&] {
    record_work(Device::cuda, 0, [&] {
      kernel::affine(x, x, 1, 1);
      Tensor::empty({int64_t{1} << 45}, DType::f32, Device::cuda);
    });
  };
  CHECK(one_line_with(error_of(refused), "[cuda]", "the device is full", "cannot be recorded"));
  const std::vector<float> before = x.to_vector<float>();
  kernel::affine(x, x, 1, 1);
  CHECK(x.to_vector<float>()[0] == before[0] + 1);
  allocator(Device::cuda).release_cache();  // outside it may be
  CHECK(allocator(Device::cuda).stats().cached == 0);
}

TEST_CASE("recording: an index out of range is reported from a replay too") {
  if (no_gpu("faults of a replay")) return;
  const Tensor table = on_gpu({4, 2}, 1);
  Tensor ids = Tensor::from<int64_t>({0, 3, 1}, {3}).to(Device::cuda),
         y = Tensor::zeros({3, 2}, DType::f32, Device::cuda);
  const auto work = [&] { kernel::gather_rows(table, ids, y); };
  work();
  const auto recording = record_work(Device::cuda, 0, work);
  recording->replay(0);
  memory(Device::cuda).synchronize();
  ids.copy_from(Tensor::from<int64_t>({0, 9, 1}, {3}));
  recording->replay(1);
  CHECK(one_line_with(error_of([] { memory(Device::cuda).synchronize(); }), "[gather_rows]", "got 9 in row 1"));
}

}  // namespace sked::test

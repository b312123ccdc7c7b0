// Weights that keep their rounded copies: what is read is what a cast gives, whichever way the weights have changed.

#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/memory.h"
#include "core/kernels/optimizer.h"
#include "core/recording.h"
#include "core/work_count.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"

namespace sked::test {
namespace {

std::vector<uint16_t> bits(const Tensor& t) {
  std::vector<uint16_t> all;
  const Tensor& read = t;
  for (int64_t i = 0; i < t.numel(); ++i) all.push_back(read.data<bf16>()[i].bits);
  return all;
}

bool right(const Tensor& w) { return bits(w.read_as(DType::bf16)) == bits(w.clone().to(DType::bf16)); }

Tensor kept(const Shape& shape, uint32_t salt) {
  Tensor w = hash_tensor(shape, salt);
  w.keep_rounded();
  return w;
}

/// Replays do nothing: what f asked for is not carried out again.
struct NothingRecorder {
  struct Nothing final : Recording {
    void replay(uint64_t) override {}
  };
  NothingRecorder() {
    register_recorder(Device::cpu, [](uint64_t, const std::function<void()>& f) -> std::unique_ptr<Recording> {
      f();
      return std::make_unique<Nothing>();
    });
  }
  ~NothingRecorder() { register_recorder(Device::cpu, nullptr); }
};

}  // namespace

TEST_CASE("rounded copies: made at the first reading, kept in one place, and only where they were asked for") {
  const size_t before = allocator(Device::cpu).stats().live;
  Tensor w = hash_tensor({64, 33}, 1), plain = hash_tensor({64, 33}, 1);
  const size_t both = allocator(Device::cpu).stats().live;
  w.keep_rounded();
  w.keep_rounded();
  CHECK(allocator(Device::cpu).stats().live == both);
  CHECK_FALSE(w.rounded_copy().defined());
  const Tensor first = w.read_as(DType::bf16), second = w.read_as(DType::bf16);
  CHECK(first.str() == "(64, 33) bf16 on cpu");
  CHECK(first.shares_storage(second));
  CHECK(allocator(Device::cpu).stats().live - both <= w.bytes() / 8 * 5);  // half, in blocks of the allocator
  CHECK_FALSE(plain.read_as(DType::bf16).shares_storage(plain.read_as(DType::bf16)));
  CHECK(w.read_as(DType::f32).shares_storage(w));
  CHECK(w.read_as(DType::f64).to_vector<double>() == w.to(DType::f64).to_vector<double>());
  CHECK_FALSE(Tensor().read_as(DType::bf16).defined());
  CHECK(first.read_as(DType::bf16).shares_storage(first));
  CHECK(right(w));
  // A copy of the tensor's data keeps nothing; another handle does.
  CHECK_FALSE(w.clone().read_as(DType::bf16).shares_storage(first));
  CHECK(Tensor(w).read_as(DType::bf16).shares_storage(first));
  CHECK(one_line_with(error_of([] { Tensor::zeros({2}, DType::bf16).keep_rounded(); }), "f32", "bf16"));
  CHECK(one_line_with(error_of([] { Tensor().keep_rounded(); }), "f32", "undefined"));
  CHECK(one_line_with(error_of([&] { plain.set_rounded_current(); }), "rounded copy"));
  Tensor empty = Tensor::empty({0, 3});
  empty.keep_rounded();
  CHECK(empty.read_as(DType::bf16).str() == "(0, 3) bf16 on cpu");
  CHECK(before <= both);
}

TEST_CASE("rounded copies: nearest with ties to even, infinities and NaN as a cast has them") {
  constexpr float kInfinite = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values{0,      -0.0f,     1.00390625f, 1.01171875f, -1.00390625f, 3.4e38f,
                                  1e-40f, kInfinite, -kInfinite,  kNan,        1.0f,         0x1.fffffep127f};
  Tensor w = Tensor::from(values, {12});
  w.keep_rounded();
  std::vector<uint16_t> expected;
  for (const float v : values) expected.push_back(bf16(v).bits);
  CHECK(bits(w.read_as(DType::bf16)) == expected);
  TensorList p{w}, rounded{w.rounded_copy()}, none;
  kernel::sgd_step(p, {Tensor::zeros({12})}, none, rounded, none, {0}, {}, {0.0, 0.0, false, true});
  CHECK(bits(rounded[0]) == bits(w.clone().to(DType::bf16)));
}

TEST_CASE("rounded copies: every way of writing to a weight, by any handle, is seen") {
  const Shape shape{6, 5};
  using Change = std::pair<const char*, std::function<void(Tensor&)>>;
  const std::vector<Change> changes{
      {"copy_from", [&](Tensor& w) { w.copy_from(hash_tensor(shape, 2)); }},
      {"copy_from another dtype", [&](Tensor& w) { w.copy_from(hash_tensor(shape, 2).to(DType::f64)); }},
      {"fill", [](Tensor& w) { w.fill(0.3); }},
      {"an element", [](Tensor& w) { w.data<float>()[7] = 9; }},
      {"raw", [](Tensor& w) { static_cast<float*>(w.raw())[7] = 9; }},
      {"another handle", [](Tensor& w) { Tensor(w).data<float>()[7] = 9; }},
      {"reshaped", [](Tensor& w) { w.reshape({30}).data<float>()[7] = 9; }},
      {"rows", [](Tensor& w) { w.rows(2, 3).fill(9); }},
      {"rows of rows",
       [](Tensor& w) {
         w.rows(1, 5).rows(1, 2).copy_from(Tensor::full({1, 5}, 9));
       }},
      {"a kernel", [](Tensor& w) { kernel::affine(w, w, 3, 1); }},
      {"a sum", [&](Tensor& w) { kernel::add_scaled(hash_tensor(shape, 3), w, 0.5); }},
      {"another value", [&](Tensor& w) { w = hash_tensor(shape, 4); }},
      {"a swap", [&](Tensor& w) {
         Tensor other = hash_tensor(shape, 5);
         std::swap(w, other);
       }}};
  for (const auto& [what, change] : changes) {
    CAPTURE(std::string(what));
    Tensor w = kept(shape, 1);
    const Tensor before = w.read_as(DType::bf16).clone();
    change(w);
    CHECK(right(w));
    CHECK(bits(w.read_as(DType::bf16)) != bits(before));
    change(w);  // once more, now that it was read
    CHECK(right(w));
  }
}

TEST_CASE("rounded copies: a part of a weight is read from the copy of the whole") {
  Tensor w = kept({7, 3, 5}, 1);
  const Tensor part = w.rows(2, 5), flat = w.reshape({7, 15});
  CHECK(right(part));  // the first reading is of a part
  CHECK(part.read_as(DType::bf16).shares_storage(w.read_as(DType::bf16)));
  CHECK(right(w));
  CHECK(right(flat.rows(6, 7)));
  CHECK_FALSE(part.rounded_copy().defined());
  CHECK(flat.rounded_copy().shares_storage(w.rounded_copy()));
  w.rows(3, 4).fill(2);
  CHECK(right(part));
  CHECK(right(w.rows(0, 1)));
}

TEST_CASE("rounded copies: steps of optimizers write them, and what they wrote needs no cast") {
  Tensor w = kept({3, 40}, 1), idle = kept({5}, 2);
  const Tensor place = w.read_as(DType::bf16);
  TensorList p{w, idle}, g{hash_tensor({3, 40}, 3), hash_tensor({5}, 4)}, m{Tensor::zeros_like(w), Tensor::zeros({5})},
      v = {Tensor::zeros_like(w), Tensor::zeros({5})}, rounded{w.rounded_copy(), idle.rounded_copy()}, none;
  CHECK_FALSE(rounded[1].defined());
  for (int step = 1; step <= 4; ++step) {
    CAPTURE(step);
    if (step % 2 == 0) {
      kernel::sgd_step(p, g, m, rounded, none, {0.1, 0}, {}, {0.1, step == 4 ? 0.0 : 0.9, false, true});
    } else {
      kernel::adam_step(p, g, m, v, rounded, none, {0.1, 0}, {}, {0.1, 0.9, 0.99, 1e-8, true, step});
    }
    CHECK(bits(place) == bits(w.clone().to(DType::bf16)));
    w.set_rounded_current();
    const WorkCount count;
    const Tensor read = w.read_as(DType::bf16);
    CHECK(read.shares_storage(place));
    CHECK(count.total().calls == 0);
  }
  CHECK(right(idle));
  TensorList wrong{Tensor::empty({3, 40}), {}}, few{w.rounded_copy()};
  const SgdStep step{0.1, 0, false, true};
  CHECK(one_line_with(error_of([&] {
                        kernel::sgd_step(p, g, none, wrong, none, {0, 0}, {}, step);
                      }),
                      "[sgd_step]", "bf16"));
  CHECK(one_line_with(error_of([&] {
                        kernel::sgd_step(p, g, none, few, none, {0, 0}, {}, step);
                      }),
                      "expected 2", "got 1"));
}

TEST_CASE("rounded copies: a recording finds them up to date at every replay, and holds them") {
  const NothingRecorder recorder;
  Tensor w = kept({4, 4}, 1), late = kept({3}, 2);
  const Tensor place = w.read_as(DType::bf16);
  std::vector<Tensor> read;
  auto recording = record_work(Device::cpu, 0, [&] {
    CHECK(recording_now());
    read = {w.rows(1, 2).read_as(DType::bf16), w.read_as(DType::bf16), late.read_as(DType::bf16)};
  });
  CHECK_FALSE(recording_now());
  CHECK(read[0].shares_storage(place));
  // Not made yet, it is not made by what is only recorded.
  CHECK_FALSE(read[2].shares_storage(late.read_as(DType::bf16)));
  read.clear();
  w.fill(0.7);
  CHECK(bits(place) != bits(w.clone().to(DType::bf16)));
  recording->replay(1);
  CHECK(bits(place) == bits(w.clone().to(DType::bf16)));
  // A write that is recorded would not be seen by the host when it is replayed.
  CHECK(one_line_with(error_of([&] { record_work(Device::cpu, 0, [&] { w.fill(1); }); }), "[recording]", "64 bytes"));
  CHECK_FALSE(recording_now());
  CHECK(right(w));
  w = {};
  recording->replay(2);
  CHECK(bits(place).size() == 16);
}

}  // namespace sked::test

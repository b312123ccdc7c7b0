#include "core/tensor.h"

#include <doctest/doctest.h>

#include <cmath>

#include <cstring>
#include <limits>
#include <thread>

#include "core/allocator.h"
#include "core/kernels/elementwise.h"
#include "tests/common/files.h"

using namespace sked;
using test::error_of;
using test::one_line_with;

namespace {
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
}  // namespace

// Under AddressSanitizer an allocation that cannot be met shall fail as it does without, instead of ending the program.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

TEST_CASE("allocator: sizes are rounded by at most an eighth") {
  CHECK(CachingAllocator::rounded(0) == 64);
  CHECK(CachingAllocator::rounded(64) == 64);
  CHECK(CachingAllocator::rounded(65) == 128);
  CHECK(CachingAllocator::rounded(4096) == 4096);
  CHECK(CachingAllocator::rounded(4097) == 4608);
  for (size_t bytes = 4097; bytes < (size_t{1} << 40); bytes = bytes * 5 / 3 + 1) {
    const size_t size = CachingAllocator::rounded(bytes);
    CHECK(size >= bytes);
    CHECK(size <= bytes + bytes / 8);
    CHECK(CachingAllocator::rounded(size) == size);
  }
  CHECK(one_line_with(error_of([] { CachingAllocator::rounded(std::numeric_limits<size_t>::max()); }), "2^62"));
}

TEST_CASE("allocator: counts, reuses and releases") {
  CachingAllocator a(Device::cpu);
  void* p = a.allocate(1000);  // 1024 rounded
  CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
  void* q = a.allocate(1024);
  CHECK(a.stats().live == 2048);
  CHECK(a.stats().peak == 2048);
  a.free(p, 1000);
  CHECK(a.stats().live == 1024);
  CHECK(a.stats().cached == 1024);
  CHECK(a.allocate(990) == p);
  CHECK(a.stats().cached == 0);
  a.free(p, 990);
  a.reset_peak();
  CHECK(a.stats().peak == 1024);
  void* big = a.allocate(size_t{5} << 20);
  CHECK(reinterpret_cast<uintptr_t>(big) % (size_t{2} << 20) == 0);
  std::memset(big, 1, size_t{5} << 20);
  CHECK(a.stats().peak == 1024 + (size_t{5} << 20));
  a.free(big, size_t{5} << 20);
  a.free(q, 1024);
  a.release_cache();
  CHECK(a.stats().live == 0);
  CHECK(a.stats().cached == 0);
}

TEST_CASE("allocator: out of memory is an error with the size, and leaves it usable") {
  CachingAllocator a(Device::cpu);
  CHECK(one_line_with(error_of([&] { a.allocate(size_t{1} << 60); }), "[allocator]", "1152921504606846976", "cpu"));
  CHECK(a.stats().live == 0);
  void* p = a.allocate(10);
  a.free(p, 10);
  a.release_cache();
}

TEST_CASE("allocator: threads may share it") {
  CachingAllocator a(Device::cpu);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&a, t] {
      for (size_t i = 1; i < 500; ++i) {
        void* p = a.allocate(i * 16);
        std::memset(p, t, i * 16);
        a.free(p, i * 16);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(a.stats().live == 0);
  a.release_cache();
}

TEST_CASE("tensor: handles share, clones do not, views see the same elements") {
  Tensor t = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {3, 2});
  CHECK(t.unique());
  Tensor handle = t;
  CHECK(!t.unique());
  handle.data<float>()[0] = 9;
  CHECK(t.data<float>()[0] == 9);
  Tensor copy = t.clone();
  copy.data<float>()[0] = 7;
  CHECK(t.data<float>()[0] == 9);
  CHECK(!copy.shares_storage(t));

  Tensor rows = t.rows(1, 3);
  CHECK(rows.shape() == Shape{2, 2});
  CHECK(rows.shares_storage(t));
  CHECK(rows.to_vector<float>() == std::vector<float>{2, 3, 4, 5});
  CHECK(rows.rows(1, 2).to_vector<float>() == std::vector<float>{4, 5});
  rows.fill(1);
  CHECK(t.to_vector<float>() == std::vector<float>{9, 1, 1, 1, 1, 1});
  CHECK(t.rows(3, 3).numel() == 0);
  CHECK(t.reshape({-1}).shape() == Shape{6});
  CHECK(t.reshape({2, -1}).shape() == Shape{2, 3});
  CHECK(Tensor::zeros({0, 3}).reshape({3, -1}).shape() == Shape{3, 0});
  CHECK(t.str() == "(3, 2) f32 on cpu");
  CHECK(t.bytes() == 24);
  CHECK(Tensor::full({}, 3.5, DType::f64).item() == 3.5);
}

TEST_CASE("tensor: an undefined tensor is harmless and says so") {
  const Tensor none;
  CHECK(!none.defined());
  CHECK(none.numel() == 0);
  CHECK(none.str() == "undefined");
  CHECK(!none.clone().defined());
  CHECK(!none.to(DType::f64).defined());
  CHECK(none.to_vector<float>().empty());
  CHECK(one_line_with(error_of([&] { none.data<float>(); }), "defined"));
  CHECK(one_line_with(error_of([&] { none.raw(); }), "defined"));
  CHECK(one_line_with(error_of([&] { none.item(); }), "undefined"));
  CHECK(one_line_with(error_of([&] { none.reshape({-1}); }), "undefined"));
}

TEST_CASE("tensor: errors name what was expected and what came") {
  Tensor t = Tensor::zeros({2, 3});
  CHECK(one_line_with(error_of([&] { t.data<int64_t>(); }), "i64", "(2, 3) f32 on cpu"));
  CHECK(one_line_with(error_of([&] { t.reshape({4, 2}); }), "6", "(4, 2)"));
  CHECK(one_line_with(error_of([&] { t.reshape({4, -1}); }), "(2, 3)", "4"));
  CHECK(one_line_with(error_of([&] { t.reshape({-1, -1}); }), "at most one -1"));
  CHECK(one_line_with(error_of([&] { t.reshape({0, -1}); }), "(2, 3)"));
  CHECK(one_line_with(error_of([&] { t.rows(1, 3); }), "[1, 3)"));
  CHECK(one_line_with(error_of([&] { t.rows(2, 1); }), "[2, 1)"));
  CHECK(one_line_with(error_of([&] { Tensor::zeros({}).rows(0, 0); }), "first axis"));
  CHECK(one_line_with(error_of([&] { t.item(); }), "one element", "(2, 3)"));
  CHECK(one_line_with(error_of([&] { t.copy_from(Tensor::zeros({3, 2})); }), "(2, 3)", "(3, 2)"));
  CHECK(one_line_with(error_of([&] { Tensor::from<float>({1, 2, 3}, {2}); }), "2", "3"));
  CHECK(one_line_with(error_of([&] { Tensor::empty({int64_t{1} << 61}, DType::f64); }), "64 bits"));
  CHECK(one_line_with(error_of([&] { require_shape(t, {3}, "here", "x"); }),
                      "[here] x expected (3), got (2, 3) f32 on cpu"));
  CHECK(one_line_with(error_of([&] { require_alike(t, t.to(DType::f64), "here"); }), "f32", "f64"));
  if (!is_available(Device::cuda)) {
    CHECK(one_line_with(error_of([&] { t.to(Device::cuda); }), "[device]", "cuda"));
  }
}

TEST_CASE("tensor: a failed access leaves no tensor behind in the accounts") {
  const size_t before = allocator(Device::cpu).stats().live;
  { const Tensor t = Tensor::zeros({1000, 10}); }
  CHECK(allocator(Device::cpu).stats().live == before);
}

TEST_CASE("bf16 rounds to nearest even, keeps NaN and overflows to infinity") {
  const auto round = [](float x) { return static_cast<float>(bf16(x)); };
  CHECK(round(1.0f) == 1.0f);
  CHECK(round(1.0f + 0x1p-8f) == 1.0f);                // a tie, to even
  CHECK(round(1.0f + 3 * 0x1p-8f) == 1.0f + 0x1p-6f);  // a tie, to even, upwards
  CHECK(round(1.0f + 0x1.01p-8f) == 1.0f + 0x1p-7f);
  CHECK(round(-1.0f - 0x1.01p-8f) == -1.0f - 0x1p-7f);
  CHECK(round(3.4e38f) == kInf);
  CHECK(round(-kInf) == -kInf);
  CHECK(std::isnan(round(kNan)));
  CHECK(std::isnan(round(std::bit_cast<float>(0x7f800001u))));  // its payload would be rounded away
}

TEST_CASE("kernel: without an implementation a call says which is missing") {
  static Kernel<void(const Tensor&, Tensor&)> lonely{"test_only"};
  Tensor y = Tensor::zeros({1});
  CHECK_THROWS_WITH_AS(lonely(y, y), "[test_only] no cpu implementation", Error);
  lonely.define(Device::cpu, [](const Tensor&, Tensor& y) { y.fill(1); });
  CHECK(lonely.implemented(Device::cpu));
  CHECK(!lonely.implemented(Device::cuda));
  CHECK(!lonely.tuned(Device::cpu));
  lonely.tune(Device::cpu, [](const Tensor&, Tensor& y) { y.fill(2); });
  CHECK_THROWS_WITH_AS(lonely(y, y), "[test_only] no precondition", Error);
  lonely.expect([](const char* where, const Tensor& x, const Tensor&) {
    require(x.numel() == 1, where, "expected one element, got ", x);
  });
  lonely(y, y);
  CHECK(y.item() == 2);
  const Tensor two = Tensor::zeros({2});
  CHECK_THROWS_WITH_AS(lonely(two, y), "[test_only] expected one element, got (2) f32 on cpu", Error);
  {
    const ReferenceOnly only;
    lonely(y, y);
    CHECK(y.item() == 1);
  }
  Tensor wide = Tensor::zeros({1}, DType::f64);
  lonely(wide, wide);
  CHECK(wide.item() == 1);  // f64 is left to the definition
}

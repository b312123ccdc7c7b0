// Memory set apart for recorded work, and what records it.

#include "core/recording.h"

#include <doctest/doctest.h>

#include <thread>

#include "core/allocator.h"
#include "core/tensor.h"
#include "tests/common/files.h"

using namespace sked;
using test::error_of;
using test::one_line_with;

TEST_CASE("pool: its blocks serve it alone while it lives, and everybody after") {
  CachingAllocator a(Device::cpu);
  void* cached = a.allocate(1000);
  a.free(cached, 1000);
  void *p = nullptr, *q = nullptr;
  {
    MemoryPool pool(a);
    {
      const MemoryPool::Scope scope(pool);
      p = a.allocate(1000);
      CHECK(p == cached);  // what lies in the cache is taken before new memory
      q = a.allocate(1024);
      a.free(p, 1000);
      CHECK(a.allocate(1000) == p);  // reused within
      a.free(p, 1000);
    }
    CHECK(a.stats().live == 2048);  // free or not, they are set apart
    CHECK(a.stats().peak == 2048);
    CHECK(a.stats().cached == 0);
    void* other = a.allocate(1000);
    CHECK(other != p);
    a.free(q, 1024);  // outside, and yet not for others
    void* another = a.allocate(1024);
    CHECK(another != q);
    a.free(other, 1000);
    a.free(another, 1024);
    CHECK(a.stats().live == 2048);
    CHECK(a.stats().cached == 2048);
    a.release_cache();
    {
      const MemoryPool::Scope again(pool);
      void* back = a.allocate(1000);
      CHECK((back == p || back == q));
      a.free(back, 1000);
    }
    CHECK(a.stats().cached == 0);
  }
  CHECK(a.stats().live == 0);
  CHECK(a.stats().cached == 2048);
  void* back = a.allocate(1000);
  CHECK((back == p || back == q));
  a.free(back, 1000);
  a.release_cache();
}

TEST_CASE("pool: a block that outlives it becomes everybody's when it is freed") {
  CachingAllocator a(Device::cpu);
  void* p = nullptr;
  {
    MemoryPool pool(a);
    const MemoryPool::Scope scope(pool);
    p = a.allocate(100);
  }
  CHECK(a.stats().live == 128);
  a.free(p, 100);
  CHECK(a.stats().live == 0);
  CHECK(a.stats().cached == 128);
  CHECK(a.allocate(100) == p);
  a.free(p, 100);
  a.release_cache();
}

TEST_CASE("pool: of two, each keeps its own; other threads and other allocators take no part") {
  CachingAllocator a(Device::cpu), b(Device::cpu);
  void *p = nullptr, *q = nullptr, *r = nullptr, *s = nullptr;
  {
    MemoryPool first(a), second(a);
    const MemoryPool::Scope outer(first);
    p = a.allocate(64);
    {
      const MemoryPool::Scope inner(second);
      q = a.allocate(64);
    }
    std::thread([&] { r = a.allocate(64); }).join();
    s = b.allocate(64);
    for (void* pointer : {p, q, r}) a.free(pointer, 64);
    b.free(s, 64);
    CHECK(b.stats().cached == 64);
    CHECK(a.stats().cached == 64);  // the thread's
    CHECK(a.allocate(64) == p);
    a.free(p, 64);
    const MemoryPool::Scope inner(second);
    CHECK(a.allocate(64) == q);
    a.free(q, 64);
  }
  CHECK(a.stats().cached == 3 * 64);
  a.release_cache();
  b.release_cache();
}

TEST_CASE("pool: threads may free its blocks and use the allocator beside it") {
  CachingAllocator a(Device::cpu);
  {
    MemoryPool pool(a);
    const MemoryPool::Scope scope(pool);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      void* mine = a.allocate(4096);
      threads.emplace_back([&a, mine] {
        for (size_t i = 1; i < 300; ++i) a.free(a.allocate(i * 16), i * 16);
        a.free(mine, 4096);
      });
    }
    for (size_t i = 1; i < 300; ++i) a.free(a.allocate(i * 16), i * 16);
    for (std::thread& t : threads) t.join();
  }
  CHECK(a.stats().live == 0);
  a.release_cache();
}

TEST_CASE("recording: a device that cannot record says so, and what is registered is called") {
  CHECK_FALSE(can_record(Device::cpu));
  CHECK(one_line_with(error_of([] { record_work(Device::cpu, 1, [] {}); }), "[recording]", "cpu"));
  struct Nothing final : Recording {
    void replay(uint64_t) override {}
  };
  register_recorder(Device::cpu, [](uint64_t, const std::function<void()>& f) -> std::unique_ptr<Recording> {
    f();
    return std::make_unique<Nothing>();
  });
  CHECK(can_record(Device::cpu));
  int calls = 0;
  CHECK(record_work(Device::cpu, 1, [&] { ++calls; }) != nullptr);
  CHECK(calls == 1);
  register_recorder(Device::cpu, nullptr);
  CHECK_FALSE(can_record(Device::cpu));
}

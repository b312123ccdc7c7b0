// What the emulated GPU calls a race (tests/cuda/host/races.h), and that it finds one in a kernel.

#include <doctest/doctest.h>

#include <iostream>
#include <string>

#include "core/device.h"
#include "tests/common/files.h"
#include "tests/common/gpu.h"
#include "tests/common/shell.h"
#include "tests/cuda/host/races.h"

namespace sked::test {
namespace {

using cuda_on_host::Accessor;
using cuda_on_host::Collision;
using cuda_on_host::Races;

constexpr Accessor kFirst{0, 0, 0}, kSecond{0, 1, 0}, kSecondLater{0, 1, 1}, kOtherBlock{1, 0, 5};

/// Does the second access to a byte collide with the first?
bool collide(Accessor a, bool a_writes, Accessor b, bool b_writes, bool shared = false) {
  Races races;
  races.begin_launch();
  CHECK_FALSE(races.access(100, 1, a_writes, shared, a, 7).found);
  const Collision collision = races.access(100, 1, b_writes, shared, b, 8);
  if (collision.found) {
    CHECK(collision.code == 7);
    CHECK(collision.wrote == a_writes);
    CHECK(collision.other.thread == a.thread);
  }
  return collision.found;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

TEST_CASE("races: of two threads of a block, unless a barrier lies between") {
  for (const bool shared : {false, true}) {
    CHECK(collide(kFirst, true, kSecond, false, shared));
    CHECK(collide(kFirst, false, kSecond, true, shared));
    CHECK(collide(kFirst, true, kSecond, true, shared));
    CHECK_FALSE(collide(kFirst, false, kSecond, false, shared));
    CHECK_FALSE(collide(kFirst, true, kSecondLater, true, shared));
    CHECK_FALSE(collide(kFirst, true, kFirst, true, shared));
  }
}

TEST_CASE("races: of two blocks always, but for shared memory, which each has of its own") {
  CHECK(collide(kFirst, true, kOtherBlock, false));
  CHECK(collide(kFirst, false, kOtherBlock, true));
  CHECK_FALSE(collide(kFirst, false, kOtherBlock, false));
  CHECK_FALSE(collide(kFirst, true, kOtherBlock, true, true));
}

TEST_CASE("races: a byte has several readers, a launch follows the one before, neighbors are apart") {
  Races races;
  races.begin_launch();
  CHECK_FALSE(races.access(0, 4, false, false, kFirst, 1).found);
  CHECK_FALSE(races.access(0, 4, false, false, kSecond, 2).found);
  CHECK(races.access(3, 1, true, false, kSecond, 3).found);  // the first still reads it
  CHECK_FALSE(races.access(4, 4, true, false, kFirst, 4).found);
  CHECK_FALSE(races.access(8, 2, true, false, kSecond, 5).found);
  CHECK(races.access(4090, 16, true, false, kFirst, 6).found == false);
  CHECK(races.access(4096, 1, true, false, kSecond, 7).found);  // beyond a page of notes
  races.begin_launch();
  CHECK_FALSE(races.access(0, 16, true, false, kSecond, 8).found);
}

TEST_CASE("races: one in a kernel is found, and named with both lines") {
  if (no_gpu("races of kernels")) return;
  const Shell emulated = shell("env CUDA_ON_HOST_DRIVER=0 '" + own_program() + "' -tc='device: where there is no*'");
  if (emulated.text.find("no NVIDIA driver") == std::string::npos || kSanitized)
    return skip("a real GPU, or a build with sanitizers: kernels do not report what they read and write");
  const Shell blind = shell("env CUDA_ON_HOST_BARRIERS_UNSEEN=1 '" + own_program() + "' -tc='parity: softmax'");
  CAPTURE(blind.text);
  CHECK(blind.code != 0);
  for (const char* part : {"cuda on host: a race: block 0, thread ", "nothing orders the two", "addr2line"})
    CHECK(blind.text.find(part) != std::string::npos);
}

}  // namespace sked::test

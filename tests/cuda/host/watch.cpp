// Kernels compiled with -fsanitize=thread call these functions at every access to memory. Here they are no
// ThreadSanitizer's, which knows nothing of blocks and barriers: they look for races between the threads of a launch
// (races.h) and for addresses that a card could not follow.

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <link.h>

#include "cuda_runtime.h"
#include "races.h"

namespace cuda_on_host {
namespace {

bool compiled_in = false;

/// Where the program lies: constants and the shared memory of this CPU thread are in it, and lines are found by it.
struct Program {
  uintptr_t base = 0, shared = 0, shared_bytes = 0;
  static constexpr int kMost = 16;
  uintptr_t constants[kMost] = {}, constant_bytes[kMost] = {};
  int parts = 0;
};
int describe(dl_phdr_info* info, size_t, void* to) {
  Program& program = *static_cast<Program*>(to);
  program.base = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type == PT_TLS) {
      program.shared = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
      program.shared_bytes = part.p_memsz;
    }
    if (part.p_type == PT_LOAD && (part.p_flags & PF_W) == 0 && program.parts < Program::kMost) {
      program.constants[program.parts] = info->dlpi_addr + part.p_vaddr;
      program.constant_bytes[program.parts++] = part.p_memsz;
    }
  }
  return 1;  // the first is the program itself
}
Program program;  // as the launch under way sees it

bool within(uintptr_t at, size_t bytes, uintptr_t first, size_t size) {
  return at >= first && at - first <= size && bytes <= size - (at - first);
}
bool can_follow(uintptr_t at, size_t bytes, bool write) {
  if (is_device_memory(at, bytes)) return true;
  for (int i = 0; i < program.parts && !write; ++i)
    if (within(at, bytes, program.constants[i], program.constant_bytes[i])) return true;
  return false;
}

Races& races() {
  static Races& instance = *new Races;
  return instance;
}

const char* verb(bool write) { return write ? "writes" : "reads"; }
[[noreturn]] void stop(uintptr_t code) {
  std::fprintf(stderr, "  (lines: addr2line -Cfie <this program> 0x%zx)\n", code - program.base);
  std::abort();
}

void look(const void* address, size_t bytes, bool write, const void* caller) {
  const Position* at = in_kernel();
  if (!at) return;
  const uintptr_t where = reinterpret_cast<uintptr_t>(address), code = reinterpret_cast<uintptr_t>(caller);
  if (within(where, bytes, reinterpret_cast<uintptr_t>(at->stack), kStack)) return;
  const bool shared = within(where, bytes, program.shared, program.shared_bytes);
  if (!shared && !can_follow(where, bytes, write)) {
    std::fprintf(stderr, "cuda on host: block %u, thread %u %s %zu bytes at %p, which is no memory of the device\n",
                 at->block, at->thread, verb(write), bytes, address);
    stop(code);
  }
  const Collision with = races().access(where, bytes, write, shared, {at->block, at->thread, at->phase}, code);
  if (!with.found) return;
  std::fprintf(stderr,
               "cuda on host: a race: block %u, thread %u %s what block %u, thread %u %s, and nothing orders the two\n"
               "  (the other: addr2line -Cfie <this program> 0x%zx)\n",
               at->block, at->thread, verb(write), with.other.block, with.other.thread, verb(with.wrote),
               with.code - program.base);
  stop(code);
}

}  // namespace

bool watched() { return compiled_in; }
void watch_launch() {
  program = {};
  dl_iterate_phdr(describe, &program);
  races().begin_launch();
}

}  // namespace cuda_on_host

// ---- what the compiler calls: names and types are its own ----------------------------------------

#define SKED_LOOK(bytes, write) cuda_on_host::look(at, bytes, write, __builtin_return_address(0))
#define SKED_WATCH(bytes)                                                  \
  void __tsan_read##bytes(void* at) { SKED_LOOK(bytes, false); }           \
  void __tsan_write##bytes(void* at) { SKED_LOOK(bytes, true); }           \
  void __tsan_unaligned_read##bytes(void* at) { SKED_LOOK(bytes, false); } \
  void __tsan_unaligned_write##bytes(void* at) { SKED_LOOK(bytes, true); } \
  void __tsan_volatile_read##bytes(void* at) { SKED_LOOK(bytes, false); }  \
  void __tsan_volatile_write##bytes(void* at) { SKED_LOOK(bytes, true); }

extern "C" {
void __tsan_init() { cuda_on_host::compiled_in = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
SKED_WATCH(1)
SKED_WATCH(2)
SKED_WATCH(4)
SKED_WATCH(8)
SKED_WATCH(16)
void __tsan_read_range(void* at, size_t bytes) { SKED_LOOK(bytes, false); }
void __tsan_write_range(void* at, size_t bytes) { SKED_LOOK(bytes, true); }
// Atomic operations collide with none. Those of kernels, and the host's beside them (counts of owners, guards).
unsigned __tsan_atomic32_compare_exchange_val(volatile unsigned* at, unsigned expected, unsigned value, int, int) {
  return __sync_val_compare_and_swap(at, expected, value);
}
int __tsan_atomic32_compare_exchange_strong(volatile unsigned* at, unsigned* expected, unsigned value, int, int) {
  return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_fetch_add(volatile unsigned* at, unsigned value, int) {
  return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
char __tsan_atomic8_load(const volatile char* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
}

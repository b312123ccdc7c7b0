#pragma once
// Which threads of a launch read and write a byte without an order between them. Two accesses are in order when one
// thread makes both, or both are of one block with a barrier (__syncthreads) between; a shuffle orders nothing, and
// neither does anything between blocks. What is found does not depend on who came first here.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

namespace cuda_on_host {

/// A thread of a grid, and how many barriers of its block it has passed.
struct Accessor {
  uint32_t block, thread, phase;
};

/// The other of two accesses without an order, and the instruction it was made by.
struct Collision {
  bool found = false, wrote = false;
  Accessor other{};
  uintptr_t code = 0;
};

/// The accesses of one launch after the other. Not for several CPU threads at once.
class Races {
 public:
  /// A launch follows all that came before it.
  void begin_launch() {
    constexpr size_t kMostPages = 4096;  // 16 MiB of memory looked at, 1 GiB of notes
    launch_ += uint64_t{1} << 32;
    if (pages_.size() <= kMostPages) return;
    pages_.clear();
    latest_ = ~uintptr_t{0};
  }

  /// Notes that `who` reads or writes `bytes` bytes from `at` on, by the instruction at `code`. Memory that is `shared`
  /// is each block's own, whatever its address.
  Collision access(uintptr_t at, size_t bytes, bool write, bool shared, Accessor who, uintptr_t code) {
    const uint64_t epoch = launch_ + (shared ? who.block : 0);
    Collision collision;
    for (uintptr_t i = at; i < at + bytes; ++i) {
      Byte& b = byte(i);
      if (b.write.collides(epoch, who)) collision = {true, true, b.write.who, b.write.code};
      if (write && b.read.collides(epoch, who)) collision = {true, false, b.read.who, b.read.code};
      (write ? b.write : b.read).note(epoch, who, code);
    }
    return collision;
  }

 private:
  /// The last to write or read a byte. Of several readers since the last barrier, or of several blocks, it is enough to
  /// know that there is another than the one who writes.
  struct Last {
    uint64_t epoch = 0;
    Accessor who{};
    bool threads = false, blocks = false;  // more than one
    uintptr_t code = 0;

    bool collides(uint64_t now, Accessor other) const {
      if (epoch != now) return false;
      if (blocks || who.block != other.block) return true;
      return who.phase == other.phase && (threads || who.thread != other.thread);
    }
    void note(uint64_t now, Accessor by, uintptr_t instruction) {
      const bool same_block = epoch == now && who.block == by.block, same_phase = same_block && who.phase == by.phase;
      blocks = epoch == now && (blocks || !same_block);
      threads = same_phase && (threads || who.thread != by.thread);
      epoch = now;
      who = by;
      code = instruction;
    }
  };
  struct Byte {
    Last write, read;
  };
  static constexpr uintptr_t kPage = 4096;
  using Page = std::array<Byte, kPage>;

  Byte& byte(uintptr_t at) {
    if (at / kPage != latest_) {
      std::unique_ptr<Page>& page = pages_[latest_ = at / kPage];
      if (!page) page = std::make_unique<Page>();
      latest_page_ = page.get();
    }
    return (*latest_page_)[at % kPage];
  }

  uint64_t launch_ = 0;  // times 2^32, more than a grid has blocks
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  uintptr_t latest_ = ~uintptr_t{0};
  Page* latest_page_ = nullptr;
};

}  // namespace cuda_on_host

#pragma once
// What a piece of a program asks of its device: calls of kernels, bytes of their operands, arithmetic, launches; and of
// other ranks. These are the same wherever the code runs, so that a change can be judged where there is no card, and a
// cluster by one process.

#include <cstdint>
#include <map>
#include <string>

#include "core/tensor.h"

namespace sked {

/// While one lives on this thread, it counts. The youngest counts alone.
class WorkCount {
 public:
  /// Copies from the host to a GPU count as calls of `copy_from_host`, collectives of more than one rank under their
  /// names (core/communicator.h), with the bytes of the whole: of what is reduced or broadcast, of all that is gathered
  /// or scattered. `bytes`: of every tensor of a call once, read or written; what a kernel reads again, or reads and
  /// overwrites in place, is not counted twice. `launches`: kernels of ours, products, convolutions and copies within
  /// the device; none on the CPU. `operations`: multiplications and additions of products, convolutions, attention.
  struct Entry {
    int64_t calls = 0, bytes = 0, launches = 0, operations = 0;

    Entry& operator+=(const Entry& other);
  };

  WorkCount();
  ~WorkCount();
  WorkCount(const WorkCount&) = delete;
  WorkCount& operator=(const WorkCount&) = delete;

  /// By kernel, or by the name under which something else was launched.
  const std::map<std::string, Entry>& entries() const { return entries_; }
  Entry total() const;

  /// For those who call and launch: counted where someone counts.
  static void call(const char* kernel, int64_t bytes, int64_t operations = 0) {
    if (WorkCount* const count = active()) count->add(kernel, {1, bytes, 0, operations});
  }
  static void launch(const char* where) {
    if (WorkCount* const count = active()) count->add(where, {0, 0, 1, 0});
  }
  static WorkCount*& active();

 private:
  void add(const char* name, const Entry& entry);

  WorkCount* before_;
  std::map<std::string, Entry> entries_;
};

namespace detail {
inline int64_t operand_bytes(const Tensor& t) { return t.defined() ? static_cast<int64_t>(t.bytes()) : 0; }
inline int64_t operand_bytes(const TensorList& list) {
  int64_t bytes = 0;
  for (const Tensor& t : list) bytes += operand_bytes(t);
  return bytes;
}
template <class Other>
int64_t operand_bytes(const Other&) {
  return 0;
}
}  // namespace detail

}  // namespace sked

#pragma once
// Processes that compute together: the ranks 0 … N − 1 of one run, which mpirun or srun started. A collective is called
// by all ranks in the same order with tensors of the same dtype and device, and of the same shape where nothing else is
// said; it changes elements in place. One process alone is a communicator of size 1, of which all of this costs
// nothing.
//
// Sums depend on N only by their order: of the same N they are the same to the last bit, on every rank.

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// [begin, end) of a row of things.
struct Span {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

/// What of `count` things is rank r's of N: [r·count/N, (r+1)·count/N).
inline Span span_of(int64_t count, int64_t rank, int64_t size) {
  return {rank * count / size, (rank + 1) * count / size};
}

/// How many of `count` things each of `size` ranks has.
std::vector<int64_t> span_sizes(int64_t count, int64_t size);

enum class Reduction { sum, max };

/// Tensors of any device and of f32, f64, bf16 (sums rounded to bf16 at each addition), i64; u8 but for reductions.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  /// Every rank's tensor becomes the sum, or maximum, over ranks.
  void all_reduce(Tensor& t, Reduction how = Reduction::sum);
  /// The same, begun: until finish() this thread goes on and nobody touches the elements. Where a device or a network
  /// needs to be asked to go on, poke() does.
  void start_all_reduce(const Tensor& t);
  void poke();
  /// Returns when all that was begun is done.
  void finish();
  /// `all` (Σ rows, …) becomes the rows of rank 0, of rank 1 … ; `mine` (rows[rank], …). rows: one number a rank, the
  /// same on every rank.
  void all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all);
  /// The adjoint: `mine` (rows[rank], …) becomes this rank's rows of the sum over ranks of `all` (Σ rows, …).
  void reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine);
  /// Every rank's tensor becomes that of rank `root`.
  void broadcast(Tensor& t, int64_t root = 0);
  /// Returns when every rank has called it.
  void barrier();
  /// Ends all ranks, the program's exit status being `status`; what one rank throws would leave the others waiting.
  [[noreturn]] virtual void abort(int status) = 0;

 protected:
  /// What the public ones do where there is more than one rank; arguments are checked.
  virtual void do_all_reduce(Tensor& t, Reduction how) = 0;
  virtual void do_start_all_reduce(const Tensor& t) = 0;
  virtual void do_poke() = 0;
  virtual void do_finish() = 0;
  virtual void do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) = 0;
  virtual void do_reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine) = 0;
  virtual void do_broadcast(Tensor& t, int64_t root) = 0;
  virtual void do_barrier() = 0;
};

/// This process by itself.
Communicator& alone();

/// What rank 0 says.
bool agreed(Communicator& ranks, bool mine);
/// The number of every rank, in their order.
std::vector<int64_t> all_gather_number(Communicator& ranks, int64_t mine);
/// The text of every rank, in their order.
std::vector<std::string> all_gather_text(Communicator& ranks, const std::string& mine);
/// The texts of every rank, one behind the other; without zeros in them.
std::vector<std::string> all_gather_texts(Communicator& ranks, const std::vector<std::string>& mine);
/// The rows of every rank, one behind the other, each having as many as it has.
Tensor all_gather_rows(Communicator& ranks, const Tensor& mine);

}  // namespace sked

#pragma once
// Gradients summed over ranks (core/communicator.h) while the backward pass goes on: data-parallel training.

#include <cstdint>
#include <map>
#include <vector>

#include "autograd/var.h"
#include "core/communicator.h"

namespace sked {

/// The last parameters come first, as their gradients do: some of them at a time, a bucket, are laid behind one another
/// and summed in one collective, which begins when all of them are there and those of the bucket before have begun, on
/// every rank in the same order (PyTorch's DistributedDataParallel: Li et al., arXiv 2006.15704).
class GradientSums {
 public:
  /// Of the parameters that require a gradient and are not divided among ranks (NamedVar::shard). `bucket_bytes`: a
  /// bucket is full with so many.
  GradientSums(const std::vector<NamedVar>& parameters, Communicator& ranks, int64_t bucket_bytes = int64_t{8} << 20);

  /// Differentiates `loss`; the gradients of all parameters, those included that earlier passes have left there, are
  /// the sums over ranks then. A parameter without a gradient counts as zero on this rank. Throws Error where a
  /// gradient changed after its sum had begun.
  void backward(const Var& loss);

  /// In backward(), all of them together: from its begin to its end, and in waiting for sums at its end.
  double seconds() const { return seconds_; }
  double seconds_waited() const { return seconds_waited_; }

 private:
  struct Member {
    size_t parameter;
    Span place;  // in the bucket
  };
  struct Bucket {
    std::vector<Member> members;
    Tensor elements;
    size_t missing = 0;
  };
  void complete(size_t parameter);
  void put(const Bucket& bucket, const Member& member);
  void begin_full();

  std::vector<NamedVar> parameters_;
  Communicator& ranks_;
  std::vector<Bucket> buckets_;
  std::vector<size_t> bucket_of_;  // of each parameter
  std::map<const Tensor*, size_t> by_gradient_;
  std::vector<bool> done_;  // of each parameter
  size_t begun_ = 0;        // buckets
  double seconds_ = 0, seconds_waited_ = 0;
};

}  // namespace sked

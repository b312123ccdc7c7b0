#pragma once
// A child process that runs PyTorch's side of a benchmark on request (peer_torch.py), and the two timed in turn.

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "apps/bench/bench.h"

namespace sked::bench {

/// What the peer asked for does not fit.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// Starts `command` and talks lines with it. Throws Error when it cannot be started or stops answering.
class Peer {
 public:
  /// Waits until the peer says `ready {json}`; the JSON is info().
  explicit Peer(const std::vector<std::string>& command);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const Json& info() const { return info_; }
  /// Seconds of each of `steps` training steps. Throws OutOfMemory where the peer says `out of memory …` instead.
  std::vector<double> run(int steps);

 private:
  std::string read_line();

  pid_t child_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string pending_;
  Json info_;
};

/// What is timed, of ours and of PyTorch.
struct InTurn {
  std::function<double(int steps)> ours;  // seconds of a step, of `steps` that need not wait for each other
  int steps = 1, warmup = 1;              // of each round, and before the first
  std::vector<std::string> options;       // of peer_torch.py, that say which step it is
  bool convolves = false;                 // it depends on the layout of images then which of PyTorch's steps is faster
};

/// Times ours, settings.rounds times, into row.seconds; and in turn with it, where there is a peer, a step of PyTorch
/// in each of settings.peer_modes and of its layouts, into row.peer_modes. peer_seconds, peer_info and ratio are those
/// of the fastest. A mode that fails costs no other, and none of them our time.
void time_in_turn(Row& row, const InTurn& step, const Settings& settings, const Report& report);

}  // namespace sked::bench

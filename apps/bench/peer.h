#pragma once
// A child process that runs PyTorch's side of a benchmark on request (peer_torch.py).

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "apps/bench/bench.h"

namespace sked::bench {

/// Starts `command` and talks lines with it. Throws Error when it cannot be started or stops answering.
class Peer {
 public:
  /// Waits until the peer says `ready`; what follows the word is info().
  explicit Peer(const std::vector<std::string>& command);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const std::string& info() const { return info_; }
  /// Seconds of each of `steps` training steps.
  std::vector<double> run(int steps);

 private:
  std::string read_line();

  pid_t child_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string pending_, info_;
};

/// Times pass(round) and one step of the peer in turn, `rounds` times, into row.seconds, peer_seconds and ratio. The
/// peer may be null.
void time_in_turn(Row& row, int rounds, const std::function<void(int round)>& pass, Peer* peer);

}  // namespace sked::bench

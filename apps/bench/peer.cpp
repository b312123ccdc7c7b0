#include "apps/bench/peer.h"

#include <csignal>
#include <cstring>
#include <sstream>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

namespace sked::bench {

Peer::Peer(const std::vector<std::string>& command) {
  int in[2], out[2];
  const bool piped = pipe(in) == 0 && pipe(out) == 0;  // before errno is read: arguments come in any order
  require(piped, "bench", "no pipe for the peer: ", std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  child_ = fork();
  if (child_ < 0) fail("bench", "cannot start ", command[0], ": ", std::strerror(errno));
  if (child_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // the end of its input alone would let it finish what it compiles
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    for (int fd : {in[0], in[1], out[0], out[1]}) close(fd);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  to_ = in[1];
  from_ = out[0];
  const std::string first = read_line();
  require(first.rfind("ready", 0) == 0, "bench", "expected the peer ", command[0], " to say 'ready', got '", first,
          "' (is PyTorch installed for that interpreter?)");
  info_ = first.substr(5);
}

Peer::~Peer() {
  close(to_);
  close(from_);
  waitpid(child_, nullptr, 0);
}

std::vector<double> Peer::run(int steps) {
  const std::string request = "run " + std::to_string(steps) + "\n";
  require(write(to_, request.data(), request.size()) == static_cast<ssize_t>(request.size()), "bench",
          "the peer does not listen any more");
  std::istringstream answer(read_line());
  std::vector<double> seconds;
  for (double value; answer >> value;) seconds.push_back(value);
  require(seconds.size() == static_cast<size_t>(steps), "bench", "expected ", steps, " times from the peer, got '",
          answer.str(), "'");
  return seconds;
}

std::string Peer::read_line() {
  for (;;) {
    if (const size_t end = pending_.find('\n'); end != std::string::npos) {
      const std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t count = read(from_, buffer, sizeof buffer);
    if (count <= 0) return std::exchange(pending_, {});
    pending_.append(buffer, static_cast<size_t>(count));
  }
}

void time_in_turn(Row& row, int rounds, const std::function<void(int round)>& pass, Peer* peer) {
  std::vector<double> ours, theirs, ratios;
  for (int round = 0; round < rounds; ++round) {
    ours.push_back(median_seconds([&] { pass(round); }, 1, 0));
    if (peer == nullptr) continue;
    theirs.push_back(peer->run(1)[0]);
    ratios.push_back(theirs.back() / ours.back());
  }
  row.seconds = median(ours);
  if (peer != nullptr) row.peer_seconds = median(theirs), row.ratio = median(ratios);
}

}  // namespace sked::bench

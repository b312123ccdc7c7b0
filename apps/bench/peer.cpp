#include "apps/bench/peer.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <sstream>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/precision.h"

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
  const std::string script = command.size() > 1 ? " " + command[1] : "";
  require(first.rfind("ready", 0) == 0, "bench", "expected the peer ", command[0], script, " to say 'ready', got '",
          first, "' (is it there, and what it imports installed for that interpreter?)");
  const JsonRead info = read_json(first.substr(5), 2);
  require(!info.problem, "bench", "expected JSON behind the 'ready' of the peer, got '", first, "'");
  info_ = info.value;
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
  const std::string line = read_line();
  if (line.starts_with("out of memory")) throw OutOfMemory(line);
  std::istringstream answer(line);
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

namespace {

struct Mode {
  std::string mode, layout;  // the layout is empty where it means nothing
  std::string name() const { return layout.empty() ? mode : mode + " " + layout; }
};

std::vector<Mode> modes_of(const InTurn& step, const Settings& settings) {
  std::vector<std::string> layouts = {""};
  if (step.convolves) layouts = {"channels_first", "channels_last"};
  if (step.convolves && settings.device == Device::cuda) layouts = {"channels_last"};  // cuDNN's own
  std::vector<Mode> modes;
  for (const std::string& mode : settings.peer_modes)
    for (const std::string& layout : layouts) modes.push_back({mode, layout});
  return modes;
}

std::vector<std::string> command_of(const Mode& mode, const InTurn& step, const Settings& settings) {
  std::vector<std::string> command = {settings.peer, settings.script};
  command.insert(command.end(), step.options.begin(), step.options.end());
  const auto add = [&](const char* option, const std::string& value) {
    command.push_back(option);
    command.push_back(value);
  };
  add("--threads", std::to_string(settings.threads));
  add("--device", name(settings.device));
  add("--precision", name(product_precision()));
  add("--mode", mode.mode);
  if (!mode.layout.empty()) add("--layout", mode.layout);
  return command;
}

}  // namespace

void time_in_turn(Row& row, const InTurn& step, const Settings& settings, const Report& report) {
  if (step.warmup > 0) step.ours(step.warmup);
  std::vector<double> ours;
  const auto time_ours = [&](int rounds) {
    for (int round = 0; round < rounds; ++round) ours.push_back(step.ours(step.steps));
    row.seconds = median(ours);
  };
  if (settings.peer.empty()) return time_ours(settings.rounds);
  time_ours(1);  // it is known before the peer takes minutes to compile
  report(row, false);
  const auto time_mode = [&](const Mode& mode) {
    Peer peer(command_of(mode, step, settings));
    tell({}, "  " + row.name + ": peer " + peer.info().dump());
    // The first step of a compiled one compiles.
    if (const int warmup = mode.mode == "eager" ? step.warmup : std::max(1, step.warmup); warmup > 0) peer.run(warmup);
    std::vector<double> theirs, ratios;
    for (int round = 0; round < settings.rounds; ++round) {
      time_ours(1);
      theirs.push_back(median(peer.run(step.steps)));
      ratios.push_back(theirs.back() / ours.back());
    }
    row.peer_modes.push_back({mode.name(), median(theirs)});
    if (row.peer_seconds > 0 && median(theirs) >= row.peer_seconds) return;
    row.peer_seconds = median(theirs);
    row.ratio = median(ratios);
    row.peer_info = peer.info();
  };
  for (const Mode& mode : modes_of(step, settings)) {
    try {
      time_mode(mode);
    } catch (const OutOfMemory& error) {
      row.peer_modes.push_back({mode.name(), 0, error.what(), true});
    } catch (const Error& error) {
      row.peer_modes.push_back({mode.name(), 0, error.what()});
    }
    report(row, false);
  }
}

}  // namespace sked::bench

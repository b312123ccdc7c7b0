#include "apps/common/config/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"

namespace sked {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

std::atomic<int> asked = 0;        // the signal that did
std::atomic<bool> looked = false;  // has the program come to where it can stop?
double started = 0, limit = 0;
bool further = false;
std::function<int()> others;
bool reader_counts = false;  // stdout is a pipe, and its reader's end is a request

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// The first request counts.
void ask(int signal) {
  int none = 0;
  asked.compare_exchange_strong(none, signal);
}

/// Signals that ask, but for SIGHUP where it is ignored (nohup).
sigset_t asking_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kSignals) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (signal != SIGHUP || before.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  return set;
}

void wait_for_signals(const sigset_t& set) {
  constexpr double kSameRequest = 1;  // seconds
  constexpr timespec kPatience{5, 0};
  double asked_at = 0;  // first, by a signal to this process: it may know of one to another rank already
  for (;;) {
    const bool impatient = asked != 0 && !looked;
    const int signal = impatient ? sigtimedwait(&set, nullptr, &kPatience) : sigwaitinfo(&set, nullptr);
    if (signal < 0 && errno == EAGAIN && !looked) _exit(interrupt_status());
    if (signal < 0) continue;
    if (asked_at == 0) {
      ask(signal);
      asked_at = now();
    } else if (signal == SIGINT || now() - asked_at > kSameRequest) {
      std::signal(signal, SIG_DFL);
      kill(getpid(), signal);
      pthread_sigmask(SIG_UNBLOCK, &set, nullptr);  // here it ends the process
    }
  }
}

/// What is written to a pipe without a reader is an error, and no signal from here on.
void watch_reader() {
  struct sigaction before {};
  sigaction(SIGPIPE, nullptr, &before);
  struct stat out {};
  const bool pipe = fstat(STDOUT_FILENO, &out) == 0 && (S_ISFIFO(out.st_mode) || S_ISSOCK(out.st_mode));
  reader_counts = pipe && before.sa_handler != SIG_IGN;
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

void catch_interrupts() {
  started = now();
  watch_reader();
  // A thread that waits, and no handler: oneDNN's generated kernels keep values below the stack pointer, where a
  // handler would run; they were seen to end in wrong numbers and a damaged heap.
  const sigset_t set = asking_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // also in the threads that are started from now on
  pthread_atfork(nullptr, nullptr, [] {
    const sigset_t children = asking_signals();
    pthread_sigmask(SIG_UNBLOCK, &children, nullptr);
  });
  try {
    std::thread([set] { wait_for_signals(set); }).detach();
  } catch (const std::system_error& error) {
    fail("interrupt", "cannot start a thread: ", error.what());
  }
}

void limit_time(double seconds) { limit = seconds; }
void got_further() { further = true; }
void listen(std::function<int()> elsewhere) { others = std::move(elsewhere); }

bool interrupted() {
  looked = true;
  if (reader_counts && asked == 0 && reader_is_gone()) asked = SIGPIPE;
  if (others && asked == 0) ask(others());
  return asked != 0 || (further && limit > 0 && now() - started >= limit);
}

bool interrupted(Communicator& ranks) {
  const bool here = interrupted();
  if (ranks.size() == 1) return here;
  Tensor any = Tensor::from(std::vector<int64_t>{here ? 1 : 0, asked}, {2});
  ranks.all_reduce(any, Reduction::max);
  ask(static_cast<int>(any.data<int64_t>()[1]));
  return any.data<int64_t>()[0] != 0;
}

void wait_a_moment(Communicator& ranks) {
  for (int i = 0; i < 10; ++i) {
    if (interrupted(ranks)) throw Interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

bool reader_is_gone() {
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int interrupt_status() { return asked != 0 ? 128 + asked : kTimeUp; }

}  // namespace sked

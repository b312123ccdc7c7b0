#include "apps/common/interrupt.h"

#include <time.h>

#include <csignal>

namespace sked {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t asked = 0;  // the signal that did
volatile std::sig_atomic_t asked_at = 0;
double started = 0, limit = 0;

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);  // may be called in a signal handler
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void on_signal(int signal) {
  const auto second = static_cast<std::sig_atomic_t>(now());
  if (asked == 0) {
    asked = signal;
    asked_at = second;
  } else if (signal == SIGINT || second > asked_at + 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // delivered when this handler returns
  }
}

}  // namespace

void catch_interrupts() {
  started = now();
  for (const int signal : kSignals) {
    const auto before = std::signal(signal, on_signal);
    if (signal == SIGHUP && before == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

void limit_time(double seconds) { limit = seconds; }

bool interrupted() { return asked != 0 || (limit > 0 && now() - started >= limit); }

int interrupt_status() { return asked != 0 ? 128 + asked : kTimeUp; }

}  // namespace sked

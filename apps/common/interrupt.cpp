#include "apps/common/interrupt.h"

#include <csignal>

namespace sked {
namespace {

volatile std::sig_atomic_t asked = 0;

void on_interrupt(int signal) {
  asked = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() { std::signal(SIGINT, on_interrupt); }

bool interrupted() { return asked != 0; }

}  // namespace sked

// A program that runs on another processor than it was built for says so. Compiled for any processor (Makefile): what
// is said has to come out on the oldest.

#include <unistd.h>

#include <csignal>

namespace {

void say_so(int) {
  static const char line[] =
      "error: an instruction that this processor has not: the program was built for another one; build it here, or for "
      "both (ARCH= in `make help`)\n";
  if (write(STDERR_FILENO, line, sizeof line - 1) < 0) _exit(2);
  _exit(1);
}

/// Before the initializers of globals, which are compiled like the rest.
[[gnu::constructor(101)]] void catch_illegal_instructions() { std::signal(SIGILL, say_so); }

}  // namespace

#pragma once
// Ctrl-C as a request: the program finishes its step, writes a checkpoint and exits with 130.

#include <exception>

namespace sked {

/// Thrown, once everything is safe on disk, to leave a program that was asked to stop.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// From here on the first Ctrl-C only makes interrupted() true; a second one ends the program at once.
void catch_interrupts();

bool interrupted();

}  // namespace sked

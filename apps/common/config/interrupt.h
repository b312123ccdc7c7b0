#pragma once
// Being asked to stop: the program finishes its step, writes a checkpoint and exits with the request's own status.

#include <exception>
#include <functional>

#include "core/communicator.h"

namespace sked {

/// Exit status of a run that reached train.time_limit, as timeout(1) has it.
inline constexpr int kTimeUp = 124;

/// Thrown, once everything is safe on disk, to leave a program that was asked to stop.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// From here on Ctrl-C (SIGINT), SIGTERM (a batch system, timeout, docker stop) and SIGHUP (a terminal that is gone)
/// only make interrupted() true. A second one ends the program at once, but for repetitions of SIGTERM and SIGHUP
/// within a second: they are often sent to a process and to its group. The reader of a
/// pipe, stdout, asks by going (`| head -1`), unless SIGPIPE is ignored. A program that has never asked interrupted(),
/// and does not within five seconds (it waits for a pipe, a file server …), is ended. SIGHUP stays ignored under nohup.
/// The time of limit_time() counts from here. To be called before any thread is started.
void catch_interrupts();

/// From `seconds` after catch_interrupts() on interrupted() is true, but not before got_further(): however little time
/// there is, no start is for nothing. 0: no limit.
void limit_time(double seconds);
/// Something is done that the next start need not do again.
void got_further();

/// From here on interrupted() asks `elsewhere` too: the signal by which another process was asked to stop that this one
/// works with, or 0. None: nobody is asked.
void listen(std::function<int()> elsewhere);

bool interrupted();
/// Is any of the ranks? A collective: all of them get the same answer, and end with the same status.
bool interrupted(Communicator& ranks);

/// Sleeps for half a second, before another look at what other processes do. Throws Interrupted, on all ranks, where
/// one is asked to stop.
void wait_a_moment(Communicator& ranks = alone());

/// What asked, as an exit status: 128 + the signal's number (130, 143, 129, 141), or kTimeUp.
int interrupt_status();

/// Has nobody stdout open for reading any more?
bool reader_is_gone();

}  // namespace sked

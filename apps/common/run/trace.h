#pragma once
// Where the time of a training goes: some of its steps, its first evaluation and its first checkpoint, as spans, and
// within them every call of a kernel. One JSON in Chrome's trace format, which Perfetto reads (ui.perfetto.dev).

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "apps/common/config/options.h"
#include "apps/common/measure/work_profile.h"
#include "core/communicator.h"

namespace sked {

/// Of one thread. Where none looks, a span costs one look at a variable of the thread.
class Trace {
 public:
  /// The first steps, in which libraries set themselves up, are left out, and the next are looked at. Of a run of fewer
  /// steps the last one is.
  static constexpr int64_t kLeftOut = 3, kSteps = 10;
  /// Calls beyond these are left out of the file, and their number is in it: some 7 MB.
  static constexpr int64_t kMostCalls = 50'000;

  /// Throws Error where `file` cannot be written, or is there and no trace.
  Trace(std::string file, Device device);
  /// Of a run that was broken off: what finish() does, its text on stdout; a failure is noted.
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// So many steps are to come.
  void expect(int64_t steps);
  /// Writes the file, where there was something to look at; returns what of it is to be read at once: the table of the
  /// step of median time. Throws Error where it cannot be written.
  std::string finish();

  /// A part of what is being looked at, from now to its end.
  class Span {
   public:
    explicit Span(const char* name);
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace* const trace_;
    const char* const name_;
    const int64_t begin_;
  };
  /// Is this thread's work being looked at? Then every kernel is called by itself, and none in a recording.
  static bool looks() { return active_ != nullptr; }

 private:
  friend void traced(Trace* trace, const char* what, const std::function<void()>& work);
  struct Event {
    const char* name;
    int64_t begin, end;  // nanoseconds
    bool call = false;
    int64_t bytes = 0, operations = 0;
  };
  bool wants(const std::string& what);
  void look(const char* what, const std::function<void()>& work);
  void write();

  static inline constinit thread_local Trace* active_ = nullptr;

  const std::string file_;
  const Device device_;
  const int64_t begin_;
  int64_t left_out_ = kLeftOut, steps_ = 0, calls_ = 0;
  std::set<std::string> seen_;
  std::vector<Event> events_;
  std::vector<WorkProfile> profiles_;  // of steps
  bool written_ = false;
};

/// Carries `work` out: a "step", an "evaluation" or a "checkpoint". Where there is a trace, and it looks at this one or
/// is looking already, as a span of it.
void traced(Trace* trace, const char* what, const std::function<void()>& work);

/// `--profile FILE`.
Option profile_option(std::string& file);
/// The trace of a run that `ranks` make together: rank 0's; none of the others, and none without a file.
std::unique_ptr<Trace> trace_of(const std::string& file, Device device, const Communicator& ranks);
/// Finishes it, if there is one, and prints its table.
void finish(Trace* trace);

}  // namespace sked

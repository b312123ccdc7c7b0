#include "apps/common/run/trace.h"

#include <algorithm>
#include <cstdio>
#include <tuple>
#include <utility>

#include "apps/common/config/fields.h"
#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/file.h"
#include "core/stopwatch.h"

namespace sked {
namespace {

/// In units of the format.
double microseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; }

}  // namespace

Trace::Trace(std::string file, Device device) : file_(std::move(file)), device_(device), begin_(nanoseconds_now()) {
  check_results({file_}, "traceEvents");
}

Trace::~Trace() {
  if (written_ || events_.empty()) return;
  try {
    std::fputs(finish().c_str(), stdout);
  } catch (const Error& error) {
    note(std::string("--profile: ") + error.what());
  }
}

void Trace::expect(int64_t steps) { left_out_ = std::clamp<int64_t>(steps - 1, 0, kLeftOut); }

bool Trace::wants(const std::string& what) {
  if (what != "step") return seen_.insert(what).second;
  const int64_t step = steps_++;
  return step >= left_out_ && step < left_out_ + kSteps;
}

void Trace::look(const char* what, const std::function<void()>& work) {
  struct Looking {
    explicit Looking(Trace* trace) { active_ = trace; }
    ~Looking() { active_ = nullptr; }
    Looking(const Looking&) = delete;
    Looking& operator=(const Looking&) = delete;
  } const looking(this);
  const Span span(what);
  WorkProfile profile = profiled(device_, work, [this](const char* kernel, const WorkCount::Entry& e, int64_t begin) {
    if (++calls_ <= kMostCalls) events_.push_back({kernel, begin, begin + e.nanoseconds, true, e.bytes, e.operations});
  });
  if (what == std::string("step")) profiles_.push_back(std::move(profile));
}

void Trace::write() {
  // What holds others is before them.
  std::ranges::stable_sort(events_, {}, [](const Event& e) { return std::tuple(e.begin, -e.end); });
  Json list = Json::array();
  list.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", 0}, {"tid", 0}, {"args", {{"name", "training"}}}});
  for (const Event& e : events_) {
    Json event{{"name", e.name},
               {"cat", e.call ? "call" : "span"},
               {"ph", "X"},
               {"ts", microseconds(e.begin - begin_)},
               {"dur", microseconds(e.end - e.begin)},
               {"pid", 0},
               {"tid", 0}};
    if (e.bytes > 0) event["args"]["operand_bytes"] = e.bytes;
    if (e.operations > 0) event["args"]["GFLOP"] = static_cast<double>(e.operations) * 1e-9;
    list.push_back(std::move(event));
  }
  Json json{{"traceEvents", std::move(list)}, {"displayTimeUnit", "ms"}};
  json["otherData"] = {{"device", name(device_)}, {"calls_left_out", std::max<int64_t>(0, calls_ - kMostCalls)}};
  write_file(file_, json.dump() + "\n");
  written_ = true;
}

std::string Trace::finish() {
  if (events_.empty()) return "profile: no step was made, nothing is written to " + file_ + "\n";
  write();
  if (profiles_.empty()) return "profile in " + file_ + ": no step was looked at\n";
  char text[64];
  std::snprintf(text, sizeof text, "%.3f ms", median_profile(profiles_).seconds * 1e3);
  return "profile in " + file_ + "; of " + std::to_string(profiles_.size()) + " steps that of median time, " + text +
         ":\n" + profile_table(median_profile(profiles_));
}

Trace::Span::Span(const char* name) : trace_(active_), name_(name), begin_(trace_ ? nanoseconds_now() : 0) {}
Trace::Span::~Span() {
  if (trace_) trace_->events_.push_back({name_, begin_, nanoseconds_now()});
}

void traced(Trace* trace, const char* what, const std::function<void()>& work) {
  if (trace && trace->wants(what) && !Trace::looks()) return trace->look(what, work);
  const Trace::Span span(what);
  work();
}

Option profile_option(std::string& file) {
  return {"--profile", &file,
          "A trace of steps 4 to 13 (of fewer steps: the last), the first evaluation and the first checkpoint, every "
          "kernel's call with its bytes and GFLOP, for https://ui.perfetto.dev; a table at the end says where a step's "
          "time goes. These steps are computed call by call, and on a GPU each call is waited for",
          "FILE"};
}

std::unique_ptr<Trace> trace_of(const std::string& file, Device device, const Communicator& ranks) {
  return file.empty() || ranks.rank() != 0 ? nullptr : std::make_unique<Trace>(file, device);
}

void finish(Trace* trace) {
  if (trace) std::fputs(trace->finish().c_str(), stdout);
}

}  // namespace sked

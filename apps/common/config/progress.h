#pragma once
// What a running program shows: a bar on a terminal, plain lines elsewhere.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace sked {

/// From here on nothing is said of what is going on: no progress, no notes. Results and errors are printed still.
void be_quiet(bool quiet);

/// `note: <line>` on stderr, the first time the program says it; nothing for an empty line.
void note(const std::string& line);

/// A line on stdout of what is going on, which is no result.
void inform(const std::string& line);

/// Who is told a line.
using Say = std::function<void(const std::string&)>;

/// Says a line of what is going on to `say`; where that is none, on stderr.
void tell(const Say& say, const std::string& line);

/// Progress of one run on stdout. On a terminal one line is redrawn, with loss, rate and time left; where they do not
/// fit the bar gets shorter, and what is left is cut where the terminal ends: a line that wraps could not be taken off
/// again. Elsewhere, and where TERM is dumb, a line is written at most every ten seconds.
class Progress {
 public:
  /// `label` starts every line; `begin` of `total` steps are done; `images_per_step` turns steps into images per
  /// second. A quiet one shows nothing. `step` is what a step is called.
  Progress(std::string label, int64_t begin, int64_t total, double images_per_step, bool quiet,
           const char* step = "step");
  /// Takes the bar off the terminal.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` steps are behind us; `loss` is the latest known, where there is one. Cheap: looks at the clock, and draws
  /// only when it is time.
  void update(int64_t done, std::optional<double> loss = {});
  /// A line that stays, e.g. the result of an evaluation.
  void note(const std::string& line);
  /// Takes the bar off the terminal until the next update: call before something else is printed.
  void clear();
  /// Leaves out the time since the last update: call after an evaluation, so that it does not count as slow steps.
  void skip_time();

 private:
  using Clock = std::chrono::steady_clock;

  void draw(int64_t done, std::optional<double> loss);

  std::string label_;
  const char* step_;
  int64_t total_, last_done_;
  double images_per_step_;
  bool quiet_, terminal_;
  Clock::time_point last_draw_, last_rate_;
  double seconds_per_step_ = 0;  // exponential average
};

/// Columns of the terminal on stdout, as they are now; else $COLUMNS, else 80.
int64_t terminal_columns();

/// `2h03m`, `4m09s`, `12s`.
std::string duration(double seconds);

}  // namespace sked

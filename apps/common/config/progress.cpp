#include "apps/common/config/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string_view>

#include "core/text.h"

namespace sked {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(200);  // on a terminal
constexpr auto kLineEvery = std::chrono::seconds(10);     // elsewhere

bool quiet = false;
std::atomic<bool> bar_is_drawn = false;
constexpr int64_t kBarWidth = 24, kNarrowestBar = 4, kNarrowestLabel = 8;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[160];
  const int length = std::snprintf(text, sizeof text, pattern, args...);
  return std::string(text, static_cast<size_t>(std::clamp(length, 0, static_cast<int>(sizeof text) - 1)));
}

/// Can a line be drawn over?
bool is_terminal() {
  const char* name = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && (name == nullptr || std::string_view(name) != "dumb");
}

/// Takes a bar off the terminal, for a line to stand there.
void clear_bar() {
  if (bar_is_drawn.exchange(false)) std::fputs("\r\033[K", stdout);
  std::fflush(stdout);
}

/// `beginning<line>` on stderr.
void say_aside(const char* beginning, const std::string& line) {
  if (quiet) return;
  clear_bar();
  std::fprintf(stderr, "%s%s\n", beginning, printable(line).c_str());
}

/// ` [====    ]` in `room` columns at most; nothing where there is hardly any.
std::string bar(double share, int64_t room) {
  const int64_t width = std::min(kBarWidth, room - 3);
  if (width < kNarrowestBar) return "";
  const auto full = static_cast<int64_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
  return " [" + std::string(static_cast<size_t>(full), '=') + std::string(static_cast<size_t>(width - full), ' ') + "]";
}

}  // namespace

int64_t terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* said = std::getenv("COLUMNS");
  const long long wanted = said == nullptr ? 0 : std::strtoll(said, nullptr, 10);
  return wanted > 0 && wanted < 100000 ? wanted : 80;
}

std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::clamp(std::round(seconds), 0.0, 1e9));
  if (s >= 3600) return format("%lldh%02lldm", s / 3600, s % 3600 / 60);
  if (s >= 60) return format("%lldm%02llds", s / 60, s % 60);
  return format("%llds", s);
}

void be_quiet(bool wanted) { quiet = wanted; }

void note(const std::string& line) {
  static std::set<std::string> said;
  if (!line.empty() && said.insert(line).second) say_aside("note: ", line);
}

void inform(const std::string& line) {
  if (quiet) return;
  clear_bar();
  std::printf("%s\n", printable(line).c_str());
  std::fflush(stdout);
}

void tell(const Say& say, const std::string& line) { say ? say(line) : say_aside("", line); }

Progress::Progress(std::string label, int64_t begin, int64_t total, double images_per_step, bool is_quiet,
                   const char* step)
    : label_(printable(label)),
      step_(step),
      total_(total),
      last_done_(begin),
      images_per_step_(images_per_step),
      quiet_(is_quiet || quiet),
      terminal_(is_terminal()),
      last_draw_(Clock::now()),
      last_rate_(last_draw_) {}

Progress::~Progress() { clear(); }

void Progress::clear() { clear_bar(); }

void Progress::update(int64_t done, std::optional<double> loss) {
  const auto now = Clock::now();
  const bool last = done >= total_;
  if (quiet_ || (!last && now - last_draw_ < kRedraw)) return;
  if (done > last_done_) {
    const double step =
        std::chrono::duration<double>(now - last_rate_).count() / static_cast<double>(done - last_done_);
    seconds_per_step_ = seconds_per_step_ > 0 ? 0.8 * seconds_per_step_ + 0.2 * step : step;
    last_done_ = done;
    last_rate_ = now;
  }
  if (!terminal_ && !last && now - last_draw_ < kLineEvery) return;
  last_draw_ = now;
  draw(done, loss);
}

void Progress::draw(int64_t done, std::optional<double> loss) {
  const double share = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1;
  const double rate = seconds_per_step_ > 0 ? images_per_step_ / seconds_per_step_ : 0;
  std::string text = format(" %s %lld/%lld", step_, static_cast<long long>(done), static_cast<long long>(total_));
  if (loss) text += format("  loss %.4f", *loss);
  text += format("  %.0f images/s", rate);
  if (done < total_) text += "  " + duration(seconds_per_step_ * static_cast<double>(total_ - done)) + " left";
  if (terminal_) {
    const int64_t room = std::max<int64_t>(terminal_columns() - 1, 0);  // some wrap behind their last column
    const auto left = room - static_cast<int64_t>(display_width(text));
    const int64_t most = std::max(left, kNarrowestLabel);  // the numbers matter more than the rest of a long name
    std::string label = label_;
    if (static_cast<int64_t>(display_width(label)) > most)
      label = cut_to_columns(label, static_cast<size_t>(most - 1)) + "…";
    const std::string line = label + bar(share, left - static_cast<int64_t>(display_width(label))) + text;
    // Without wrapping (DECAWM) while it is drawn: the terminal may become narrower before it has the line.
    std::printf("\r\033[?7l%s\033[K\033[?7h", cut_to_columns(line, static_cast<size_t>(room)).c_str());
  } else {
    std::printf("%s%s\n", label_.c_str(), text.c_str());
  }
  std::fflush(stdout);
  bar_is_drawn = terminal_;
}

void Progress::note(const std::string& line) {
  if (!quiet_) inform(label_ + " " + line);
}

void Progress::skip_time() { last_rate_ = Clock::now(); }

}  // namespace sked

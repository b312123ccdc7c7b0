#include "apps/common/config/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "core/text.h"

namespace sked {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);  // on a terminal
constexpr auto kLineEvery = std::chrono::seconds(10);     // elsewhere
constexpr int64_t kBarWidth = 24, kNarrowestBar = 4;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[160];
  const int length = std::snprintf(text, sizeof text, pattern, args...);
  return std::string(text, static_cast<size_t>(std::clamp(length, 0, static_cast<int>(sizeof text) - 1)));
}

/// Of the terminal, which may have been resized since the last line; else $COLUMNS, else 80.
int64_t columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* said = std::getenv("COLUMNS");
  const long long wanted = said == nullptr ? 0 : std::strtoll(said, nullptr, 10);
  return wanted > 0 && wanted < 100000 ? wanted : 80;
}

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

int64_t characters_of(const std::string& text) { return std::ranges::count_if(text, begins_character); }

/// ` [====    ]` in `room` columns at most; nothing where there is hardly any.
std::string bar(double share, int64_t room) {
  const int64_t width = std::min(kBarWidth, room - 3);
  if (width < kNarrowestBar) return "";
  const auto full = static_cast<int64_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
  return " [" + std::string(static_cast<size_t>(full), '=') + std::string(static_cast<size_t>(width - full), ' ') + "]";
}

}  // namespace

std::string cut_to_columns(const std::string& line, int64_t columns) {
  int64_t characters = 0;
  for (size_t i = 0; i < line.size(); ++i)
    if (begins_character(line[i]) && characters++ == columns) return line.substr(0, i);
  return line;
}

std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::clamp(std::round(seconds), 0.0, 1e9));
  if (s >= 3600) return format("%lldh%02lldm", s / 3600, s % 3600 / 60);
  if (s >= 60) return format("%lldm%02llds", s / 60, s % 60);
  return format("%llds", s);
}

void note(const std::string& line) {
  static std::set<std::string> said;
  if (!line.empty() && said.insert(line).second) std::fprintf(stderr, "note: %s\n", printable(line).c_str());
}

void tell(const Say& say, const std::string& line) {
  say ? say(line) : static_cast<void>(std::fprintf(stderr, "%s\n", printable(line).c_str()));
}

Progress::Progress(std::string label, int64_t begin, int64_t total, double images_per_step, bool quiet,
                   const char* step)
    : label_(printable(label)),
      step_(step),
      total_(total),
      last_done_(begin),
      images_per_step_(images_per_step),
      quiet_(quiet),
      terminal_(isatty(STDOUT_FILENO) != 0),
      last_draw_(Clock::now()),
      last_rate_(last_draw_) {}

Progress::~Progress() { clear(); }

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
    const int64_t room = columns() - 1;  // some terminals wrap after their last column
    const std::string line = label_ + bar(share, room - characters_of(label_ + text)) + text;
    std::printf("\r\033[K%s", cut_to_columns(line, room).c_str());
  } else {
    std::printf("%s%s\n", label_.c_str(), text.c_str());
  }
  std::fflush(stdout);
  drawn_ = terminal_;
}

void Progress::note(const std::string& line) {
  if (quiet_) return;
  clear();
  std::printf("%s %s\n", label_.c_str(), printable(line).c_str());
  std::fflush(stdout);
}

void Progress::skip_time() { last_rate_ = Clock::now(); }

void Progress::clear() {
  if (drawn_) std::printf("\r\033[K");
  std::fflush(stdout);
  drawn_ = false;
}

}  // namespace sked

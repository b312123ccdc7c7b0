#include "apps/common/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sked {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);  // on a terminal
constexpr auto kLineEvery = std::chrono::seconds(10);     // elsewhere
constexpr int kBarWidth = 24;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[160];
  const int length = std::snprintf(text, sizeof text, pattern, args...);
  return std::string(text, static_cast<size_t>(std::clamp(length, 0, static_cast<int>(sizeof text) - 1)));
}

}  // namespace

std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::clamp(std::round(seconds), 0.0, 1e9));
  if (s >= 3600) return format("%lldh%02lldm", s / 3600, s % 3600 / 60);
  if (s >= 60) return format("%lldm%02llds", s / 60, s % 60);
  return format("%llds", s);
}

Progress::Progress(std::string label, int64_t begin, int64_t total, double images_per_step, bool quiet)
    : label_(std::move(label)),
      total_(total),
      last_done_(begin),
      images_per_step_(images_per_step),
      quiet_(quiet),
      terminal_(isatty(STDOUT_FILENO) != 0),
      last_draw_(Clock::now()),
      last_rate_(last_draw_) {}

Progress::~Progress() { clear(); }

void Progress::update(int64_t done, double loss) {
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

void Progress::draw(int64_t done, double loss) {
  const double share = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1;
  const double rate = seconds_per_step_ > 0 ? images_per_step_ / seconds_per_step_ : 0;
  std::string line = label_;
  if (terminal_) {
    const int full = static_cast<int>(share * kBarWidth);
    line += " [" + std::string(static_cast<size_t>(full), '=') +
            std::string(static_cast<size_t>(kBarWidth - full), ' ') + "]";
  }
  line += format(" step %lld/%lld  loss %.4f  %.0f images/s", static_cast<long long>(done),
                 static_cast<long long>(total_), loss, rate);
  if (done < total_) line += "  " + duration(seconds_per_step_ * static_cast<double>(total_ - done)) + " left";
  std::printf(terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stdout);
  drawn_ = terminal_;
}

void Progress::note(const std::string& line) {
  if (quiet_) return;
  clear();
  std::printf("%s %s\n", label_.c_str(), line.c_str());
  std::fflush(stdout);
}

void Progress::skip_time() { last_rate_ = Clock::now(); }

void Progress::clear() {
  if (drawn_) std::printf("\r\033[K");
  std::fflush(stdout);
  drawn_ = false;
}

}  // namespace sked

#include "apps/common/measure/plots.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <thread>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/html.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kColors[] = {"#4269d0", "#e8743b", "#3ca951", "#a463f2",
                                   "#97bbf5", "#9c6b4e", "#ff8ab7", "#6cc5b0"};

constexpr size_t kMaxSvgBytes = size_t{1} << 26;
constexpr auto kLongestDrawing = std::chrono::seconds(60);
constexpr int64_t kLongestTitle = 72, kLongestName = 40;  // characters that fit

/// What fits of a name, as a page shows it.
std::string shown(const std::string& name, int64_t longest) {
  const std::string whole = printable(name), kept = cut_to_columns(whole, static_cast<size_t>(longest));
  return kept.size() < whole.size() ? kept + "…" : whole;
}

/// A gnuplot string constant: in double quotes, ASCII but letters, digits and spaces as octal codes (of four digits,
/// which gnuplot reads after a leading 0), so that nothing in a name has a meaning to gnuplot (in single quotes it
/// misreads a quote at the beginning).
std::string in_quotes(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    char code[8];
    std::snprintf(code, sizeof code, "\\%04o", static_cast<unsigned>(byte));
    result += byte >= 0x80 || byte == ' ' || std::isalnum(byte) ? std::string(1, c) : code;
  }
  return result + "\"";
}

std::string quoted_title(const std::string& text) { return in_quotes(shown(text, kLongestTitle)); }

/// Labels of tics are formats for the position, in which a % is two.
std::string quoted_tic(const std::string& name) {
  std::string format;
  for (char c : shown(name, kLongestName)) format.append(c == '%' ? 2 : 1, c);
  return in_quotes(format);
}

void write_header(std::ostream& out, const Plot& plot) {
  out << "set encoding utf8\nset terminal svg size 560,380 dynamic font 'sans-serif,12'\n"
      << "set title " << quoted_title(plot.title) << " noenhanced\n"
      << "set xlabel " << quoted_title(plot.x_label)
      << (plot.x_label.empty() ? "" : ".\"\\n \"")  // a line of space before the key
      << " noenhanced\nset ylabel " << quoted_title(plot.y_label) << " noenhanced\n"
      << "set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key outside bottom center horizontal "
         "noenhanced\n";
  if (plot.unit_square) out << "set xrange [0:1]\nset yrange [0:1]\n";
  if (plot.categories.empty()) return;
  out << "set xrange [-0.5:" << static_cast<double>(plot.categories.size()) - 0.5 << "]\nset xtics (";
  for (size_t i = 0; i < plot.categories.size(); ++i)
    out << (i ? ", " : "") << quoted_tic(plot.categories[i]) << ' ' << i;
  out << ") noenhanced\n";
}

bool drawable(const Series& series, size_t i) {
  return std::isfinite(series.x[i]) && std::isfinite(series.y[i]) &&
         (series.error.empty() || std::isfinite(series.error[i]));
}

bool empty(const Series& series) {
  for (size_t i = 0; i < series.x.size(); ++i)
    if (drawable(series, i)) return false;
  return true;
}

std::string color_of(size_t series) { return std::string("lc rgb '") + kColors[series % std::size(kColors)] + "'"; }

std::string script_of(const Plot& plot) {
  std::ostringstream out;
  out.precision(9);
  write_header(out, plot);
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    out << "$d" << s << " << EOD\n";
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series, i)) continue;
      out << series.x[i] << ' ' << series.y[i] << ' ' << (series.error.empty() ? 0.0 : series.error[i]) << '\n';
    }
    out << "EOD\n";
  }
  // Without a point gnuplot has no range to draw.
  if (std::all_of(plot.series.begin(), plot.series.end(), empty)) out << "set xrange [0:1]\nset yrange [0:1]\n";
  out << "plot " << (plot.diagonal ? "x with lines lc rgb '#999999' dt 2 title 'perfectly calibrated'" : "NaN notitle");
  // Behind the points; the terminal would put white discs below those of its own error bars.
  for (size_t s = 0; s < plot.series.size(); ++s)
    if (!empty(plot.series[s]) && !plot.series[s].error.empty())
      out << ", $d" << s << " using 1:($2-$3):(0):(2*$3) with vectors nohead lw 1.5 " << color_of(s) << " notitle";
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const std::string color = color_of(s);
    const char* style = plot.categories.empty() ? "with linespoints lw 2 pt 7 ps 0.4 " : "with points pt 7 ps 1.2 ";
    out << ", " << (empty(plot.series[s]) ? "NaN " : "$d" + std::to_string(s) + " using 1:2 ") << style << color
        << " title " << in_quotes(shown(plot.series[s].name, kLongestName));
  }
  out << '\n';
  return out.str();
}

/// A file in memory alone: what gnuplot reads and writes needs no folder, and a pipe could fill on both sides.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("gnuplot", MFD_CLOEXEC)) {
    if (descriptor_ < 0) fail_now();
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }
  void fill(const std::string& text) const {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = ::pwrite(descriptor_, text.data() + done, text.size() - done, static_cast<off_t>(done));
      if (n <= 0) fail_now();
      done += static_cast<size_t>(n);
    }
  }
  std::string contents() const {
    std::string text;
    char buffer[65536];
    for (;;) {
      const ssize_t n = ::pread(descriptor_, buffer, sizeof buffer, static_cast<off_t>(text.size()));
      if (n < 0) fail_now();
      if (n == 0) return text;
      text.append(buffer, static_cast<size_t>(n));
      require(text.size() <= kMaxSvgBytes, "report", "gnuplot wrote more than ", kMaxSvgBytes, " bytes");
    }
  }

 private:
  [[noreturn]] static void fail_now() {
    const int error = errno;
    fail("report", "no memory to draw in: ", std::strerror(error));
  }
  int descriptor_;
};

/// Its exit status as waitpid() has it. One that hangs is ended, and so is one that nobody waits for any more.
int wait_for(pid_t child) {
  int status = 0;
  const auto last = std::chrono::steady_clock::now() + kLongestDrawing;
  while (waitpid(child, &status, WNOHANG) == 0) {
    const bool late = std::chrono::steady_clock::now() > last;
    if (late || interrupted()) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      require(!late, "report", "gnuplot took longer than ", kLongestDrawing.count(), " s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return status;
}

/// The <svg> element that gnuplot makes of a script.
std::string svg_of(const std::string& script) {
  const MemoryFile in, out, words;
  in.fill(script);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, words.descriptor(), STDERR_FILENO);  // its warnings are no picture
  char program[] = "gnuplot", defaults[] = "-d";  // -d: whatever the user's ~/.gnuplot says
  char* const argv[] = {program, defaults, nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, program, &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  require(error != ENOENT, "report", "gnuplot was not found");
  require(error == 0, "report", "gnuplot cannot be started: ", std::strerror(error));
  const int status = wait_for(child);
  if (status != 0 && interrupted()) throw Interrupted();
  const std::string svg = out.contents();
  const size_t begin = svg.find("<svg"), end = svg.rfind("</svg>");
  const bool whole = begin != std::string::npos && end != std::string::npos && begin < end;
  require(status == 0 && whole, "report",
          status == 0 ? "gnuplot made no <svg> element: " : "gnuplot failed: ", excerpt(trimmed(words.contents())));
  return svg.substr(begin);
}

/// What gnuplot draws in black takes the color of the page's text, its pale grid one that suits dark pages too; texts
/// are left as they are: a tag begins at `<`, which no text has.
std::string in_colors_of_page(const std::string& svg) {
  static const std::pair<std::string, std::string> kReplaced[] = {{"stroke='black'", "stroke='currentColor'"},
                                                                  {"stroke=\"black\"", "stroke=\"currentColor\""},
                                                                  {"fill=\"black\"", "fill=\"currentColor\""},
                                                                  {"fill='black'", "fill='currentColor'"},
                                                                  {" color=\"black\"", ""},
                                                                  {"rgb(221, 221, 221)", "rgba(128,128,128,0.35)"}};
  std::string result;
  for (size_t begin = 0; begin < svg.size();) {
    const size_t tag = std::min(svg.find('<', begin), svg.size()), end = std::min(svg.find('>', tag), svg.size());
    result += svg.substr(begin, tag - begin);
    std::string inside = svg.substr(tag, end - tag);
    for (const auto& [from, to] : kReplaced)
      for (size_t at = inside.find(from); at != std::string::npos; at = inside.find(from, at + to.size()))
        inside.replace(at, from.size(), to);
    result += inside;
    begin = end;
  }
  return result;
}

}  // namespace

std::string why_no_plots() {
  try {
    draw({.title = "", .x_label = "", .y_label = "", .series = {{.name = "", .x = {0}, .y = {0}}}});
    return "";
  } catch (const Error& error) {
    return std::string(error.what()).substr(std::strlen("[report] "));
  }
}

std::string draw(const Plot& plot) {
  const std::string svg = in_colors_of_page(svg_of(script_of(plot))), title = escaped(shown(plot.title, kLongestTitle));
  return "<svg role=\"img\" aria-label=\"" + title + "\"" + svg.substr(std::strlen("<svg"));
}

}  // namespace sked

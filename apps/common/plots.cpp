#include "apps/common/plots.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "apps/common/interrupt.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kColors[] = {"#4269d0", "#e8743b", "#3ca951", "#a463f2",
                                   "#97bbf5", "#9c6b4e", "#ff8ab7", "#6cc5b0"};

constexpr uint64_t kMaxSvgBytes = uint64_t{1} << 26;

/// A gnuplot string constant: in double quotes, ASCII but letters, digits and spaces as octal codes (of four digits,
/// which gnuplot reads after a leading 0), so that nothing in a name has a meaning to gnuplot (in single quotes it
/// misreads a quote at the beginning). Control characters, which have no place in SVG, become spaces.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    char code[8];
    std::snprintf(code, sizeof code, "\\%04o", static_cast<unsigned>(byte));
    if (byte < ' ' || byte == 0x7f)
      result += ' ';
    else if (byte >= 0x80 || byte == ' ' || std::isalnum(byte))
      result += c;
    else
      result += code;
  }
  return result + "\"";
}

void write_header(std::ostream& out, const Plot& plot) {
  out << "set encoding utf8\nset terminal svg size 560,380 dynamic font 'sans-serif,12' background '#ffffff'\n"
      << "set title " << quoted(plot.title) << " noenhanced\n"
      << "set xlabel " << quoted(plot.x_label) << " noenhanced\nset ylabel " << quoted(plot.y_label) << " noenhanced\n"
      << "set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key outside bottom center horizontal "
         "noenhanced\n";
  if (plot.unit_square) out << "set xrange [0:1]\nset yrange [0:1]\n";
  if (plot.categories.empty()) return;
  out << "set xrange [-0.5:" << static_cast<double>(plot.categories.size()) - 0.5 << "]\nset xtics (";
  for (size_t i = 0; i < plot.categories.size(); ++i) out << (i ? ", " : "") << quoted(plot.categories[i]) << ' ' << i;
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
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const std::string color = std::string("lc rgb '") + kColors[s % std::size(kColors)] + "'";
    const char* style = plot.categories.empty() ? "with linespoints lw 2 pt 7 ps 0.4 " : "with points pt 7 ps 1.2 ";
    const bool none = empty(plot.series[s]);
    out << ", " << (none ? "NaN " : "$d" + std::to_string(s) + " using 1:2 ") << style << color << " title "
        << quoted(plot.series[s].name);
    if (!none && !plot.series[s].error.empty())
      out << ", $d" << s << " using 1:2:3 with yerrorbars lw 1.5 pt 7 ps 0 " << color << " notitle";
  }
  out << '\n';
  return out.str();
}

/// A folder of its own for one drawing.
class Scratch {
 public:
  Scratch() : path_((std::filesystem::temp_directory_path() / "skedastic-plot-XXXXXX").string()) {
    require(mkdtemp(path_.data()) != nullptr, "report", "cannot make the folder ", path_, ": ", std::strerror(errno));
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string output_of(const std::string& command, int& status) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return status = -1, text;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  status = pclose(pipe);
  return text;
}

}  // namespace

bool can_plot() {
  int status = 0;
  output_of("command -v gnuplot", status);
  return status == 0;
}

std::string draw(const Plot& plot) {
  const Scratch scratch;
  write_file(scratch.file("plot.gp"), script_of(plot));
  int status = 0;
  // -d: whatever the user's ~/.gnuplot says. Its warnings must not end up in the picture.
  const std::string words =
      output_of("cd " + shell_word(scratch.file("")) + " && gnuplot -d plot.gp 2>&1 >plot.svg", status);
  if (status != 0 && interrupted()) throw Interrupted();
  require(status == 0, "report", "gnuplot failed: ", excerpt(words));
  const std::string svg = read_file(scratch.file("plot.svg"), kMaxSvgBytes);
  const size_t begin = svg.find("<svg");
  require(begin != std::string::npos, "report", "gnuplot made no <svg> element: ", excerpt(words));
  return svg.substr(begin);
}

}  // namespace sked

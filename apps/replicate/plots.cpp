#include "apps/replicate/plots.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <unistd.h>

#include "core/error.h"
#include "core/file.h"

namespace sked {
namespace {

constexpr const char* kColors[] = {"#4269d0", "#e8743b", "#3ca951", "#a463f2",
                                   "#97bbf5", "#9c6b4e", "#ff8ab7", "#6cc5b0"};

/// A gnuplot string constant: single quotes, doubled inside; line ends would end the command.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (char c : text) result += c == '\'' ? std::string("''") : std::string(1, c == '\n' ? ' ' : c);
  return result + "'";
}

void write_header(std::ostream& out, const Plot& plot) {
  out << "set terminal svg size 560,380 dynamic font 'sans-serif,12' background '#ffffff'\n"
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

std::string script_of(const Plot& plot) {
  std::ostringstream out;
  out.precision(9);
  write_header(out, plot);
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    out << "$d" << s << " << EOD\n";
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i])) continue;
      out << series.x[i] << ' ' << series.y[i] << ' ' << (series.error.empty() ? 0.0 : series.error[i]) << '\n';
    }
    out << "EOD\n";
  }
  out << "plot ";
  if (plot.diagonal) out << "x with lines lc rgb '#999999' dt 2 title 'perfectly calibrated', ";
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const std::string color = std::string("lc rgb '") + kColors[s % std::size(kColors)] + "'";
    const char* style = plot.categories.empty() ? "with linespoints lw 2 pt 7 ps 0.4 " : "with points pt 7 ps 1.2 ";
    out << (s ? ", " : "") << "$d" << s << " using 1:2 " << style << color << " title " << quoted(plot.series[s].name);
    if (!plot.series[s].error.empty())
      out << ", $d" << s << " using 1:2:3 with yerrorbars lw 1.5 pt 0 " << color << " notitle";
  }
  out << '\n';
  return out.str();
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
  const std::filesystem::path script =
      std::filesystem::temp_directory_path() / ("skedastic-plot-" + std::to_string(getpid()) + ".gp");
  write_file(script.string(), script_of(plot));
  int status = 0;
  const std::string svg = output_of("gnuplot '" + script.string() + "' 2>&1", status);
  std::filesystem::remove(script);
  const size_t begin = svg.find("<svg");
  require(status == 0 && begin != std::string::npos, "report", "gnuplot failed: ", svg.substr(0, 300));
  return svg.substr(begin);
}

}  // namespace sked

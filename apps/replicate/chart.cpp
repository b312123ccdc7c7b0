#include "apps/replicate/chart.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "apps/replicate/svg.h"

namespace sked {
namespace {

constexpr double kLeft = 70, kRight = 408, kTop = 34, kBottom = 254, kLegendStep = 18;
constexpr size_t kNamed = 27, kTitle = 56, kLabel = 44;
// Of which neighbors differ in lightness too, on light pages and on dark ones.
constexpr std::array kColors = {"#3d7dca", "#d1495b", "#2e9a63", "#c8901a", "#8e6bbf", "#4fa8b8", "#b5651d", "#888888"};

/// An axis: values to pixels.
struct Axis {
  double low, high, from, to;
  bool log;
  double at(double value) const {
    const double share = log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + std::clamp(share, -0.05, 1.05) * (to - from);
  }
  bool takes(double value) const { return std::isfinite(value) && (!log || value > 0); }
};

/// Around all of `values`, with a little space.
Axis axis_of(std::vector<double> values, double from, double to, bool log) {
  Axis axis{0, 1, from, to, log};
  std::erase_if(values, [&](double value) { return !axis.takes(value); });
  const auto [least, most] = std::ranges::minmax_element(values);
  axis.low = values.empty() ? 1 : *least, axis.high = values.empty() ? 1 : *most;
  if (log) {
    const double factor = std::max(std::pow(axis.high / axis.low, 0.06), 1.1);
    axis.low /= factor, axis.high *= factor;
  } else {
    double space = 0.06 * (axis.high - axis.low);
    if (!(space > 1e-12 * std::abs(axis.high))) space = std::max(0.1 * std::abs(axis.high), 1e-12);
    axis.low -= space, axis.high += space;
  }
  return axis;
}

std::string grid(const Axis& x, const Axis& y, const Plot& plot) {
  std::string text = "<g fill=\"currentColor\">\n";
  for (const double at : ticks(x.low, x.high, x.log))
    text += svg_line(x.at(at), kTop, x.at(at), kBottom, 1, 0.15) +
            svg_text(x.at(at), kBottom + 15, tick_text(at), "middle", 11);
  for (const double at : ticks(y.low, y.high, y.log))
    text += svg_line(kLeft, y.at(at), kRight, y.at(at), 1, 0.15) +
            svg_text(kLeft - 5, y.at(at) + 4, tick_text(at), "end", 11);
  text += svg_line(kLeft, kBottom, kRight, kBottom, 1, 0.6) + svg_line(kLeft, kTop, kLeft, kBottom, 1, 0.6);
  text += svg_text((kLeft + kRight) / 2, kBottom + 32, fitting(plot.x_label, kLabel), "middle");
  return text + "<g transform=\"translate(12 " + svg_number((kTop + kBottom) / 2) + ") rotate(-90)\">" +
         svg_text(0, 0, fitting(plot.y_label, kLabel - 10), "middle") + "</g>\n</g>\n";
}

/// A shape of its own for each series, beside its color.
std::string mark(double x, double y, size_t series) {
  const std::string at = svg_number(x) + " " + svg_number(y);
  switch (series % 4) {
    case 0:
      return "<circle cx=\"" + svg_number(x) + "\" cy=\"" + svg_number(y) + "\" r=\"4\"/>";
    case 1:
      return "<path d=\"M" + at + "m-4 -4h8v8h-8z\"/>";
    case 2:
      return "<path d=\"M" + at + "m0 -5l5 9h-10z\"/>";
    default:
      return "<path d=\"M" + at + "m0 -5l5 5l-5 5l-5 -5z\"/>";
  }
}

std::string series_svg(const Series& series, size_t index, const Axis& x, const Axis& y) {
  const std::string color = kColors[index % kColors.size()];
  std::string line, marks;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!x.takes(series.x[i]) || !y.takes(series.y[i])) continue;
    const double px = x.at(series.x[i]), py = y.at(series.y[i]);
    line += (line.empty() ? "M" : "L") + svg_number(px) + " " + svg_number(py);
    marks += mark(px, py, index);
    const double error = i < series.error.size() && std::isfinite(series.error[i]) ? series.error[i] : 0;
    if (error > 0 && y.takes(series.y[i] - error))
      marks += "<path d=\"M" + svg_number(px) + " " + svg_number(y.at(series.y[i] - error)) + "V" +
               svg_number(y.at(series.y[i] + error)) + "\" stroke=\"" + color + "\" stroke-width=\"1.5\"/>";
    marks += "\n";
  }
  return "<path d=\"" + line + "\" fill=\"none\" stroke=\"" + color + "\" stroke-width=\"1.5\"/>\n<g fill=\"" + color +
         "\">" + marks + "</g>\n";
}

std::string legend(const Plot& plot) {
  std::string text;
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const double left = i % 2 == 0 ? 14 : kFigureWidth / 2 + 8;
    const double y = kBottom + 54 + static_cast<double>(i / 2) * kLegendStep;
    text += "<g fill=\"" + std::string(kColors[i % kColors.size()]) + "\">" + mark(left, y - 4, i) + "</g>" +
            svg_text(left + 10, y, fitting(plot.series[i].name, kNamed));
  }
  return text;
}

/// `NLL against τ. fixed: (0.3, 0.41), (1, 0.39); learned: …`
std::string in_words(const Plot& plot) {
  constexpr size_t kMostPoints = 20;
  std::string text = plot.title + ": " + plot.y_label + " against " + plot.x_label;
  for (const Series& series : plot.series) {
    text += "; " + series.name + ":";
    for (size_t i = 0; i < std::min(series.x.size(), kMostPoints); ++i)
      text += " (" + svg_number(series.x[i]) + ", " + svg_number(series.y[i]) + ")";
  }
  return text;
}

}  // namespace

std::string chart_svg(const Plot& plot, const LogAxes& log) {
  std::vector<double> xs, ys;
  for (const Series& series : plot.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      const double error = i < series.error.size() && std::isfinite(series.error[i]) ? series.error[i] : 0;
      xs.push_back(series.x[i]);
      for (const double y : {series.y[i] - error, series.y[i] + error}) ys.push_back(y);
    }
  }
  if (plot.unit_square) xs = ys = {0, 1};
  const Axis x = axis_of(xs, kLeft, kRight, log.x), y = axis_of(ys, kBottom, kTop, log.y);
  std::string content = svg_text(kFigureWidth / 2, 18, fitting(plot.title, kTitle), "middle", 13) + grid(x, y, plot);
  if (plot.diagonal) content += svg_line(x.at(0), y.at(0), x.at(1), y.at(1), 1, 0.5, "stroke-dasharray=\"4 4\"");
  for (size_t i = 0; i < plot.series.size(); ++i) content += series_svg(plot.series[i], i, x, y);
  const double rows = std::ceil(static_cast<double>(plot.series.size()) / 2);
  return svg_figure(kBottom + 44 + rows * kLegendStep, in_words(plot), content + legend(plot));
}

}  // namespace sked

#include <algorithm>
#include <cmath>

#include "apps/replicate/chart.h"
#include "apps/replicate/svg.h"

namespace sked {
namespace {

constexpr double kEdge = 14, kTop = 50, kRow = 34;
constexpr size_t kTitle = 56, kLabel = 44, kOutcome = 16;

/// From the least to the most that has to be seen: all 95 % intervals, and the wider ones up to as much again.
struct Scale {
  double low = 0, high = 0;
  explicit Scale(const Forest& forest) {
    low = std::min(0.0, forest.claimed_from);
    for (const ForestRow& row : forest.rows)
      if (row.drawn) low = std::min(low, row.mean - row.half_95), high = std::max(high, row.mean + row.half_95);
    const double least = low, most = high, span = high - low;
    for (const ForestRow& row : forest.rows)
      if (row.drawn) {
        low = std::min(low, std::max(row.mean - row.half, least - span / 2));
        high = std::max(high, std::min(row.mean + row.half, most + span / 2));
      }
    const double space = high > low ? 0.04 * (high - low) : 1;
    low -= space, high += space;
  }
  double at(double value) const {
    return kEdge + std::clamp((value - low) / (high - low), 0.0, 1.0) * (kFigureWidth - 2 * kEdge);
  }
};

std::string row_svg(const ForestRow& row, double y, const Scale& scale) {
  std::string text = svg_text(kEdge, y, fitting(row.label, kLabel)) +
                     svg_text(kFigureWidth - kEdge, y, fitting(row.outcome, kOutcome), "end");
  if (!row.drawn) return text;
  const double line = y + 11;
  return text + svg_line(scale.at(row.mean - row.half), line, scale.at(row.mean + row.half), line, 1.5) +
         svg_line(scale.at(row.mean - row.half_95), line, scale.at(row.mean + row.half_95), line, 5, 0.55) +
         "<circle cx=\"" + svg_number(scale.at(row.mean)) + "\" cy=\"" + svg_number(line) + "\" r=\"4.5\"/>\n";
}

}  // namespace

std::string forest_svg(const Forest& forest) {
  const Scale scale(forest);
  const double bottom = kTop + kRow * static_cast<double>(forest.rows.size()) - 6;
  const double zero = scale.at(0), claimed = scale.at(forest.claimed_from);
  std::string content = svg_text(kFigureWidth / 2, 16, fitting(forest.title, kTitle), "middle", 13);
  content += "<rect x=\"" + svg_number(claimed) + "\" y=\"" + svg_number(kTop - 12) + "\" width=\"" +
             svg_number(kFigureWidth - kEdge - claimed) + "\" height=\"" + svg_number(bottom - kTop + 12) +
             "\" fill=\"#2e9a63\" fill-opacity=\"0.13\"/>\n" +
             svg_text(kFigureWidth - kEdge, kTop - 18, "as claimed →", "end", 11) +
             svg_line(zero, kTop - 12, zero, bottom, 1, 0.7);
  std::string words = forest.title;
  for (size_t i = 0; i < forest.rows.size(); ++i) {
    const ForestRow& row = forest.rows[i];
    content += row_svg(row, kTop + 2 + kRow * static_cast<double>(i), scale);
    words += (i == 0 ? ": " : "; ") + row.label + " ";
    if (row.drawn)
      words +=
          svg_number(row.mean) + " (" + svg_number(row.mean - row.half) + ", " + svg_number(row.mean + row.half) + ") ";
    words += row.outcome;
  }
  content += svg_line(kEdge, bottom, kFigureWidth - kEdge, bottom, 1, 0.6);
  for (const double at : ticks(scale.low, scale.high))
    content += svg_line(scale.at(at), bottom, scale.at(at), bottom + 4, 1, 0.6) +
               svg_text(scale.at(at), bottom + 17, tick_text(at), "middle", 11);
  return svg_figure(bottom + 24, words, content);
}

}  // namespace sked

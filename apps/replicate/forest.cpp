#include <algorithm>
#include <cmath>

#include "apps/replicate/chart.h"
#include "apps/replicate/svg.h"
#include "core/text.h"

namespace sked {
namespace {

// Labels lie above their bands over the whole width, outcomes beside the bands: nothing is drawn through a word.
constexpr double kEdge = 14, kTop = 34, kLine = 15, kBand = 20, kBandEnd = 316, kGap = 7;
constexpr size_t kTitle = 56, kLabel = 56, kMostLines = 2, kOutcome = 13, kMostTicks = 5;

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
    return kEdge + std::clamp((value - low) / (high - low), 0.0, 1.0) * (kBandEnd - kEdge);
  }
};

/// In a few lines, the last cut where it is longer.
std::vector<std::string> label_lines(const std::string& label) {
  std::vector<std::string> lines;
  const std::string text = wrapped(printable(label), kLabel);
  for (size_t begin = 0; begin <= text.size() && lines.size() < kMostLines;) {
    const size_t end = lines.size() + 1 < kMostLines ? std::min(text.find('\n', begin), text.size()) : text.size();
    lines.push_back(fitting(text.substr(begin, end - begin), kLabel));
    begin = end + 1;
  }
  return lines;
}

std::string band_svg(const ForestRow& row, double top, const Scale& scale, double claimed_from) {
  const double claimed = scale.at(claimed_from), zero = scale.at(0), line = top + kBand / 2;
  std::string text = "<rect x=\"" + svg_number(claimed) + "\" y=\"" + svg_number(top) + "\" width=\"" +
                     svg_number(kBandEnd - claimed) + "\" height=\"" + svg_number(kBand) +
                     "\" fill=\"#2e9a63\" fill-opacity=\"0.16\"/>\n" + svg_line(zero, top, zero, top + kBand, 1, 0.7) +
                     svg_text(kBandEnd + 8, line + 4, fitting(row.outcome, kOutcome));
  if (!row.drawn) return text;
  return text + svg_line(scale.at(row.mean - row.half), line, scale.at(row.mean + row.half), line, 1.5) +
         svg_line(scale.at(row.mean - row.half_95), line, scale.at(row.mean + row.half_95), line, 5, 0.55) +
         "<circle cx=\"" + svg_number(scale.at(row.mean)) + "\" cy=\"" + svg_number(line) + "\" r=\"4.5\"/>\n";
}

}  // namespace

std::string forest_svg(const Forest& forest) {
  const Scale scale(forest);
  std::string content = svg_text(kFigureWidth / 2, 16, fitting(forest.title, kTitle), "middle", 13);
  std::string words = forest.title;
  double y = kTop;
  for (size_t i = 0; i < forest.rows.size(); ++i) {
    const ForestRow& row = forest.rows[i];
    for (const std::string& line : label_lines(row.label)) content += svg_text(kEdge, y + 8, line), y += kLine;
    content += band_svg(row, y, scale, forest.claimed_from);
    y += kBand + kGap;
    words += (i == 0 ? ": " : "; ") + row.label + " ";
    if (row.drawn)
      words +=
          svg_number(row.mean) + " (" + svg_number(row.mean - row.half) + ", " + svg_number(row.mean + row.half) + ") ";
    words += row.outcome;
  }
  content += svg_line(kEdge, y, kBandEnd, y, 1, 0.6);
  const std::vector<double> marks = ticks(scale.low, scale.high);
  for (const double at : marks)
    if (marks.size() <= kMostTicks || std::lround(at / (marks[1] - marks[0])) % 2 == 0)  // 0 always
      content += svg_line(scale.at(at), y, scale.at(at), y + 4, 1, 0.6) +
                 svg_text(scale.at(at), y + 17, tick_text(at), "middle", 11);
  content += svg_text(kBandEnd, y + 32, "as claimed →", "end", 11);
  return svg_figure(y + 38, words, content);
}

}  // namespace sked

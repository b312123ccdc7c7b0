#include "apps/common/measure/heat_map.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "apps/common/measure/html.h"
#include "apps/common/measure/raster.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kMostSquares = 300;
constexpr int kLevels = 20;  // shades of each color
constexpr Color kAbove = 0xd1495b, kBelow = 0x3d7dca;
constexpr int64_t kPixels = 240, kMargin = 8;  // of a picture: of all squares together; around them
constexpr size_t kLongestName = 18;            // characters that fit beside the squares
constexpr double kSide = 420, kTop = 34;       // of all squares together; the title's place
constexpr double kNames = 122, kLegend = 46;

constexpr const char* kStyle =
    "<style>svg { color: #222 } @media (prefers-color-scheme: dark) { svg { color: #ddd } }</style>\n";

/// Means of blocks, so that at most kMostSquares stand side by side.
std::vector<double> squares_of(const Tensor& values, int64_t& side) {
  const int64_t classes = values.dim(0), block = (classes + kMostSquares - 1) / kMostSquares;
  side = (classes + block - 1) / block;
  std::vector<double> sums(static_cast<size_t>(side * side)), counts(sums.size());
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = 0; j < classes; ++j) {
      const auto square = static_cast<size_t>(i / block * side + j / block);
      sums[square] += static_cast<double>(values.data<float>()[i * classes + j]);
      ++counts[square];
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] /= counts[i];
  return sums;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

int level_of(double value, double limit) {
  return static_cast<int>(std::lround(std::clamp(value / limit, -1.0, 1.0) * kLevels));
}

Color color_of(int level) { return level > 0 ? kAbove : kBelow; }
double opacity_of(int level) { return std::abs(level) / static_cast<double>(kLevels); }

std::string fill_of(int level) {
  char color[8];
  std::snprintf(color, sizeof color, "#%06x", color_of(level));
  return "fill=\"" + std::string(color) + "\" fill-opacity=\"" + number(opacity_of(level)) + "\"";
}

/// One path for all squares of a shade, in units of a square.
std::string squares(const std::vector<double>& values, int64_t side, double limit) {
  std::map<int, std::string> paths;
  for (int64_t i = 0; i < side; ++i) {
    for (int64_t j = 0; j < side; ++j) {
      const int level = level_of(values[static_cast<size_t>(i * side + j)], limit);
      if (level != 0) paths[level] += "M" + std::to_string(j) + " " + std::to_string(i) + "h1v1h-1z";
    }
  }
  std::string text;
  for (const auto& [level, path] : paths) text += "<path " + fill_of(level) + " d=\"" + path + "\"/>\n";
  return text;
}

std::string names(const std::vector<std::string>& all) {
  const double step = kSide / static_cast<double>(all.size()), size = std::clamp(0.8 * step, 5.0, 12.0);
  std::string text = "<g fill=\"currentColor\" font-size=\"" + number(size) + "\">\n";
  for (size_t k = 0; k < all.size(); ++k) {
    const std::string whole = printable(all[k]), kept = cut_to_columns(whole, kLongestName);
    const std::string name = escaped(kept.size() < whole.size() ? kept + "…" : whole);
    const double middle = (static_cast<double>(k) + 0.5) * step;
    text += "<text text-anchor=\"end\" x=\"" + number(kNames - 5) + "\" y=\"" + number(kTop + middle + 0.35 * size) +
            "\">" + name + "</text>\n<text text-anchor=\"end\" transform=\"translate(" +
            number(kNames + middle + 0.35 * size) + " " + number(kTop + kSide + 6) + ") rotate(-90)\">" + name +
            "</text>\n";
  }
  return text + "</g>\n";
}

/// −limit … limit, or 0 … limit, and their colors.
std::string legend(double left, double top, const HeatMap& map) {
  std::string text;
  const int lowest = map.below_zero ? -kLevels : 0;
  const double width = kSide / (kLevels - lowest + 1);
  for (int level = lowest; level <= kLevels; ++level)
    if (level != 0)
      text += "<rect x=\"" + number(left + (level - lowest) * width) + "\" y=\"" + number(top) + "\" width=\"" +
              number(width) + "\" height=\"10\" " + fill_of(level) + "/>";
  text += "\n<g fill=\"currentColor\" font-size=\"11\" text-anchor=\"middle\">";
  const auto label = [&](double share, const std::string& value) {
    text += "<text x=\"" + number(left + share * kSide) + "\" y=\"" + number(top + 23) + "\">" + value + "</text>";
  };
  char most[32];
  std::snprintf(most, sizeof most, "%.2g", map.limit);
  if (map.below_zero) label(0, std::string("−") + most);
  label(map.below_zero ? 0.5 : 0, "0");
  label(1, most);
  return text + "</g>\n";
}

}  // namespace

std::string heat_map_svg(const HeatMap& map) {
  const int64_t classes = map.values.dim(0);
  require(classes > 0 && map.values.dim(1) == classes && map.names.size() == static_cast<size_t>(classes), "heat map",
          "expected a name for each row and column, got ", map.names.size(), " for ", map.values);
  int64_t side = 0;
  const std::vector<double> values = squares_of(map.values, side);
  const bool named = classes <= kMostNamedClasses;
  const double height = kTop + kSide + (named ? kNames : 14) + kLegend, width = kNames + kSide + 14;
  const std::string title = escaped(map.title);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + number(width) + " " + number(height) +
         "\" role=\"img\" aria-label=\"" + title + ", " + std::to_string(classes) +
         " classes\" font-family=\"sans-serif\">\n<title>" + title + "</title>\n" + kHeatMapMark + "\n" +
         (map.alone ? kStyle : "") + "<text x=\"" + number(kNames + kSide / 2) +
         "\" y=\"20\" font-size=\"14\" text-anchor=\"middle\" fill=\"currentColor\">" + title + "</text>\n" +
         "<g shape-rendering=\"crispEdges\" transform=\"translate(" + number(kNames) + " " + number(kTop) + ") scale(" +
         number(kSide / static_cast<double>(side)) + ")\">\n" + squares(values, side, map.limit) + "</g>\n" +
         "<rect x=\"" + number(kNames) + "\" y=\"" + number(kTop) + "\" width=\"" + number(kSide) + "\" height=\"" +
         number(kSide) + "\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.4\"/>\n" +
         (named ? names(map.names) : "") + legend(kNames, height - kLegend + 8, map) + "</svg>\n";
}

Tensor heat_map_picture(const Tensor& values, double limit) {
  require(values.ndim() == 2 && values.dim(0) > 0 && values.dim(0) == values.dim(1), "heat map",
          "expected values (K,K), got ", values);
  int64_t side = 0;
  const std::vector<double> squares = squares_of(values, side);
  const int64_t square = std::max<int64_t>(1, kPixels / side), end = kMargin + square * side;
  Tensor picture = white_picture(end + kMargin, end + kMargin);
  fill(picture, kMargin - 1, kMargin - 1, end + 1, end + 1, over_white(0, 0.4));
  for (int64_t i = 0; i < side; ++i) {
    for (int64_t j = 0; j < side; ++j) {
      const int level = level_of(squares[static_cast<size_t>(i * side + j)], limit);
      const int64_t top = kMargin + i * square, left = kMargin + j * square;
      fill(picture, top, left, top + square, left + square, over_white(color_of(level), opacity_of(level)));
    }
  }
  return picture;
}

}  // namespace sked

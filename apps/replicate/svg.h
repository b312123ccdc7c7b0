#pragma once
// What figures drawn by ourselves are made of: SVG in the page's own colors, readable on a phone.

#include <string>
#include <vector>

namespace sked {

inline constexpr double kFigureWidth = 420;  // of the view box; text of 12 is readable on 390 pixels

/// A number as an attribute has it, of 5 digits.
std::string svg_number(double value);

/// Text of at most so many columns, cut with an ellipsis.
std::string fitting(const std::string& text, size_t columns);

/// <text>: `anchor` is start, middle or end.
std::string svg_text(double x, double y, const std::string& text, const char* anchor = "start", double size = 12);

/// A line in the page's color.
std::string svg_line(double x1, double y1, double x2, double y2, double width = 1, double opacity = 1,
                     const char* more = "");

/// The element around `content`, with a text alternative.
std::string svg_figure(double height, const std::string& alternative, const std::string& content);

/// Where numbers stand on an axis from `low` to `high`, about five; of a logarithmic one (0 < low) powers of ten, with
/// 2 and 5 times those where there are few; within a decade as on any other.
std::vector<double> ticks(double low, double high, bool logarithmic = false);

/// A tick's number as people write it: `0.05`, `10,000`, `2M`.
std::string tick_text(double value);

}  // namespace sked

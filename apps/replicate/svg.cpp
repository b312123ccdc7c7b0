#include "apps/replicate/svg.h"

#include <cmath>
#include <cstdio>

#include "apps/common/measure/html.h"
#include "core/text.h"

namespace sked {

std::string svg_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", std::isfinite(value) ? value : 0);
  return text;
}

std::string fitting(const std::string& text, size_t columns) {
  const std::string whole = printable(text);
  return display_width(whole) <= columns ? whole : cut_to_columns(whole, columns - 1) + "…";
}

std::string svg_text(double x, double y, const std::string& text, const char* anchor, double size) {
  return "<text x=\"" + svg_number(x) + "\" y=\"" + svg_number(y) + "\" text-anchor=\"" + anchor + "\" font-size=\"" +
         svg_number(size) + "\">" + escaped(text) + "</text>\n";
}

std::string svg_line(double x1, double y1, double x2, double y2, double width, double opacity, const char* more) {
  return "<line x1=\"" + svg_number(x1) + "\" y1=\"" + svg_number(y1) + "\" x2=\"" + svg_number(x2) + "\" y2=\"" +
         svg_number(y2) + "\" stroke=\"currentColor\" stroke-width=\"" + svg_number(width) + "\" stroke-opacity=\"" +
         svg_number(opacity) + "\" " + more + "/>\n";
}

std::string svg_figure(double height, const std::string& alternative, const std::string& content) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + svg_number(kFigureWidth) + " " +
         svg_number(height) + "\" role=\"img\" aria-label=\"" + escaped(alternative) +
         "\" font-family=\"sans-serif\" fill=\"currentColor\">\n" + content + "</svg>\n";
}

std::vector<double> ticks(double low, double high, bool logarithmic) {
  std::vector<double> result;
  if (!std::isfinite(high - low) || !(low < high) || (logarithmic && !(low > 0 && std::isfinite(high / low))))
    return {};
  if (logarithmic) {
    const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::log10(high)) + 1;
    const bool few = std::log10(high / low) < 2.5;
    const int step = 1 + (last - first) / 7;
    for (int power = first; power <= last; power += step)
      for (const double factor : {1.0, 2.0, 5.0})
        if (const double at = factor * std::pow(10, power); (factor == 1 || few) && at >= low && at <= high)
          result.push_back(at);
    if (result.size() > 2) return result;
    result.clear();  // within a decade: as on any axis
  }
  const double rough = (high - low) / 4, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  const auto last = static_cast<int>(std::floor((high - low) / step)) + 1;
  for (int i = 0; i <= last; ++i)
    if (const double at = (std::ceil(low / step) + i) * step; at <= high + 1e-9 * step) result.push_back(at);
  return result;
}

std::string tick_text(double value) {
  const bool whole = std::abs(value) < 1e6 && std::abs(value) >= 1000 && std::round(value) == value;
  char text[32];
  if (std::abs(value) >= 1e6 && std::abs(value) < 1e9) {
    std::snprintf(text, sizeof text, "%.4gM", value / 1e6);
    return text;
  }
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.4g", std::abs(value) < 1e-12 ? 0 : value);
  std::string result = text;
  if (whole) result.insert(result.size() - 3, ",");
  return result;
}

}  // namespace sked

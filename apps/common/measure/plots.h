#pragma once
// Plots of the report, drawn by gnuplot as SVG to be embedded in the page.

#include <string>
#include <vector>

namespace sked {

/// One line or set of points.
struct Series {
  std::string name;
  std::vector<double> x = {}, y = {};
  std::vector<double> error = {};  // half the length of error bars; empty: none
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Series> series = {};
  bool diagonal = false;                     // also y = x, for reliability diagrams
  bool unit_square = false;                  // both axes from 0 to 1
  std::vector<std::string> categories = {};  // names of x = 0, 1, …, instead of numbers
};

/// Draws a point to see whether gnuplot is here and works. Empty where it does; else why not, as a clause:
/// `gnuplot was not found`.
std::string why_no_plots();

/// The plot as an <svg> element without background, its text and axes in the page's color. Points that are not finite
/// are left out; a series without a point keeps its entry in the key. Names may hold any text, and are cut where they
/// are too long to draw. Nothing is written to any folder. Throws Error with gnuplot's own message when it fails,
/// Interrupted on Ctrl-C.
std::string draw(const Plot& plot);

}  // namespace sked

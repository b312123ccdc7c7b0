#pragma once
// Charts and forest plots as SVG, without gnuplot: 420 wide, in the page's colors, with a text alternative.

#include <string>
#include <vector>

#include "apps/common/measure/plots.h"

namespace sked {

struct LogAxes {
  bool x = false, y = false;
};

/// Lines with a mark at each point and error bars. A logarithmic axis leaves out what is not above 0; points that are
/// not finite are left out. Categories are not drawn.
std::string chart_svg(const Plot& plot, const LogAxes& log = {});

/// One comparison of a forest plot.
struct ForestRow {
  std::string label;
  std::string outcome;                     // in words, at the right
  double mean = 0, half_95 = 0, half = 0;  // the wider interval is `half`
  bool drawn = true;                       // has it an interval?
};

struct Forest {
  std::string title;        // also what the axis shows
  double claimed_from = 0;  // what lies above it is as claimed
  std::vector<ForestRow> rows = {};
};

/// Intervals one below the other around a line at 0: thick at 95 %, thin at the level that judges; the claimed side is
/// shaded. Wide thin ones end at the edge.
std::string forest_svg(const Forest& forest);

}  // namespace sked

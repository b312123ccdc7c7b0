#pragma once
// A square matrix over classes as a picture: SVG, in colors that suit a light page and a dark one, or pixels.

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// In every heat map's file: by this one is known as ours.
constexpr const char* kHeatMapMark = "<desc>skedastic heat map</desc>";

/// The most classes that a heat map names.
inline constexpr int64_t kMostNamedClasses = 60;

struct HeatMap {
  std::string title;                    // also what a reader aloud is told
  std::vector<std::string> names = {};  // K
  Tensor values = {};                   // f32 (K,K), -limit … limit
  double limit = 1;                     // > 0
  bool below_zero = true;               // the legend begins at -limit, else at 0
  bool alone = false;                   // a file, which brings colors for text itself; else the page has them
};

/// An <svg> element: a square for each pair of classes, red for the limit, blue for −limit, nothing at 0, what is
/// beyond like the limit; the classes' names on both axes where there are at most kMostNamedClasses, else none. Without
/// background; text has the page's color. Of more than 300 classes each square is the mean of a block of them.
std::string heat_map_svg(const HeatMap& map);

/// The squares alone, of values f32 (K,K), as pixels u8 (H,H,3): of n in a row each is max(1, 240 / n) wide; on white,
/// within a frame and a margin, 8 pixels together.
Tensor heat_map_picture(const Tensor& values, double limit);

}  // namespace sked

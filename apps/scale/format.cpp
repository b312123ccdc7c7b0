#include "apps/scale/format.h"

#include <cstdio>

namespace sked::scale {

std::string scaled(double value, const char* unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T"};
  int p = 0;
  for (; value >= 1000 && p < 4; ++p) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, p == 0 ? "%.0f %s%s" : "%.2f %s%s", value, prefixes[p], unit);
  return text;
}

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 1 ? "%.1f ms" : "%.2f s", value < 1 ? 1e3 * value : value);
  return text;
}

}  // namespace sked::scale

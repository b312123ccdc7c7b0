#include "tests/common/closeness.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace sked::test {

std::string Closeness::str(int64_t elements) const {
  std::ostringstream text;
  text << "at " << index << " got " << got << ", expected " << want << ", tolerance " << allowed << "; " << wrong
       << " of " << elements << " wrong, " << non_finite << " not finite";
  return text.str();
}

Closeness closeness(const std::vector<double>& got, const std::vector<double>& expected, double tolerance, double scale,
                    bool each) {
  if (!each)
    for (const double v : expected) scale = std::isfinite(v) ? std::max(scale, std::abs(v)) : scale;
  Closeness worst{.allowed = tolerance * scale};
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = got[i], e = expected[i];
    const bool same = g == e || (std::isnan(g) && std::isnan(e)), finite = std::isfinite(e) && std::isfinite(g);
    const double error = same ? 0 : (finite ? std::abs(g - e) : std::numeric_limits<double>::infinity());
    const double allowed = tolerance * (each && std::isfinite(e) ? std::max(scale, std::abs(e)) : scale);
    if (!std::isfinite(g)) ++worst.non_finite;
    if (error > allowed) ++worst.wrong;
    // Which is further out by its own measure? Without one, by the error.
    const bool further =
        allowed > 0 && worst.allowed > 0 ? error / allowed > worst.error / worst.allowed : error > worst.error;
    if (worst.index >= 0 && !further) continue;
    worst.error = error;
    worst.allowed = allowed;
    worst.index = static_cast<int64_t>(i);
    worst.got = g;
    worst.want = e;
  }
  return worst;
}

}  // namespace sked::test

#pragma once
// How far numbers are from what they should be.

#include <cstdint>
#include <string>
#include <vector>

namespace sked::test {

/// How far a result is from what it should be.
struct Closeness {
  double error = 0;    // |got − expected| of the worst element; infinite where not both are finite, nor the same
  double allowed = 0;  // there
  int64_t index = -1;  // of the worst element, relative to what is allowed; −1 without elements
  double got = 0, want = 0;  // there
  int64_t wrong = 0;         // elements further away than allowed
  int64_t non_finite = 0;    // of `got`

  /// "at 3 got 1, expected 2, tolerance 1e-6; 1 of 7 wrong, 0 not finite"
  std::string str(int64_t elements) const;
};

/// Allowed is tolerance · max(scale, size): the largest finite |expected|, or the element's own with `each`. Infinities
/// must be equal, NaN where NaN is expected.
Closeness closeness(const std::vector<double>& got, const std::vector<double>& expected, double tolerance,
                    double scale = 0, bool each = false);

}  // namespace sked::test

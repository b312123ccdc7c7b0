// A test that must fail. tests/run.sh counts it as passed only when this binary reports the failure and exits non-zero:
// were it ever to exit with 0, no other green result of the suite could be believed.
#include <doctest/doctest.h>

TEST_CASE("two and two make five") {
  const double expected = 5.0;
  const double got = 2.0 + 2.0;
  CHECK(got == doctest::Approx(expected));
}

// Programs that mpirun starts as several ranks: who prints, how they fail.

#include <doctest/doctest.h>

#include <string>

#include "tests/apps/environment.h"
#include "tests/apps/support.h"

namespace sked::test {

TEST_CASE("ranks: what a program says of itself is said once") {
  if (!has_mpirun()) return;
  const Outcome outcome = mpirun(3, {"replicate", "--version"});
  CHECK(outcome.code == 0);
  CHECK(occurrences(outcome.out, "skedastic ") == 1);
}

TEST_CASE("ranks: a program that does not divide its work is refused several") {
  if (!has_mpirun()) return;
  const Outcome outcome = mpirun(2, {"bench", "kernels"});
  CHECK(outcome.code == 2);
  CHECK(outcome.out.empty());
  CHECK(occurrences(outcome.err, "error: ") == 1);
  CHECK(has(outcome.err, "error: [bench] a launcher started 2 processes: expected one"));
}

TEST_CASE("ranks: what is wrong on all ranks is said once, and its exit code is theirs") {
  if (!has_mpirun()) return;
  const Outcome usage = mpirun(3, {"replicate", "--plam", "x"});
  CHECK(usage.code == 2);
  CHECK(occurrences(usage.err, "error: ") == 1);
  CHECK_FALSE(has(usage.err, "MPI_ABORT"));
  const Outcome failure = mpirun(2, {"replicate", "--config", "/nowhere/plan.json", "--out", "/nowhere/out"});
  CHECK(failure.code != 0);
  CHECK(occurrences(failure.err, "error: ") == 1);
}

}  // namespace sked::test

#!/usr/bin/env bash
# Runs the test binaries of a build and sums what doctest counted.
#
#   tests/run.sh [SUITE...]     default: every binary in $BUILD/tests   (BUILD: build)
#   TEST_CASES="loader*,a*"     only cases of these names; the others do not count
#
# Prints a suite's output when it fails. Its last line is `N passed, N failed, N skipped`; exits 1 on any failure, or when nothing ran.
# The suite `deliberate` is wrong on purpose: it counts as passed when it fails. A test case that finds out while running that it cannot
# run here prints a line `skipped: why`; it is shown, and counted as skipped instead of passed. A crash counts as one failure more.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build}
limit=${TEST_TIMEOUT:-1800}  # seconds for one binary
# Idle threads sleep instead of spinning: on a shared machine spinning makes everything many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export SKEDASTIC_BUILD=$build  # where tests of the programs find them
if [ $# -eq 0 ]; then
  for binary in "$build"/tests/*; do
    if [ -f "$binary" ] && [ -x "$binary" ]; then set -- "$@" "${binary##*/}"; fi
  done
fi

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

# Sets ok, bad and left from doctest's closing line: [doctest] test cases: 3 | 2 passed | 1 failed | 0 skipped
count_cases() {
  local line
  line=$(grep -a '^\[doctest\] test cases:' "$log" | tail -n 1)
  ok=0 bad=0 left=0
  if [[ $line =~ \|\ *([0-9]+)\ passed\ *\|\ *([0-9]+)\ failed\ *\|\ *([0-9]+)\ skipped ]]; then
    ok=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]} left=${BASH_REMATCH[3]}
  fi
}

for suite in "$@"; do
  binary=$build/tests/$suite
  if [ ! -x "$binary" ]; then
    # A suite named but not there is a failure: a typo must not look like success.
    echo "$suite: no such test binary: $binary"
    failed=$((failed + 1))
    continue
  fi
  start=$SECONDS
  timeout --foreground "$limit" "$binary" --no-colors=true ${TEST_CASES:+--test-case="$TEST_CASES"} >"$log" 2>&1 </dev/null
  status=$?
  count_cases
  if [ -n "${TEST_CASES:-}" ]; then left=0; fi
  if [ "$suite" = deliberate ]; then
    if [ $status -ne 0 ] && [ "$bad" -gt 0 ] && [ "$ok" -eq 0 ]; then
      echo "$suite: failed, as it must"
      passed=$((passed + bad))
    else
      echo "$suite: exited with $status although its checks are wrong: failures go unnoticed"
      failed=$((failed + 1))
    fi
    continue
  fi

  at_run_time=$(grep -ac '^skipped: ' "$log")
  ok=$((ok - at_run_time)) left=$((left + at_run_time))
  if [ $status -eq 124 ]; then echo "$suite: stopped after $limit s"; fi
  if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1
    echo "$suite: exited with $status"
  fi
  if [ $status -ne 0 ] || [ "$bad" -ne 0 ]; then cat "$log"; else grep -a '^skipped: ' "$log"; fi
  echo "$suite: $ok passed, $bad failed, $left skipped ($((SECONDS - start)) s)"
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
done

# nothing ran: that is no success
if [ $((passed + failed)) -eq 0 ]; then echo "no test ran: nothing in $build/tests"; failed=1; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

#!/usr/bin/env bash
# Runs the test binaries of a build and sums what doctest counted.
#
#   tests/run.sh [SUITE...]     default: every binary in $BUILD/tests   (BUILD: build)
#   TEST_CASES="loader*,a*"     only cases of these names; the others do not count
#   TEST_JOBS=N                 how many parts run side by side (the number of cores); the programs' tests are a part a file
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

logs=$(mktemp -d) || exit 1
log=$logs/log
trap 'kill ${pool:-} 2>/dev/null; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

# Sets ok, bad and left from doctest's closing line: [doctest] test cases: 3 | 2 passed | 1 failed | 0 skipped
count_cases() {
  local line
  line=$(grep -a '^\[doctest\] test cases:' "$1" | tail -n 1)
  ok=0 bad=0 left=0
  if [[ $line =~ \|\ *([0-9]+)\ passed\ *\|\ *([0-9]+)\ failed\ *\|\ *([0-9]+)\ skipped ]]; then
    ok=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]} left=${BASH_REMATCH[3]}
  fi
}

# parts SUITE: what of it is run by itself, a line each. The programs' tests mostly wait for programs and files, and take
# most of the time: each file of theirs is a part, those that start several processes first.
parts() {
  local file
  if [ "$1" != apps ] || [ -n "${TEST_CASES:-}" ]; then
    echo "$1"
    return
  fi
  for file in tests/apps/*ranks*.cpp $(ls tests/apps/*.cpp | grep -v ranks); do
    if grep -q '^TEST_CASE' "$file"; then echo "$1/${file##*/}"; fi
  done
}

# run_part PART: its output and, when it has ended, its status and seconds under $logs
run_part() {
  local suite=${1%%/*} start=$SECONDS status=0 chosen=()
  if [ "$suite" != "$1" ]; then chosen=(--source-file="*/${1#*/}"); fi
  if [ -n "${TEST_CASES:-}" ]; then chosen=(--test-case="$TEST_CASES"); fi
  timeout --foreground "$limit" "$build/tests/$suite" --no-colors=true "${chosen[@]}" >"$logs/${1//\//.}" 2>&1 </dev/null ||
    status=$?
  echo "$status $((SECONDS - start))" >"$logs/${1//\//.}.ended.new"
  mv "$logs/${1//\//.}.ended.new" "$logs/${1//\//.}.ended"
}
export -f run_part
export build limit logs

# As many parts at a time as there are cores; suites in one part, the longer ones, first.
for suite in "$@"; do
  if [ -x "$build/tests/$suite" ]; then parts "$suite"; fi
done >"$logs/parts"
{ grep -v / "$logs/parts"; grep / "$logs/parts"; } | xargs -P "${TEST_JOBS:-$(getconf _NPROCESSORS_ONLN)}" -I{} bash -c 'run_part {}' &
pool=$!

# collect SUITE: waits for its parts; sets ok, bad, left and seconds to their sums, status to that of one that failed. A
# case counts as left when no part has run it.
collect() {
  local part file result cases=0 sum_ok=0 sum_bad=0
  status=0 seconds=0
  : >"$log"
  for part in $(grep -E "^$1(/|$)" "$logs/parts"); do
    file=$logs/${part//\//.}
    until [ -e "$file.ended" ] || ! kill -0 $pool 2>/dev/null; do sleep 0.05; done
    result=(1 0)
    if [ -e "$file.ended" ]; then read -r -a result <"$file.ended"; fi
    count_cases "$file"
    if [ "${result[0]}" -eq 124 ]; then echo "$part: stopped after $limit s"; fi
    if [ "${result[0]}" -ne 0 ]; then
      status=${result[0]}
      cat "$file" >>"$log"
      if [ "$bad" -eq 0 ]; then
        bad=1
        echo "$part: exited with $status"
      fi
    else
      grep -a '^skipped: ' "$file" >>"$log"
    fi
    seconds=$((seconds + result[1]))
    cases=$((ok + bad + left)) sum_ok=$((sum_ok + ok)) sum_bad=$((sum_bad + bad))
  done
  ok=$sum_ok bad=$sum_bad left=$((cases > ok + bad ? cases - ok - bad : 0))
  if [ -n "${TEST_CASES:-}" ]; then left=0; fi
}

for suite in "$@"; do
  binary=$build/tests/$suite
  if [ ! -x "$binary" ]; then
    # A suite named but not there is a failure: a typo must not look like success.
    echo "$suite: no such test binary: $binary"
    failed=$((failed + 1))
    continue
  fi
  collect "$suite"
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
  cat "$log"
  echo "$suite: $ok passed, $bad failed, $left skipped ($seconds s)"
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
done

# nothing ran: that is no success
if [ $((passed + failed)) -eq 0 ]; then echo "no test ran: nothing in $build/tests"; failed=1; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

#!/usr/bin/env bash
# The half hour on a machine with a card, call by call: each is one line, does all it can without a decision, and leaves its results in $OUT.
#
#   tests/gpu_calls.sh              what each does, and how long it may take
#   tests/gpu_calls.sh N [FAMILIES] call N; 4 takes the families to run again: tests/gpu_calls.sh 4 "products,norms"
#
# Before: `make vendor` (.deps), and `tests/gpu_check.sh --carry` (.gpu) where the build is to be saved; carry both along, git ignores them. Send 1 to 3
# back to back, what one has built is there for the next; then give the machine back and repair. Stages are those of tests/gpu_check.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

# number | seconds | stages | what
calls='1|570|build facts cases devices own-steps likelihood speed training|facts, correctness case by case, our times
2|560|build peer|PyTorch in turn with us: ViT-S/16, likelihood, ResNet-50
3|240|build profile|where the time goes: every kernel of a step by ncu
4|400|build cases sanitize|after the repair: FAMILIES again, memcheck, racecheck
5|570|build knobs|algorithms, tiles and epilogues one by one
6|570|build facts peer|numbers for the README: five rounds'

row=$(grep "^${1:-none}|" <<<"$calls" || true)
if [ -z "$row" ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  echo
  while IFS='|' read -r number seconds stages what; do printf '%s  at most %s s  %s\n     STAGES="%s"\n' "$number" "$seconds" "$what" "$stages"; done <<<"$calls"
  [ $# -eq 0 ]
  exit
fi
IFS='|' read -r number seconds stages what <<<"$row"
echo "call $number: $what"
export STAGES=$stages LIMIT=${LIMIT:-$seconds}
if [ "$number" = 4 ] && [ $# -gt 1 ]; then export FAMILIES=$2; fi
if [ "$number" = 6 ]; then export ROUNDS=5; fi
exec tests/gpu_check.sh

#!/usr/bin/env bash
# What is to be shown on a card, call by call: each is one line, does all it can without a decision, and leaves its results in $OUT.
#
#   tests/gpu_calls.sh              what each shows, how long it may take, and which calls make a lease of half an hour
#   tests/gpu_calls.sh N [FAMILIES] call N; `again` takes the families to run: tests/gpu_calls.sh again "products,norms"
#
# Before: `make vendor` (.deps), and `tests/gpu_check.sh --carry` (.gpu/programs) where the build is to be saved; carry both along, git ignores
# them. Send the calls of a lease back to back, what one has built, compiled or unpacked is there for the next; then give the machine back.
# data-1 to data-3 bring CIFAR-10, one of .gpu/data-1 to .gpu/data-3 (`tests/gpu_check.sh --carry-data FOLDER`) carried along with each.
set -euo pipefail
cd "$(dirname "$0")/.."

# of a lease: all of it; its start; around each call the transfers and what lies between two
lease_seconds=1800 start_seconds=120 call_seconds=35
# call | lease | seconds | stages | of the peer | what it shows
calls='1|1|570|build facts cases devices training own-steps||every kernel against the CPU with margins, noise bit for bit; ten steps of ResNet-20, ViT-Ti and each head beside the CPU; stopped and resumed, recorded and not; our steps
2|1|470|build likelihood speed sanitize profile||the likelihood at B = 64 and 4,096 with its memory; norms and element-wise beside copying; memcheck, racecheck; the time of every kernel of a step
3|1|450|build peer|ViT-S|ViT-S/16, batch 256, beside PyTorch eager, compiled, max-autotune
4|2|540|build peer|ViT-B|ViT-B/16 likewise
5|2|540|build peer|ResNet-50|ResNet-50 likewise
6|2|450|build peer|likelihood|the likelihood beside PyTorch, B = 64 and, where memory ends, 4,096
7|3|570|build knobs||algorithms, tiles and epilogues one by one
again|3|540|build cases sanitize||after a repair: FAMILIES again, memcheck, racecheck
data-1|4|40|cifar-data||
data-2|4|40|cifar-data||
data-3|4|40|cifar-data||CIFAR-10 is there
cifar|4|540|build cifar||ResNet-18 to 94 % of CIFAR-10, with its time
cifar-n|4|570|build cifar-n||DET, HET and HET-XL on CIFAR-10N, five seeds; given again it goes on'

list() {
  local number seconds stages peer what
  while IFS='|' read -r number _ seconds stages peer what; do
    printf '%-8s at most %s s  %s\n         STAGES="%s"%s\n' "$number" "$seconds" "$what" "$stages" "${peer:+ PEER=$peer}"
  done <<<"$calls"
  echo
  awk -F'|' -v whole=$lease_seconds -v start=$start_seconds -v each=$call_seconds '
    { if (!($2 in sum)) order[++n] = $2; sum[$2] += $3 + each; names[$2] = names[$2] " " $1 }
    END { for (i = 1; i <= n; ++i) { l = order[i]; total = sum[l] + start
      printf "lease %s: calls%s: %d s with start and transfers, of %d%s\n", l, names[l], total, whole, (total > whole ? ": TOO LONG" : "")
      if (total > whole) bad = 1 } exit bad }' <<<"$calls"
}

row=$(grep "^${1:-none}|" <<<"$calls" || true)
if [ -z "$row" ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  echo
  list && [ $# -eq 0 ]
  exit
fi
IFS='|' read -r number _ seconds stages peer what <<<"$row"
echo "call $number: ${what:-a part of the data}"
export STAGES=$stages LIMIT=${LIMIT:-$seconds}
if [ -n "$peer" ]; then export PEER=$peer ROUNDS=${ROUNDS:-5}; fi
if [ "$number" = again ] && [ $# -gt 1 ]; then export FAMILIES=$2; fi
exec tests/gpu_check.sh

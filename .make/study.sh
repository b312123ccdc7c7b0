#!/usr/bin/env bash
# Runs the plans of apps/configs/study in order of name, each by several processes, then makes study.html of their
# results. Stopped (Ctrl-C, SIGTERM), the same command goes on. From the environment:
#
#   BUILD JOBS DATA_ROOT MIRROR   as the Makefile has them
#   SIZE           small (default) or full: for one GPU
#   DEVICE         default: cpu for small, auto for full
#   STUDY          names of plans, without .json; default: all
#   STUDY_CONFIGS  their folder
#   STUDY_OUT      default: runs/study, runs/study-full
#   STUDY_DATA     data sets to prepare, or none; default: those that the plans name
set -u
size=${SIZE:-small} jobs=${JOBS:-$(nproc)} configs=${STUDY_CONFIGS:-apps/configs/study}
replicate=${BUILD:-build}/replicate
export SKEDASTIC_DATA=${DATA_ROOT:-datasets}
# Threads that wait for work must not take a core from another process.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

fail() { echo "error: [study] $*" >&2; exit 1; }

case $size in
  small) device=${DEVICE:-cpu} out=${STUDY_OUT:-runs/study} options=() ;;
  full) device=${DEVICE:-auto} out=${STUDY_OUT:-runs/study-full} options=(--full) ;;
  *) fail "SIZE=$size: expected small or full" ;;
esac
case $jobs in '' | *[!0-9]* | 0*) fail "JOBS=$jobs: expected a number of processes, at least 1" ;; esac

plans=()
if [ -n "${STUDY:-}" ]; then
  for name in $STUDY; do
    [ -f "$configs/$name.json" ] || fail "STUDY=$name: no such plan in $configs, which has:" \
      "$(cd "$configs" && printf '%s\n' *.json | sed 's/\.json$//' | tr '\n' ' ')"
    plans+=("$configs/$name.json")
  done
else
  for plan in "$configs"/*.json; do [ ! -f "$plan" ] || plans+=("$plan"); done
fi
[ ${#plans[@]} -gt 0 ] || fail "no plans in $configs"

if [ "$size" = full ] && [ "$device" != cpu ]; then
  if ! "$replicate" --config "${plans[0]}" --device cuda --print-config >/dev/null 2>&1; then
    fail "SIZE=full: no GPU here that $replicate can use; on the CPU it takes days: DEVICE=cpu does it all the same"
  fi
  if [ "$jobs" -gt 4 ]; then jobs=4; fi  # contexts on one device
fi
options+=(--device "$device" --threads 1)

# ---- data ---------------------------------------------------------------------------------------------------------
names() { grep -q -- "$1" "${plans[@]}"; }
data=${STUDY_DATA:-}
if [ -z "$data" ]; then
  if names '"fashion-mnist"'; then data+=' fashion-mnist'; fi
  if names 'cifar-10["/]'; then data+=' cifar-10'; fi
  if names 'tiny-imagenet-200'; then data+=' tiny-imagenet-200'; fi
  if names 'embeddings/'; then data+=' embeddings'; fi
fi
missing=()
for set in ${data/none/}; do
  data/prepare.sh --root "$SKEDASTIC_DATA" ${MIRROR:+--mirror "$MIRROR"} "$set" || missing+=("$set")
done
if [ ${#missing[@]} -gt 0 ]; then
  fail "data sets that are not there: ${missing[*]}; with a folder that holds <data set>/<file>:" \
    "make study MIRROR=folder; or without the plans on them: make study STUDY=\"name name\""
fi

# Everything is looked at before anything is trained.
refused=0
for plan in "${plans[@]}"; do
  name=$(basename "$plan" .json)
  if ! problem=$("$replicate" --config "$plan" --out "$out/$name" "${options[@]}" --dry-run 2>&1 >/dev/null); then
    printf '%s: %s\n' "$name" "$problem" >&2
    refused=$((refused + 1))
  fi
done
[ $refused = 0 ] ||
  fail "$refused of ${#plans[@]} plans cannot be run: nothing was trained (STUDY=\"name name\" runs others)"

# ---- processes ----------------------------------------------------------------------------------------------------
children=() stopped=0
stop_all() { for pid in "${children[@]}"; do kill -TERM "$pid" 2>/dev/null; done; }
trap 'stopped=130; stop_all' INT
trap 'stopped=143; stop_all' TERM
trap 'stopped=129; stop_all' HUP
trap stop_all EXIT

# start LOG COMMAND...: in a process group of its own, so that Ctrl-C reaches this script alone
start() {
  local log=$1
  shift
  set -m
  if [ "$log" = - ]; then "$@" </dev/null & else "$@" >"$log" 2>&1 </dev/null & fi
  children+=($!)
  set +m
}

# Waits for all; sets `failed` to the number of the first that did not end with 0, and stops the others then.
await_all() {
  local i pid waiting=1
  local codes=()
  failed=0
  while [ $waiting = 1 ]; do
    waiting=0
    for i in "${!children[@]}"; do
      pid=${children[i]}
      if [ -n "${codes[i]:-}" ]; then continue; fi
      if kill -0 "$pid" 2>/dev/null; then waiting=1; continue; fi
      wait "$pid"
      codes[i]=$?
      if [ "${codes[i]}" != 0 ] && [ $failed = 0 ]; then
        failed=$((i + 1))
        stop_all
      fi
    done
    if [ $waiting = 1 ]; then sleep 0.2; fi
  done
  children=()
}

begin=$SECONDS
for at in "${!plans[@]}"; do
  plan=${plans[at]} name=$(basename "${plans[at]}" .json)
  folder=$out/$name
  processes=$(sed -n 's/.*"processes": *\([1-9][0-9]*\).*/\1/p' "$plan" | head -n 1)
  processes=${processes:-$jobs}
  mkdir -p "$folder" || fail "$folder cannot be made"
  echo "---- $name: plan $((at + 1)) of ${#plans[@]}, processes: $processes, logs in $folder"
  # The first shows what goes on; what the others do is in their logs, and in what it says of them.
  for ((i = 1; i <= processes && stopped == 0; ++i)); do
    if [ "$i" = 1 ]; then
      rm -f "$folder/process-1.log"
      start - "$replicate" --config "$plan" --out "$folder" "${options[@]}" --log "$folder/process-1.log"
    else
      start "$folder/process-$i.log" "$replicate" --config "$plan" --out "$folder" "${options[@]}"
    fi
  done
  await_all
  if [ $stopped != 0 ]; then
    echo "stopped; the same command goes on from here" >&2
    trap - EXIT
    exit $stopped
  fi
  if [ $failed != 0 ]; then
    log=$folder/process-$failed.log
    fail "$name: process $failed failed, see $log: $(grep '^error: ' "$log" | tail -n 1); the same command goes on"
  fi
done
minutes=$(((SECONDS - begin + 30) / 60))
echo "---- ${#plans[@]} plans in $minutes minutes"
"$replicate" --report "$out"

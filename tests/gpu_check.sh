#!/usr/bin/env bash
# make gpu-check: the whole check of the CUDA backend on a machine with a GPU; everything it can learn in one run.
#
#   tests/gpu_check.sh              all stages; $OUT (build/gpu-check) gets gpu-check.json, gpu-check.txt, cases.jsonl, logs.tgz
#   STAGES="build cases" …          some stages, in this order (below)
#   CUDA=host BUILD=build/host …    a rehearsal on the emulated GPU (tests/cuda/host), without any
#   tests/gpu_check.sh --carry      builds here what it would build there, packed into .gpu/programs, for a machine with the same sources
#   tests/gpu_check.sh --carry-data FOLDER
#                                   packs FOLDER/cifar-10 into .gpu/data-1 …, each small enough to be carried by itself
#
# Wants nvidia-smi; to build also nvcc, g++, make, and the header-only libraries, with the system or under .deps/include (`make vendor`, which
# fetches cudnn-frontend too: carry .deps along, git ignores it). cuDNN is taken from beside the toolkit or from Python's nvidia.cudnn. Binaries
# of the same sources in .gpu/programs are used where they run; else it builds. oneDNN, zlib, image libraries and SentencePiece stay out, data are made up.
#
# Stages:
#   build      tests, bench, train (without cuDNN where cudnn.cpp alone fails)
#   facts      cuDNN starts and plans; fails where it was built in and does not
#   cases      every parity case, one process a family; what throws is one case, what kills the process is gone on behind and looked at alone
#   devices    memory, recordings, faults and the rest of tests/cuda; the streaming likelihood, launches of whole steps
#   training   ten steps beside the CPU's; stopped and resumed; recorded and not
#   own-steps  training steps of ViT-S/16, ViT-B/16 and ResNet-50: our times
#   likelihood the streaming likelihood, S = 1000, K = 29,593, D = 1024, B = 64 and 4,096: our times and memory
#   speed      kernels beside the copy bandwidth, products
#   sanitize   memcheck and racecheck on the kernels of our own, side by side
#   peer       the same beside PyTorch, in turn; PEER="ViT-S ViT-B ResNet-50 likelihood" chooses
# and, only where they are named, `profile` (time and bytes of each kernel, by ncu), `knobs` (bench gpu-knobs), `cifar-data` (joins what
# --carry-data packed), `cifar` (a ResNet-18 to 94 % of CIFAR-10) and `cifar-n` (heads on CIFAR-10N, five seeds), from DATA/cifar-10.
#
# Each has a limit of its own within LIMIT seconds (540) and is ended with all its children; none stops the next. The JSON is written after each
# and when this script is stopped. FAMILIES="products,norms": those cases alone. Its last line is `N passed, N failed, N skipped`, counted in
# items of stages; exits 1 when anything failed, 2 where it was called wrongly.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

limit=${LIMIT:-540}
host=$([ "${CUDA:-1}" = host ] && echo 1 || echo 0)
build=${BUILD:-build/gpu}
stages=${STAGES:-build facts cases devices training own-steps likelihood speed sanitize peer}
rounds=${ROUNDS:-3}
out=${OUT:-build/gpu-check}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
work=$(mktemp -d) || exit 2
logs=$work/logs
cases=$out/cases.jsonl
mkdir "$logs" "$work/bench" "$work/alone"
old_path=${LD_LIBRARY_PATH:-}
export OMP_WAIT_POLICY=passive SKEDASTIC_BUILD=$build
# What only a rehearsal asks for.
if [ "$host" = 0 ]; then unset SKEDASTIC_LAST_CASE SKEDASTIC_PLANT SKEDASTIC_FIRST_CASE; fi
passed=0 failed=0 skipped=0 running='' finished=false gpu='' nvcc='' our_path=$old_path

left() { echo $((limit - SECONDS)); }
note() { printf '%s\n' "$*" | tee -a "$out/gpu-check.txt"; }
# A JSON string of one line: what is not plain ASCII becomes a blank.
quoted() { printf '"%s"' "$(printf '%s' "$1" | LC_ALL=C tr -c '\40-\176' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
# lines FILE...: the members of a JSON array of strings
lines() { cat "$@" 2>/dev/null | while IFS= read -r line; do quoted "$line"; echo; done | paste -sd, -; }

# ---- results ----------------------------------------------------------------------------------------------------------------------------

# result ITEM STATUS SECONDS [DETAIL]: one line of the table, one object of the JSON, which is written anew
result() {
  note "$(printf '%-34s %-8s %5s s  %s' "$1" "$2" "$3" "${4:-}")"
  echo "{\"item\": $(quoted "$1"), \"status\": \"$2\", \"seconds\": $3, \"detail\": $(quoted "${4:-}")}" >>"$work/results"
  case $2 in passed) passed=$((passed + 1)) ;; failed) failed=$((failed + 1)) ;; *) skipped=$((skipped + 1)) ;; esac
  write_json
}

# shellcheck source=tests/gpu_json.sh
. tests/gpu_json.sh
# shellcheck source=tests/gpu_cifar.sh
. tests/gpu_cifar.sh
fact() { printf '"%s": %s, ' "$1" "$(quoted "$2")" >>"$work/facts"; }

# However it ends: nothing goes on behind it, and what is known is written.
finish() {
  if [ -n "$running" ]; then kill -KILL -- "-$running" 2>/dev/null; fi
  write_json
  tar czf "$out/logs.tgz" -C "$work" logs 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
trap 'note "stopped by a signal"; exit 130' INT TERM HUP

# ---- running ----------------------------------------------------------------------------------------------------------------------------

# bounded SECONDS LOG COMMAND...: in a session of its own, ended with whatever it started; 124 or 137: it took too long
bounded() {
  local most=$1 log=$2 status
  shift 2
  setsid timeout -k 5 "$most" "$@" >>"$log" 2>&1 </dev/null &
  running=$!
  wait "$running"
  status=$?
  kill -KILL -- "-$running" 2>/dev/null
  running=
  return $status
}
# allowed SECONDS: so many, or what is left of all
allowed() { local rest; rest=$(left); echo $(($1 < rest ? $1 : rest)); }
# what a log says of a failure, in one line
reason() { grep -aE 'ERROR:|error:|\*\*\*|FATAL|threw|terminate|expected' "$1" | head -n 1; }
# item NAME SECONDS PROGRAM COMMAND...: runs it with our libraries; skipped where PROGRAM is missing or no time is left
item() {
  local name=$1 most=$2 program=$3 start=$SECONDS log status
  shift 3
  log=$logs/${name//[^a-zA-Z0-9-]/_}
  if [ ! -x "$program" ]; then result "$name" skipped 0 "$program is not there"; return 1; fi
  if [ "$(left)" -lt 10 ]; then result "$name" skipped 0 "no time left"; return 1; fi
  most=$(allowed "$most")
  bounded "$most" "$log" env LD_LIBRARY_PATH="$our_path" "$@"
  status=$?
  case $status in
    0) result "$name" passed $((SECONDS - start)) "$(grep -a '^\[doctest\] test cases' "$log" | tail -n 1)" ;;
    124 | 137) result "$name" failed $((SECONDS - start)) "ended after $most s or by a kill; $(tail -n 1 "$log")" ;;
    *) result "$name" failed $((SECONDS - start)) "exit $status: $(reason "$log")" && tail -n 40 "$log" ;;
  esac
  return $status
}
tests() { item "$1" "$2" "$build/tests/cuda" "$build/tests/cuda" --no-colors=true "${@:3}"; }
# bench NAME SECONDS ARGUMENTS...: its JSON becomes part of ours, also of one that was ended
bench() {
  local name=$1 most=$2 file=$work/bench/$1.json
  shift 2
  item "$name" "$most" "$build/bench" "$build/bench" "$@" --device cuda --precision bf16 --rounds "$rounds" --out "$file"
  write_json
  grep -aE '^(step|likelihood|  peer: |  [0-9]+ MB )' "$logs/$name" 2>/dev/null | tee -a "$out/gpu-check.txt"
}

# ---- the machine ------------------------------------------------------------------------------------------------------------------------

python_folder() { timeout 20 python3 -c "import $1 as package; print(list(package.__path__)[0])" 2>/dev/null; }
find_toolkit() {
  nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
  home=${nvcc:+$(dirname "$(dirname "$(readlink -f "$nvcc")")")}
  cudnn=$home
  if [ ! -f "$cudnn/include/cudnn.h" ]; then cudnn=$(python_folder nvidia.cudnn); fi
  if [ ! -f "$cudnn/include/cudnn.h" ]; then cudnn=; fi
  nccl=$home
  if [ ! -f "$nccl/include/nccl.h" ]; then nccl=$(python_folder nvidia.nccl); fi
  # cuDNN, its neighbor with CUDA's libraries (cudnn-frontend opens libcudart), the toolkit. For our programs alone: PyTorch brings its own.
  our_path=${nccl:+$nccl/lib:}${cudnn:+$cudnn/lib:$(dirname "$cudnn")/cu13/lib:}${home:+$home/lib64:}$old_path
  our_path=${our_path%:}
}
flags_for() {  # CAPABILITY
  flags=(BUILD="$build" ONEDNN=0 ZLIB=0 LIBZIP=0 IMAGES=0 SENTENCEPIECE=0 MPI=0 WERROR=0)
  if [ "$host" = 1 ]; then
    flags+=(CUDA=host CUDNN=0)
  else
    flags+=(CUDA=1 CUDA_HOME="$home" CUDNN_HOME="$cudnn" NCCL_HOME="$nccl" GENCODE="-gencode arch=compute_$1,code=sm_$1")
  fi
}
binaries=(bench train evaluate replicate tests/cuda tests/layers tests/apps)
carried=.gpu/programs
sources_id() {
  find Makefile core autograd layers cuda data apps tests -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name Makefile \) |
    LC_ALL=C sort | xargs cat | cksum | tr ' ' -
}
learn_machine() {
  gpu=emulated capability=80
  if [ "$host" = 0 ]; then
    gpu=$(timeout 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
    capability=$(timeout 20 nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ')
  fi
  find_toolkit
  local torch
  torch=$(timeout 20 python3 -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null)
  fact gpu "${gpu:-none}"
  fact clocks_before "$(clocks)"
  fact nvcc "$("${nvcc:-false}" --version 2>/dev/null | sed -n 's/.*release //p')"
  fact cudnn "${cudnn:-none}$(sed -n 's/#define CUDNN_\(MAJOR\|MINOR\|PATCHLEVEL\) / /p' "$cudnn/include/cudnn_version.h" 2>/dev/null | tr '\n' ' ')"
  fact cudnn_frontend "$(ls .deps/include/cudnn_frontend.h 2>/dev/null || echo "none under .deps")"
  fact libraries "$our_path"
  fact torch "${torch:-none}"
  fact cores "$(nproc)"
  fact load "$(cat /proc/loadavg)"
  fact commit "$(git rev-parse --short HEAD 2>/dev/null)"
  fact sources "$(sources_id)"
  fact asked "$stages"
  note "gpu: ${gpu:-none}   nvcc: ${nvcc:-none}   cudnn: ${cudnn:-none}   torch: ${torch:-none}   cores: $(nproc)"
}

# ---- stages -----------------------------------------------------------------------------------------------------------------------------

has_cudnn() { grep -aq 'libcudnn\.so' "$build/tests/cuda" 2>/dev/null; }
# Binaries that were carried along, of these very sources, where they start here.
take_carried() {
  local name about=$carried/about
  if [ ! -f $about ] || [ "$(cat $about)" != "$(sources_id) $capability" ]; then return 1; fi
  for name in "${binaries[@]}"; do
    mkdir -p "$(dirname "$build/$name")" && gzip -dc "$carried/${name//\//-}.gz" >"$build/$name" && chmod +x "$build/$name" || return 1
  done
  LD_LIBRARY_PATH=$our_path timeout 30 "$build/tests/cuda" --list-test-cases >/dev/null 2>"$logs/carried" &&
    LD_LIBRARY_PATH=$our_path timeout 30 "$build/bench" --help >/dev/null 2>>"$logs/carried"
}
stage_build() {
  local start=$SECONDS log=$logs/build most note_without='' status lost made=$build/gpu-check-sources
  if [ -x "$build/bench" ] && [ "$(cat "$made" 2>/dev/null)" = "$(sources_id)" ]; then result build passed 0 "there already"; return; fi
  rm -f "$made"
  if take_carried; then
    sources_id >"$made"
    result build passed $((SECONDS - start)) "binaries from $carried"
    return
  fi
  if ! printf '#include <nlohmann/json.hpp>\n#include <CLI/CLI.hpp>\n#include <doctest/doctest.h>\n' |
      g++ -std=c++20 -isystem .deps/include -E -x c++ - >/dev/null 2>"$log"; then
    result build failed 0 "$(grep -am1 -E 'fatal|not found' "$log"): $([ -d .deps/include ] || echo 'no .deps/include here: ')make vendor fetches it, and .deps must be carried along"
    return
  fi
  flags_for "$capability"
  most=$(allowed "${BUILD_LIMIT:-300}")
  bounded "$most" "$log" make -k -j"$(nproc)" "${flags[@]}" "${binaries[@]/#/$build/}"
  status=$?
  lost=$(grep -aE '\*\*\* \[.*\.o\] Error' "$log")
  if [ $status -ne 0 ] && [ -n "$lost" ] && ! grep -qv 'cuda/cudnn\.o\]' <<<"$lost"; then
    note_without="without cuDNN, since cudnn.cpp does not compile: $(grep -am1 'error' "$log")"
    bounded "$(allowed "$most")" "$log" make -j"$(nproc)" "${flags[@]}" CUDNN=0 "${binaries[@]/#/$build/}"
    status=$?
  fi
  if [ $status -eq 0 ] && [ -z "$note_without" ]; then
    sources_id >"$made"
    result build passed $((SECONDS - start))
  else
    result build failed $((SECONDS - start)) "${note_without:-exit $status: $(reason "$log")}"
    tail -n 30 "$log"
  fi
}
stage_facts() {
  if [ "$host" = 0 ]; then { nvidia-smi; ls "$home"/lib64/libcublasLt.so* "$home"/lib64/libcudart.so* "$cudnn"/lib/libcudnn.so*; } >"$logs/machine" 2>&1; fi
  local start=$SECONDS built=0
  if has_cudnn; then built=1; fi
  tests facts 90 -tc="cudnn*" || return
  if [ $built = 1 ] && grep -aq '^skipped: no libcudnn' "$logs/facts"; then
    result facts/cudnn failed $((SECONDS - start)) "cuDNN is built in and does not start: $(grep -aiv '^skipped' "$logs/facts" | grep -ai -m1 cudnn); libraries are looked for in $our_path"
  elif [ $built = 0 ]; then
    result facts/cudnn "$([ "$host" = 1 ] && echo skipped || echo failed)" 0 \
      "built without cuDNN (make vendor-cudnn fetches what it lacks): convolutions and attention run by the slower kernels"
  fi
}

sanitizer() { command -v compute-sanitizer || ls "$(dirname "${nvcc:-/}")/compute-sanitizer" 2>/dev/null; }
# The case that killed its process, alone, launches waited for one by one; under memcheck where there is one. Its first 20 lines are kept.
look_alone() {  # FAMILY NUMBER
  local tool
  tool=$(sanitizer)
  run_alone "$1" "$2" "$tool"
  if [ -n "$tool" ] && grep -aiq 'not supported' "$logs/alone-${1//[^a-z]/_}-$2"; then run_alone "$1" "$2" ''; fi
}
run_alone() {  # FAMILY NUMBER TOOL
  local name=${1//[^a-z]/_}-$2 tool=$3
  bounded "$(allowed "${ALONE_LIMIT:-60}")" "$logs/alone-$name" env LD_LIBRARY_PATH="$our_path" SKEDASTIC_EXACT_MEMORY=1 CUDA_LAUNCH_BLOCKING=1 SKEDASTIC_CASES= SKEDASTIC_FIRST_CASE="$2" \
    SKEDASTIC_LAST_CASE="$2" ${tool:+"$tool" --tool memcheck} "$build/tests/cuda" --no-colors=true -tc="parity: $1"
  grep -av '^ *$' "$logs/alone-$name" | head -n 20 >"$work/alone/$name"
}
run_family() {
  local family=$1 start=$SECONDS first=${SKEDASTIC_FIRST_CASE:-0} lost=0 status number log slow=-1
  log=$logs/cases-${family//[^a-z]/_}
  while :; do
    if [ "$(left)" -lt 5 ]; then result "cases/$family" "$([ "$first" = 0 ] && echo skipped || echo failed)" $((SECONDS - start)) "no time left"; return; fi
    bounded "$(allowed "${FAMILY_LIMIT:-60}")" "$log" env LD_LIBRARY_PATH="$our_path" SKEDASTIC_CASES="$cases" SKEDASTIC_FIRST_CASE="$first" \
      "$build/tests/cuda" --no-colors=true -tc="parity: $family"
    status=$?
    if [ $status -le 1 ]; then break; fi
    number=$(grep -a "^{\"family\":\"$family\",\"begin\":" "$cases" | tail -n 1 | sed 's/.*"begin":\([0-9]*\).*/\1/')
    # none was begun, or none that was not before
    if [ -z "$number" ] || [ "$number" -lt "$first" ]; then break; fi
    # Its time is over, perhaps for being slow: on with the same case, which hangs where it is still there a second time.
    if [[ $status = 124 || $status = 137 ]] && [ "$number" != $slow ]; then slow=$number first=$number && continue; fi
    if [ $status -ne 3 ]; then echo "{\"family\":\"$family\",\"crashed\":$number,\"status\":$status}" >>"$cases"; fi
    look_alone "$family" "$number"
    lost=$((lost + 1)) first=$((number + 1))
    if [ $lost -ge 10 ]; then break; fi
  done
  local counts
  counts=$(families_json | grep -a "\"family\": \"$family\"" | sed 's/.*"cases"/"cases"/; s/[{}",]//g')
  if [ $status -eq 0 ] && [ $lost -eq 0 ]; then
    if grep -aq '^skipped: no usable GPU' "$log"; then
      result "cases/$family" failed $((SECONDS - start)) "$(grep -am1 '^skipped: ' "$log")"
    else
      result "cases/$family" passed $((SECONDS - start)) "$counts"
    fi
  else
    result "cases/$family" failed $((SECONDS - start)) "exit $status, $counts: $(reason "$log")"
  fi
}
stage_cases() {
  local families family
  if [ ! -x "$build/tests/cuda" ]; then result cases skipped 0 "$build/tests/cuda is not there"; return; fi
  families=$(LD_LIBRARY_PATH=$our_path "$build/tests/cuda" --no-colors=true --list-test-cases -tc="parity: *" 2>/dev/null | sed -n 's/^parity: //p')
  if [ -n "${FAMILIES:-}" ]; then families=$(tr ',' '\n' <<<"$FAMILIES"); fi
  while IFS= read -r family; do run_family "$family"; done <<<"$families"
}
stage_devices() {
  tests devices 120 -tce="parity: *,parity cases*,cudnn*,speed*,gpu-check*"
  item devices/layers 60 "$build/tests/layers" "$build/tests/layers" --no-colors=true -tc="*on a GPU*,launches*"
}
# The sizes of HET-XL's publication; small ones for a rehearsal.
published=(likelihood --samples 1000 --classes 29593) shrink=()
if [ "$host" = 1 ]; then published=(likelihood --samples 4 --classes 500 --shrink 64) shrink=(--shrink 128); fi
stage_own_steps() {
  if [ "$host" = 1 ]; then bench own-steps 60 steps --only ViT-S "${shrink[@]}"; return; fi
  bench own-steps-ViT-S 90 steps --only ViT-S
  bench own-steps-ViT-B 90 steps --only ViT-B
  bench own-steps-ResNet-50 120 steps --only ResNet-50
}
stage_likelihood() {
  bench likelihood-B64 60 "${published[@]}" --batch 64
  bench likelihood-B4096 90 "${published[@]}" --batch 4096
}
stage_speed() {
  local what='speed*'
  if [ "$host" = 1 ]; then what='speed: kernels*'; fi  # a rehearsal has no time for large products
  tests speed 90 --no-skip -tc="$what" && grep -a '^speed: ' "$logs/speed" | tee -a "$out/gpu-check.txt"
}
stage_training() {
  local programs=$build/tests/apps
  item training/ten-steps 150 "$programs" "$programs" --no-colors=true -tc="devices: ten training steps*"
  item training/resumed 60 "$programs" "$programs" --no-colors=true -tc="devices: on the GPU a run stopped and resumed*"
  item training/recorded 150 "$programs" "$programs" --no-colors=true -tc="devices: recorded steps*on the GPU"
}
stage_sanitize() {
  local tool
  tool=$(sanitizer)
  if [ -z "$tool" ]; then result sanitize skipped 0 "no compute-sanitizer beside nvcc"; return; fi
  # Kernels of ours alone (their mangled names have 4sked): the libraries' would take the time and raise false alarms.
  local most start=$SECONDS check status
  most=$(allowed "${SANITIZE_LIMIT:-260}")
  if [ ! -x "$build/tests/cuda" ] || [ "$most" -lt 10 ]; then result sanitize skipped 0 "no tests/cuda or no time"; return; fi
  # shellcheck disable=SC2016  # the inner shell's words
  bounded "$most" "$logs/sanitize" env LD_LIBRARY_PATH="$our_path" SKEDASTIC_EXACT_MEMORY=1 bash -c '
    logs=$1; shift
    for check in memcheck racecheck; do
      ( "$1" --tool $check --kernel-name kns=4sked --error-exitcode 9 "$2" --no-colors=true -tc="parity: *" >"$logs/$check" 2>&1
        echo $? >"$logs/$check.status" ) &
    done
    wait' sanitize "$logs" "$tool" "$build/tests/cuda"
  for check in memcheck racecheck; do
    status=$(cat "$logs/$check.status" 2>/dev/null || echo none)
    case $status in
      0) result $check passed $((SECONDS - start)) "$(grep -aE 'ERROR SUMMARY|RACECHECK SUMMARY' "$logs/$check" | tail -n 1)" ;;
      none) result $check failed $((SECONDS - start)) "ended after $most s; $(grep -aE '^=====.*(Invalid|Error:|hazard)' "$logs/$check" | head -n 1)" ;;
      *) result $check failed $((SECONDS - start)) "exit $status: $(grep -aE '^=====.*(Invalid|Error:|hazard|not supported)|ERROR:|[Uu]nrecogni[sz]ed' "$logs/$check" | head -n 1)" ;;
    esac
  done
}
stage_peer() {
  local why
  if ! why=$(LD_LIBRARY_PATH=$old_path timeout 60 python3 -c 'import torch; assert torch.cuda.is_available(), "torch.cuda.is_available() is false"' 2>&1); then
    result peer skipped 0 "no PyTorch on the GPU: $(tail -n 1 <<<"$why")"
    return
  fi
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec python3 "$@"\n' "$old_path" >"$work/python" && chmod +x "$work/python"
  # What it compiled is there for a second call.
  mkdir -p "$build/torch" && export TORCHINDUCTOR_CACHE_DIR=$PWD/$build/torch/inductor TRITON_CACHE_DIR=$PWD/$build/torch/triton
  local model
  for model in ${PEER:-ViT-S likelihood ResNet-50 ViT-B}; do
    case $model in
      likelihood)
        bench peer-likelihood-B64 240 "${published[@]}" --batch 64 --peer "$work/python"
        bench peer-likelihood-B4096 180 "${published[@]}" --batch 4096 --peer "$work/python" --peer-modes eager compile
        ;;
      ViT-S | ViT-B | ResNet-50) bench "peer-$model" 500 steps --only "$model" "${shrink[@]}" --peer "$work/python" ;;
      *) result "peer-$model" failed 0 "PEER: expected ViT-S, ViT-B, ResNet-50, likelihood" ;;
    esac
  done
}
# Time, bytes and instructions of every kernel of one step, as CSV.
stage_profile() {
  local ncu name arguments
  ncu=$(command -v ncu || ls "$(dirname "${nvcc:-/}")/ncu" 2>/dev/null)
  if [ -z "$ncu" ]; then result profile skipped 0 "no ncu beside nvcc"; return; fi
  while IFS='|' read -r name arguments; do
    # shellcheck disable=SC2086  # the arguments are words
    item "profile-$name" 90 "$build/bench" "$ncu" --clock-control none --cache-control none --profile-from-start off --csv --log-file "$logs/profile-$name.csv" \
      --metrics gpu__time_duration.sum,dram__bytes.sum,smsp__inst_executed.sum,l1tex__data_pipe_lsu_wavefronts.sum \
      "$build/bench" $arguments --profile --graph off --device cuda --precision bf16
  done <<END
ViT-S|steps --only ViT-S ${shrink[*]}
likelihood|${published[*]} --batch 64
ResNet-50|steps --only ResNet-50 ${shrink[*]}
END
}
stage_knobs() {
  item knobs 540 "$build/bench" "$build/bench" gpu-knobs --device cuda --precision bf16 --out "$work/bench/knobs.json"
  write_json
}

carry() {
  find_toolkit
  build=${BUILD:-build/gpu-carry}
  flags_for 90
  local name
  make -j"${JOBS:-$(nproc)}" "${flags[@]}" ARCH=x86-64-v3 "${binaries[@]/#/$build/}" || exit 1
  if [ "$host" = 0 ] && ! has_cudnn; then
    echo "gpu_check: built without cuDNN, so its half hour would be spent on the slower kernels: make vendor-cudnn, and cuDNN's headers" >&2
    exit 1
  fi
  rm -rf $carried && mkdir -p $carried || exit 1
  for name in "${binaries[@]}"; do
    strip -o "$work/stripped" "$build/$name" && gzip -9c "$work/stripped" >"$carried/${name//\//-}.gz" || exit 1
  done
  echo "$(sources_id) $([ "$host" = 1 ] && echo 80 || echo 90)" >$carried/about
  du -sh $carried
}

case ${1:-} in
  '') ;;
  --carry) trap 'rm -rf "$work"' EXIT && carry && exit ;;
  --carry-data) trap 'rm -rf "$work"' EXIT && carry_data "${2:-}" && exit ;;
  *) echo "gpu_check: expected --carry, --carry-data FOLDER or nothing, got $1" >&2 && exit 2 ;;
esac
for stage in $stages; do
  case $stage in
    build | facts | cases | devices | own-steps | likelihood | speed | training | sanitize | peer | profile | knobs | cifar-data | cifar | cifar-n) ;;
    *) echo "gpu_check: no stage $stage" >&2 && exit 2 ;;
  esac
done
: >"$out/gpu-check.txt"
rm -f "$cases" "$out/gpu-check.json" "$out/logs.tgz"
learn_machine
if [ "$host" = 0 ] && [ -z "$gpu" ]; then
  result machine skipped 0 "nvidia-smi finds no GPU here"
else
  for stage in $stages; do "stage_${stage//-/_}"; done
fi
finished=true
note "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

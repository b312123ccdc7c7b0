#!/usr/bin/env bash
# make gpu-check: the whole check of the CUDA backend, on a machine with a GPU, the CUDA toolkit, g++ and make.
#
#   tests/gpu_check.sh          writes $OUT/gpu-check.json and $OUT/gpu-check.txt (OUT: build/gpu-check)
#
# Needs nothing else: oneDNN, zlib, the image libraries and SentencePiece stay out, header-only libraries may lie under .deps/include (`make vendor` puts them
# there), data are made up. cuDNN is taken from beside the toolkit or from Python's package nvidia-cudnn-cu13, with cudnn-frontend's headers under
# .deps/include (`make vendor-cudnn`); without either the slower kernels run. Stages: build · device tests · training on CPU and GPU, stopped and
# resumed · speed of kernels · ViT-S/16's training step, beside PyTorch where python3 has it · compute-sanitizer where there is one. A stage that does not fit the time left (LIMIT seconds, 540 by default) is skipped and says so. Its last line is
# `N passed, N failed, N skipped`, counted in stages and device test cases; exits 1 when anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

out=${OUT:-build/gpu-check}
limit=${LIMIT:-540}
build=build/gpu
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export OMP_WAIT_POLICY=passive
passed=0 failed=0 skipped=0
stages=()

left() { echo $((limit - SECONDS)); }
note() { printf '%s\n' "$*" | tee -a "$out/gpu-check.txt"; }
quoted() { sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/ /g' <<<"$1" | tr -d '\n\r'; }
# stage NAME STATUS SECONDS [DETAIL]: one line of the table, one object of the JSON
stage() {
  note "$(printf '%-22s %-8s %5s s  %s' "$1" "$2" "$3" "${4:-}")"
  stages+=("{\"stage\": \"$1\", \"status\": \"$2\", \"seconds\": $3, \"detail\": \"$(quoted "${4:-}")\"}")
  case $2 in passed) passed=$((passed + 1)) ;; failed) failed=$((failed + 1)) ;; *) skipped=$((skipped + 1)) ;; esac
}
# run NAME LEAST COMMAND...: a stage that needs LEAST seconds; its output goes to $out/NAME.log
run() {
  local name=$1 least=$2 start=$SECONDS status
  shift 2
  if [ "$(left)" -lt "$least" ]; then
    stage "$name" skipped 0 "$(left) s left, $least wanted"
    return 0
  fi
  timeout --foreground "$(left)" "$@" >"$out/$name.log" 2>&1 </dev/null
  status=$?
  if [ $status -eq 0 ]; then
    stage "$name" passed $((SECONDS - start)) "$(grep -a '^\[doctest\] test cases' "$out/$name.log" | tail -n 1)"
  else
    stage "$name" failed $((SECONDS - start)) "exit $status: $(grep -aE 'error|ERROR|FAILED' "$out/$name.log" | head -n 1)"
    tail -n 60 "$out/$name.log"
  fi
  return $status
}
finish() {
  local joined load
  load=$(cut -d' ' -f1 /proc/loadavg)
  joined=$(printf ',\n  %s' "${stages[@]}")
  printf '{"gpu": "%s", "nvcc": "%s", "commit": "%s", "load": %s, "seconds": %s,\n "stages": [%s\n ],\n "speed": [%s\n ],\n "steps": %s}\n' \
    "$(quoted "$gpu")" "$(quoted "$toolkit")" "$(git rev-parse --short HEAD 2>/dev/null)" "${load:-0}" "$SECONDS" "${joined:1}" \
    "$speed" "$(cat "$out/steps.json" 2>/dev/null || echo null)" >"$out/gpu-check.json"
  note "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}

: >"$out/gpu-check.txt"
gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
toolkit=$("${nvcc:-false}" --version 2>/dev/null | sed -n 's/.*release //p')
speed=""
note "gpu: ${gpu:-none}   nvcc: ${toolkit:-none}   cores: $(nproc)"
if [ -z "$gpu" ] || [ -z "$nvcc" ]; then
  stage machine skipped 0 "needs nvidia-smi and nvcc"
  finish
fi

home=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
cudnn=$home
if [ ! -f "$cudnn/include/cudnn.h" ]; then
  cudnn=$(python3 -c 'import nvidia.cudnn as package; print(list(package.__path__)[0])' 2>/dev/null)
fi
if [ -f "$cudnn/include/cudnn.h" ]; then export LD_LIBRARY_PATH="$cudnn/lib:$home/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; else cudnn=; fi
note "cudnn: ${cudnn:-none}   cudnn-frontend: $(ls .deps/include/cudnn_frontend.h 2>/dev/null || echo "none under .deps")"
# This card's machine code alone: a quarter of the time that every card's takes.
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
flags=(BUILD=$build CUDA=1 ONEDNN=0 ZLIB=0 IMAGES=0 SENTENCEPIECE=0 MPI=0 WERROR=0 CUDA_HOME="$home" CUDNN_HOME="$cudnn"
  GENCODE="-gencode arch=compute_$capability,code=sm_$capability")
run build 60 make -j"$(nproc)" "${flags[@]}" $build/train $build/bench $build/tests/cuda $build/tests/apps || finish

export SKEDASTIC_BUILD=$build
run device-tests 30 $build/tests/cuda --no-colors=true
run training 60 $build/tests/apps --no-colors=true -tc="devices*"
if run speed 20 $build/tests/cuda --no-colors=true --no-skip -tc="speed*"; then
  grep -a '^speed: ' "$out/speed.log" | tee -a "$out/gpu-check.txt"
  speed=$(sed -n 's/^speed: \(.*\)$/\1/p' "$out/speed.log" | sed 's/"/\\"/g; s/.*/\n  "&"/' | paste -sd, -)
fi
peer=()
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then peer=(--peer python3); fi
rm -f "$out/steps.json"
if run steps $((${#peer[@]} > 0 ? 150 : 30)) $build/bench steps --device cuda --precision bf16 --only ViT-S --rounds 3 --out "$out/steps.json" \
    "${peer[@]}"; then
  tee -a "$out/gpu-check.txt" <"$out/steps.log"
fi
sanitizer=$(command -v compute-sanitizer || ls "$(dirname "$nvcc")/compute-sanitizer" 2>/dev/null)
if [ -z "$sanitizer" ]; then
  stage memcheck skipped 0 "no compute-sanitizer"
  stage racecheck skipped 0 "no compute-sanitizer"
else
  run memcheck 90 "$sanitizer" --tool memcheck --error-exitcode 9 $build/tests/cuda --no-colors=true -tc="parity: *" -tce="*products*"
  run racecheck 90 "$sanitizer" --tool racecheck --error-exitcode 9 $build/tests/cuda --no-colors=true \
    -tc="parity: norms,parity: reductions,parity: softmax,parity: attention,parity: memory,parity: index"
fi
finish

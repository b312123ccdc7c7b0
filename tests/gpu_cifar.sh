#!/usr/bin/env bash
# The stages of tests/gpu_check.sh, which sources this, that train on CIFAR-10; and what brings the data there.
# shellcheck disable=SC2154  # variables are its

data=${DATA:-$build/data}
part_limit=$((56 << 20))  # bytes that one call can carry, with what else travels
cifar_batches=(data_batch_{1..5}.bin test_batch.bin)

# carry_data FOLDER: files of FOLDER/cifar-10, packed where they are not, into .gpu/data-1 … of part_limit bytes each
carry_data() {
  local from=$1/cifar-10 name file part=1 size=0 more
  local names=("${cifar_batches[@]}" cifar10n-clean.npy cifar10n-worst.npy cifar10h-counts.npy)
  for name in "${names[@]}"; do
    if [ ! -f "$from/$name.xz" ] && [ ! -f "$from/$name" ]; then
      echo "gpu_check: no $name in $from: expected --carry-data FOLDER with CIFAR-10 and CIFAR-10N in FOLDER/cifar-10" >&2 && exit 1
    fi
  done
  rm -rf .gpu/data-* && mkdir -p .gpu/data-1 || exit 1
  for name in "${names[@]}"; do
    if [ -f "$from/$name.xz" ]; then
      file=$from/$name.xz
    else
      file=$work/$name.xz && xz -T0 -c "$from/$name" >"$file" || exit 1
    fi
    more=$(stat -Lc %s "$file")
    if [ $((size + more)) -gt $part_limit ]; then part=$((part + 1)) size=0 && mkdir -p .gpu/data-$part || exit 1; fi
    cp "$file" ".gpu/data-$part/$name.xz" && size=$((size + more)) || exit 1
  done
  du -sh .gpu/data-*
}
unpack() { if command -v xz >/dev/null; then xz -dc "$1"; else python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"; fi; }
# What this call brought, beside what earlier ones did.
stage_cifar_data() {
  local start=$SECONDS file name count=0
  mkdir -p "$build/data/cifar-10"
  for file in .gpu/data-*/*.xz; do
    if [ ! -f "$file" ]; then continue; fi
    name=$build/data/cifar-10/$(basename "$file" .xz)
    if ! unpack "$file" >"$name.part" || ! mv "$name.part" "$name"; then result cifar-data failed $((SECONDS - start)) "$file does not unpack"; return; fi
    count=$((count + 1))
  done
  if [ $count = 0 ]; then result cifar-data failed 0 "no .gpu/data-* came along"; return; fi
  result cifar-data passed $((SECONDS - start)) "$count files now, $(find "$build/data/cifar-10" -type f | wc -l) in all"
}
have_cifar() {  # STAGE
  local name
  for name in "${cifar_batches[@]}"; do
    if [ ! -f "$data/cifar-10/$name" ]; then result "$1" skipped 0 "no $name in $data/cifar-10 (DATA=, or --carry-data and the stage cifar-data)"; return 1; fi
  done
}
# On the emulated GPU a step of each run on the CPU, of a narrow network, to see the lines run.
cifar_settings() {
  if [ "$host" = 1 ]; then
    settings=(--device cpu --set train.steps=1 --set train.batch_size=8 --set data.validation=100 --set model.base_width=4)
  else
    settings=(--device cuda --precision bf16 --set train.loader_threads=8)
  fi
}
# A ResNet-18 and what it takes to reach 94 % of the test images.
stage_cifar() {
  local settings run=$build/cifar-resnet18 accuracy
  have_cifar cifar || return
  cifar_settings
  rm -rf "$run"
  item cifar 500 "$build/train" "$build/train" --config apps/configs/cifar10-clean-resnet18-det.json --data-root "$data" --out "$run" "${settings[@]}"
  keep_json cifar "$run/summary.json"
  grep -aE '^(test|[0-9]+ steps in)' "$logs/cifar" | tee -a "$out/gpu-check.txt"
  if [ "$host" = 1 ]; then return; fi
  accuracy=$(sed -n 's/^test: .*accuracy \([0-9.]*\) %.*/\1/p' "$logs/cifar")
  result cifar/94 "$(awk -v a="${accuracy:-0}" 'BEGIN { print a >= 94 ? "passed" : "failed" }')" 0 "${accuracy:-no} % of the test images"
}
# Resumed by the next call where its time is not enough.
stage_cifar_n() {
  local settings run=$build/cifar-n
  have_cifar cifar-n || return
  cifar_settings
  item cifar-n 560 "$build/replicate" "$build/replicate" --config apps/configs/plan-cifar10n-seeds.json --data-root "$data" --out "$run" "${settings[@]}"
  keep_json cifar-n "$run/results.json"
  if [ -f "$run/table.md" ]; then tee -a "$out/gpu-check.txt" <"$run/table.md"; fi
}
keep_json() { if [ -f "$2" ]; then cp "$2" "$work/bench/$1.json" && write_json; fi; }

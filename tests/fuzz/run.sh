#!/usr/bin/env bash
# Runs the fuzz targets of $BUILD/fuzz for FUZZ_SECONDS each, from seeds of their kind. `run.sh TARGET...`; inputs found
# are kept in $BUILD/corpus, what breaks one in $BUILD/TARGET-*. Exits 1 where one did.
set -uo pipefail
build=${BUILD:?} seconds=${FUZZ_SECONDS:-60}
mkdir -p "$build/seed"
printf 1 >"$build/seed/a.cls"
printf x >"$build/seed/a.jpg"

# seeds TARGET FOLDER
seeds() {
  case $1 in
    config) cp apps/configs/*det.json "$2" ;;
    plan) cp apps/configs/demo.json apps/configs/plan-*.json "$2" ;;
    embeddings) cp tests/fixtures/embeddings.safetensors "$2" ;;
    safetensors) cp tests/fixtures/formats.safetensors "$2" ;;
    tokenizer) cp tests/fixtures/tokenizer.model "$2" ;;
    gzip) gzip -c apps/configs/demo.json >"$2/demo" ;;
    metrics) printf '{"step":6,"epoch":0.5,"split":"validation","nll":2.3,"accuracy":0.1}\n' >"$2/line" ;;
    summary)
      printf '{"head":"het-xl","seed":0,"temperature":1.1,"steps":6,"test":{"nll":2.3,"accuracy":0.1,"count":10,%s}}' \
        '"noisy":{"cross_entropy":1.2}' >"$2/run"
      ;;
    checkpoint)
      printf '{"model":{"name":"resnet20"}}\0{"step":6,"metrics_bytes":12,"best_nll":2.3}\0' >"$2/entries"
      printf '{"classes":["cat"],%s,%s,%s}' \
        '"train":{"count":1,"fingerprint":"0a"}' '"validation":{"count":0,"fingerprint":""}' \
        '"test":{"count":1,"fingerprint":""}' >>"$2/entries"
      ;;
    tar)
      for form in ustar pax gnu; do tar -b 2 --format=$form -C "$build/seed" -cf "$2/$form" a.jpg a.cls; done
      ;;
    caption_table) printf '1\ta cat\n' >"$2/pair" ;;
  esac
}

failed=0
for target; do
  corpus=$build/corpus/$target log=$build/$target.log
  mkdir -p "$corpus"
  seeds "$target" "$corpus"
  if "$build/fuzz/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -print_final_stats=0 -verbosity=0 \
    -artifact_prefix="$build/$target-" "$corpus" >"$log" 2>&1; then
    echo "fuzz $target: nothing found in $seconds s, $(ls "$corpus" | wc -l) inputs kept"
  else
    failed=1
    echo "fuzz $target: FAILED"
    tail -n 40 "$log"
  fi
done
exit $failed

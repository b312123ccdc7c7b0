#!/usr/bin/env bash
# The JSON of tests/gpu_check.sh, which sources this: what it has learned, out of the files that it keeps in its folder of work.
# shellcheck disable=SC2154  # variables are its

# What awk needs to read lines that tests/cuda/case_log.cpp wrote.
read_case='
  function word(key) { return match($0, "\"" key "\":\"[^\"]*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : "" }
  function number(key) { return match($0, "\"" key "\":[-+0-9.e]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : -1 }
  !/^\{.*\}$/ { next }  # cut off while it was written'
families_json() {
  awk "$read_case"'
    { f = word("family"); if (!(f in seen)) { seen[f] = 1; order[++count] = f } }
    /"begin":/ { if (!(f "|" number("begin") in begun)) cases[f]++; begun[f "|" number("begin")] = 1 }
    /"way":/ { compared[f]++ }
    /"ok":false/ { wrong[f]++ }
    /"thrown":/ { thrown[f]++ }
    /"dead":|"crashed":/ { lost[f]++ }
    END { for (i = 1; i <= count; ++i) { f = order[i]
      printf "%s\n  {\"family\": \"%s\", \"cases\": %d, \"compared\": %d, \"wrong\": %d, \"thrown\": %d, \"lost\": %d}", (i > 1 ? "," : ""), f, cases[f], compared[f], wrong[f], thrown[f], lost[f] } }
  ' "$cases" 2>/dev/null
}
# The nearest to its limit of each kernel in each way: share = error / allowed. Exact and compared exactly is 0; −1: not finite.
margins_json() {
  awk "$read_case"'
    /"way":/ {
      key = word("kernel") "\", \"way\": \"" word("way"); error = number("error"); allowed = number("allowed")
      share = error < 0 ? 1e30 : (allowed > 0 ? error / allowed : (error > 0 ? 1e30 : 0))
      if (!(key in worst)) order[++count] = key
      if (key in worst && share <= worst[key]) next
      worst[key] = share
      text[key] = sprintf("\"share\": %.4g, \"error\": %.4g, \"allowed\": %.4g, \"what\": \"%s\", \"output\": %d, \"number\": %d", (share >= 1e30 ? -1 : share), error, allowed, word("what"), number("output"), number("number"))
    }
    END { for (i = 1; i <= count; ++i) printf "%s\n  {\"kernel\": \"%s\", %s}", (i > 1 ? "," : ""), order[i], text[order[i]] }
  ' "$cases" 2>/dev/null
}
# Milliseconds that the desk review predicted before anything ran: row | H100 | H200
predictions='step ViT-S/16 224x224 batch 256|28.5|27.1
step ResNet-50 224x224 batch 256|57|50
step ViT-B/16 224x224 batch 256||
likelihood HET-XL B64 S1000 D1024 K29593|32|
likelihood HET-XL B4096 S1000 D1024 K29593|1960|'
# speeds: every timed row of a bench, beside its prediction
speeds_json() {
  local file
  for file in "$work"/bench/*.json; do
    if [ -f "$file" ]; then
      awk -v run="$(basename "$file" .json)" -v table="$predictions" -v column="$([[ $gpu == *H200* ]] && echo 3 || echo 2)" '
        BEGIN { n = split(table, row, "\n"); for (i = 1; i <= n; ++i) { split(row[i], cell, "|"); wanted[cell[1]] = cell[column] } }
        match($0, /"name": *"[^"]*"/) { name = substr($0, RSTART, RLENGTH); sub(/"name": *"/, "", name); sub(/"$/, "", name) }
        match($0, /"seconds": *[-+0-9.e]+/) && name != "" {
          value = substr($0, RSTART, RLENGTH); sub(/"seconds": */, "", value)
          printf "{\"run\": \"%s\", \"name\": \"%s\", \"milliseconds\": %.4g, \"predicted\": %s}\n", run, name, value * 1000, (name in wanted && wanted[name] != "") ? wanted[name] : "null"
          name = ""
        }' "$file"
    fi
  done | paste -sd, -
}
benches_json() {
  local file comma=
  for file in "$work"/bench/*.json; do
    if [ -s "$file" ]; then printf '%s\n  "%s": ' "$comma" "$(basename "$file" .json)" && cat "$file" && comma=,; fi
  done
}
alone_json() {
  local file comma=
  for file in "$work"/alone/*; do
    if [ -f "$file" ]; then printf '%s\n  {"case": %s, "lines": [%s]}' "$comma" "$(quoted "$(basename "$file")")" "$(lines "$file")" && comma=,; fi
  done
}
clocks() { if [ "$host" = 0 ]; then timeout 5 nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw,utilization.gpu,clocks_throttle_reasons.active --format=csv,noheader 2>/dev/null | head -n 1; fi; }
write_json() {
  local bad='"ok":false|"thrown":|"dead":|"crashed":'
  {
    printf '{"complete": %s, "seconds": %s, "passed": %s, "failed": %s, "skipped": %s,\n' "$finished" "$SECONDS" "$passed" "$failed" "$skipped"
    printf ' "facts": {%s "clocks_after": %s, "load_after": %s},\n' "$(cat "$work/facts" 2>/dev/null)" "$(quoted "$(clocks)")" "$(quoted "$(cat /proc/loadavg)")"
    printf ' "stages": [\n%s\n ],\n' "$(paste -sd, "$work/results" 2>/dev/null)"
    printf ' "families": [%s\n ],\n' "$(families_json)"
    printf ' "failures": [\n%s\n ],\n' "$(grep -aE "$bad" "$cases" 2>/dev/null | grep -a '^{.*}$' | head -n 1000 | paste -sd, -)"
    printf ' "alone": [%s\n ],\n' "$(alone_json)"
    printf ' "margins": [%s\n ],\n' "$(margins_json)"
    printf ' "notes": [%s],\n' "$(grep -ahE '^ *note: |^skipped: |cuDNN|cuBLAS|the GPU says' "$logs"/* 2>/dev/null | sort | uniq -c | sort -rn | head -n 100 | lines -)"
    printf ' "speeds": [%s],\n "kernel_speeds": [%s],\n' "$(speeds_json)" "$(sed -n 's/^speed: //p' "$logs"/speed* 2>/dev/null | lines -)"
    printf ' "bench": {%s\n }}\n' "$(benches_json)"
  } >"$work/json" && cp "$work/json" "$out/.gpu-check.json" && mv "$out/.gpu-check.json" "$out/gpu-check.json"
}

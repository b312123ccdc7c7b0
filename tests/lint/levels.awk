# Levels: includes point only downwards; CUDA and oneDNN stay behind their interfaces.
BEGIN {
  may["core"] = "core"; may["data"] = "core data"; may["cuda"] = "core cuda"; may["autograd"] = "core autograd"
  may["kernels"] = "core"  # of tests: the benchmark has them, too
  may["layers"] = "core autograd layers"; may["apps"] = "core autograd data layers apps"
  split("core data cuda autograd layers apps tests", names, " ")
  for (i in names) is_level[names[i]] = 1
  nvidia = "^(cuda[A-Za-z0-9_]*\\.h|cuda_.*|cuda/std/.*|cublas.*|cudnn.*|curand.*|cusolver.*|cusparse.*|nccl.*"
  nvidia = nvidia "|nvrtc.*|nvtx3.*|nvml.*|cub/.*|thrust/.*|cutlass/.*|cooperative_groups.*|vector_types\\.h)$"
}
# 1, 2, 3 in apps/common, whose folders are levels of their own
function rank(path) {
  return path !~ /^apps\/common\// ? 0 : path ~ /^apps\/common\/config\// ? 1 : path ~ /^apps\/common\/measure\// ? 2 : 3
}
FNR == 1 {
  count = split(FILENAME, part, "/")
  level = part[1]; allowed = may[level]
  # a test sees what its binary links: its level, and helpers of the tests
  if (level == "tests") allowed = (count > 2 && part[2] in may ? may[part[2]] : may["apps"]) " tests"
}
/^[ \t]*#[ \t]*include/ {
  path = $0; sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", path); sub(/[>"].*/, "", path)
  head = path; sub(/\/.*/, "", head)
  where = FILENAME ":" FNR ": "
  if (path ~ /(^|\/)\.\.?\//) print where "relative include \"" path "\": paths start at the top level"
  # bench times the tests' cases
  else if (FILENAME ~ /^apps\/bench\// && path ~ /^tests\/kernels\//) next
  else if (head != path && head in is_level && !(head == "cuda" && /</) && index(" " allowed " ", " " head " ") == 0)
    print where level " must not include " path " (may include: " allowed ")"
  if (rank(FILENAME) > 0 && rank(path) > rank(FILENAME))
    print where "apps/common: config, measure, run: an include of " path " points upwards"
  if (level == "apps" && path ~ /^apps\// && part[2] != "common" && path !~ "^apps/(common|" part[2] ")/")
    print where "an app includes no other: " path
  if (level != "cuda" && FILENAME !~ /^tests\/cuda\/host\// && path ~ nvidia)
    print where "CUDA header " path " outside cuda/"
  if (path ~ /(^|\/)dnnl/ && FILENAME !~ /^core\/cpu\/onednn/)
    print where "oneDNN header " path " outside core/cpu/onednn*"
  # each costs seconds to compile: one file knows it, and has an interface of ours (tests judge by the library itself)
  if (level != "tests" && path ~ /^nlohmann\// && FILENAME != "core/json.cpp")
    print where "JSON header " path " outside core/json.cpp: core/json.h"
  if (level != "tests" && path ~ /^CLI\// && FILENAME != "apps/common/config/options.cpp")
    print where "CLI11 header " path " outside apps/common/config/options.cpp: options.h"
}
/^[ \t]*#[ \t]*(if|elif).*(CUDA|NVCC)/ && level != "cuda" {
  print FILENAME ":" FNR ": a condition on CUDA outside cuda/"
}

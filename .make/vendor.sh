#!/usr/bin/env bash
# Copies header-only libraries into .deps/include, for a machine without packages. `vendor.sh` all of them,
# `vendor.sh cudnn` NVIDIA's cudnn-frontend alone: from where the compiler sees it, from Python's package, or from
# that package, fetched; lacking it costs a feature only. CXX, CPPFLAGS and CUDNN_FRONTEND_VERSION come from the
# environment.
mkdir -p .deps/include

# where HEADER: the path at which the compiler finds it
where() {
  printf '#include <%s>\n' "$1" | ${CXX:-g++} $CPPFLAGS -std=c++20 -M -x c++ - 2>/dev/null | tr ' \\' '\n\n' |
    grep -m1 "/$1$"
}

if [ "${1:-}" != cudnn ]; then
  for header in nlohmann/json.hpp CLI/CLI.hpp doctest/doctest.h; do
    path=$(where $header)
    if [ -z "$path" ]; then
      echo "error: $header not found by ${CXX:-g++}" >&2
      exit 1
    fi
    case $path in .deps/include/*) continue ;; esac  # copied before
    rm -rf ".deps/include/${header%%/*}"
    cp -rL "${path%/*}" .deps/include/
    echo "  .deps/include/${header%%/*} from ${path%/*}"
  done
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
path=$(where cudnn_frontend_version.h)
case $path in .deps/include/*) exit 0 ;; esac  # copied before
from=${path%/*}
if [ -z "$from" ] && command -v python3 >/dev/null; then
  from=$(python3 - <<'PYTHON' 2>/dev/null
import importlib.metadata as m
print(next(f.locate().parent.resolve() for f in m.files("nvidia-cudnn-frontend") if f.name == "cudnn_frontend.h"))
PYTHON
  )
  if [ -z "$from" ] && python3 -m pip download -q --retries 1 --timeout 20 --no-deps -d "$work" \
    "nvidia-cudnn-frontend==${CUDNN_FRONTEND_VERSION:-1.32.0}" >/dev/null 2>&1; then
    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$work"/*.whl "$work/x" &&
      from=$(dirname "$(find "$work/x" -name cudnn_frontend.h | head -n 1)")
  fi
fi
if [ ! -f "$from/cudnn_frontend.h" ]; then
  echo "  cudnn-frontend cannot be had here: going on without it (convolutions and attention on GPUs by slower kernels)"
  exit 0
fi
rm -rf .deps/include/cudnn_*
cp -rL "$from"/cudnn_frontend* "$from/cudnn_backend_base.h" .deps/include/
case $from in "$work"*) from="the Python package, fetched" ;; esac
echo "  .deps/include/cudnn_frontend from $from"

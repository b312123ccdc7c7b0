#!/usr/bin/env bash
# make lint: the rules that a script can check. One line `file:line: message` per finding; exits 1 on any.
#
#   tests/lint.sh [FOLDER]      default: the repository this script lies in
#
# twice: no type is defined in two files
# levels: includes point only downwards           circles: none among headers and sources
# sizes: files and functions fit the screen       format: clang-format has nothing to change
# READMEs: one per folder of the plan             top level: nothing but what the plan names
# words: no notes to self, no ellipsis in errors  documents: width, links, paths, commands, citations of the method
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/..}" || exit 1

max_file=500 max_test_file=700 max_function=60
max_columns_source=120 max_columns_document=100 max_readme=100
top_level='Makefile README.md LICENSE core autograd layers cuda data apps tests'
# Includes that may close a circle. Handles begin what is built on them: a Tensor is copied by a kernel, a Var's
# backward() is the tape's, a replay launches.
back_edges='core/tensor.cpp>core/kernels/memory.h core/tensor.cpp>core/recording.h
  autograd/var.cpp>autograd/tape.h autograd/var.cpp>autograd/support.h cuda/recording.cu>cuda/launch.cuh'
folders='core core/kernels core/cpu autograd layers layers/models layers/heads cuda data apps apps/common
  apps/common/config apps/common/measure apps/common/run apps/configs tests tests/fixtures'

findings=$(mktemp) || exit 1
trap 'rm -f "$findings"' EXIT
report() { printf '%s\n' "$*" >>"$findings"; }

# Tracked files, and new ones that git does not ignore; without git every file but build products.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  mapfile -t all < <(git ls-files -co --exclude-standard | sort -u |
    while read -r f; do if [ -f "$f" ]; then echo "$f"; fi; done)
else
  mapfile -t all < <(find . -type f ! -path './.git/*' ! -path './.deps/*' ! -path './build/*' ! -path './runs/*' \
    ! -path './datasets/*' | sed 's,^\./,,' | sort)
fi
sources=() scripts=() documents=()
for file in "${all[@]}"; do
  case $file in
    *.h | *.cpp | *.cu | *.cuh) sources+=("$file") ;;
    *.sh | *.py | *.awk | *.mk | Makefile | .ci/run) scripts+=("$file") ;;
    *.md) documents+=("$file") ;;
  esac
done

check_sources() {
  awk -f "$here/lint/levels.awk" "${sources[@]}" >>"$findings"
  awk -v back="$back_edges" -f "$here/lint/circles.awk" "${sources[@]}" >>"$findings"
  awk -v max_file=$max_file -v max_test=$max_test_file -v max_function=$max_function \
    -f "$here/lint/sizes.awk" "${sources[@]}" >>"$findings"
  awk -f "$here/lint/messages.awk" "${sources[@]}" >>"$findings"
  awk -f "$here/lint/twice.awk" "${sources[@]}" >>"$findings"
}

check_top_level() {
  local entry
  for entry in $(printf '%s\n' "${all[@]%%/*}" | sort -u); do
    case " $top_level " in *" $entry "*) continue ;; esac
    case $entry in .*) ;; *) report "$entry:1: not part of the top level ($top_level, dot-files)" ;; esac
  done
}

check_format() {
  if ! command -v clang-format >/dev/null; then
    echo "lint: FORMAT NOT CHECKED: no clang-format here (apt-get install clang-format)"
    skipped=1
    return
  fi
  # one process for all of them: starting it takes longer than most files
  clang-format --dry-run --Werror --ferror-limit=0 "${sources[@]}" 2>&1 | awk -F: '
    / error: / { if (!count[$1]++) first[$1] = $2 }
    END { for (f in count) print f ":" first[f] ": not formatted, " count[f] " places (make format)" }' >>"$findings"
}

check_readmes() {
  local folder
  for folder in $folders; do
    if [ ! -f "$folder/README.md" ]; then report "$folder/README.md:1: missing: each folder of the plan has one"; fi
  done
}

check_words() {
  local words='TO''DO|FIX''ME|X''XX|HA''CK'
  if [ $((${#sources[@]} + ${#scripts[@]})) -gt 0 ]; then
    grep -nHwE "$words" "${sources[@]}" "${scripts[@]}" |
      sed -E 's/^([^:]*:[0-9]+):[ \t]*/\1: unfinished: /' >>"$findings"
  fi
}

. "$here/lint/documents.sh"
skipped=0
if [ ${#sources[@]} -gt 0 ]; then
  check_sources
  check_format
fi
check_top_level
check_readmes
check_words
if [ ${#documents[@]} -gt 0 ]; then
  check_width
  check_citations
  check_links
  check_code
fi
sort -t: -k1,1 -k2,2n "$findings"
count=$(wc -l <"$findings")
echo "lint: $count findings in ${#sources[@]} source files$([ $skipped -eq 0 ] || echo ', 1 check skipped')"
[ "$count" -eq 0 ]

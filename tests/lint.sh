#!/usr/bin/env bash
# make lint: the house rules that a script can check. One line `file:line: message` per finding; exits 1 on any.
#
#   tests/lint.sh [FOLDER]      default: the repository this script lies in
#
# floors: includes point only downwards           top level: nothing but what the plan names
# sizes: files and functions fit the screen       format: clang-format has nothing to change
# READMEs: one per folder of the plan             words: no notes to self left in the sources
set -uo pipefail
cd "${1:-$(dirname "$0")/..}" || exit 1

max_file=500 max_test_file=700 max_function=60
top_level='Makefile README.md LICENSE core autograd layers cuda data apps tests'
folders='core core/kernels core/cpu autograd layers layers/models layers/heads cuda data apps apps/common apps/configs tests tests/fixtures'

findings=$(mktemp) || exit 1
trap 'rm -f "$findings"' EXIT
report() { printf '%s\n' "$*" >>"$findings"; }

# Tracked files, and new ones that git does not ignore; without git every file but build products.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  mapfile -t all < <(git ls-files -co --exclude-standard | sort -u | while read -r f; do if [ -f "$f" ]; then echo "$f"; fi; done)
else
  mapfile -t all < <(find . -type f ! -path './.git/*' ! -path './.deps/*' ! -path './build/*' ! -path './runs/*' ! -path './datasets/*' |
    sed 's,^\./,,' | sort)
fi
sources=() scripts=()
for file in "${all[@]}"; do
  case $file in
    *.h | *.cpp | *.cu | *.cuh) sources+=("$file") ;;
    *.sh | *.py | Makefile | .ci/run) scripts+=("$file") ;;
  esac
done

check_floors() {
  awk '
    BEGIN {
      may["core"] = "core"; may["data"] = "core data"; may["cuda"] = "core cuda"; may["autograd"] = "core autograd"
      may["layers"] = "core autograd layers"; may["apps"] = "core autograd data layers apps"
      split("core data cuda autograd layers apps tests", names, " ")
      for (i in names) is_floor[names[i]] = 1
    }
    FNR == 1 {
      count = split(FILENAME, part, "/")
      floor = part[1]; allowed = may[floor]
      # a test sees what its binary links: its floor, and helpers of the tests
      if (floor == "tests") allowed = (count > 2 && part[2] in may ? may[part[2]] : may["apps"]) " tests"
    }
    /^[ \t]*#[ \t]*include/ {
      path = $0; sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", path); sub(/[>"].*/, "", path)
      head = path; sub(/\/.*/, "", head)
      where = FILENAME ":" FNR ": "
      if (path ~ /(^|\/)\.\.?\//) print where "relative include \"" path "\": paths start at the top level"
      else if (head != path && head in is_floor && index(" " allowed " ", " " head " ") == 0 && !(head == "cuda" && $0 ~ /</))
        print where floor " must not include " path " (may include: " allowed ")"
      if (floor != "cuda" && FILENAME !~ /^tests\/cuda\/host\// && path ~ /^(cuda[A-Za-z0-9_]*\.h|cuda_.*|cuda\/std\/.*|cublas.*|cudnn.*|curand.*|cusolver.*|cusparse.*|nccl.*|nvrtc.*|nvtx3.*|nvml.*|cub\/.*|thrust\/.*|cutlass\/.*|cooperative_groups.*|vector_types\.h)$/)
        print where "CUDA header " path " outside cuda/"
      if (path ~ /(^|\/)dnnl/ && FILENAME !~ /^core\/cpu\/onednn/) print where "oneDNN header " path " outside core/cpu/onednn*"
    }
    /^[ \t]*#[ \t]*(if|elif).*(CUDA|NVCC)/ && floor != "cuda" { print FILENAME ":" FNR ": a condition on CUDA outside cuda/" }
  ' "${sources[@]}" >>"$findings"
}

check_top_level() {
  local entry
  for entry in $(printf '%s\n' "${all[@]%%/*}" | sort -u); do
    case " $top_level " in *" $entry "*) continue ;; esac
    case $entry in .*) ;; *) report "$entry:1: not part of the top level ($top_level, dot-files)" ;; esac
  done
}

# Lengths. A character scanner drops comments, literals and preprocessor lines and keeps a stack of open braces: `n` namespace,
# `c` class, `i` initializer, `f` function, `b` anything inside a function. What a brace opens is told by the text since the last ; { }.
# A function is measured from its first word to its closing brace; lambdas inside count with the function they stand in.
check_sizes() {
  awk -v max_file="$max_file" -v max_test="$max_test_file" -v max_function="$max_function" '
    function drop_angles(text,    out, depth, i, c) {  # template <...> with nesting
      if (text !~ /template[ ]*</) return text
      while (match(text, /template[ ]*</)) {
        out = substr(text, 1, RSTART - 1); depth = 1
        for (i = RSTART + RLENGTH; i <= length(text) && depth > 0; ++i) {
          c = substr(text, i, 1)
          if (c == "<") ++depth; else if (c == ">") --depth
        }
        text = out " " substr(text, i)
      }
      return text
    }
    function kind_of(text, outer,    tail) {
      gsub(/[ \t]+/, " ", text); text = drop_angles(text)
      gsub(/\[\[[^]]*\]\]/, "", text); sub(/^ +/, "", text); sub(/ +$/, "", text)
      if (outer == "f" || outer == "b") return "b"
      if (text ~ /(^| )namespace( |$)/ || text ~ /^extern ""$/) return "n"
      if (text == "") return outer == "i" ? "i" : "f"  # a body after `member_{x}` of a constructor
      tail = text
      gsub(/ (const|noexcept|override|final|mutable|volatile|try)/, "", tail); gsub(/[& ]+$/, "", tail)
      if (tail ~ /\)$/ || text ~ /\)[a-z& ]*->[^;]*$/) return "f"
      if ((" " text " ") ~ /[^A-Za-z0-9_](class|struct|union|enum)[^A-Za-z0-9_]/) return "c"
      if (tail ~ /(^|[=(,{ ])\[[^]]*\]( ?->.*)?$/) return "f"  # a lambda without parameters
      return "i"
    }
    function reset() { words = ""; first = 0 }
    function begin_file() {
      if (previous != "") end_file()
      previous = FILENAME; depth = 0; mode = ""; continued = 0; reset()
    }
    function end_file() {
      limit = previous ~ /^tests\// ? max_test : max_file
      if (lines > limit) print previous ":" lines ": " lines " lines, at most " limit
      if (depth != 0) print previous ":" lines ": braces do not balance as read here (" depth " open): sizes of functions unknown"
    }
    function open_brace() {
      kind = kind_of(words, depth > 0 ? stack[depth] : "n")
      ++depth; stack[depth] = kind; start[depth] = first ? first : FNR
      reset()
    }
    function close_brace(    count) {
      if (depth == 0) return
      count = FNR - start[depth] + 1
      if (stack[depth] == "f" && count > max_function)
        print FILENAME ":" start[depth] ": function of " count " lines, at most " max_function
      --depth; reset()
    }
    FNR == 1 { begin_file() }
    {
      lines = FNR; line = $0
      if (mode == "" && (continued || line ~ /^[ \t]*#/)) { continued = line ~ /\\$/; next }
      size = length(line)
      for (i = 1; i <= size; ++i) {
        c = substr(line, i, 1)
        if (mode == "comment") {
          if (c == "*" && substr(line, i + 1, 1) == "/") { mode = ""; ++i }
          continue
        }
        if (mode == "raw") {
          at = index(substr(line, i), raw_end)
          if (at == 0) break
          i += at + length(raw_end) - 2; mode = ""; words = words "\"\""
          continue
        }
        two = substr(line, i, 2)
        if (two == "//") break
        if (two == "/*") { mode = "comment"; ++i; continue }
        before = i > 1 ? substr(line, i - 1, 1) : ""
        if (c == "\"" && before == "R") {
          rest = substr(line, i + 1); at = index(rest, "(")
          raw_end = ")" substr(rest, 1, at - 1) "\""; mode = "raw"; i += at
          continue
        }
        if (c == "\"" || (c == "\047" && before !~ /[A-Za-z0-9_]/)) {
          for (++i; i <= size && substr(line, i, 1) != c; ++i) if (substr(line, i, 1) == "\\") ++i
          words = words c c
          if (!first) first = FNR
          continue
        }
        if (c == "{") open_brace()
        else if (c == "}") close_brace()
        else if (c == ";") reset()
        else {
          if (c == ":" && words ~ /^[ \t]*(public|private|protected)[ \t]*$/) { reset(); continue }
          if (!first && c !~ /[ \t]/) first = FNR
          words = words c
        }
      }
      words = words " "
    }
    END { if (previous != "") end_file() }
  ' "${sources[@]}" >>"$findings"
}

check_format() {
  local file places
  if ! command -v clang-format >/dev/null; then
    echo "lint: FORMAT NOT CHECKED: no clang-format here (apt-get install clang-format)"
    skipped=1
    return
  fi
  for file in "${sources[@]}"; do
    places=$(clang-format --dry-run --Werror --ferror-limit=0 "$file" 2>&1 | grep 'error:')
    if [ -n "$places" ]; then
      report "$file:$(cut -d: -f2 <<<"$places" | head -n 1): not formatted, $(wc -l <<<"$places") places (make format)"
    fi
  done
}

check_readmes() {
  local folder
  for folder in $folders; do
    if [ ! -f "$folder/README.md" ]; then report "$folder/README.md:1: missing: each folder of the plan has its page"; fi
  done
}

check_words() {
  local words='TO''DO|FIX''ME|X''XX|HA''CK'
  if [ $((${#sources[@]} + ${#scripts[@]})) -gt 0 ]; then
    grep -nHwE "$words" "${sources[@]}" "${scripts[@]}" | sed -E 's/^([^:]*:[0-9]+):[ \t]*/\1: unfinished: /' >>"$findings"
  fi
}

skipped=0
if [ ${#sources[@]} -gt 0 ]; then
  check_floors
  check_sizes
  check_format
fi
check_top_level
check_readmes
check_words
sort -t: -k1,1 -k2,2n "$findings"
count=$(wc -l <"$findings")
echo "lint: $count findings in ${#sources[@]} source files$([ $skipped -eq 0 ] || echo ', 1 check skipped')"
[ "$count" -eq 0 ]

# What documents promise: sourced by tests/lint.sh, which sets `documents`, `sources`, `all`, `here` and report().

check_width() {
  local lines
  over() {
    local columns=$1
    shift
    LC_ALL=C.UTF-8 grep -nHE "^.{$((columns + 1)),}" "$@" |
      sed -E "s/^([^:]*:[0-9]+):.*/\1: over $columns columns/" >>"$findings"
  }
  over $max_columns_document "${documents[@]}"
  if [ ${#sources[@]} -gt 0 ]; then over $max_columns_source "${sources[@]}"; fi
  if [ -f README.md ]; then
    lines=$(wc -l <README.md)
    if [ "$lines" -gt $max_readme ]; then report "README.md:$lines: $lines lines, at most $max_readme"; fi
  fi
}

# METHOD.md, comma, a heading in double quotes: in the code and in documents it names a section of the method's page.
check_citations() {
  awk -v method=layers/heads/METHOD.md '
    BEGIN { while ((getline line <method) > 0) if (sub(/^#+ +/, "", line)) heading[line] = 1 }
    FNR == 1 { rest = "" }
    {
      line = $0; sub(/^[ \t]*(\/\/+|#+|\*)?[ \t]*/, "", line)
      line = rest line; rest = ""
      while (match(line, /METHOD\.md, "[^"]*"/)) {
        name = substr(line, RSTART + 12, RLENGTH - 13); line = substr(line, RSTART + RLENGTH)
        if (!(name in heading)) print FILENAME ":" FNR ": " method " has no section \"" name "\""
      }
      if (match(line, /METHOD\.md,?( "[^"]*)?$/)) rest = substr(line, RSTART) " "
    }' "${sources[@]}" "${documents[@]}" >>"$findings"
}

# A link's file is there, and so is the heading after its `#`, by GitHub's name of it.
check_links() {
  local file line path target
  while IFS=: read -r file line path; do
    path=${path#']('} path=${path%')'}
    case $path in http*:*) continue ;; esac
    target=${file%"${file##*/}"}${path%%'#'*}
    if [ -z "${path%%'#'*}" ]; then target=$file; fi
    if [ ! -e "$target" ]; then
      report "$file:$line: a link to $path, which is not there"
    elif [[ $path == *'#'* ]] && ! sed -nE 's/^#+ +//p' "$target" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-' |
      grep -qFx -- "${path#*'#'}"; then
      report "$file:$line: $target has no heading #${path#*'#'}"
    fi
  done < <(grep -noHE '\]\([^)]*\)' "${documents[@]}")
}

# Programs, targets and paths in the documents' code: lines WHERE KIND WORD of documents.awk.
check_code() {
  local where kind word name folder targets
  targets=" $(sed -nE 's/^([a-z][a-z -]*):([^=].*)?$/\1/p; s/^PLAIN_GOALS := *//p' Makefile tests/checks.mk 2>/dev/null | xargs) "
  local -A named=()
  for name in "${all[@]}"; do named[${name##*/}]=1; done
  while read -r where kind word; do
    folder=${where%%:*} folder=${folder%"${folder##*/}"}
    case $kind in
      program) [ -f "apps/$word/main.cpp" ] || report "$where: build/$word is not a program: no apps/$word/main.cpp" ;;
      target) [[ $targets == *" $word "* ]] || report "$where: make $word: the Makefile has no such target" ;;
      path) { compgen -G "$word" || compgen -G "$folder$word"; } >/dev/null || report "$where: $word is not there" ;;
      name) [ -n "${named[$word]:-}" ] || report "$where: no file is called $word" ;;
    esac
  done < <(awk -f "$here/lint/documents.awk" "${documents[@]}")
}

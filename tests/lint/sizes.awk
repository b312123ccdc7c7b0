# Sizes: a file has at most max_file lines (a test max_test), a function max_function.
#
# A character scanner drops comments, literals and preprocessor lines and keeps a stack of open braces: `n` namespace,
# `c` class, `i` initializer, `f` function, `b` anything inside a function. What a brace opens is told by the text since
# the last ; { }. A function is measured from its first word to its closing brace; lambdas inside count with the
# function they stand in.
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
  if (depth != 0)
    print previous ":" lines ": braces do not balance as read here (" depth " open): sizes of functions unknown"
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

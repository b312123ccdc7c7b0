# What the code in Markdown names, a line each: FILE:LINE, then `program` (build/NAME), `target` (make NAME), `path` (of
# a source, or below a folder of the top level; perhaps a pattern) or `name` (of a source), and the word.
# Code is each `span`, also over two lines, and each line of a block, fenced or indented.
function put(kind, word) { print FILENAME ":" FNR " " kind " " word }

function targets_of(text,    count, part, i) {
  gsub(/"[^"]*"/, "", text); sub(/(^| )#.*/, "", text)
  count = split(text, part, " ")
  if (part[1] != "make") return
  for (i = 2; i <= count; ++i) if (part[i] ~ /^[a-z][a-z-]*$/) put("target", part[i])
}

function names_of(text,    word, before, top) {
  # a word of a path's characters; what stands before it tells whether it is whole
  while (match(text, /[A-Za-z0-9_.*<>\/=-]+/)) {
    before = RSTART > 1 ? substr(text, RSTART - 1, 1) : ""
    word = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH)
    sub(/\.+$/, "", word)
    if (before == "$" || word ~ /[<>=]/) continue
    top = word; sub(/\/.*/, "", top)
    if (word ~ /^build\/[a-z0-9_]+$/) put("program", substr(word, 7))
    else if (index(levels, " " top " ") > 0 && word ~ /\//) put("path", word)
    else if (word ~ source && top != "build" && word !~ /^\*?\./) put(word ~ /[\/*]/ ? "path" : "name", word)
  }
}

function read_code(text,    count, part, i) {
  names_of(text)
  count = split(text, part, /&&|;|\|\|/)
  for (i = 1; i <= count; ++i) targets_of(part[i])
}

BEGIN {
  levels = " core autograd layers data cuda apps tests "
  source = "\\.(h|cpp|cu|cuh|sh|py|awk)$"
}
FNR == 1 { fenced = 0; open = ""; blank = 1; block = 0 }
/^```/ { fenced = !fenced; blank = 1; next }
fenced || (/^    / && (blank || block)) { block = !fenced; read_code($0); next }
{
  block = 0; blank = /^[ \t]*$/ || /^#/
  if (blank) { open = ""; next }
  count = split(open $0, part, "`")
  for (i = 2; i <= count - (count % 2 == 0); i += 2) read_code(part[i])
  open = count % 2 == 0 ? "`" part[count] " " : ""
}

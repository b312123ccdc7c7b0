# Circles: sources that cannot be read one after the other. A header and its source (core/tensor.h, core/tensor.cpp)
# are one piece, and a piece that includes another, directly or through others, must not be included by it.
# Prints one line for each circle: its largest strongly connected set of pieces (Tarjan's algorithm).
#
#   awk -v back="FILE>HEADER ..." -f circles.awk FILES      back: includes that may close a circle
BEGIN {
  count = split(back, edge, " ")
  for (i = 1; i <= count; ++i) may_close[edge[i]] = 1
}
function piece(path) {
  sub(/\.(h|cpp|cuh|cu)$/, "", path)
  return path
}
FNR == 1 { from = piece(FILENAME); if (!(from in first)) { first[from] = FILENAME; pieces[++total] = from } }
/^[ \t]*#[ \t]*include[ \t]*"/ {
  path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path); to = piece(path)
  if (to != from && !((FILENAME ">" path) in may_close) && !((from, to) in line)) {
    line[from, to] = FILENAME ":" FNR; next_of[from, ++degree[from]] = to
  }
}
function visit(v,    i, w, members, size, where, list) {
  seen[v] = low[v] = ++clock; stack[++depth] = v; on_stack[v] = 1
  for (i = 1; i <= degree[v]; ++i) {
    w = next_of[v, i]
    if (!(w in first)) continue  # not a file of ours
    if (!(w in seen)) { visit(w); if (low[w] < low[v]) low[v] = low[w] }
    else if (on_stack[w] && seen[w] < low[v]) low[v] = seen[w]
  }
  if (low[v] != seen[v]) return
  size = 0
  do { w = stack[depth--]; on_stack[w] = 0; members[++size] = w } while (w != v)
  if (size == 1) return
  for (i = size; i > 0; --i) list = list " " members[i]
  for (i = 1; i <= size; ++i) if ((members[i], v) in line) where = line[members[i], v]
  print where ": includes in a circle of " size ":" list
}
END { for (p = 1; p <= total; ++p) if (!(pieces[p] in seen)) visit(pieces[p]) }

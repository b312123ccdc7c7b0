# Types of one name in two files: a program that links both breaks the one-definition rule, and its linker may take
# either. Seen are structs, classes, unions and enumerations that a named namespace holds; what is in a namespace
# without a name, or inside another type or function, is its file's own. Each folder of tests is a program of its own.
FNR == 1 { depth = 0; count = split(FILENAME, part, "/"); program = part[1] == "tests" ? "tests/" part[2] " " : "" }
/^(inline )?namespace( [A-Za-z0-9_:]+)? \{/ {
  line = $0; sub(/^inline /, "", line); sub(/^namespace */, "", line); sub(/ *\{.*/, "", line)
  opened = line == "" ? "?" : line
  if ($0 !~ /\}[^}]*$/) space[++depth] = opened
  next
}
/^\} +\/\/ namespace/ { --depth; next }
/^(struct|class|union|enum|enum class) [A-Za-z0-9_]+( final)?( :[^:].*)?( \{.*)?$/ && (/\{/ || !/;$/) {
  full = ""
  for (i = 1; i <= depth; ++i) { if (space[i] == "?") next; full = full space[i] "::" }
  name = $0; sub(/^(struct|class|union|enum class|enum) /, "", name); sub(/[^A-Za-z0-9_].*/, "", name)
  key = program full name
  if (!(key in first)) { first[key] = FILENAME; next }
  if (first[key] != FILENAME) print FILENAME ":" FNR ": " full name " is defined in " first[key] ", too"
}

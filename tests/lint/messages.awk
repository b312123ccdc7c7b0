# Error messages name ranges in words, `1 to 5`, without an ellipsis: statements with require, fail or an Error, to the
# semicolon that ends them.
FNR == 1 { statement = "" }
FILENAME ~ /^tests\// || /^[ \t]*\/\// { next }
statement != "" || /(^|[^A-Za-z0-9_])(require|fail|[A-Za-z]*Error)[({]/ {
  if (statement == "") where = FILENAME ":" FNR
  statement = statement $0
  if (!/;[ \t}]*(\/\/.*)?$/) next
  if (statement ~ /"[^"]*…/) print where ": an ellipsis in an error message"
  statement = ""
}

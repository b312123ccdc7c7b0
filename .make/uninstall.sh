#!/usr/bin/env bash
# uninstall.sh PREFIX DESTDIR: removes what install.sh wrote there, and nothing else.
set -euo pipefail
at=$2$1
if [ ! -f "$at/lib/skedastic.files" ]; then
  echo "error: nothing installed in $at: no lib/skedastic.files" >&2
  exit 1
fi
mapfile -t files < <(grep -E '^(include/skedastic|lib|bin)/' "$at/lib/skedastic.files" | grep -v '\.\.')
for file in "${files[@]}"; do rm -f "$at/$file"; done
if [ -d "$at/include/skedastic" ]; then find "$at/include/skedastic" -type d -empty -delete; fi
echo "removed ${#files[@]} files from $at"

#!/usr/bin/env bash
# Installs by apt-get what is missing. `deps.sh NEEDED... -- WANTED...`, each item package=word: it is there already
# when dpkg has the package or the word is found (a header of probe.sh, a command, a file). Without the needed ones
# nothing can be built: exit 1; each of the wanted ones costs a feature only (`make info` says which).
found=" $("${0%/*}/probe.sh" | tr '\n' ' ') "
needed='' wanted='' list=needed
for item; do
  if [ "$item" = -- ]; then list=wanted; continue; fi
  package=${item%%=*} word=${item#*=}
  case $found in *" $word "*) continue ;; esac
  if [ -e "$word" ] || command -v "$word" >/dev/null; then continue; fi
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then continue; fi
  if [ $list = needed ]; then needed+=" $package"; else wanted+=" $package"; fi
done
if [ -z "$needed$wanted" ]; then exit 0; fi
echo "missing packages:$needed$wanted"

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo DEBIAN_FRONTEND=noninteractive); fi
if ! command -v apt-get >/dev/null || { [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; }; then
  missing=apt-get
  if command -v apt-get >/dev/null; then missing=sudo; fi
  if [ -n "$needed" ]; then
    echo "error: no $missing here: install the packages above (or their like) by hand" >&2
    exit 1
  fi
  echo "no $missing here: going on without them"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install() { "${as_root[@]}" apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null; }
"${as_root[@]}" apt-get update -qq || echo "apt-get update failed: trying with the lists at hand"
echo "installing them with ${as_root[0]:+sudo }apt-get"
if install $needed $wanted; then exit 0; fi
if [ -n "$needed" ] && ! install $needed; then
  echo "error: cannot install$needed" >&2
  exit 1
fi
for package in $wanted; do install "$package" || echo "going on without $package"; done

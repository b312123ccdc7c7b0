#!/usr/bin/env bash
# Installs by apt-get what is missing of .make/packages; elsewhere says by which command it comes. What is needed for
# any build and cannot be had: exit 1; the rest costs a feature each (`make info` says which). Takes DATA_ROOT and the
# switches (ONEDNN=0 ...) from the environment, CXX and CPPFLAGS for probe.sh.
here=${0%/*}
found=" $("$here/probe.sh" | tr '\n' ' ') "
manager=apt-get column=0
if ! command -v apt-get >/dev/null; then
  if command -v dnf >/dev/null; then manager='dnf install' column=1
  elif command -v pacman >/dev/null; then manager='pacman -S --needed' column=2
  elif command -v brew >/dev/null; then manager='brew install' column=3
  fi
fi
needed='' wanted=''
while IFS='|' read -r use word packages; do
  if [[ -z $use || $use == \#* || ( $use != [-n]* && ${!use} == 0 ) ]]; then continue; fi
  word=${word/#DATA_ROOT/$DATA_ROOT}
  case $found in *" $word "*) continue ;; esac
  if [[ $word == */* && -e $word || $word != */* && -n $(command -v "$word") ]]; then continue; fi
  IFS='|' read -r -a names <<<"$packages"
  package=${names[column]}
  if [ "$package" = - ]; then continue; fi
  if [ $column = 0 ] && [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then
    continue
  fi
  if [ "$use" = needed ]; then needed+=" $package"; else wanted+=" $package"; fi
done <"$here/packages"
if [ -z "$needed$wanted" ]; then exit 0; fi
echo "missing packages:$needed$wanted"

as_root=()
if [ "$(id -u)" != 0 ] && [ $column != 3 ]; then as_root=(sudo); fi
# by_hand WHY COMMAND: without what is needed nothing can be built
by_hand() {
  if [ -n "$needed" ]; then
    echo "error: $1: install these by hand: $2" >&2
    exit 1
  fi
  echo "$1: going on without them; by hand: $2"
  exit 0
}
command="${as_root[*]}${as_root:+ }$manager$needed$wanted"
if [ $column != 0 ]; then by_hand "only apt-get is used unasked" "$command"; fi
command="${as_root[*]}${as_root:+ }apt-get install$needed$wanted"
if ! command -v apt-get >/dev/null; then by_hand "no apt-get here" "${needed# }$wanted, or their like"; fi
if [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then by_hand "no sudo here" "as root, ${command#sudo }"; fi
export DEBIAN_FRONTEND=noninteractive
if [ ${#as_root[@]} -gt 0 ]; then as_root=(sudo DEBIAN_FRONTEND=noninteractive); fi
install() { "${as_root[@]}" apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null; }
"${as_root[@]}" apt-get update -qq || echo "apt-get update failed: trying with the lists at hand"
echo "installing them with ${as_root[0]:+sudo }apt-get"
if install $needed $wanted; then exit 0; fi
if [ -n "$needed" ] && ! install $needed; then
  echo "error: cannot install$needed" >&2
  exit 1
fi
for package in $wanted; do install "$package" || echo "going on without $package"; done

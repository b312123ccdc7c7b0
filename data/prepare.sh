#!/usr/bin/env bash
# Prepares data sets under the data root; --help tells how. Every file is made under a temporary name, checked against
# data/digests.sha256 and renamed, so that what carries the right name is always whole.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
digests=$here/digests.sha256

usage() {
  cat <<'TEXT'
usage: data/prepare.sh [--root DIR] [--mirror DIR] [DATASET...]

  DATASET   fashion-mnist (default), cifar-10, tiny-imagenet-200, embeddings (from a mirror alone)
  --root    where the data goes: default $SKEDASTIC_DATA, else ./datasets
  --mirror  a folder that holds <dataset>/<file>, as it is or packed as <file>.xz or <file>.gz: default $MIRROR

Each file comes from the first of: the data root itself (checked, nothing to do), an installed Debian package
(dataset-fashion-mnist), the mirror, the official address. Exit status 1 with a line `error: ...` when a file cannot be had.
TEXT
}

fail() { echo "error: $*" >&2; exit 1; }
note() { echo "note: $*" >&2; }

root=${SKEDASTIC_DATA:-datasets} mirror=${MIRROR:-} datasets=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --root | --mirror)
      [ $# -ge 2 ] && [ -n "$2" ] || { echo "error: $1 needs a folder (see --help)" >&2; exit 2; }
      if [ "$1" = --root ]; then root=$2; else mirror=$2; fi
      shift ;;
    fashion-mnist | cifar-10 | tiny-imagenet-200 | embeddings) datasets+=("$1") ;;
    *) echo "error: unknown data set or option '$1': expected fashion-mnist, cifar-10, tiny-imagenet-200 or embeddings (see --help)" >&2; exit 2 ;;
  esac
  shift
done
[ ${#datasets[@]} -gt 0 ] || datasets=(fashion-mnist)
[ -r "$digests" ] || fail "cannot read $digests"
[ -z "$mirror" ] || [ -d "$mirror" ] || fail "mirror '$mirror' is not a folder"

temporary= archive= messages=$(mktemp) || fail "cannot write to ${TMPDIR:-/tmp}"
trap 'rm -f "$temporary" "$archive" "$messages"' EXIT
trap 'exit 130' INT TERM

# The unpacked size of a file, in bytes.
size_of() {
  case $1 in
    fashion-mnist/train-images*) echo 47040016 ;;
    fashion-mnist/train-labels*) echo 60008 ;;
    fashion-mnist/t10k-images*) echo 7840016 ;;
    fashion-mnist/t10k-labels*) echo 10008 ;;
    cifar-10/*.bin) echo 30730000 ;;
    cifar-10/cifar10h-counts.npy) echo 800128 ;;
    cifar-10/cifar10n-*.npy) echo 400128 ;;
    tiny-imagenet-200/classes.tsv) echo 7035 ;;
    tiny-imagenet-200/train-000000.tar) echo 28057600 ;;
    tiny-imagenet-200/train-000001.tar) echo 28037120 ;;
    tiny-imagenet-200/dev-000000.tar) echo 11212800 ;;
    embeddings/cifar10-test-features.npy) echo 5120128 ;;
    embeddings/cifar10-test-labels.npy) echo 80128 ;;
    embeddings/cifar10-train-features.npy) echo 25600128 ;;
    embeddings/cifar10-train-labels.npy) echo 400128 ;;
    embeddings/tiny-imagenet-dev-features.npy) echo 1536128 ;;
    embeddings/tiny-imagenet-dev-labels.npy) echo 24128 ;;
    embeddings/tiny-imagenet-train-features.npy) echo 7680128 ;;
    embeddings/tiny-imagenet-train-labels.npy) echo 120128 ;;
  esac
}

# files_of DATASET: its files, as named in the table of digests; Fashion-MNIST stays gzipped in the data root.
files_of() {
  awk -v set="$1/" '!/^#/ && index($2, set) == 1 { print $2 (set == "fashion-mnist/" ? ".gz" : "") }' "$digests"
}

# content FILE [NAME]: the file's bytes, unpacked as NAME's ending says
content() {
  case ${2:-$1} in
    *.gz) gzip -dc <"$1" ;;
    *.xz) xz -dc <"$1" ;;
    *) cat "$1" ;;
  esac
}

reason() { tail -n 1 "$messages" | sed 's/^[^:]*: //'; }

# check FILE NAME: is FILE what the table says NAME is? Otherwise `problem` says what is wrong with it.
check() {
  local key=${2%.gz} want got bytes expected
  want=$(awk -v key="$key" '$2 == key { print $1 }' "$digests")
  if ! got=$(content "$1" "$2" 2>"$messages" | sha256sum); then
    problem="cannot be read to its end: $(reason)"
    return 1
  fi
  got=${got%% *}
  [ "$got" != "$want" ] || return 0
  bytes=$(content "$1" "$2" 2>/dev/null | wc -c) expected=$(size_of "$key")
  if [ "$bytes" -ne "$expected" ]; then
    problem="$bytes bytes, expected $expected"
  else
    problem="sha256 $got, expected $want"
  fi
  return 1
}

# put NAME COMMAND...: the command's output becomes the temporary file of NAME in the data root
put() {
  local name=$1
  shift
  mkdir -p "$root/${name%/*}" 2>"$messages" || fail "cannot create folder $root/${name%/*}: $(reason | sed 's/.*: //')"
  temporary=$root/$name.part.$$
  # The shell itself opens the file: its complaint about a read-only folder is the last line of what it says.
  if ! { : >"$temporary"; } 2>"$messages"; then
    temporary=
    fail "cannot write $root/$name: $(reason | sed 's/.*: //')"
  fi
  "$@" >"$temporary" 2>"$messages"
}

# settle NAME SOURCE: checks the temporary file and gives it its name
settle() {
  check "$temporary" "$1" || fail "$2: $problem"
  mv -f "$temporary" "$root/$1" 2>"$messages" || fail "cannot write $root/$1: $(reason)"
  temporary=
}

# take NAME SOURCE: the file of the data root from a local file, unpacked where the source is packed and NAME is not
take() {
  local reader=cat
  case $2 in *.xz) reader="xz -dc" ;; *.gz) if [ "${1%.gz}" = "$1" ]; then reader="gzip -dc"; fi ;; esac
  command -v "${reader%% *}" >/dev/null || fail "$2: no ${reader%% *} here to unpack it (make deps)"
  [ -r "$2" ] || fail "$2: cannot be read"
  put "$1" take_bytes "$reader" "$2" || {
    if grep -qi 'no space left\|quota\|file too large' "$messages"; then fail "cannot write $root/$1: $(reason | sed 's/.*: //')"; fi
    fail "$2: cannot be read to its end: $(reason | sed 's/.*: //')"
  }
  settle "$1" "$2"
}
take_bytes() { $1 <"$2"; }

# fetch NAME URL: the file of the data root from an address
fetch() {
  command -v curl >/dev/null || fail "$1: no curl here to fetch it from $2 (make deps)"
  echo "  fetching $2"
  put "$1" curl -fsSL --retry 2 --connect-timeout 20 "$2" || fail "$1: cannot be fetched from $2: $(reason)"
}

from_package() {
  local file
  [ "${1%%/*}" = fashion-mnist ] && command -v dpkg >/dev/null || return 1
  file=$(dpkg -L dataset-fashion-mnist 2>/dev/null | grep "/$(basename "$1")\$") && [ -f "$file" ] || return 1
  take "$1" "$file"
}

from_mirror() {
  local ending
  [ -n "$mirror" ] || return 1
  for ending in "" .xz .gz; do
    if [ -e "$mirror/$1$ending" ]; then
      take "$1" "$mirror/$1$ending"
      return 0
    fi
  done
  note "$1 is not in the mirror $mirror"
  return 1
}

without_10n=()
from_address() {
  local name=${1##*/}
  case $1 in
    fashion-mnist/*) fetch "$1" "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/$name"; settle "$1" "download of $name" ;;
    cifar-10/cifar10h-counts.npy)
      fetch "$1" "https://github.com/jcpeterson/cifar-10h/raw/master/data/cifar10h-counts.npy"; settle "$1" "download of $name" ;;
    cifar-10/*.bin)
      if [ -z "$archive" ]; then
        fetch cifar-10/cifar-10-binary.tar.gz "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
        archive=$temporary temporary=
      fi
      put "$1" tar -xzOf "$archive" "cifar-10-batches-bin/$name" || fail "$1: cannot be unpacked from the download: $(reason)"
      settle "$1" "$name of the download" ;;
    cifar-10/cifar10n-*.npy) without_10n+=("$name") ;;
    embeddings/*) fail "$1: there is no download of it; name a folder that holds it: make data DATASETS=embeddings MIRROR=folder" ;;
    *) fail "$1: has no official address in this form; name a folder that holds it: make data MIRROR=folder" ;;
  esac
}

explain_10n() {
  note "no ${without_10n[*]}: CIFAR-10N is served only as a PyTorch pickle. Clean images and labels are complete without it. To have it, get
CIFAR-10_human.pt from https://github.com/UCSC-REAL/cifar-10-100n, and in a folder m/cifar-10 run
  python3 -c \"import numpy, torch; d = torch.load('CIFAR-10_human.pt', weights_only=False)
for name, key in dict(clean='clean_label', aggregate='aggre_label', worst='worse_label', random1='random_label1',
                      random2='random_label2', random3='random_label3').items():
    numpy.save('cifar10n-' + name + '.npy', numpy.asarray(d[key], dtype='int64'))\"
then: make data DATASETS=cifar-10 MIRROR=m"
}

# Left behind by a run that was killed: temporary files whose process is gone.
sweep() {
  local file
  for file in "$root/$1"/*.part.*; do
    if [ -e "$file" ] && ! kill -0 "${file##*.}" 2>/dev/null; then rm -f "$file"; fi
  done
}

prepare() {
  local name made=0 total=0
  sweep "$1"
  for name in $(files_of "$1"); do
    total=$((total + 1))
    if [ -e "$root/$name" ]; then
      if check "$root/$name" "$name"; then continue; fi
      note "$root/$name: $problem; replacing it"
    fi
    from_package "$name" || from_mirror "$name" || from_address "$name"
    made=$((made + 1))
  done
  made=$((made - ${#without_10n[@]})) total=$((total - ${#without_10n[@]}))
  if [ ${#without_10n[@]} -gt 0 ]; then explain_10n; fi
  without_10n=()
  if [ -n "$archive" ]; then rm -f "$archive"; archive=; fi
  echo "$1: $total files verified in $root/$1, $made of them new"
}

for dataset in "${datasets[@]}"; do prepare "$dataset"; done

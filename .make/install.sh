#!/usr/bin/env bash
# install.sh BUILD PREFIX DESTDIR PROGRAM...: headers under PREFIX/include/skedastic, the library, its pkg-config file
# and the programs (as skedastic-NAME: `train` alone is anybody's word). Below DESTDIR, where packages are made. Takes
# VERSION, SONAME and LIBRARY_LIBS (what the library needs) from the environment. lib/skedastic.files lists all.
set -euo pipefail
build=$1 prefix=$2 root=$3
shift 3
case $prefix in
  *[!A-Za-z0-9/._+,@=~-]*)
    echo "error: PREFIX=$prefix: expected a path of letters, digits and /._+,@=~-: pkg-config would not pass on others" >&2
    exit 2
    ;;
  /*) ;;
  *)
    echo "error: PREFIX=$prefix: expected a path that begins with /" >&2
    exit 2
    ;;
esac
list=$(mktemp)
trap 'rm -f "$list"' EXIT
# put MODE FROM TO
put() {
  install -D -m "$1" "$2" "$root$prefix/$3"
  echo "$3" >>"$list"
}

if ! mkdir -p "$root$prefix" 2>/dev/null || [ ! -w "$root$prefix" ]; then
  echo "error: cannot write to $root$prefix (sudo make install, or PREFIX=\$HOME/.local)" >&2
  exit 1
fi
for header in core/*.h core/kernels/*.h autograd/*.h data/*.h layers/*.h layers/*/*.h; do
  put 644 "$header" "include/skedastic/$header"
done
put 644 "$build/libskedastic.a" lib/libskedastic.a
put 755 "$build/libskedastic.so" "lib/$SONAME"
ln -sf "$SONAME" "$root$prefix/lib/libskedastic.so"
echo lib/libskedastic.so >>"$list"
for program; do put 755 "$build/$program" "bin/skedastic-$program"; done
config=$(mktemp)
cat >"$config" <<PC
prefix=$prefix
Name: skedastic
Description: Deep learning with heteroscedastic classifiers (HET, HET-XL)
URL: https://arxiv.org/abs/2301.12860
Version: $VERSION
Cflags: -std=c++20 -I\${prefix}/include/skedastic
Libs: -L\${prefix}/lib -lskedastic
Libs.private: $LIBRARY_LIBS -fopenmp
PC
put 644 "$config" lib/pkgconfig/skedastic.pc
rm -f "$config"
echo lib/skedastic.files >>"$list"
# What an older version put there and this one does not.
if [ -f "$root$prefix/lib/skedastic.files" ]; then
  grep -vxFf "$list" "$root$prefix/lib/skedastic.files" | grep -E '^(include/skedastic|lib|bin)/' | grep -v '\.\.' |
    while read -r file; do rm -f "$root$prefix/$file"; done || true
  find "$root$prefix/include/skedastic" -type d -empty -delete
fi
install -m 644 "$list" "$root$prefix/lib/skedastic.files"
echo "installed in $root$prefix: $(wc -l <"$list") files; PKG_CONFIG_PATH=$prefix/lib/pkgconfig finds the library"

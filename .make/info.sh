#!/usr/bin/env bash
# What was found on this machine, and what a missing library costs. Everything it says of the build comes from the
# Makefile's variables, by the environment.

# version HEADER EXPRESSION: what the preprocessor makes of the expression behind the header
version() {
  printf '#include <%s>\nVERSION %s\n' "$1" "$2" | $CXX $CPPFLAGS -std=c++20 -E -P -x c++ - 2>/dev/null |
    sed -n 's/^VERSION *//p' | tr -d ' "'
}

# feature NAME ON VERSION COST
feature() {
  if [ "$2" = 1 ]; then printf '  %-13s on   %s\n' "$1" "$3"; else printf '  %-13s off  without it: %s\n' "$1" "$4"; fi
}

lacking=''
for word in JPEG PNG WEBP TIFF; do case " $FOUND " in *" $word "*) ;; *) lacking+=" $word" ;; esac; done
case " $FOUND " in *" CUDNN_FRONTEND "*) frontend=found ;; *) frontend='none: make vendor-cudnn' ;; esac

echo "compiler   $CXX  $($CXX --version 2>/dev/null | head -n 1)"
echo "compile    $COMPILE"
echo "link       $LINK"
echo "machine    $(nproc) cores, $(uname -m), $(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo)"
json=NLOHMANN_JSON_VERSION doctest=DOCTEST_VERSION
echo "needed     nlohmann/json $(version nlohmann/json.hpp ${json}_MAJOR.${json}_MINOR)" \
  "  CLI11 $(version CLI/Version.hpp CLI11_VERSION)" \
  "  doctest $(version doctest/doctest.h ${doctest}_MAJOR.${doctest}_MINOR)"
echo "optional   (SWITCH=0 or 1 on the command line decides by hand)"
feature ONEDNN "$ONEDNN" \
  "oneDNN $(version oneapi/dnnl/dnnl_version.h DNNL_VERSION_MAJOR.DNNL_VERSION_MINOR.DNNL_VERSION_PATCH)" \
  "matmul and convolution run as plain loops and are many times slower"
feature ZLIB "$ZLIB" "zlib $(version zlib.h ZLIB_VERSION)" "gzipped data sets (Fashion-MNIST) cannot be read"
feature LIBZIP "$LIBZIP" "libzip $(version zip.h LIBZIP_VERSION)" "weights in NumPy .npz files cannot be read"
feature CUDA "$CUDA" "$NVCC $($NVCC --version 2>/dev/null | sed -n 's/.*release //p')" \
  "everything runs on the CPU (nvcc: ${NVCC:-none}; driver: ${DRIVER:-none}; cuda/*.cu: $(ls cuda/*.cu | wc -l))"
cudnn=CUDNN_FRONTEND
feature CUDNN "$CUDNN" "$CUDNN_HEADER with cudnn-frontend $(version cudnn_frontend_version.h \
  ${cudnn}_MAJOR_VERSION.${cudnn}_MINOR_VERSION.${cudnn}_PATCH_VERSION)" \
  "on GPUs convolutions and attention run by slower kernels (cudnn.h: ${CUDNN_HEADER:-none}; \
cudnn_frontend.h: $frontend)"
feature NCCL "$NCCL" "$NCCL_HEADER" \
  "several ranks combine tensors of GPUs by way of the host's memory (nccl.h: ${NCCL_HEADER:-none})"
feature IMAGES "$IMAGES" "libjpeg $(version jconfig.h LIBJPEG_TURBO_VERSION) libpng $(version png.h \
  PNG_LIBPNG_VER_STRING) libwebp libtiff $(version tiffvers.h TIFFLIB_VERSION)" \
  "JPEG, PNG, WebP and TIFF files cannot be decoded (lacking:$lacking)"
feature SENTENCEPIECE "$SENTENCEPIECE" "SentencePiece $(pkg-config --modversion sentencepiece 2>/dev/null)" \
  "captions cannot be tokenized: no image-text training"
feature MPI "$MPI" "$MPICC  $(mpirun --version 2>/dev/null | head -n 1)" \
  "one process: no mpirun, no srun with several ranks (mpicc: ${MPICC:-none})"
if command -v gnuplot >/dev/null; then gnuplot --version | sed 's/^/  gnuplot       on   /'
else echo "  gnuplot       off  without it: reports have no plots"; fi

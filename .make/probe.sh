#!/usr/bin/env bash
# Which headers does the compiler find? Prints one word for each, COMPILER first where there is a compiler at all,
# CXX20 where it knows of C++20 what is used here (GCC 11, Clang 16), CLANG where it is Clang.
# Takes CXX and CPPFLAGS from the environment. One run of the preprocessor answers.
headers='JSON=nlohmann/json.hpp CLI=CLI/CLI.hpp DOCTEST=doctest/doctest.h ONEDNN=oneapi/dnnl/dnnl.h ONEDNN=dnnl.h
  ZLIB=zlib.h LIBZIP=zip.h JPEG=jpeglib.h PNG=png.h WEBP=webp/demux.h TIFF=tiffio.h
  SENTENCEPIECE=sentencepiece_trainer.h CUDNN_FRONTEND=cudnn_frontend.h CUDNN=cudnn_version.h NCCL=nccl.h'
# present CONDITION WORD
present() { printf '#if %s\n%s\n#endif\n' "$1" "$2"; }
{
  echo COMPILER
  present '__cplusplus >= 202002L && defined __cpp_aggregate_paren_init' CXX20
  present 'defined __clang__' CLANG
  for item in $headers; do present "__has_include(<${item#*=}>)" "${item%%=*}"; done
} | ${CXX:-g++} $CPPFLAGS -std=c++20 -E -P -x c++ - 2>/dev/null

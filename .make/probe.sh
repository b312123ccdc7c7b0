#!/usr/bin/env bash
# Which headers does the compiler find? Prints one word for each, COMPILER first where there is a compiler at all.
# Takes CXX and CPPFLAGS from the environment. One run of the preprocessor answers.
headers='JSON=nlohmann/json.hpp CLI=CLI/CLI.hpp DOCTEST=doctest/doctest.h ONEDNN=oneapi/dnnl/dnnl.h ONEDNN=dnnl.h
  ZLIB=zlib.h LIBZIP=zip.h JPEG=jpeglib.h PNG=png.h WEBP=webp/demux.h TIFF=tiffio.h
  SENTENCEPIECE=sentencepiece_trainer.h CUDNN_FRONTEND=cudnn_frontend.h CUDNN=cudnn_version.h'
{
  echo COMPILER
  for item in $headers; do printf '#if __has_include(<%s>)\n%s\n#endif\n' "${item#*=}" "${item%%=*}"; done
} | ${CXX:-g++} $CPPFLAGS -std=c++20 -E -P -x c++ - 2>/dev/null

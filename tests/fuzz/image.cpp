#include "data/image_file.h"

#include <filesystem>
#include <fstream>
#include <span>

#include "core/safetensors.h"
#include "tests/fuzz/fuzz.h"

/// The seeds: files of every format, from the fixtures into the corpus, which is the last argument.
extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  const std::filesystem::path corpus = (*arguments)[*count - 1], fixtures = "tests/fixtures/image_files.safetensors";
  if (!std::filesystem::is_directory(corpus) || !std::filesystem::exists(fixtures)) return 0;
  for (const auto& [name, tensor] : sked::load_safetensors(fixtures).tensors) {
    if (!name.starts_with("file/")) continue;
    std::ofstream(corpus / name.substr(5), std::ios::binary)
        .write(reinterpret_cast<const char*>(tensor.data<uint8_t>()), tensor.numel());
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  const std::span file(bytes, count);
  try {
    // Images of a few pixels: larger ones show nothing more and take time. The libraries' own code is not instrumented,
    // but its memory is watched.
    const Shape size = image_size(file, "fuzz");
    if (can_decode_images() && size.numel() <= 1 << 18) decode_image(file, "fuzz", 3, 1 << count % 4);
  } catch (const Error&) {
  }
  return 0;
}

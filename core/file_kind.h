#pragma once
// What a file is that is not what it should be, for messages.

#include <string>
#include <string_view>

namespace sked {

/// Enough of a file's beginning for file_kind().
inline constexpr size_t kKindBytes = 512;

/// Are they a NumPy .npz archive's: a zip file's whose first member is an array?
bool is_npz(std::string_view begin);

/// What file_kind() calls these.
inline constexpr const char *kTextFile = "a text file", *kJsonFile = "a JSON file",
                            *kSafetensors = "a safetensors file";

/// What a file is, by its first bytes: PyTorch's, NumPy's, Keras' and llama.cpp's with the way to make safetensors of
/// it, images, archives, text, what downloads leave instead of a file. One clause; empty where it is nothing known.
std::string file_kind(std::string_view begin);

}  // namespace sked

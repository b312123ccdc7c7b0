#pragma once
// What a file is that is not what it should be, for messages.

#include <string>
#include <string_view>

namespace sked {

/// Enough of a file's beginning for weights_kind().
inline constexpr size_t kKindBytes = 512;

/// Are they a NumPy .npz archive's: a zip file's whose first member is an array?
bool is_npz(std::string_view begin);

/// Of the first bytes of a file that was expected to be safetensors: what it is, by the marks of PyTorch's, NumPy's,
/// Keras' and llama.cpp's files and of what downloads leave instead of them, and how to make safetensors of it. One
/// clause; empty where it is nothing known.
std::string weights_kind(std::string_view begin);

}  // namespace sked

#pragma once
// Can results be written where they are asked for? Found out before the work, not after it.

#include <filesystem>
#include <string>

namespace sked {

/// Throws Error naming `file` and the system's reason where it could not be written now. Leaves nothing behind.
void check_writable(const std::string& file);

/// The same for a file whose folder is made first: of its folders the last that is there has to be one, and writable.
void check_writable_below(const std::filesystem::path& file);

}  // namespace sked

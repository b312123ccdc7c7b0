#pragma once
// Can results be written where they are asked for? Found out before the work, not after it.

#include <filesystem>
#include <string>
#include <vector>

namespace sked {

/// Throws Error naming `file` and the system's reason where it could not be written now. Leaves nothing behind.
void check_writable(const std::string& file);

/// The same for a file whose folder is made first: of its folders the last that is there has to be one, and writable.
void check_writable_below(const std::filesystem::path& file);

/// Throws Error naming the first of `files` that is there, unless they are results of before: then the first of all is
/// JSON, an object with `key` or a list of such. Empty files may be replaced.
void check_own_results(const std::vector<std::string>& files, const std::string& key);

}  // namespace sked

#pragma once
// Can results be written where they are asked for? Found out before the work, not after it.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace sked {

/// Throws Error naming `file` and the system's reason where it could not be written now. Leaves nothing behind.
void check_writable(const std::string& file);

/// The same for a file whose folder is made first: of its folders the last that is there has to be one, and writable.
void check_writable_below(const std::filesystem::path& file);

/// Throws UsageError naming a file that two results would go to. Empty names and `-` are none.
void check_apart(const std::vector<std::string>& files);

/// Is a folder there when its files are checked, or made when they are written?
enum class FolderIs { there, made };

/// For results of which the first is JSON, an object with `key` or a list of such. Throws Error where one of `files`
/// could not be written, and where one is there unless they are results of before: then the first of all is as said.
/// Empty files may be replaced.
void check_results(const std::vector<std::string>& files, const std::string& key, FolderIs folder = FolderIs::there);

/// Throws Error where `file` is there and not one that may be replaced: an empty one, or one that `is_ours` takes.
void refuse_foreign(const std::string& file, const std::function<bool(const std::string&)>& is_ours);

}  // namespace sked

#include "apps/common/config/outputs.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "apps/common/config/fields.h"
#include "core/error.h"
#include "core/file.h"

namespace sked {

void check_writable(const std::string& file) { const AtomicFile probe(file); }

void check_apart(const std::vector<std::string>& files) {
  std::set<std::filesystem::path> places;
  for (const std::string& file : files) {
    if (file.empty() || file == "-") continue;
    std::error_code error;  // of a pipe, say: whether it can be written is another question
    const std::filesystem::path place = std::filesystem::weakly_canonical(file, error);
    require_usage(places.insert(error ? std::filesystem::path(file) : place).second, "output", file,
                  ": expected another file for each of the results");
  }
}

void check_writable_below(const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  std::error_code unreadable;
  fs::path folder = fs::absolute(file).parent_path();
  if (fs::is_directory(folder, unreadable)) return check_writable(file.string());
  while (!fs::exists(folder, unreadable) && folder.has_relative_path()) folder = folder.parent_path();
  const int denied = ::access(folder.c_str(), W_OK | X_OK) == 0 ? 0 : errno;
  const int error = fs::is_directory(folder, unreadable) ? denied : ENOTDIR;
  require(error == 0, "output", "cannot write ", file.string(), ": ", folder.string(), ": ", std::strerror(error));
}

void refuse_foreign(const std::string& file, const std::function<bool(const std::string&)>& is_ours) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::exists(file, error) || (fs::is_regular_file(file, error) && fs::file_size(file, error) == 0)) return;
  try {
    if (is_ours(file)) return;
  } catch (const Error&) {  // it is something else
  }
  fail("output", file,
       " is there, and none of this program's results: it is not touched (move it away, or choose "
       "another name)");
}

void check_results(const std::vector<std::string>& files, const std::string& key, FolderIs folder) {
  for (const std::string& file : files) folder == FolderIs::made ? check_writable_below(file) : check_writable(file);
  bool known = false;  // the first file tells of all: one look at it is enough
  const auto results_of_before = [&](const std::string&) {
    constexpr uint64_t kMostBytes = uint64_t{1} << 30;
    if (known) return true;
    const Json json = parse_json(read_file(files.front(), kMostBytes), files.front());
    return known = json.is_array() ? json.empty() || json.elements().front().contains(key) : json.contains(key);
  };
  for (const std::string& file : files) refuse_foreign(file, results_of_before);
}

}  // namespace sked

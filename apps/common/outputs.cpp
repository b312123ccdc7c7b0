#include "apps/common/outputs.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/file.h"

namespace sked {

void check_writable(const std::string& file) { const AtomicFile probe(file); }

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

}  // namespace sked

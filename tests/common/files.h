#pragma once
// What tests of files need: a folder that goes away, the message of an error, real data where it is at hand.

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace sked::test {

/// A new empty folder, removed with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "skedastic-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, "test", "cannot make a folder ", name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_; }
  std::string path(const std::string& file) const { return path_ + "/" + file; }

  /// Writes a file by other means than the code under test; returns its path.
  std::string write(const std::string& file, std::string_view bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path(file)).parent_path());
    std::ofstream(path(file), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path(file);
  }

  /// Files in the folder: one that is left over shows.
  size_t count() const {
    const std::filesystem::directory_iterator files(path_);
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The message of the Error that f throws; empty when it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// Is `text` one line that holds every one of `parts`?
template <class... Parts>
bool one_line_with(const std::string& text, const Parts&... parts) {
  const bool found = ((text.find(parts) != std::string::npos) && ...);
  if (!found || text.find('\n') != std::string::npos) std::cout << "the message is: " << text << '\n';
  return found && text.find('\n') == std::string::npos;
}

/// The test runner counts the case as skipped.
inline void skip(const std::string& why) { std::cout << "skipped: " << why << std::endl; }

/// The data root ($SKEDASTIC_DATA or ./datasets) when it holds `file`; else the case is skipped.
inline std::optional<std::string> data_root_with(const std::string& file) {
  const char* set = std::getenv("SKEDASTIC_DATA");
  const std::string root = set != nullptr && *set != '\0' ? set : "datasets";
  if (std::filesystem::exists(root + "/" + file)) return root;
  skip("no " + root + "/" + file + " (`make data` prepares it)");
  return std::nullopt;
}

}  // namespace sked::test

#include "data/image_paths.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The digits that begin at `at`, without zeros in front.
std::string_view number_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && is_digit(text[end])) ++end;
  while (at + 1 < end && text[at] == '0') ++at;
  return text.substr(at, end - at);
}

/// What a byte of a path sorts as: the end of a folder's name before everything else.
int rank_of(char c) { return c == '/' ? 0 : 1 + static_cast<unsigned char>(c); }

/// One walk below a folder.
class Walk {
 public:
  explicit Walk(ImagePaths& result) : result_(result) {}

  void below(const std::string& root) {
    const size_t refused = result_.refused.size();
    enter(root);
    while (!pending_.empty()) {
      const std::string folder = std::move(pending_.back());
      pending_.pop_back();
      read(folder);
    }
    std::ranges::sort(found_, natural_less);
    if (found_.empty() && result_.refused.size() == refused)
      result_.refused.push_back(root + ": expected images, got a folder without one");
    result_.paths.insert(result_.paths.end(), found_.begin(), found_.end());
  }

 private:
  /// Remembers a folder to be read, unless it was.
  void enter(const std::string& folder) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) != 0)
      result_.refused.push_back("cannot read " + folder + ": " + std::strerror(errno));
    else if (entered_.emplace(info.st_dev, info.st_ino).second)
      pending_.push_back(folder);
  }

  void read(const std::string& folder) {
    std::error_code error;
    fs::directory_iterator at(folder, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
      const std::string name = at->path().filename().string();
      std::error_code broken;
      const fs::file_type type = at->status(broken).type();
      const bool is_folder = type == fs::file_type::directory;
      if (name.starts_with('.') || is_litter(is_folder ? name + "/" : name)) continue;
      const std::string path = folder + (folder.ends_with('/') ? "" : "/") + name;
      if (is_folder)
        enter(path);
      else if (has_image_ending(name) && (type == fs::file_type::regular || type == fs::file_type::not_found))
        found_.push_back(path);  // a link to nothing is named when it is read
      else
        ++result_.others;
    }
    if (error) result_.refused.push_back("cannot read " + folder + ": " + error.message());
  }

  ImagePaths& result_;
  std::vector<std::string> pending_, found_;
  std::set<std::pair<dev_t, ino_t>> entered_;
};

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const std::string_view m = number_at(a, i), n = number_at(b, j);
      if (m.size() != n.size()) return m.size() < n.size();
      if (m != n) return m < n;
      while (i < a.size() && is_digit(a[i])) ++i;
      while (j < b.size() && is_digit(b[j])) ++j;
    } else {
      if (a[i] != b[j]) return rank_of(a[i]) < rank_of(b[j]);
      ++i, ++j;
    }
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;  // the same but for zeros in front of numbers
}

ImagePaths image_paths(const std::vector<std::string>& given) {
  ImagePaths result;
  for (const std::string& path : given) {
    struct stat info {};
    const bool there = ::stat(path.c_str(), &info) == 0;  // otherwise who opens it says why not
    if (there && S_ISDIR(info.st_mode))
      Walk(result).below(path);
    else if (there && !S_ISREG(info.st_mode))
      result.refused.push_back(path + ": expected an image file or a folder, got a pipe, a socket or a device");
    else
      result.paths.push_back(path);
  }
  return result;
}

std::string other_files(const ImagePaths& images) {
  return std::to_string(images.others) +
         (images.others == 1 ? " other file in the folders is" : " other files in the folders are") +
         " passed over: no image by its ending";
}

std::vector<std::string> listed_paths(const std::string& list) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  const std::string source = list == "-" ? "stdin" : list;
  const std::string text = read_file(list == "-" ? "/dev/stdin" : list, kMostBytes);
  std::vector<std::string> paths;
  const auto add = [&](std::string_view path) {
    if (!path.empty()) paths.emplace_back(path);
  };
  if (text.find('\0') != std::string::npos && !is_utf16(text)) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\0', begin), text.size());
      add(std::string_view(text).substr(begin, end - begin));
      begin = end + 1;
    }
  } else {
    for (const std::string_view line : file_lines(text, source)) add(line);
  }
  require(!paths.empty(), "images", source, ": expected a list of image files, a line each, got none");
  return paths;
}

}  // namespace sked

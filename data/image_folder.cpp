// ImageFolder, by torchvision's rules (torchvision/datasets/folder.py).
#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "data/image_collection.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 9> kEndings{".jpg", ".jpeg", ".png",  ".ppm", ".bmp",
                                                   ".pgm", ".tif",  ".tiff", ".webp"};

bool is_image(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(kEndings, ending) != kEndings.end();
}

std::vector<std::string> class_folders(const std::string& root) {
  std::error_code error;
  std::vector<std::string> classes;
  fs::directory_iterator at(root, error);
  require(!error, "image_folder", "cannot read ", root, ": ", error.message());
  for (; at != fs::directory_iterator(); at.increment(error)) {
    require(!error, "image_folder", "cannot read ", root, ": ", error.message());
    const fs::file_type type = at->status(error).type();
    require(type != fs::file_type::not_found, "image_folder", at->path().string(), ": a link to nothing");
    if (type == fs::file_type::directory) classes.push_back(at->path().filename().string());
  }
  std::ranges::sort(classes);
  require(!classes.empty(), "image_folder", root, ": expected a folder per class, got none");
  return classes;
}

/// Files that systems leave behind, and that nobody takes for a sample.
bool is_litter(const std::string& name) {
  return name.starts_with('.') || name == "Thumbs.db" || name == "desktop.ini";
}

struct Names {
  std::vector<std::string> images, others;  // relative to the root
};

/// Names of files below `root`/`folder`; the images sorted as Python's sorted(os.walk) does, by folder, then by name.
Names files_below(const std::string& root, const std::string& folder) {
  std::error_code error;
  std::vector<std::pair<std::string, std::string>> found;
  Names names;
  fs::recursive_directory_iterator at(root + "/" + folder, fs::directory_options::follow_directory_symlink, error);
  constexpr int kDeepest = 64;  // a link to a folder above would never end
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    require(at.depth() <= kDeepest, "image_folder", at->path().string(), ": more than ", kDeepest, " folders deep");
    const std::string name = at->path().filename().string();
    const fs::file_type type = at->status(error).type();
    if (type == fs::file_type::directory || name.starts_with("._")) continue;  // ._: what macOS knows of another file
    if (is_image(name)) {
      require(type == fs::file_type::regular, "image_folder", at->path().string(),
              type == fs::file_type::not_found ? ": a link to nothing" : ": not a regular file");
      const std::string below = at->path().parent_path().string();
      found.emplace_back(below.substr(root.size() + 1), name);
    } else if (!is_litter(name)) {
      names.others.push_back(at->path().string());
    }
  }
  require(!error, "image_folder", "cannot read ", root, "/", folder, ": ", error.message());
  std::ranges::sort(found);
  std::ranges::sort(names.others);
  for (const auto& [parent, name] : found) names.images.push_back(parent + "/" + name);
  return names;
}

/// Images that lie beside the class folders.
PassedOver strays(const std::string& root) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(root, error); !error && at != fs::directory_iterator(); at.increment(error)) {
    if (is_image(at->path()) && !is_litter(at->path().filename().string()) && !at->is_directory(error))
      names.push_back(at->path().string());
  }
  std::ranges::sort(names);
  PassedOver passed;
  for (const std::string& name : names) passed.add(name, "an image in no class's folder");
  return passed;
}

}  // namespace

std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& expected) {
  const std::vector<std::string> classes = class_folders(root);
  std::vector<std::string> names;  // as Dataset::class_names() has them
  for (const std::string& folder : classes) names.push_back(valid_utf8(folder));
  if (!expected.empty()) {
    for (const std::string& c : expected)
      require(std::ranges::find(names, c) != names.end(), "image_folder", root, ": the class folder ", c,
              " is missing");
    for (const std::string& c : names)
      require(std::ranges::find(expected, c) != expected.end(), "image_folder", root, ": unknown class folder ", c,
              ", expected ", excerpt(join(expected)));
  }
  std::vector<ImageEntry> entries;
  PassedOver passed = strays(root);
  for (size_t k = 0; k < classes.size(); ++k) {
    const Names files = files_below(root, classes[k]);
    for (const std::string& other : files.others)
      passed.add(other, "expected one of the endings " + join({kEndings.begin(), kEndings.end()}));
    require(!files.images.empty(), "image_folder", root, "/", classes[k], ": the class has no image",
            files.others.empty() ? "" : " but files of other endings, " + files.others.front() + " the first");
    for (const std::string& image : files.images) entries.push_back({.name = image, .label = static_cast<int64_t>(k)});
  }
  return std::make_shared<ImageCollection>(name, names, root, std::vector<std::string>{}, std::move(entries),
                                           std::move(passed));
}

}  // namespace sked

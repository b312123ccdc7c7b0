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
    if (at->is_directory(error)) classes.push_back(at->path().filename().string());
  }
  std::ranges::sort(classes);
  require(!classes.empty(), "image_folder", root, ": expected a folder per class, got none");
  return classes;
}

/// Names of images below `root`/`folder`, relative to `root`: Python's sorted(os.walk) sorts by folder, then by name.
std::vector<std::string> images_below(const std::string& root, const std::string& folder) {
  std::error_code error;
  std::vector<std::pair<std::string, std::string>> found;
  fs::recursive_directory_iterator at(root + "/" + folder, fs::directory_options::follow_directory_symlink, error);
  constexpr int kDeepest = 64;  // a link to a folder above would never end
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    require(at.depth() <= kDeepest, "image_folder", at->path().string(), ": more than ", kDeepest, " folders deep");
    if (is_image(at->path()) && at->is_regular_file(error)) {
      const fs::path relative = at->path().lexically_relative(root);
      found.emplace_back(relative.parent_path().string(), relative.filename().string());
    }
  }
  require(!error, "image_folder", "cannot read ", root, "/", folder, ": ", error.message());
  std::ranges::sort(found);
  std::vector<std::string> names;
  for (const auto& [parent, name] : found) names.push_back(parent + "/" + name);
  return names;
}

}  // namespace

std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& expected) {
  const std::vector<std::string> classes = class_folders(root);
  if (!expected.empty()) {
    for (const std::string& c : expected)
      require(std::ranges::binary_search(classes, c), "image_folder", root, ": the class folder ", c, " is missing");
    for (const std::string& c : classes)
      require(std::ranges::find(expected, c) != expected.end(), "image_folder", root, ": unknown class folder ", c,
              ", expected ", excerpt(join(expected)));
  }
  std::vector<ImageEntry> entries;
  for (size_t k = 0; k < classes.size(); ++k) {
    const std::vector<std::string> names = images_below(root, classes[k]);
    require(!names.empty(), "image_folder", root, "/", classes[k], ": the class has no image");
    for (const std::string& image : names) entries.push_back({.name = image, .label = static_cast<int64_t>(k)});
  }
  return std::make_shared<ImageCollection>(name, classes, root, std::vector<std::string>{}, std::move(entries));
}

}  // namespace sked

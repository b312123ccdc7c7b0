// ImageFolder, by torchvision's rules (torchvision/datasets/folder.py).
#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "data/image_collection.h"

namespace sked {

namespace fs = std::filesystem;

bool has_image_ending(const fs::path& path) {
  const std::string ending = lower_case(path.extension().string());
  return !ending.empty() && std::ranges::find(kImageEndings, ending.substr(1)) != kImageEndings.end();
}

namespace {

/// Nothing of a collection: what systems leave behind, and names with a dot in front.
bool is_hidden(const std::string& name) { return name.starts_with('.') || is_litter(name); }

/// The classes, sorted. Passed over: folders that no user made.
std::vector<std::string> class_folders(const std::string& root, PassedOver& passed) {
  std::error_code error;
  std::vector<std::string> classes, others;
  int64_t files = 0;
  fs::directory_iterator at(root, error);
  require(!error, "image_folder", "cannot read ", root, ": ", error.message());
  for (; at != fs::directory_iterator(); at.increment(error)) {
    require(!error, "image_folder", "cannot read ", root, ": ", error.message());
    const std::string name = at->path().filename().string();
    const fs::file_type type = at->status(error).type();
    require(type != fs::file_type::not_found, "image_folder", at->path().string(), ": a link to nothing");
    if (type == fs::file_type::directory) (is_hidden(name + "/") ? others : classes).push_back(name);
    files += type == fs::file_type::regular ? 1 : 0;
  }
  std::ranges::sort(classes);
  std::ranges::sort(others);
  for (const std::string& other : others) passed.add(root + "/" + other, "a hidden folder, no class");
  require(!classes.empty(), "image_folder", root, ": expected a folder per class, got none",
          files > 0 ? ", and " + std::to_string(files) + " files that lie in none" : "");
  return classes;
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
    require(at.depth() <= kDeepest, "image_folder", root, "/", folder, ": more than ", kDeepest,
            " folders deep: is there a link to a folder above?");
    const std::string name = at->path().filename().string();
    const fs::file_type type = at->status(error).type();
    if (type == fs::file_type::directory && is_litter(name + "/")) at.disable_recursion_pending();
    if (type == fs::file_type::directory || name.starts_with("._")) continue;  // ._: what macOS knows of another file
    if (has_image_ending(name)) {
      require(type == fs::file_type::regular, "image_folder", at->path().string(),
              type == fs::file_type::not_found ? ": a link to nothing" : ": not a regular file");
      const std::string below = at->path().parent_path().string();
      found.emplace_back(below.substr(root.size() + 1), name);
    } else if (!is_hidden(name)) {
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
void pass_over_strays(const std::string& root, PassedOver& passed) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(root, error); !error && at != fs::directory_iterator(); at.increment(error)) {
    if (has_image_ending(at->path()) && !is_hidden(at->path().filename().string()) && !at->is_directory(error))
      names.push_back(at->path().string());
  }
  std::ranges::sort(names);
  for (const std::string& name : names) passed.add(name, "an image in no class's folder");
}

}  // namespace

std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& expected) {
  Collected files{.root = root};
  std::vector<std::string> classes = class_folders(root, files.passed_over);
  std::vector<std::string> names;  // as Dataset::class_names() has them
  for (const std::string& folder : classes) names.push_back(valid_utf8(folder));
  if (!expected.empty()) {
    const std::set<std::string> got(names.begin(), names.end()), known(expected.begin(), expected.end());
    for (const std::string& c : known)
      require(got.contains(c), "image_folder", root, ": the class folder ", c, " is missing");
    for (const std::string& c : got)
      require(known.contains(c), "image_folder", root, ": unknown class folder ", c, ", expected ",
              excerpt(join(expected)));
  }
  if (!expected.empty()) {
    std::ranges::sort(classes, {}, [&](const std::string& folder) {
      return std::ranges::find(expected, valid_utf8(folder)) - expected.begin();
    });
    names = expected;
  }
  pass_over_strays(root, files.passed_over);
  for (size_t k = 0; k < classes.size(); ++k) {
    const Names below = files_below(root, classes[k]);
    for (const std::string& other : below.others)
      files.passed_over.add(other, "expected one of the endings " + join({kImageEndings.begin(), kImageEndings.end()}));
    require(!below.images.empty(), "image_folder", root, "/", classes[k], ": the class has no image",
            below.others.empty() ? "" : " but files of other endings, " + below.others.front() + " the first",
            " (remove the folder where there is no such class)");
    for (const std::string& image : below.images)
      files.entries.push_back({.name = image, .label = static_cast<int64_t>(k)});
  }
  return std::make_shared<ImageCollection>(name, names, std::move(files));
}

}  // namespace sked

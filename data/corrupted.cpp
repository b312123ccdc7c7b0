#include "data/corrupted.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>

#include "core/error.h"
#include "core/npy.h"
#include "core/text.h"
#include "data/relabeled.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

constexpr std::array kPublished{
    "gaussian_noise",    "shot_noise", "impulse_noise",   "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur",         "snow",       "frost",           "fog",          "brightness", "contrast",
    "elastic_transform", "pixelate",   "jpeg_compression"};
constexpr std::array kExtra{"speckle_noise", "gaussian_blur", "spatter", "saturate"};

template <size_t N>
bool is_one_of(const std::array<const char*, N>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// Where the paper has a corruption; behind them all where it has not.
size_t rank_of(const std::string& name) {
  const auto published = std::ranges::find(kPublished, name);
  if (published != kPublished.end()) return static_cast<size_t>(published - kPublished.begin());
  return kPublished.size() + static_cast<size_t>(std::ranges::find(kExtra, name) - kExtra.begin());
}

/// Names in a folder, sorted; those of folders or those of files. Throws Error where it cannot be read.
std::vector<std::string> names_in(const std::string& folder, fs::file_type wanted) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code unknown;
    if (!name.starts_with('.') && !is_litter(name) && !is_litter(name + "/") && at->status(unknown).type() == wanted)
      names.push_back(name);
  }
  require(!error, "corruptions", "cannot read ", folder, ": ", error.message());
  std::ranges::sort(names);
  return names;
}

void sort_and_describe(Corruptions& all, const std::string& path) {
  const auto published = [](const Corruption& c) { return is_one_of(kPublished, c.name); };
  const bool any = std::ranges::any_of(all.list, published);
  std::ranges::stable_sort(all.list, {}, [](const Corruption& c) { return std::pair(rank_of(c.name), c.name); });
  std::vector<std::string> missing(kPublished.begin(), kPublished.end()), others, part;
  for (Corruption& c : all.list) {
    std::erase(missing, c.name);
    if (!published(c) && !is_one_of(kExtra, c.name)) others.push_back(c.name);
    if (c.severities.size() < kSeverities) part.push_back(c.name);
    c.in_mean = any ? published(c) : c.in_mean && !is_one_of(kExtra, c.name);
  }
  if (any && !missing.empty())
    all.notes.push_back(path + ": " + std::to_string(missing.size()) + " of the " + std::to_string(kPublished.size()) +
                        " published corruptions are not there: " + join(missing));
  if (any && !others.empty())
    all.notes.push_back(path +
                        ": not among the published corruptions, and not in their mean: " + excerpt(join(others)));
  if (!part.empty()) all.notes.push_back(path + ": not all five severities of " + excerpt(join(part)));
}

/// The labels of all files. Throws Error unless they are numbers of exactly these classes.
Tensor load_labels(const std::string& path, int64_t classes) {
  const NpyFile file(path);
  require(file.dtype() == DType::u8 || file.dtype() == DType::i64, "corruptions", path,
          ": expected labels |u1 or <i8, got ", name(file.dtype()));
  require(file.shape().ndim() == 1 && file.shape()[0] > 0 && file.shape()[0] % kSeverities == 0, "corruptions", path,
          ": expected a label for each image of five severities (5·N), got ", file.shape());
  const Tensor labels = file.read().to(DType::i64);
  check_labels(labels, classes, path);
  const auto numbers = labels.to_vector<int64_t>();
  const int64_t greatest = std::ranges::max(numbers);
  require(greatest == classes - 1, "corruptions", path, ": expected labels of the model's ", classes,
          " classes, got 0 to ", greatest);
  return labels;
}

/// Rows of one severity.
std::shared_ptr<const Dataset> open_rows(const std::string& path, const Tensor& labels,
                                         const std::vector<std::string>& class_names, int severity) {
  const NpyFile file(path);
  const int64_t images = labels.dim(0) / kSeverities, begin = (severity - 1) * images;
  require(file.shape().ndim() == 4 && file.shape()[0] == labels.dim(0), "corruptions", path,
          ": not the file any more that was there at the start");
  return std::make_shared<ImageDataset>(path + ", severity " + std::to_string(severity), class_names,
                                        file.rows(begin, begin + images), labels.rows(begin, begin + images).clone());
}

Corruptions arrays_in(const std::string& path, const std::vector<std::string>& files, const ClassList& classes) {
  constexpr std::string_view kEnding = ".npy", kLabels = "labels.npy";
  require(std::ranges::find(files, kLabels) != files.end(), "corruptions", path, "/", kLabels,
          ": not there: expected it beside ", files.front());
  const Tensor labels = load_labels(path + "/" + std::string(kLabels), static_cast<int64_t>(classes.names.size()));
  Corruptions all;
  Shape expected;
  for (const std::string& file : files) {
    if (file == kLabels) continue;
    const std::string whole = path + "/" + file;
    const NpyFile images(whole);
    const Shape& shape = images.shape();
    require(images.dtype() == DType::u8 && shape.ndim() == 4 && shape[1] > 0 && shape[2] > 0 &&
                (shape[3] == 1 || shape[3] == 3),
            "corruptions", whole, ": expected images |u1 (5·N, H, W, 1 or 3), got ", shape, " ", name(images.dtype()));
    require(shape[0] == labels.dim(0), "corruptions", whole, ": ", shape[0], " images, ", kLabels, " has ",
            labels.dim(0), " labels");
    if (all.list.empty()) expected = shape;
    require(shape == expected, "corruptions", whole, ": expected images ", expected, " as in ",
            all.list.empty() ? file : all.list.front().name + ".npy", ", got ", shape);
    all.list.push_back({.name = valid_utf8(file.substr(0, file.size() - kEnding.size())),
                        .severities = {1, 2, 3, 4, 5},
                        .open = [whole, labels, names = classes.names](int severity) {
                          return open_rows(whole, labels, names, severity);
                        }});
  }
  require(!all.list.empty(), "corruptions", path, ": expected <corruption>.npy beside ", kLabels, ", got none");
  return all;
}

/// Images in folders, their classes called as the model calls them.
class Renamed final : public DatasetView {
 public:
  Renamed(std::shared_ptr<const Dataset> base, std::vector<std::string> names)
      : DatasetView(std::move(base), std::move(names)) {}
};

/// The model's name of each class folder. Throws Error for one that it does not know.
std::vector<std::string> class_names_for(const std::string& folder, const std::vector<std::string>& folders,
                                         const ClassList& classes) {
  const auto all_in = [&](const std::vector<std::string>& known) {
    const std::set<std::string> set(known.begin(), known.end());
    return std::ranges::all_of(folders, [&](const std::string& name) { return set.contains(name); });
  };
  require(!folders.empty(), "corruptions", folder, ": expected a folder per class, got none");
  if (all_in(classes.names)) return folders;
  require(all_in(classes.ids), "corruptions", folder,
          ": other classes than the model's: ", class_difference(folders, classes.names));
  std::map<std::string, std::string> name_of_id;
  for (size_t k = 0; k < classes.ids.size(); ++k) name_of_id.emplace(classes.ids[k], classes.names[k]);
  std::vector<std::string> names;
  for (const std::string& id : folders) names.push_back(name_of_id.at(id));
  return names;
}

/// Folders that there is to say something about.
struct Strange {
  PassedOver passed, fewer;  // fewer: lack classes of the model
};

/// `<folder>/<severity>/<class>/…`; nothing where no severity is there.
std::vector<Corruption> severities_in(const std::string& folder, const std::string& called, const ClassList& classes,
                                      Strange& strange) {
  std::map<int, std::vector<std::string>> names;
  std::vector<std::string> strays = names_in(folder, fs::file_type::regular);
  for (const std::string& below : names_in(folder, fs::file_type::directory)) {
    const bool severity = below.size() == 1 && below[0] >= '1' && below[0] < '1' + kSeverities;
    if (!severity) {
      strays.push_back(below);
      continue;
    }
    const std::string path = folder + "/" + below;
    std::vector<std::string> folders;
    for (const std::string& name : names_in(path, fs::file_type::directory)) folders.push_back(valid_utf8(name));
    names[below[0] - '0'] = class_names_for(path, folders, classes);
    if (folders.size() < classes.names.size())
      strange.fewer.add(path, std::to_string(folders.size()) + " of " + std::to_string(classes.names.size()));
  }
  if (names.empty()) return {};
  for (const std::string& stray : strays) strange.passed.add(folder + "/" + stray, "expected the severities 1 to 5");
  Corruption corruption{.name = valid_utf8(called)};
  for (const auto& [severity, classes_there] : names) corruption.severities.push_back(severity);
  corruption.open = [folder, names](int severity) -> std::shared_ptr<const Dataset> {
    const std::string path = folder + "/" + std::to_string(severity);
    return std::make_shared<Renamed>(load_image_folder(path, path), names.at(severity));
  };
  return {corruption};
}

Corruptions folders_in(const std::string& path, const ClassList& classes) {
  Corruptions all;
  Strange strange;
  std::map<std::string, std::string> seen;  // where each is
  const auto add = [&](std::vector<Corruption> found, const std::string& where) {
    for (Corruption& c : found) {
      const auto [before, unseen] = seen.emplace(c.name, where);
      require(unseen, "corruptions", where, ": ", c.name, " is there twice, also as ", before->second);
      all.list.push_back(std::move(c));
    }
    return !found.empty();
  };
  for (const std::string& file : names_in(path, fs::file_type::regular))
    strange.passed.add(path + "/" + file, "expected <corruption>/<severity>/<class>/, or <corruption>.npy");
  for (const std::string& name : names_in(path, fs::file_type::directory)) {
    const std::string folder = path + "/" + name;
    if (add(severities_in(folder, name, classes, strange), folder)) continue;
    bool any = false;
    for (const std::string& below : names_in(folder, fs::file_type::directory)) {
      std::vector<Corruption> found = severities_in(folder + "/" + below, below, classes, strange);
      for (Corruption& c : found) c.in_mean = name != "extra";
      any |= add(std::move(found), folder + "/" + below);
    }
    if (!any) strange.passed.add(folder, "no severities 1 to 5 in it");
  }
  require(!all.list.empty(), "corruptions", path,
          ": expected <corruption>.npy and labels.npy, or folders <corruption>/<severity>/<class>/, got none");
  if (strange.passed.count > 0) all.notes.push_back(strange.passed.text());
  if (strange.fewer.count > 0) all.notes.push_back(strange.fewer.text("with fewer classes than the model"));
  return all;
}

}  // namespace

Corruptions find_corruptions(const std::string& path, const ClassList& classes) {
  std::vector<std::string> arrays, others;
  for (const std::string& file : names_in(path, fs::file_type::regular))
    (file.ends_with(".npy") ? arrays : others).push_back(file);
  for (const std::string& folder : names_in(path, fs::file_type::directory)) others.push_back(folder);
  Corruptions all = arrays.empty() ? folders_in(path, classes) : arrays_in(path, arrays, classes);
  if (!arrays.empty() && !others.empty())
    all.notes.push_back(path + ": " + std::to_string(others.size()) + " passed over, the first " +
                        excerpt(others.front()) + ": not a .npy file");
  sort_and_describe(all, path);
  return all;
}

}  // namespace sked

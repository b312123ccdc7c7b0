#include "data/collections.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/parts.h"

namespace sked {
namespace {

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// Is one of the folders in `path` that of a class?
bool has_class(const std::string& path, const std::vector<std::string>& classes) {
  const std::set<std::string> known(classes.begin(), classes.end());
  return std::ranges::any_of(names_in(path), [&](const std::string& name) {
    return known.contains(valid_utf8(name)) && is_folder(path + "/" + name);
  });
}

bool has_folders(const std::string& path) {
  return std::ranges::any_of(names_in(path), [&](const std::string& name) { return is_folder(path + "/" + name); });
}

/// The folder with training's classes; nothing where the classes' folders lie in `folder` itself, even where one of
/// them is called train.
std::optional<std::string> training_part(const std::string& folder) {
  const std::optional<std::string> train = training_folder(folder);
  if (train && has_folders(*train)) return train;
  std::vector<std::string> tests, others;  // folders of test images, and of classes
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name, lower = lower_case(name);
    if (!is_folder(path)) continue;
    const bool test = std::ranges::count(kTestNames, lower) > 0 && has_folders(path);
    if (test || std::ranges::count(kTrainNames, lower) == 0) (test ? tests : others).push_back(name);
  }
  for (const std::string& test : tests)
    require(!has_class(folder + "/" + test, others), "load_splits", folder, "/", test,
            " has folders of classes that are beside it: move those beside it to ", folder, "/train");
  if (!others.empty() || (!train && tests.empty())) return std::nullopt;
  require(train.has_value(), "load_splits", "no folder ", folder, "/train with a folder per class");
  return train;
}

/// Of classes.txt: a class a line. None where there is no such file.
std::vector<std::string> listed_classes(const std::string& folder) {
  const std::string path = folder + "/classes.txt";
  if (!exists(path)) return {};
  constexpr uint64_t kMostBytes = 1 << 24;
  const std::string text = read_file(path, kMostBytes);
  std::vector<std::string> classes;
  std::set<std::string> names;
  for (const std::string_view line : file_lines(text, path)) {
    classes.emplace_back(trimmed(line));
    require(!classes.back().empty() && !invalid_utf8(line), "load_splits", path, ":", classes.size(),
            ": expected the name of a class in UTF-8, got \"", excerpt(line), "\"");
    require(names.insert(classes.back()).second, "load_splits", path, ":", classes.size(), ": the class ",
            excerpt(line), " is there twice");
  }
  require(!classes.empty(), "load_splits", path, ": expected a class a line, got none");
  return classes;
}

struct ShardPaths {
  std::vector<std::string> train, test, validation = {}, notes = {};
};

/// Says of downloads beside the shards that they have not ended.
void note_unfinished(ShardPaths& shards) {
  std::set<std::string> folders;
  for (const auto* part : {&shards.train, &shards.test, &shards.validation})
    for (const std::string& path : *part) folders.insert(path.substr(0, path.rfind('/')));
  std::vector<std::string> found;
  for (const std::string& folder : folders) std::ranges::copy(unfinished_shards(folder), std::back_inserter(found));
  if (!found.empty())
    shards.notes.push_back(std::to_string(found.size()) + " unfinished downloads, not read, the first " +
                           found.front());
}

ShardPaths find_shards(const DataSpec& spec, const std::string& folder) {
  ShardPaths shards{shards_of(folder, "train"), {}};
  const std::string hint = spec.path.empty() ? ": `make data DATASETS=\"" + spec.name + "\"` prepares them" : "";
  const bool anywhere = spec.name == "shards";
  const auto speaks_of_test = [&](const char* name) { return !shards_of(folder, name).empty(); };
  if (anywhere && shards.train.empty() && std::ranges::none_of(kTestNames, speaks_of_test))
    shards.train = shards_of(folder, "");  // of one part
  require(!shards.train.empty(), "load_splits", "no shards ", folder, "/train*.tar", hint);
  const auto find = [&](const auto& names, const std::vector<std::string>& but, std::vector<std::string>& found) {
    for (const char* name : names)
      if (found.empty()) std::ranges::set_difference(shards_of(folder, name), but, std::back_inserter(found));
  };
  find(kTestNames, shards.train, shards.test);  // a name that says both, train-val-0.tar, is training's alone
  std::vector<std::string> taken;
  std::ranges::set_union(shards.train, shards.test, std::back_inserter(taken));
  if (!shards.test.empty()) find(kValidationNames, taken, shards.validation);
  require(!shards.test.empty() || anywhere, "load_splits", "no shards ", folder, "/test*.tar, val*.tar or dev*.tar",
          hint);
  note_unfinished(shards);
  return shards;
}

/// Classes whose ids are their indices.
ClassList numbered(std::vector<std::string> names) {
  ClassList classes{.names = std::move(names), .ids = {}};
  for (size_t k = 0; k < classes.names.size(); ++k) classes.ids.push_back(std::to_string(k));
  return classes;
}

}  // namespace

std::vector<std::string> classes_of_folders(const std::string& folder) {
  if (!has_folders(folder)) return {};
  return load_image_folder("image-folder", training_part(folder).value_or(folder), listed_classes(folder))
      ->class_names();
}

Collections open_folders(const DataSpec& spec, const std::string& folder) {
  const std::optional<std::string> train = training_part(folder);
  const std::vector<std::string> classes = listed_classes(folder);
  Collections files{load_image_folder(spec.name, train.value_or(folder), classes), nullptr};
  if (!train) return files;
  const auto load_part = [&](const std::string& part) {
    std::error_code ignored;
    require(!std::filesystem::equivalent(part, *train, ignored), "load_splits", part, ": the same folder as ", *train,
            ", whose images are trained on");
    return load_image_folder(spec.name, part, files.train->class_names());
  };
  const std::vector<std::string>& names = files.train->class_names();
  const auto pass_over = [&](const std::string& part) {
    const std::string why = part + " has no folder of a class: not used, since its images have no labels";
    if (std::ranges::count(files.notes, why) == 0) files.notes.push_back(why);
  };
  std::string found, other;  // the test set, and one of other classes
  for (const char* name : kTestNames) {
    for (const std::string& test : folders_called(folder, name)) {
      if (!found.empty()) continue;
      if (has_class(test, names)) {
        files.test = load_part(found = test);
        continue;
      }
      if (other.empty() && has_folders(test)) other = test;
      pass_over(test);
    }
  }
  if (!files.test && !other.empty()) load_image_folder(spec.name, other, names);  // says what is missing
  if (!files.test) return files;
  for (const char* name : kValidationNames)
    for (const std::string& own : folders_called(folder, name)) {
      if (files.validation || own == found) continue;
      if (has_class(own, names))
        files.validation = load_part(own);
      else
        pass_over(own);
    }
  return files;
}

Collections open_shards(const DataSpec& spec, const std::string& folder) {
  const ShardPaths shards = find_shards(spec, folder);
  ClassList classes;
  if (exists(folder + "/classes.tsv")) classes = load_class_list(folder + "/classes.tsv");
  if (classes.names.empty()) classes = numbered(listed_classes(folder));
  const auto train = load_shards(spec.name, shards.train, classes);
  if (classes.names.empty()) classes = numbered(train->class_names());
  const auto part = [&](const std::vector<std::string>& paths) {
    return paths.empty() ? nullptr : load_shards(spec.name, paths, classes);
  };
  return {train, part(shards.test), shards.notes, part(shards.validation)};
}

/// Throws Error for an image that is in two parts.
void require_apart(const std::vector<std::shared_ptr<const ImageCollection>>& parts, const std::string& path) {
  std::unordered_map<std::string, size_t> part_of;
  for (size_t p = 0; p < parts.size(); ++p) {
    for (int64_t i = 0; parts[p] != nullptr && i < parts[p]->size(); ++i) {
      const auto [known, added] = part_of.emplace(parts[p]->source(i), p);
      require(added || known->second == p, "load_splits", path, ": ", known->first,
              " is an image of two tables: expected each in one of train, test and validation");
    }
  }
}

/// A table with the images of one part, or a folder with one for each.
Collections open_label_tables(const DataSpec& spec, const std::string& path) {
  if (!is_folder(path)) {
    const size_t slash = path.rfind('/');
    return {load_label_table(spec.name, path, listed_classes(slash == std::string::npos ? "." : path.substr(0, slash))),
            nullptr};
  }
  const auto train = load_label_table(
      spec.name, exists(path + "/train.csv") ? path + "/train.csv" : path + "/labels.csv", listed_classes(path));
  const auto first_of = [&](const auto& names, const std::string& but) -> std::string {
    for (const char* name : names)
      if (const std::string table = path + "/" + name + ".csv"; table != but && exists(table)) return table;
    return {};
  };
  const auto part = [&](const std::string& table) {
    return table.empty() ? nullptr : load_label_table(spec.name, table, train->class_names());
  };
  const std::string test = first_of(kTestNames, "");
  Collections files{train, part(test), {}, part(test.empty() ? "" : first_of(kValidationNames, test))};
  require_apart({files.train, files.test, files.validation}, path);
  return files;
}

Collections open_caption_shards(const DataSpec& spec, const std::string& folder) {
  const ShardPaths shards = find_shards(spec, folder);
  return {load_caption_shards(spec.name, shards.train), load_caption_shards(spec.name, shards.test), shards.notes};
}

Collections open_caption_tables(const DataSpec& spec, const std::string& folder) {
  for (const std::string name : kTestNames) {
    const std::string train = folder + "/train.tsv", test = folder + "/" + name + ".tsv";
    if (exists(test)) return {load_caption_table(spec.name, train), load_caption_table(spec.name, test)};
  }
  fail("load_splits", "no table ", folder, "/test.tsv, val.tsv or dev.tsv");
}

}  // namespace sked

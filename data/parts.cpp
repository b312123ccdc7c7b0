#include "data/parts.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <string_view>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// How shards end, the best of several of one name first.
constexpr std::array<std::string_view, 3> kShardEndings{".tar", ".tar.gz", ".tgz"};

struct Refused {
  std::string_view ending;
  const char* what;
};
constexpr std::array<Refused, 7> kCompressed{{{".tar.zst", "unzstd unpacks it"},
                                              {".tar.xz", "unxz unpacks it"},
                                              {".txz", "unxz unpacks it"},
                                              {".tar.bz2", "bunzip2 unpacks it"},
                                              {".tbz2", "bunzip2 unpacks it"},
                                              {".tar.lz4", "lz4 -d unpacks it"},
                                              {".tar.z", "uncompress unpacks it"}}};
constexpr std::array<Refused, 3> kOtherArchives{
    {{".zip", "unzip it, then tar -cf"}, {".rar", "unrar it, then tar -cf"}, {".7z", "7z x, then tar -cf"}}};

/// What browsers, curl, wget, rclone, aria2 and the like write behind the name of what is not whole yet.
constexpr std::array<std::string_view, 9> kUnfinished{
    ".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart", ".aria2", ".incomplete", ".tmp"};

/// Is the word there at the beginning, or behind what is no letter or digit? `imagenet1k-train-00.tar`.
bool speaks_of(const std::string& name, const std::string& word) {
  for (size_t at = name.find(word); at != std::string::npos; at = name.find(word, at + 1))
    if (at == 0 || !std::isalnum(static_cast<unsigned char>(name[at - 1]))) return true;
  return false;
}

/// Paths of the shards in a folder whose names speak of `word`, sorted by name: of `x.tar` and `x.tar.gz` the first.
/// Error for shards that are compressed in another way, unless one of the same name can be read.
std::vector<std::string> shards_in(const std::string& folder, const std::string& word) {
  std::vector<std::string> names, paths;
  std::map<std::string, size_t> best;  // by name without ending: the place of its ending
  const auto without = [](const std::string& name, std::string_view ending) {
    return lower_case(name).ends_with(ending) ? name.substr(0, name.size() - ending.size()) : "";
  };
  for (const std::string& name : names_in(folder))
    if (speaks_of(lower_case(name), word)) names.push_back(name);
  for (size_t e = 0; e < kShardEndings.size(); ++e)
    for (const std::string& name : names)
      if (const std::string stem = without(name, kShardEndings[e]); !stem.empty()) best.emplace(stem, e);
  for (const std::string& name : names) {
    const auto refuse = [&](const Refused& kind) {
      const std::string stem = without(name, kind.ending);
      require(stem.empty() || best.contains(stem), "load_splits", folder, "/", name, ": a shard in ", kind.ending,
              ", expected one in .tar or .tar.gz (", kind.what, ")");
    };
    for (const Refused& kind : kCompressed) refuse(kind);
    if (best.empty()) std::ranges::for_each(kOtherArchives, refuse);
    for (size_t e = 0; e < kShardEndings.size(); ++e) {
      const auto found = best.find(without(name, kShardEndings[e]));
      if (found != best.end() && found->second == e) paths.push_back(folder + "/" + name);
    }
  }
  return paths;
}

}  // namespace

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with('.')) names.push_back(name);
  }
  require(!error || error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory, "load_splits",
          "cannot read ", folder, ": ", error.message());
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> folders_called(const std::string& folder, const std::string& name) {
  std::vector<std::string> paths;
  for (const std::string& there : names_in(folder)) {
    const std::string path = folder + "/" + there;
    if (lower_case(there) == name && is_folder(path)) paths.insert(there == name ? paths.begin() : paths.end(), path);
  }
  return paths;
}

std::optional<std::string> training_folder(const std::string& folder) {
  for (const char* name : kTrainNames) {
    const std::vector<std::string> paths = folders_called(folder, name);
    if (!paths.empty()) return paths.front();
  }
  return std::nullopt;
}

std::vector<std::string> shards_of(const std::string& folder, const std::string& part) {
  std::vector<std::string> paths = shards_in(folder, part);
  if (!paths.empty()) return paths;
  for (const std::string& inside : folders_called(folder, part)) {
    paths = shards_in(inside, "");
    if (!paths.empty()) return paths;
  }
  return paths;
}

std::vector<std::string> unfinished_shards(const std::string& folder) {
  std::vector<std::string> paths;
  for (const std::string& name : names_in(folder)) {
    const std::string lower = lower_case(name);
    const auto has = [&](std::string_view unfinished) {
      return std::ranges::any_of(
          kShardEndings, [&](std::string_view e) { return lower.ends_with(std::string(e).append(unfinished)); });
    };
    if (std::ranges::any_of(kUnfinished, has)) paths.push_back(folder + "/" + name);
  }
  return paths;
}

}  // namespace sked

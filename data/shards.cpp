// WebDataset shards: https://github.com/webdataset/webdataset
#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/tar.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

constexpr int64_t kLongestText = 1 << 22;  // bytes: the shares of 100,000 classes

constexpr std::array<std::string_view, 6> kImages{"jpg", "jpeg", "png", "webp", "bmp", "ppm"};

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Members of one key.
struct Sample {
  std::string key;
  const TarMember *image = nullptr, *cls = nullptr, *json = nullptr, *txt = nullptr;
};

/// What an example has beside its image.
enum class Beside { label, caption };

class ShardReader {
 public:
  ShardReader(const std::vector<std::string>& shards, Beside beside, const ClassList& classes = {})
      : shards_(shards), beside_(beside) {
    for (size_t k = 0; k < classes.names.size(); ++k) {
      index_.emplace(classes.names[k], static_cast<int64_t>(k));
      index_.insert_or_assign(classes.ids[k], static_cast<int64_t>(k));
    }
  }
  std::vector<ImageEntry> read();

 private:
  void read_shard(size_t shard);
  void place(Sample& sample, const TarMember& member, std::string_view ending) const;
  void finish(const Sample& sample);
  void read_caption(const Sample& sample, ImageEntry& entry) const;
  void read_label(const Sample& sample, ImageEntry& entry) const;
  void read_json(const TarMember& member, ImageEntry& entry) const;
  std::string text_of(const TarMember& member) const;
  int64_t class_of(const TarMember& member, std::string_view word) const;
  template <class... Parts>
  void check(bool ok, const std::string& member, const Parts&... parts) const {
    require(ok, "shards", path(), ":", excerpt(member), ": ", parts...);
  }
  const std::string& path() const { return shards_[shard_]; }

  const std::vector<std::string>& shards_;
  Beside beside_;
  std::unordered_map<std::string, int64_t> index_;
  size_t shard_ = 0;  // at hand
  std::unordered_set<std::string> seen_;
  std::vector<ImageEntry> entries_;
};

std::vector<ImageEntry> ShardReader::read() {
  for (shard_ = 0; shard_ < shards_.size(); ++shard_) read_shard(shard_);
  return std::move(entries_);
}

void ShardReader::read_shard(size_t) {
  const std::vector<TarMember> members = list_tar(path());
  Sample sample;
  for (const TarMember& member : members) {
    const size_t slash = member.name.rfind('/'), dot = member.name.find('.', slash == std::string::npos ? 0 : slash);
    if (dot == std::string::npos) continue;
    const std::string key = member.name.substr(0, dot);
    if (key != sample.key || sample.key.empty()) {
      finish(sample);
      sample = {.key = key};
      check(seen_.insert(key).second, member.name,
            "its key was there before: the members of a key must follow each other, and keys be different");
    }
    std::string ending = member.name.substr(dot + 1);
    std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    place(sample, member, ending);
  }
  finish(sample);
}

void ShardReader::place(Sample& sample, const TarMember& member, std::string_view ending) const {
  const TarMember** slot = ending == "cls"                                       ? &sample.cls
                           : ending == "json"                                    ? &sample.json
                           : ending == "txt"                                     ? &sample.txt
                           : std::ranges::find(kImages, ending) != kImages.end() ? &sample.image
                                                                                 : nullptr;
  if (slot == nullptr) return;
  check(*slot == nullptr, member.name, "a second one at offset ", member.offset);
  *slot = &member;
}

void ShardReader::finish(const Sample& sample) {
  if (sample.key.empty()) return;
  const bool any = sample.cls != nullptr || sample.json != nullptr || sample.txt != nullptr;
  if (sample.image == nullptr && !any) return;  // metadata of another kind
  check(sample.image != nullptr, sample.key, "no image, expected one of ", join({kImages.begin(), kImages.end()}));
  ImageEntry entry{sample.image->name, static_cast<int64_t>(shard_), sample.image->offset, sample.image->size};
  if (beside_ == Beside::caption) {
    read_caption(sample, entry);
  } else {
    check(any, sample.key, "no label, expected .cls, .json or .txt");
    read_label(sample, entry);
  }
  entries_.push_back(std::move(entry));
}

void ShardReader::read_caption(const Sample& sample, ImageEntry& entry) const {
  check(sample.txt != nullptr, sample.key, "no caption, expected .txt");
  const std::string text = text_of(*sample.txt);
  entry.caption = trimmed(text);
  check_caption(entry.caption, path() + ":" + excerpt(sample.txt->name));
}

std::string ShardReader::text_of(const TarMember& member) const {
  check(member.size <= kLongestText, member.name, member.size, " bytes of text, expected at most ", kLongestText);
  const std::vector<uint8_t> bytes = read_member(path(), member);
  return {bytes.begin(), bytes.end()};
}

int64_t ShardReader::class_of(const TarMember& member, std::string_view word) const {
  const auto found = index_.find(std::string(word));
  check(found != index_.end(), member.name, "unknown class \"", excerpt(word), "\"");
  return found->second;
}

void ShardReader::read_label(const Sample& sample, ImageEntry& entry) const {
  if (sample.cls != nullptr) {
    const std::string text = text_of(*sample.cls);
    const std::optional<int64_t> label = whole_number(trimmed(text));
    check(label.has_value(), sample.cls->name, "expected a class index, got \"", excerpt(text), "\"");
    entry.label = *label;
  } else if (sample.json != nullptr) {
    read_json(*sample.json, entry);
  } else {
    entry.label = class_of(*sample.txt, trimmed(text_of(*sample.txt)));
  }
}

void ShardReader::read_json(const TarMember& member, ImageEntry& entry) const {
  const auto json = nlohmann::json::parse(text_of(member), nullptr, false);
  check(!json.is_discarded(), member.name, "not JSON");
  const auto index = [&](const nlohmann::json& value) {
    if (value.is_number_integer()) return value.get<int64_t>();
    check(value.is_string(), member.name, "expected a class index or id, got ", excerpt(value.dump()));
    return class_of(member, value.get_ref<const std::string&>());
  };
  if (json.is_number_integer()) {
    entry.label = json.get<int64_t>();
    return;
  }
  std::map<int64_t, float> targets;
  if (json.is_array()) {
    for (const auto& value : json) targets[index(value)] = 1;
  } else {
    check(json.is_object(), member.name, "expected an index, a list or an object, got ", excerpt(json.dump()));
    for (const auto& [word, share] : json.items()) {
      check(share.is_number(), member.name, "expected a share of class ", excerpt(word), ", got ",
            excerpt(share.dump()));
      const std::optional<int64_t> number = whole_number(word);
      targets[number ? *number : class_of(member, word)] = share.get<float>();
    }
  }
  check(!targets.empty(), member.name, "expected at least one class, got ", excerpt(json.dump()));
  entry.targets.assign(targets.begin(), targets.end());
  // The first named of several labels; the greatest share of soft ones.
  entry.label = json.is_array() ? index(json.front())
                                : std::ranges::max_element(targets, {}, [](const auto& t) { return t.second; })->first;
}

}  // namespace

ClassList load_class_list(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 26;
  const std::string text = read_file(path, kMostBytes);
  ClassList classes;
  for (const std::string_view line : lines_of(text)) {
    const size_t tab = line.find('\t'), second = tab == std::string_view::npos ? tab : line.find('\t', tab + 1);
    require(second != std::string_view::npos &&
                whole_number(line.substr(0, tab)) == static_cast<int64_t>(classes.names.size()),
            "class_list", path, ":", classes.names.size() + 1, ": expected ", classes.names.size(),
            "<TAB>id<TAB>name, got \"", excerpt(line), "\"");
    classes.ids.emplace_back(line.substr(tab + 1, second - tab - 1));
    classes.names.emplace_back(trimmed(line.substr(second + 1)));
  }
  require(!classes.names.empty(), "class_list", path, ": no class");
  return classes;
}

std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes) {
  std::vector<ImageEntry> entries = ShardReader(shards, Beside::label, classes).read();
  std::vector<std::string> names = classes.names;
  if (names.empty()) {
    int64_t most = 0;
    for (const ImageEntry& e : entries) {
      most = std::max(most, e.label);
      for (const auto& [k, share] : e.targets) most = std::max(most, k);
    }
    constexpr int64_t kMostClasses = 1 << 20;
    require(most < kMostClasses, "shards", join(shards), ": label ", most, ", expected less than ", kMostClasses);
    for (int64_t k = 0; k <= most; ++k) names.push_back("class " + std::to_string(k));
  }
  return std::make_shared<ImageCollection>(name, names, "", shards, std::move(entries));
}

std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards) {
  std::vector<ImageEntry> entries = ShardReader(shards, Beside::caption).read();
  require(!entries.empty(), "shards", join(shards), ": no pair");
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{}, "", shards, std::move(entries));
}

}  // namespace sked

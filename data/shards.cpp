// WebDataset shards: https://github.com/webdataset/webdataset
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
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
#include "data/relabelled.h"
#include "data/tar.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

constexpr int64_t kLongestText = 1 << 22;  // bytes: the shares of 100,000 classes

constexpr std::array<std::string_view, 9> kImages{"jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "pbm", "pnm"};
/// Endings of images that are not read: whoever packed them would miss them.
constexpr std::array<std::string_view, 10> kOtherImages{"gif",  "tif",  "tiff", "heic", "heif",
                                                        "avif", "jfif", "jpe",  "jp2",  "jxl"};

template <class List>
bool among(const List& endings, std::string_view ending) {
  return std::ranges::find(endings, ending) != endings.end();
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A member's name as WebDataset splits it: at the first dot behind its last slash. An empty key: it has none.
struct KeyEnding {
  std::string key, ending;  // the ending in small letters
};
KeyEnding split_name(const std::string& name) {
  const size_t slash = name.rfind('/'), begin = slash == std::string::npos ? 0 : slash + 1, dot = name.find('.', begin);
  if (dot == std::string::npos || dot == begin) return {};
  KeyEnding result{name.substr(0, dot), name.substr(dot + 1)};
  std::ranges::transform(result.ending, result.ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

/// Members of one key.
struct Sample {
  std::string key;
  const TarMember *image = nullptr, *cls = nullptr, *json = nullptr, *txt = nullptr;
  const TarMember *first = nullptr, *unread = nullptr;  // of any ending; an image of an ending that is not read
};

/// What an example has beside its image.
enum class Beside { label, caption };

class ShardReader {
 public:
  ShardReader(const std::vector<std::string>& shards, Beside beside, const ClassList& classes = {})
      : shards_(shards), beside_(beside), classes_(classes) {
    for (size_t k = 0; k < classes.names.size(); ++k) {
      for (const std::string& word : {classes.names[k], classes.ids[k]})
        index_.try_emplace(word, Meaning{k, k}).first->second.last = k;
    }
  }
  std::vector<ImageEntry> read();
  /// Afterwards.
  PassedOver passed_over() const { return passed_over_; }

 private:
  /// The first and the last class that a word is a name or an id of.
  struct Meaning {
    size_t first = 0, last = 0;
  };

  void read_shard(size_t shard);
  void place(Sample& sample, const TarMember& member, std::string_view ending) const;
  void finish(const Sample& sample);
  void read_caption(const Sample& sample, ImageEntry& entry) const;
  void read_label(const Sample& sample, ImageEntry& entry) const;
  void read_json(const TarMember& member, ImageEntry& entry) const;
  std::string text_of(const TarMember& member) const;
  int64_t class_of(const TarMember& member, std::string_view word) const;
  int64_t index_or_class(const TarMember& member, const std::string& word) const;
  void read_shares(const TarMember& member, const std::map<int64_t, double>& shares, ImageEntry& entry) const;
  template <class... Parts>
  void check(bool ok, const std::string& member, const Parts&... parts) const {
    require(ok, "shards", path(), ":", excerpt(member), ": ", parts...);
  }
  const std::string& path() const { return shards_[shard_]; }

  const std::vector<std::string>& shards_;
  Beside beside_;
  ClassList classes_;
  std::unordered_map<std::string, Meaning> index_;
  size_t shard_ = 0;                      // at hand
  std::unordered_set<std::string> seen_;  // keys of that shard
  std::vector<ImageEntry> entries_;
  PassedOver passed_over_;
};

std::vector<ImageEntry> ShardReader::read() {
  for (shard_ = 0; shard_ < shards_.size(); ++shard_) read_shard(shard_);
  return std::move(entries_);
}

void ShardReader::read_shard(size_t) {
  const std::vector<TarMember> members = list_tar(path());
  const auto pass_over = [&](const TarMember& member, const char* why) {
    passed_over_.add(path() + ":" + excerpt(member.name), why);
  };
  seen_.clear();
  Sample sample;
  for (const TarMember& member : members) {
    const auto [key, ending] = split_name(member.name);
    if (member.name.starts_with("__") && member.name.ends_with("__")) {
      pass_over(member, "WebDataset's metadata");
    } else if (key.empty()) {
      pass_over(member, "no key in front of a dot, or no ending behind one");
    } else {
      if (key != sample.key) {
        finish(sample);
        sample = {.key = key, .first = &member};
        check(seen_.insert(key).second, member.name,
              "its key was there before: the members of a key must follow each other, and keys be different");
      }
      place(sample, member, ending);
    }
  }
  finish(sample);
}

void ShardReader::place(Sample& sample, const TarMember& member, std::string_view ending) const {
  const TarMember** slot = ending == "cls"          ? &sample.cls
                           : ending == "json"       ? &sample.json
                           : ending == "txt"        ? &sample.txt
                           : among(kImages, ending) ? &sample.image
                                                    : nullptr;
  if (slot == nullptr) {
    const std::string_view last = ending.substr(ending.rfind('.') + 1);
    if (sample.unread == nullptr && (among(kImages, last) || among(kOtherImages, last))) sample.unread = &member;
    return;
  }
  check(*slot == nullptr, member.name, "a second one at offset ", member.offset);
  *slot = &member;
}

void ShardReader::finish(const Sample& sample) {
  if (sample.key.empty()) return;
  const std::string images = join({kImages.begin(), kImages.end()});
  if (sample.image == nullptr) {
    if (sample.unread != nullptr)
      check(false, sample.unread->name, "its key is ", excerpt(sample.key), ", its ending ",
            excerpt(split_name(sample.unread->name).ending), ": expected an image with the ending ", images);
    const bool half = beside_ == Beside::caption ? sample.txt != nullptr : sample.cls != nullptr;
    check(!half, sample.key, "no image, expected one of ", images);
    passed_over_.add(path() + ":" + excerpt(sample.first->name), "its key has no image");
    return;
  }
  ImageEntry entry{sample.image->name, static_cast<int64_t>(shard_), sample.image->offset, sample.image->size};
  if (beside_ == Beside::caption) {
    read_caption(sample, entry);
  } else {
    check(sample.cls != nullptr || sample.json != nullptr || sample.txt != nullptr, sample.key,
          "no label, expected .cls, .json or .txt");
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
  check(found != index_.end(), member.name, "unknown class \"", excerpt(word),
        "\", expected an id or a name of the class list");
  const auto [first, last] = found->second;
  check(first == last, member.name, "\"", excerpt(word), "\" may be class ", first, " (", excerpt(classes_.ids[first]),
        ") or ", last, " (", excerpt(classes_.ids[last]), "): expected an id or an index that says which");
  return static_cast<int64_t>(first);
}

/// A word of an object's keys: JSON has no numbers there, so that digits may be an index or an id.
int64_t ShardReader::index_or_class(const TarMember& member, const std::string& word) const {
  const std::optional<int64_t> number = whole_number(word);
  if (!number) return class_of(member, word);
  if (index_.contains(word))
    check(class_of(member, word) == *number, member.name, "\"", excerpt(word), "\" may be class ", *number, " or ",
          class_of(member, word), ", which is called so");
  return *number;
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
  if (json.is_array()) {
    check(!json.empty(), member.name, "expected at least one class, got []");
    std::map<int64_t, float> targets;
    for (const auto& value : json) targets[index(value)] = 1;
    entry.targets.assign(targets.begin(), targets.end());
    entry.label = index(json.front());
    return;
  }
  check(json.is_object(), member.name, "expected an index, a list or an object, got ", excerpt(json.dump()));
  std::map<int64_t, double> shares;
  for (const auto& [word, share] : json.items()) {
    check(share.is_number(), member.name, "expected a share of class ", excerpt(word), ", got ", excerpt(share.dump()));
    const bool is_new = shares.emplace(index_or_class(member, word), share.get<double>()).second;
    check(is_new, member.name, "the class ", excerpt(word), " is there twice");
  }
  read_shares(member, shares, entry);
}

/// Soft labels, or several: the shares of an object.
void ShardReader::read_shares(const TarMember& member, const std::map<int64_t, double>& shares,
                              ImageEntry& entry) const {
  constexpr double kRounding = 1e-3, kMostRounding = 0.05;
  double sum = 0;
  bool whole = true;
  for (const auto& [k, share] : shares) {
    check(share >= 0 && share <= 1 + kRounding, member.name, "a share of ", share, " for class ", k,
          ", expected 0 … 1");
    whole = whole && (share == 0 || share == 1);
    sum += share;
  }
  check(sum > 0, member.name, "expected at least one class with a share above 0");
  const double off = std::min(kMostRounding, kRounding * static_cast<double>(shares.size()));
  check(whole || std::abs(sum - 1) <= off, member.name, "shares that sum to ", sum,
        ", expected 1 (soft labels) or shares of 0 and 1 alone (several labels)");
  double most = 0;
  for (const auto& [k, share] : shares) {
    entry.targets.emplace_back(k, static_cast<float>(whole ? share : share / sum));
    if (share > most) entry.label = k;
    most = std::max(most, share);
  }
}

/// All examples of a reader; Error where there are none.
std::vector<ImageEntry> some(ShardReader& reader, const std::vector<std::string>& shards, const char* what) {
  std::vector<ImageEntry> entries = reader.read();
  const PassedOver passed = reader.passed_over();
  require(!entries.empty(), "shards", shards.empty() ? "none" : shards.front(), shards.size() > 1 ? " and others" : "",
          ": no ", what, passed.count > 0 ? "; " + passed.text() : "");
  return entries;
}

}  // namespace

std::vector<std::string> distinct_names(const ClassList& classes) {
  std::map<std::string, int> count;
  for (const std::string& name : classes.names) ++count[name];
  std::vector<std::string> names = classes.names;
  for (size_t k = 0; k < names.size(); ++k)
    if (count.at(names[k]) > 1) names[k] += " (" + classes.ids[k] + ")";
  return names;
}

ClassList load_class_list(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 26;
  const std::string text = read_file(path, kMostBytes);
  constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of the byte order, which some editors put in front
  ClassList classes;
  std::unordered_map<std::string_view, size_t> seen;  // id -> index
  for (const std::string_view line : lines_of(std::string_view(text).substr(text.starts_with(kMark) ? 3 : 0))) {
    const size_t tab = line.find('\t'), second = tab == std::string_view::npos ? tab : line.find('\t', tab + 1);
    require(second != std::string_view::npos &&
                whole_number(line.substr(0, tab)) == static_cast<int64_t>(classes.names.size()),
            "class_list", path, ":", classes.names.size() + 1, ": expected ", classes.names.size(),
            "<TAB>id<TAB>name, got \"", excerpt(line), "\"");
    const std::string_view id = line.substr(tab + 1, second - tab - 1);
    const auto [before, is_new] = seen.emplace(id, classes.names.size());
    require(is_new, "class_list", path, ":", classes.names.size() + 1, ": the id \"", excerpt(id),
            "\" is that of line ", before->second + 1, ", expected another");
    classes.ids.emplace_back(id);
    classes.names.emplace_back(trimmed(line.substr(second + 1)));
  }
  require(!classes.names.empty(), "class_list", path, ": no class");
  return classes;
}

std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes) {
  ShardReader reader(shards, Beside::label, classes);
  std::vector<ImageEntry> entries = some(reader, shards, "image");
  std::vector<std::string> names = distinct_names(classes);
  if (names.empty()) {
    int64_t most = 0;
    for (const ImageEntry& e : entries) {
      most = std::max(most, e.label);
      for (const auto& [k, share] : e.targets) most = std::max(most, k);
    }
    constexpr int64_t kMostClasses = 1 << 20;
    require(most < kMostClasses, "shards", join(shards), ": label ", most, ", expected less than ", kMostClasses);
    names = numbered_classes(most + 1);
  }
  return std::make_shared<ImageCollection>(name, names, "", shards, std::move(entries), reader.passed_over());
}

std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards) {
  ShardReader reader(shards, Beside::caption);
  std::vector<ImageEntry> entries = some(reader, shards, "pair");
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{}, "", shards, std::move(entries),
                                           reader.passed_over());
}

}  // namespace sked

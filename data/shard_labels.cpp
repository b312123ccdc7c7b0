#include "data/shard_labels.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

namespace sked {
namespace {

/// Keys of an object whose value is a label.
constexpr std::array<std::string_view, 11> kLabelKeys{"label",    "labels",      "cls",       "class",
                                                      "class_id", "class_index", "class_idx", "target",
                                                      "category", "category_id", "label_id"};

std::string shown(const Json& value) { return excerpt(value.dump()); }

}  // namespace

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

ShardLabels::ShardLabels(const ClassList& classes) : classes_(classes) {
  for (size_t k = 0; k < classes.names.size(); ++k) {
    for (const std::string& word : {classes.names[k], classes.ids[k]})
      index_.try_emplace(word, Meaning{k, k}).first->second.last = k;
  }
}

void ShardLabels::read(std::string_view ending, const std::string& text, const std::string& source, ImageEntry& entry) {
  if (ending == "cls") {
    const std::optional<int64_t> label = whole_number(trimmed(text));
    require(label.has_value(), "shards", source, ": expected a class index, got \"", excerpt(text), "\"");
    entry.label = *label;
  } else if (ending == "json") {
    read_json(text, source, entry);
  } else {
    const std::optional<int64_t> index = index_.empty() ? whole_number(trimmed(text)) : std::nullopt;
    entry.label = index ? *index : class_of(trimmed(text), source);
  }
  check_range(entry.label, source);
  for (const auto& [k, share] : entry.targets) check_range(k, source);
}

void ShardLabels::check_range(int64_t label, const std::string& source) const {
  constexpr int64_t kMostClasses = 1 << 20;  // without a list there are as many as the greatest label asks for
  const int64_t classes = classes_.names.empty() ? kMostClasses : static_cast<int64_t>(classes_.names.size());
  require(label >= 0 && label < classes, "shards", source, ": label ", label, ", expected 0 to ", classes - 1);
}

bool ShardLabels::is_class(const std::string& word) const {
  return whole_number(word).has_value() || index_.contains(word);
}

int64_t ShardLabels::class_of(std::string_view word, const std::string& source) const {
  const auto found = index_.find(std::string(word));
  require(
      found != index_.end(), "shards", source, ": unknown class \"", excerpt(word), "\", expected ",
      index_.empty() ? "an index, or a file classes.tsv that lists the classes" : "an id or a name of the class list");
  const auto [first, last] = found->second;
  require(first == last, "shards", source, ": \"", excerpt(word), "\" may be class ", first, " (",
          excerpt(classes_.ids[first]), ") or ", last, " (", excerpt(classes_.ids[last]),
          "): expected an id or an index that says which");
  return static_cast<int64_t>(first);
}

/// A word of JSON: digits may be an index or an id.
int64_t ShardLabels::index_or_class(const std::string& word, const std::string& source) const {
  const std::optional<int64_t> number = whole_number(word);
  if (!number) return class_of(word, source);
  if (index_.contains(word))
    require(class_of(word, source) == *number, "shards", source, ": \"", excerpt(word), "\" may be class ", *number,
            " or ", class_of(word, source), ", which is called so");
  return *number;
}

int64_t ShardLabels::index_of(const Json& value, const std::string& source) const {
  if (const std::optional<int64_t> index = value.as_int64()) return *index;
  require(value.is_string(), "shards", source, ": expected a class index or id, got ", shown(value));
  return index_or_class(value.string(), source);
}

void ShardLabels::read_json(const std::string& text, const std::string& source, ImageEntry& entry) {
  constexpr size_t kLevels = 32;
  const auto [value, problem] = sked::read_json(text, kLevels);
  require(!problem, "shards", source, ": ", problem && problem->byte > 0 ? "not JSON: " : "",
          problem ? excerpt(problem->what) : "");
  if (value.is_object()) return read_object(value, source, entry);
  require(value.is_integer() || value.is_string() || value.is_array(), "shards", source,
          ": expected an index, a class, a list or an object, got ", shown(value));
  read_value(value, source, entry);
}

void ShardLabels::read_value(const Json& value, const std::string& source, ImageEntry& entry) {
  if (!value.is_array()) {
    entry.label = index_of(value, source);
    return;
  }
  require(!value.empty(), "shards", source, ": expected at least one class, got []");
  std::map<int64_t, float> targets;
  for (const Json& one : value.elements()) targets[index_of(one, source)] = 1;
  // A class may come again, as those of the boxes in an image do; in [0, 0, 1] these are no classes.
  const bool shares =
      value.elements().front().is_number() && targets.size() < value.size() && targets.rbegin()->first <= 1;
  require(!shares, "shards", source, ": ", shown(value),
          " may be a share for each class: expected a list of classes, each once");
  if (both_.empty() && value.elements().front().is_number() && value.size() == 2 && targets.size() == 2 &&
      targets.begin()->first == 0 && targets.rbegin()->first == 1)
    both_ = source + ": " + shown(value);
  entry.targets.assign(targets.begin(), targets.end());
  entry.label = index_of(value.elements().front(), source);
}

void ShardLabels::check_lists(int64_t classes) const {
  require(classes != 2 || both_.empty(), "shards", both_,
          " may be a share for each of two classes: expected an index, or {\"0\": 1, \"1\": 1} for both");
}

/// `{"label": 3, …}`, where none of its keys is a class; else shares.
void ShardLabels::read_object(const Json& object, const std::string& source, ImageEntry& entry) {
  std::string key, share_of;
  for (const auto& [word, value] : object.members()) {
    if (is_class(word)) {
      share_of = word;
    } else if (std::ranges::find(kLabelKeys, word) != kLabelKeys.end()) {
      require(key.empty(), "shards", source, ": two labels, \"", excerpt(key), "\" and \"", excerpt(word),
              "\", expected one of them");
      key = word;
    }
  }
  if (!key.empty()) {
    require(share_of.empty(), "shards", source, ": \"", key, "\" is no class, and \"", excerpt(share_of),
            "\" is one: expected a label or shares of classes");
    return read_value(object.at(key), source, entry);
  }
  std::map<int64_t, double> shares;
  require(!share_of.empty() || object.empty(), "shards", source,
          ": neither a label nor shares of classes: expected one of the keys ",
          join({kLabelKeys.begin(), kLabelKeys.end()}), ", or classes alone, got ", shown(object));
  for (const auto& [word, share] : object.members()) {
    const int64_t k = index_or_class(word, source);
    require(share.is_number(), "shards", source, ": expected a share of class ", excerpt(word), ", got ", shown(share));
    const bool is_new = shares.emplace(k, share.number()).second;
    require(is_new, "shards", source, ": the class ", excerpt(word), " is there twice");
  }
  read_shares(shares, source, entry);
}

/// Soft labels, or several: the shares of an object.
void ShardLabels::read_shares(const std::map<int64_t, double>& shares, const std::string& source,
                              ImageEntry& entry) const {
  constexpr double kRounding = 1e-3, kMostRounding = 0.05;
  double sum = 0;
  bool whole = true;
  for (const auto& [k, share] : shares) {
    require(share >= 0 && share <= 1 + kRounding, "shards", source, ": a share of ", share, " for class ", k,
            ", expected 0 to 1");
    whole = whole && (share == 0 || share == 1);
    sum += share;
  }
  require(sum > 0, "shards", source, ": expected at least one class with a share above 0");
  const double off = std::min(kMostRounding, kRounding * static_cast<double>(shares.size()));
  require(whole || std::abs(sum - 1) <= off, "shards", source, ": shares that sum to ", sum,
          ", expected 1 (soft labels) or shares of 0 and 1 alone (several labels)");
  double most = 0;
  for (const auto& [k, share] : shares) {
    entry.targets.emplace_back(k, static_cast<float>(whole ? share : share / sum));
    if (share > most) entry.label = k;
    most = std::max(most, share);
  }
}

}  // namespace sked

#pragma once
// What the label members of shards say.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/json.h"
#include "data/image_collection.h"

namespace sked {

/// Labels in the words of a class list, or, where that is empty, indices; load_shards() has the rules. Every function
/// throws Error naming `source`.
class ShardLabels {
 public:
  explicit ShardLabels(const ClassList& classes);

  /// A member's text by its ending, `cls`, `json` or `txt`: sets the entry's label, and targets where it has several.
  void read(std::string_view ending, const std::string& text, const std::string& source, ImageEntry& entry);
  /// When all is read and the number of classes known: throws Error naming a list that may be a share for each of them.
  void check_lists(int64_t classes) const;

 private:
  /// The first and the last class that a word is a name or an id of.
  struct Meaning {
    size_t first = 0, last = 0;
  };

  void read_json(const std::string& text, const std::string& source, ImageEntry& entry);
  void read_object(const Json& object, const std::string& source, ImageEntry& entry);
  void read_value(const Json& value, const std::string& source, ImageEntry& entry);
  void read_shares(const std::map<int64_t, double>& shares, const std::string& source, ImageEntry& entry) const;
  void check_range(int64_t label, const std::string& source) const;
  bool is_class(const std::string& word) const;
  int64_t class_of(std::string_view word, const std::string& source) const;
  int64_t index_or_class(const std::string& word, const std::string& source) const;
  int64_t index_of(const Json& value, const std::string& source) const;

  ClassList classes_;
  std::unordered_map<std::string, Meaning> index_;
  std::string both_;  // the first list [0, 1] or [1, 0], behind its source
};

/// All digits, perhaps a sign in front; nothing where it is anything else or does not fit.
std::optional<int64_t> whole_number(std::string_view text);

}  // namespace sked

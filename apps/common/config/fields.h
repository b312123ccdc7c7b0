#pragma once
// Structs bound to JSON by one description each. A struct's fields are described once,
//
//   void visit_fields(FieldList& fields, TrainConfig& c) {
//     fields("batch_size", c.batch_size, "images of a step", at_least(1)); …
//   }
//
// and reading a file, writing the resolved one, `--set key.path=value`, "did you mean", the check of numbers and the
// list of keys all follow from it.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/json.h"
#include "core/names.h"

namespace sked {

/// A free JSON object kept as text, for entries a program carries along without reading them.
struct JsonText {
  std::string text = "{}";
  bool operator==(const JsonText&) const = default;
};

/// The address of an enumeration that names its values (core/names.h): in JSON one of those names. An optional one may
/// have no value: "".
class ChoicePointer {
 public:
  template <NamedEnum E>
  explicit ChoicePointer(E* value)
      : ChoicePointer(
            value, [](const void* v) { return name_of(*static_cast<const E*>(v)); },
            [](void* v, const std::string& name) {
              const auto found = value_named<E>(name);
              if (found) *static_cast<E*>(v) = *found;
              return found.has_value();
            },
            names_of(E{})) {}
  template <NamedEnum E>
  explicit ChoicePointer(std::optional<E>* value)
      : ChoicePointer(
            value,
            [](const void* v) {
              const auto& held = *static_cast<const std::optional<E>*>(v);
              return held ? name_of(*held) : "";
            },
            [](void* v, const std::string& name) {
              const auto found = value_named<E>(name);
              if (found || name.empty()) *static_cast<std::optional<E>*>(v) = found;
              return found || name.empty();
            },
            names_of(E{})) {}
  const std::vector<std::string>& names() const { return names_; }
  std::string get() const { return get_(value_); }
  /// False, and nothing changed, where there is no such name.
  bool set(const std::string& name) const { return set_(value_, name); }

 private:
  using Get = std::string (*)(const void* value);
  using Set = bool (*)(void* value, const std::string& name);
  template <size_t N>
  ChoicePointer(void* value, Get get, Set set, const std::array<const char*, N>& names)
      : value_(value), get_(get), set_(set), names_(names.begin(), names.end()) {}

  void* value_;
  Get get_;
  Set set_;
  std::vector<std::string> names_;
};

/// The address of one field in a configuration, by type.
using FieldPointer = std::variant<std::string*, bool*, int64_t*, uint64_t*, double*, std::vector<int64_t>*,
                                  std::vector<std::string>*, JsonText*, ChoicePointer>;

/// Which values of its type a field takes.
struct Allowed {
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  /// Of a number, or of each in a list; the ends are among them, but for those of `open`.
  double least = -kInfinity, most = kInfinity;
  bool least_open = false, most_open = false;
  /// One more number, and what it stands for.
  std::optional<double> or_else = {};
  const char* or_means = "";
  /// The names that a text may be, or is made of; looked at where it is used. `more`: what else it may be.
  std::vector<std::string> (*names)() = nullptr;
  const char* more = "";

  /// The same range, and `value`.
  Allowed or_value(double value, const char* means) const {
    Allowed wider = *this;
    wider.or_else = value, wider.or_means = means;
    return wider;
  }
};
inline Allowed at_least(double least) { return {.least = least}; }
inline Allowed above(double least) { return {.least = least, .least_open = true}; }
inline Allowed between(double least, double most) { return {.least = least, .most = most}; }
/// [least, most)
inline Allowed from_to_below(double least, double most) { return {.least = least, .most = most, .most_open = true}; }
inline Allowed named_by(std::vector<std::string> (*names)(), const char* more = "") {
  return {.names = names, .more = more};
}

struct Field {
  std::string path;  // `train.batch_size`
  FieldPointer value;
  const char* meaning = "";  // for people, with its unit
  Allowed allowed = {};
};

/// Collects the leaves of a configuration, in the order of their description.
class FieldList {
 public:
  /// A leaf, or a struct with a visit_fields of its own, whose leaves get `name.` in front.
  template <class T>
  void operator()(const char* name, T& member, const char* meaning = "", const Allowed& allowed = {}) {
    if constexpr (std::is_constructible_v<ChoicePointer, T*>) {
      fields_.push_back({prefix_ + name, ChoicePointer(&member), meaning, allowed});
    } else if constexpr (std::is_constructible_v<FieldPointer, T*>) {
      fields_.push_back({prefix_ + name, FieldPointer(&member), meaning, allowed});
    } else {
      const size_t before = prefix_.size();
      prefix_.append(name).push_back('.');
      visit_fields(*this, member);
      prefix_.resize(before);
    }
  }
  std::vector<Field> take() { return std::move(fields_); }

 private:
  std::string prefix_;
  std::vector<Field> fields_;
};

/// Every leaf of `config`. The pointers are valid as long as `config` stays where it is.
template <class Config>
std::vector<Field> fields_of(Config& config) {
  FieldList list;
  visit_fields(list, config);
  return list.take();
}

/// What a field takes, in words: `an integer, at least 1`, `one of det, het, het-xl`.
std::string allowed_words(const Field& field);

/// Throws UsageError naming the key, what was expected and the value for a number out of its range.
void check_ranges(const std::vector<Field>& fields);

/// Parses a JSON text that people wrote. Throws UsageError `[config] <source>:<line>:<column>: …` where it is
/// malformed, and for a key used twice in one object.
Json parse_json(const std::string& text, const std::string& source);

/// The text of a file that people write as JSON. Throws Error where it cannot be read, is a folder (naming the
/// configuration in it), or none of JSON's size.
std::string read_json_file(const std::string& path);

/// Indented, with a line end: how every JSON file is written.
std::string json_text(const Json& json);

/// Is a text a JSON object with all of these keys? Throws UsageError like parse_json.
bool has_keys(const std::string& text, const std::vector<std::string>& keys, const std::string& source);

/// Overwrites the fields that `object` names; the others stay. Throws UsageError naming `source` and the key for an
/// unknown key (with the nearest valid one), a value of the wrong type (with both), an integer out of range or a name
/// that is none of an enumeration's (with all of them and the nearest).
void read_fields(const Json& object, const std::vector<Field>& fields, const std::string& source);

/// Overwrites one field from `key.path=value`, as `--set` takes it: the value is JSON, or bare text for a string
/// (and for a list of one).
/// Throws UsageError like read_fields.
void set_field(const std::string& assignment, const std::vector<Field>& fields);

/// The same from a JSON text; `source` names it.
void read_fields_text(const std::string& text, const std::vector<Field>& fields, const std::string& source);

/// All fields as nested objects, in the order of their description.
Json write_fields(const std::vector<Field>& fields);

/// The same on one line.
std::string fields_line(const std::vector<Field>& fields);

/// The paths whose values differ between two lists of the same configuration type.
std::vector<std::string> differing_fields(const std::vector<Field>& a, const std::vector<Field>& b);

/// The same in words, for the fields `paths`, each with `section` in front: `head.rank is 8 in the file, 4 here`, and
/// `; ` before the next.
std::string differences(const std::vector<Field>& file, const std::vector<Field>& here,
                        const std::vector<std::string>& paths, const std::string& section);

}  // namespace sked

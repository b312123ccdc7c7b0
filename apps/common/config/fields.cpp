#include "apps/common/config/fields.h"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>

#include "apps/common/config/meant.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_kind.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr size_t kDeepest = 32;  // levels of nesting

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  detail::throw_error<UsageError>("config", parts...);
}

/// A value as messages show it: on one line and never long.
std::string shown(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump();
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

std::string expected(const FieldPointer& field) {
  if (const auto* choice = std::get_if<ChoicePointer>(&field)) return "one of " + join(choice->names());
  static constexpr const char* kNames[] = {
      "text",     "true or false",      "an integer",      "a non-negative integer",
      "a number", "a list of integers", "a list of texts", "an object"};
  return kNames[field.index()];
}

/// Without zeros behind the point.
std::string digits(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.15g", number);
  return text;
}

bool in_range(double x, const Allowed& a) {
  const bool inside = (a.least_open ? x > a.least : x >= a.least) && (a.most_open ? x < a.most : x <= a.most);
  return inside || (a.or_else && x == *a.or_else);
}

/// `at least 1`, `1 to 256`, `a number in [0, 1)`; empty where every number is allowed.
std::string range_words(const Allowed& a, bool integers) {
  const bool below = a.least != -Allowed::kInfinity, over = a.most != Allowed::kInfinity;
  std::string words;
  if (below && over && integers && !a.least_open && !a.most_open)
    words = digits(a.least) + " to " + digits(a.most);
  else if (below && over)
    words = "a number in " + std::string(a.least_open ? "(" : "[") + digits(a.least) + ", " + digits(a.most) +
            (a.most_open ? ")" : "]");
  else if (below)
    words = (a.least_open ? "above " : "at least ") + digits(a.least);
  else if (over)
    words = (a.most_open ? "below " : "at most ") + digits(a.most);
  if (a.or_else) words += " (or " + digits(*a.or_else) + ": " + a.or_means + ")";
  return words;
}

/// The numbers of a field, which may be a list.
std::vector<double> numbers_of(const FieldPointer& field) {
  return std::visit(
      [](const auto& value) -> std::vector<double> {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t*> || std::is_same_v<T, uint64_t*> || std::is_same_v<T, double*>)
          return {static_cast<double>(*value)};
        else if constexpr (std::is_same_v<T, std::vector<int64_t>*>)
          return {value->begin(), value->end()};
        else
          return {};
      },
      field);
}

// One overload per field type: assigns and returns true, or leaves the field and returns false.
bool assign(std::string& field, const Json& value) {
  if (value.is_string()) field = value.string();
  return value.is_string();
}
bool assign(bool& field, const Json& value) {
  if (value.is_boolean()) field = value.boolean();
  return value.is_boolean();
}
bool assign(int64_t& field, const Json& value) {
  const auto number = value.as_int64();
  if (number) field = *number;
  return number.has_value();
}
bool assign(uint64_t& field, const Json& value) {
  if (value.is_unsigned()) field = value.unsigned_integer();
  return value.is_unsigned();
}
bool assign(double& field, const Json& value) {
  if (value.is_number()) field = value.number();
  return value.is_number();
}
bool assign(std::vector<int64_t>& field, const Json& value) {
  if (!value.is_array()) return false;
  std::vector<int64_t> numbers;
  for (const Json& element : value.elements()) {
    const auto number = element.as_int64();
    if (!number) return false;
    numbers.push_back(*number);
  }
  field = std::move(numbers);
  return true;
}
bool assign(std::vector<std::string>& field, const Json& value) {
  if (value.is_string()) field = {value.string()};
  if (!value.is_array()) return value.is_string();
  std::vector<std::string> texts;
  for (const Json& element : value.elements()) {
    if (!element.is_string()) return false;
    texts.push_back(element.string());
  }
  field = std::move(texts);
  return true;
}
bool assign(JsonText& field, const Json& value) {
  if (value.is_object()) field.text = value.dump();
  return value.is_object();
}

bool assign(const ChoicePointer& field, const Json& value) { return value.is_string() && field.set(value.string()); }

void assign_field(const Field& field, const Json& value, const std::string& source) {
  const bool taken = std::visit(
      [&](const auto& target) {
        if constexpr (requires { *target; })
          return assign(*target, value);
        else
          return assign(target, value);
      },
      field.value);
  if (taken) return;
  const auto* choice = std::get_if<ChoicePointer>(&field.value);
  const bool list = std::holds_alternative<std::vector<int64_t>*>(field.value);
  refuse(source, ": ", field.path, ": expected ", expected(field.value), list ? ", as [1,2]" : "", ", got ",
         shown(value), choice && value.is_string() ? did_you_mean(value.string(), choice->names()) : "");
}

Json value_of(const Field& field) {
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_same_v<decltype(value), const ChoicePointer&>) {
          return value.get();
        } else if constexpr (std::is_same_v<decltype(value), JsonText* const&>) {
          return parse_json(value->text, "about");
        } else {
          return Json(*value);
        }
      },
      field.value);
}

const Field* find(const std::string& path, const std::vector<Field>& fields) {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.path == path; });
  return found == fields.end() ? nullptr : &*found;
}

/// Is `path` a struct of the configuration (some leaf lies below it)?
bool is_section(const std::string& path, const std::vector<Field>& fields) {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& f) { return f.path.starts_with(path + "."); });
}

std::vector<std::string> paths_of(const std::vector<Field>& fields) {
  std::vector<std::string> paths;
  for (const Field& field : fields) paths.push_back(field.path);
  return paths;
}

[[noreturn]] void refuse_key(const std::string& path, const std::vector<Field>& fields, const std::string& source) {
  refuse(source, ": unknown key ", excerpt(path), ": ", meant_by(path, paths_of(fields)));
}

/// `seen`: the keys assigned so far, which may be written nested (`"head": {"kind": …}`) or dotted (`"head.kind": …`).
void read_object(const Json& object, const std::string& prefix, const std::vector<Field>& fields,
                 const std::string& source, std::set<std::string>& seen) {
  for (const auto& [key, value] : object.members()) {
    const std::string path = prefix + key;
    if (const Field* field = find(path, fields)) {
      if (!seen.insert(path).second) refuse(source, ": the key ", path, " stands twice");
      assign_field(*field, value, source);
    } else if (!is_section(path, fields)) {
      refuse_key(path, fields, source);
    } else if (!value.is_object()) {
      refuse(source, ": ", path, ": expected an object, got ", shown(value), ": did you mean ",
             main_key(path, paths_of(fields)), "?");
    } else {
      read_object(value, path + ".", fields, source, seen);
    }
  }
}

/// `file.json:3:14` of a byte offset.
std::string place(const std::string& text, size_t byte, const std::string& source) {
  const size_t end = std::min(byte > 0 ? byte - 1 : 0, text.size());
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<int64_t>(end), '\n');
  const size_t line_begin = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
  const size_t column = line_begin == std::string::npos ? end + 1 : end - line_begin;
  return source + ":" + std::to_string(line) + ":" + std::to_string(column);
}

}  // namespace

std::string allowed_words(const Field& field) {
  const bool list = std::holds_alternative<std::vector<int64_t>*>(field.value);
  const bool integers = !std::holds_alternative<double*>(field.value);
  const std::string range = range_words(field.allowed, integers);
  std::string words = expected(field.value);
  if (!range.empty()) words = range.starts_with("a number") ? range : words + (list ? ", each " : ", ") + range;
  const std::string more = field.allowed.more;
  if (field.allowed.names) words = join(field.allowed.names()) + (more.empty() ? "" : ", " + more);
  return field.allowed.names || more.empty() ? words : words + ", " + more;
}

void check_ranges(const std::vector<Field>& fields) {
  for (const Field& field : fields) {
    const std::vector<double> numbers = numbers_of(field.value);
    const bool list = std::holds_alternative<std::vector<int64_t>*>(field.value);
    const bool integers = !std::holds_alternative<double*>(field.value);
    if (std::ranges::all_of(numbers, [&](double x) { return in_range(x, field.allowed); })) continue;
    refuse(field.path, ": expected ", list ? "a list of " : "", range_words(field.allowed, integers), ", got ",
           integers ? shown(value_of(field)) : digits(numbers.front()));
  }
}

Json parse_json(const std::string& text, const std::string& source) {
  JsonRead read = read_json(text, kDeepest);
  if (read.problem && read.problem->byte == 0) refuse(source, ": ", read.problem->what);
  const std::string kind = read.problem ? file_kind(std::string_view(text).substr(0, kKindBytes)) : "";
  if (!kind.empty() && kind != kTextFile && kind != kJsonFile) refuse(source, ": expected JSON, got ", kind);
  if (read.problem) refuse(place(text, read.problem->byte, source), ": malformed JSON: ", read.problem->what);
  return std::move(read.value);
}

std::string read_json_file(const std::string& path) {
  constexpr uint64_t kMostBytes = 1 << 20;
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path inside = fs::path(path) / "config.json";
  if (fs::is_directory(path, error))
    refuse(path, ": a folder, expected a JSON file", fs::exists(inside, error) ? ": " + inside.string() + "?" : "");
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) > kMostBytes) {  // a pipe is opened only once
    std::string begin(kKindBytes, '\0');
    begin.resize(InputFile(path).read_some(begin.data(), begin.size()));
    const std::string kind = file_kind(begin);
    refuse(path, ": expected JSON, got ", kind.empty() ? "" : kind + " of ", fs::file_size(path), " bytes");
  }
  return read_file(path, kMostBytes);
}

std::string json_text(const Json& json) { return json.dump(2) + "\n"; }

bool has_keys(const std::string& text, const std::vector<std::string>& keys, const std::string& source) {
  const Json json = parse_json(text, source);
  return json.is_object() &&
         std::all_of(keys.begin(), keys.end(), [&](const std::string& key) { return json.contains(key); });
}

void read_fields(const Json& object, const std::vector<Field>& fields, const std::string& source) {
  if (!object.is_object()) refuse(source, ": expected an object, got ", shown(object));
  std::set<std::string> seen;
  read_object(object, "", fields, source, seen);
}

void read_fields_text(const std::string& text, const std::vector<Field>& fields, const std::string& source) {
  read_fields(parse_json(text, source), fields, source);
}

void set_field(const std::string& assignment, const std::vector<Field>& fields) {
  const std::string source = "--set " + assignment;
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) refuse(source, ": expected key.path=value");
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  const Field* field = find(path, fields);
  if (!field && is_section(path, fields))
    refuse(source, ": ", path, " is a section: did you mean ", main_key(path, paths_of(fields)), "?");
  if (!field) refuse_key(path, fields, source);
  const auto [parsed, problem] = read_json(text, kDeepest);
  if (problem && problem->byte == 0) refuse("--set ", excerpt(assignment), ": ", problem->what);
  const bool wants_text =
      std::holds_alternative<std::string*>(field->value) || std::holds_alternative<ChoicePointer>(field->value);
  const bool as_text = problem || (wants_text && !parsed.is_string());
  assign_field(*field, as_text ? Json(text) : parsed, source);
}

Json write_fields(const std::vector<Field>& fields) {
  Json root = Json::object();
  for (const Field& field : fields) {
    Json* object = &root;
    size_t begin = 0;
    for (size_t dot; (dot = field.path.find('.', begin)) != std::string::npos; begin = dot + 1)
      object = &(*object)[field.path.substr(begin, dot - begin)];
    (*object)[field.path.substr(begin)] = value_of(field);
  }
  return root;
}

std::string fields_line(const std::vector<Field>& fields) { return write_fields(fields).dump(); }

std::vector<std::string> differing_fields(const std::vector<Field>& a, const std::vector<Field>& b) {
  assert(a.size() == b.size());
  std::vector<std::string> paths;
  for (size_t i = 0; i < a.size(); ++i) {
    if (value_of(a[i]) != value_of(b[i])) paths.push_back(a[i].path);
  }
  return paths;
}

std::string differences(const std::vector<Field>& file, const std::vector<Field>& here,
                        const std::vector<std::string>& paths, const std::string& section) {
  const auto words = [](const std::vector<Field>& fields, const std::string& path) {
    const Json value = value_of(*find(path, fields));
    return value.is_string() ? excerpt(value.string()) : shown(value);
  };
  std::string text;
  for (const std::string& path : paths)
    text.append(text.empty() ? "" : "; ")
        .append(section + path + " is " + words(file, path) + " in the file, " + words(here, path) + " here");
  return text;
}

}  // namespace sked

#include "apps/common/config/fields.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

namespace sked {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDeepest = 32;  // levels of nesting

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  detail::throw_error<UsageError>("config", parts...);
}

/// A value as messages show it: on one line and never long.
std::string shown(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

const char* expected(const FieldPointer& field) {
  static constexpr const char* kNames[] = {"text",     "true or false",      "an integer", "a non-negative integer",
                                           "a number", "a list of integers", "an object",  "text"};
  return kNames[field.index()];
}

std::optional<int64_t> as_int64(const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) return {};
  if (!value.is_number_integer()) return {};
  return value.get<int64_t>();
}

// One overload per field type: assigns and returns true, or leaves the field and returns false.
bool assign(std::string& field, const Json& value) {
  if (value.is_string()) field = value.get<std::string>();
  return value.is_string();
}
bool assign(bool& field, const Json& value) {
  if (value.is_boolean()) field = value.get<bool>();
  return value.is_boolean();
}
bool assign(int64_t& field, const Json& value) {
  const auto number = as_int64(value);
  if (number) field = *number;
  return number.has_value();
}
bool assign(uint64_t& field, const Json& value) {
  if (value.is_number_unsigned()) field = value.get<uint64_t>();
  return value.is_number_unsigned();
}
bool assign(double& field, const Json& value) {
  if (value.is_number()) field = value.get<double>();
  return value.is_number();
}
bool assign(std::vector<int64_t>& field, const Json& value) {
  if (!value.is_array()) return false;
  std::vector<int64_t> numbers;
  for (const Json& element : value) {
    const auto number = as_int64(element);
    if (!number) return false;
    numbers.push_back(*number);
  }
  field = std::move(numbers);
  return true;
}
bool assign(JsonText& field, const Json& value) {
  if (value.is_object()) field.text = value.dump();
  return value.is_object();
}

bool assign(const ChoicePointer& field, const Json& value, const std::string& where) {
  if (!value.is_string()) return false;
  const auto& name = value.get_ref<const std::string&>();
  if (!field.set(name))
    refuse(where, ": expected one of ", join(field.names()), ", got ", shown(value), " (did you mean \"",
           nearest(name, field.names()), "\"?)");
  return true;
}

void assign_field(const Field& field, const Json& value, const std::string& source) {
  const auto* choice = std::get_if<ChoicePointer>(&field.value);
  const bool taken = choice ? assign(*choice, value, source + ": " + field.path)
                            : std::visit(
                                  [&](const auto& target) {
                                    if constexpr (requires { *target; })
                                      return assign(*target, value);
                                    else
                                      return false;
                                  },
                                  field.value);
  if (!taken) refuse(source, ": ", field.path, ": expected ", expected(field.value), ", got ", shown(value));
}

Json value_of(const Field& field) {
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_same_v<decltype(value), const ChoicePointer&>) {
          return value.get();
        } else if constexpr (std::is_same_v<decltype(value), JsonText* const&>) {
          return parse_json(value->text, "about");
        } else {
          return *value;
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

[[noreturn]] void refuse_key(const std::string& path, const std::vector<Field>& fields, const std::string& source) {
  std::vector<std::string> paths;
  std::vector<std::string> same_name;  // the same last word elsewhere: `lr.floor` for `schedule.floor`
  std::string last(1, '.');
  last += path.substr(path.rfind('.') + 1);
  for (const Field& field : fields) {
    paths.push_back(field.path);
    if (field.path.ends_with(last)) same_name.push_back(field.path);
  }
  refuse(source, ": unknown key ", path, ": did you mean ", nearest(path, same_name.empty() ? paths : same_name), "?");
}

void read_object(const Json& object, const std::string& prefix, const std::vector<Field>& fields,
                 const std::string& source) {
  for (const auto& [key, value] : object.items()) {
    const std::string path = prefix + key;
    if (const Field* field = find(path, fields)) {
      assign_field(*field, value, source);
    } else if (!is_section(path, fields)) {
      refuse_key(path, fields, source);
    } else if (!value.is_object()) {
      refuse(source, ": ", path, ": expected an object, got ", shown(value));
    } else {
      read_object(value, path + ".", fields, source);
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

/// Builds the value of a text that json_problem() has passed, in time proportional to it: the library's own builder
/// looks at all keys of an object for each of them.
class JsonBuilder final : public nlohmann::json_sax<Json> {
 public:
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return true; }  // there is none in a text
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    open_.back()->get_ref<Json::object_t&>().push_back({name, Json()});
    return true;
  }
  bool parse_error(size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  /// Where the next value goes: behind the key just read, to the end of the array, or it is the whole.
  Json* put(Json&& value) {
    Json* place = &root_;
    if (!open_.empty() && open_.back()->is_object())
      place = &open_.back()->get_ref<Json::object_t&>().back().second;
    else if (!open_.empty())
      place = &open_.back()->get_ref<Json::array_t&>().emplace_back();
    *place = std::move(value);
    return place;
  }
  bool add(Json&& value) {
    put(std::move(value));
    return true;
  }
  bool open(Json&& value) {
    open_.push_back(put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // objects and arrays around this point: none of them moves while it is open
};

}  // namespace

Json parse_json(const std::string& text, const std::string& source) {
  const std::optional<JsonProblem> problem = json_problem(text, kDeepest);
  if (problem && problem->byte == 0) refuse(source, ": ", problem->what);
  if (problem) refuse(place(text, problem->byte, source), ": malformed JSON: ", problem->what);
  JsonBuilder builder;
  Json::sax_parse(text, &builder);
  return builder.take();
}

std::string json_text(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::string json_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

bool has_keys(const std::string& text, const std::vector<std::string>& keys, const std::string& source) {
  const Json json = parse_json(text, source);
  return json.is_object() &&
         std::all_of(keys.begin(), keys.end(), [&](const std::string& key) { return json.contains(key); });
}

void read_fields(const Json& object, const std::vector<Field>& fields, const std::string& source) {
  if (!object.is_object()) refuse(source, ": expected an object, got ", shown(object));
  read_object(object, "", fields, source);
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
  if (!field && is_section(path, fields)) refuse(source, ": ", path, " is an object: set one of its keys");
  if (!field) refuse_key(path, fields, source);
  const std::optional<JsonProblem> problem = json_problem(text, kDeepest);
  if (problem && problem->byte == 0) refuse("--set ", excerpt(assignment), ": ", problem->what);
  const bool wants_text =
      std::holds_alternative<std::string*>(field->value) || std::holds_alternative<ChoicePointer>(field->value);
  Json value = problem ? Json(text) : Json::parse(text);
  if (wants_text && !value.is_string()) value = text;
  assign_field(*field, value, source);
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

std::string fields_line(const std::vector<Field>& fields) { return json_line(write_fields(fields)); }

std::vector<std::string> differing_fields(const std::vector<Field>& a, const std::vector<Field>& b) {
  assert(a.size() == b.size());
  std::vector<std::string> paths;
  for (size_t i = 0; i < a.size(); ++i) {
    if (value_of(a[i]) != value_of(b[i])) paths.push_back(a[i].path);
  }
  return paths;
}

}  // namespace sked

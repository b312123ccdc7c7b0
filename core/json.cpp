#include "core/json.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

using Library = nlohmann::ordered_json;

/// The library's reason without its own prefix and position.
std::string reason(const std::string& what) {
  const size_t column = what.find("column ");
  const size_t start = column == std::string::npos ? what.find("] ") : what.find(": ", column);
  return start == std::string::npos ? what : what.substr(start + 2);
}

/// The library quotes all of a string or number that has no end.
std::string shortened(const std::string& text) {
  constexpr size_t kBegin = 100, kEnd = 60;
  if (text.size() <= kBegin + kEnd) return text;
  return text.substr(0, kBegin) + "..." + text.substr(text.size() - kEnd);
}

/// Which rule is broken by those who take JSON for JavaScript, Python or YAML; empty where it is something else. The
/// library stopped `at` a byte and says the `reason`.
std::string broken_rule(std::string_view text, size_t at, std::string_view reason) {
  at = std::min(at, text.size());
  const std::string_view before = trimmed(text.substr(0, at)), here = text.substr(at);
  const auto begins = [&](std::initializer_list<std::string_view> words) {
    return std::ranges::any_of(words, [&](std::string_view word) { return here.starts_with(word); });
  };
  const auto says = [&](std::string_view words) { return reason.find(words) != reason.npos; };
  if (trimmed(text).empty()) return "it is empty";
  if (begins({"//", "/*", "#"})) return "JSON has no comments (a configuration's \"about\" is free for them)";
  if (before.ends_with(',') && begins({"}", "]"})) return "a comma before the closing bracket";
  if (begins({"'"}) || says("object key - invalid literal")) return "names and texts are in double quotes";
  if (begins({"True", "False", "None"})) return "true, false and null are in lower case";
  if (begins({"NaN", "nan", "Inf", "inf", "-Inf", "-inf"})) return "numbers are finite";
  if (at == 0) return "expected an object in braces, {\"key\": value}";
  if (says("literal; expected '}'") || says("literal; expected ']'")) return "a comma is missing before it";
  return "";
}

/// Builds the value as the library reads the text, and stops at the first problem. (The library's own builder looks at
/// all keys of an object for each of them, keeps the last of two that are equal, and knows no limit of nesting.)
class Builder final : public nlohmann::json_sax<Library> {
 public:
  Builder(std::string_view text, size_t levels) : text_(text), levels_(levels) {}
  JsonRead take() {
    if (problem_) return {{}, std::move(problem_)};
    return {std::move(root_), {}};
  }

  bool null() override { return put({}); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return true; }  // there is none in a text
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& key) override {
    if (!open_.back().keys.insert(key).second)
      return stop("the key \"" + excerpt(key) + "\" stands twice in one object");
    key_ = std::move(key);
    return true;
  }
  bool parse_error(size_t byte, const std::string&, const Library::exception& error) override {
    const std::string why = reason(error.what()), rule = broken_rule(text_, byte > 0 ? byte - 1 : 0, why);
    return stop(rule.empty() ? valid_utf8(shortened(why)) : rule, byte);
  }

 private:
  /// A value behind the key just read, at the end of the array, or the whole.
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  Json* place(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_object())
      parent.append(std::move(key_), std::move(value));
    else
      parent.push_back(std::move(value));
    return &parent.back();
  }
  bool open(Json value) {
    if (open_.size() == levels_)
      return stop("expected at most " + std::to_string(levels_) + " levels of nesting, got more");
    Json* where = place(std::move(value));
    open_.push_back({where, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool stop(const std::string& what, size_t byte = 0) {
    problem_ = {what, byte};
    return false;
  }

  struct Open {
    Json* value;  // does not move while it is open: its parent gets no other element
    std::set<std::string> keys;
  };
  std::string_view text_;
  size_t levels_;
  std::vector<Open> open_;  // objects and arrays around this point
  std::string key_;
  Json root_;
  std::optional<JsonProblem> problem_;
};

/// For printing.
Library library_value(const Json& json) {
  if (json.is_object()) {
    Library object = Library::object();
    for (const auto& [key, value] : json.members())
      object.get_ref<Library::object_t&>().emplace_back(key, library_value(value));
    return object;
  }
  if (json.is_array()) {
    Library array = Library::array();
    for (const Json& element : json.elements()) array.push_back(library_value(element));
    return array;
  }
  if (json.is_string()) return json.string();
  if (json.is_unsigned()) return json.unsigned_integer();
  if (json.is_integer()) return json.integer();
  if (json.is_number()) return json.number();
  if (json.is_boolean()) return json.boolean();
  return nullptr;
}

}  // namespace

Json::Json() = default;
Json::Json(bool value) : value_(value) {}
Json::Json(double value) : value_(value) {}
Json::Json(std::string value) : value_(Box(std::move(value))) {}
Json::Json(Array elements) : value_(Box(std::move(elements))) {}
Json::Json(std::initializer_list<Member> members) : value_(Box(Object(members))) {}
Json::Json(Number value) {
  std::visit(
      [this](auto number) {
        if (number < 0)
          value_ = static_cast<int64_t>(number);
        else
          value_ = static_cast<uint64_t>(number);
      },
      value);
}
Json::Json(const std::map<std::string, std::string>& members) : value_(Box(Object())) {
  for (const auto& [key, text] : members) append(key, text);
}
Json Json::object() { return Json(std::initializer_list<Member>{}); }
Json Json::array(std::initializer_list<Json> elements) { return Json(Array(elements)); }

Json::Json(const Json&) = default;
Json::Json(Json&& other) noexcept : value_(std::exchange(other.value_, std::monostate())) {}
Json& Json::operator=(Json other) noexcept {
  value_.swap(other.value_);
  return *this;
}
Json::~Json() = default;
bool Json::operator==(const Json& other) const {
  if (is_number() && other.is_number() && is_integer() != other.is_integer()) return number() == other.number();
  return value_ == other.value_;
}

bool Json::is_null() const { return std::holds_alternative<std::monostate>(value_); }
bool Json::is_boolean() const { return std::holds_alternative<bool>(value_); }
bool Json::is_number() const { return is_integer() || std::holds_alternative<double>(value_); }
bool Json::is_integer() const { return is_unsigned() || std::holds_alternative<int64_t>(value_); }
bool Json::is_unsigned() const { return std::holds_alternative<uint64_t>(value_); }
bool Json::is_string() const { return std::holds_alternative<Box<std::string>>(value_); }
bool Json::is_array() const { return std::holds_alternative<Box<Array>>(value_); }
bool Json::is_object() const { return std::holds_alternative<Box<Object>>(value_); }

/// Printed only where it is wrong.
void Json::expect(bool ok, std::string_view what) const {
  if (!ok) fail("json", "expected ", what, ", got ", excerpt(dump()));
}

bool Json::boolean() const {
  expect(is_boolean(), "true or false");
  return std::get<bool>(value_);
}

std::optional<int64_t> Json::as_int64() const {
  if (const auto* negative = std::get_if<int64_t>(&value_)) return *negative;
  const auto* value = std::get_if<uint64_t>(&value_);
  if (value == nullptr || !std::in_range<int64_t>(*value)) return {};
  return static_cast<int64_t>(*value);
}

int64_t Json::integer() const {
  expect(is_integer(), "an integer");
  const std::optional<int64_t> value = as_int64();
  if (!value) fail("json", "expected at most ", INT64_MAX, ", got ", std::get<uint64_t>(value_));
  return *value;
}

uint64_t Json::unsigned_integer() const {
  expect(is_unsigned(), "an integer from 0 on");
  return std::get<uint64_t>(value_);
}

double Json::number() const {
  expect(is_number(), "a number");
  if (is_unsigned()) return static_cast<double>(std::get<uint64_t>(value_));
  if (is_integer()) return static_cast<double>(std::get<int64_t>(value_));
  return std::get<double>(value_);
}

const std::string& Json::string() const {
  expect(is_string(), "a string");
  return *std::get<Box<std::string>>(value_);
}

const Json::Array& Json::elements() const {
  expect(is_array(), "an array");
  return *std::get<Box<Array>>(value_);
}

const Json::Object& Json::members() const {
  expect(is_object(), "an object");
  return *std::get<Box<Object>>(value_);
}

size_t Json::size() const { return is_array() ? elements().size() : is_object() ? members().size() : 0; }

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const Member& member : members())
    if (member.key == key) return &member.value;
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* found = find(key);
  if (found == nullptr) expect(false, "an object with the key " + excerpt(key));
  return *found;
}

Json& Json::operator[](std::string_view key) {
  if (const Json* found = find(key)) return const_cast<Json&>(*found);
  append(std::string(key), {});
  return back();
}

void Json::erase(std::string_view key) {
  if (is_object())
    std::erase_if(*std::get<Box<Object>>(value_), [&](const Member& member) { return member.key == key; });
}

void Json::update(const Json& other) {
  const Object added = other.members();  // which may be a part of this
  for (const auto& [key, value] : added) (*this)[key] = value;
}

void Json::append(std::string key, Json value) {
  if (is_null()) *this = object();
  expect(is_object(), "an object");
  (*std::get<Box<Object>>(value_)).push_back({std::move(key), std::move(value)});
}

void Json::push_back(Json element) {
  if (is_null()) *this = array();
  expect(is_array(), "an array");
  (*std::get<Box<Array>>(value_)).push_back(std::move(element));
}

Json& Json::back() {
  expect(!empty(), "elements");
  return is_array() ? (*std::get<Box<Array>>(value_)).back() : (*std::get<Box<Object>>(value_)).back().value;
}

std::string Json::dump(int indent) const {
  return library_value(*this).dump(indent, ' ', false, Library::error_handler_t::replace);
}

JsonRead read_json(const std::string& text, size_t levels) {
  if (is_utf16(text)) return {{}, JsonProblem{"text in UTF-16, expected UTF-8", 1}};
  Builder builder(text, levels);
  Library::sax_parse(text, &builder);
  JsonRead read = builder.take();
  // The library takes a zero byte for the end.
  if (const size_t zero = text.find('\0'); !read.problem && zero != std::string::npos)
    return {{}, JsonProblem{"a zero byte behind the value", zero + 1}};
  return read;
}

}  // namespace sked

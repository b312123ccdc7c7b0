#pragma once
// JSON: values, read from hostile text and written. The library that parses and prints (nlohmann/json) is known to
// json.cpp alone: what it costs to compile is paid once, and how it is to be used stands in one place.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sked {

struct JsonMember;

/// A JSON value; objects keep their members' order. Braces of pairs make an object:
///   Json line{{"step", 3}, {"split", "train"}};  line["loss"] = 0.5;
class Json {
 public:
  using Member = JsonMember;
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;

  Json();  // null
  Json(bool value);
  template <std::signed_integral T>
  Json(T value) : Json(Number(static_cast<int64_t>(value))) {}
  template <std::unsigned_integral T>
  Json(T value) : Json(Number(static_cast<uint64_t>(value))) {}
  Json(double value);  // what is not finite is written as null
  Json(std::string value);
  Json(const char* value) : Json(std::string(value)) {}
  Json(std::string_view value) : Json(std::string(value)) {}
  template <class T>
  Json(T*) = delete;  // it would be a bool
  Json(std::nullptr_t) = delete;
  template <class T>
  Json(const std::vector<T>& elements) : Json(Array(elements.begin(), elements.end())) {}
  Json(Array elements);
  Json(std::initializer_list<Member> members);
  Json(const std::map<std::string, std::string>& members);
  static Json object();
  static Json array(std::initializer_list<Json> elements = {});

  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(Json other) noexcept;  // by value: what is assigned may be a part of this
  ~Json();
  /// Numbers by their value, members in their order.
  bool operator==(const Json& other) const;

  bool is_null() const;
  bool is_boolean() const;
  bool is_number() const;
  bool is_integer() const;   // a whole number, written without a fraction
  bool is_unsigned() const;  // from 0 on
  bool is_string() const;
  bool is_array() const;
  bool is_object() const;

  /// Where it is an integer that fits.
  std::optional<int64_t> as_int64() const;
  // Each throws Error unless the value is of that kind, and the number fits.
  bool boolean() const;
  int64_t integer() const;
  uint64_t unsigned_integer() const;
  double number() const;
  const std::string& string() const;
  const Array& elements() const;
  const Object& members() const;

  /// Of elements or members; 0 for what has none.
  size_t size() const;
  bool empty() const { return size() == 0; }

  /// The member of an object; nullptr where there is none, or this is none. Looks at one after the other.
  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /// Throws Error where there is none.
  const Json& at(std::string_view key) const;
  /// Added where there is none; null becomes an object.
  Json& operator[](std::string_view key);
  template <std::integral T>
  Json& operator[](T) = delete;  // elements()[i]
  void erase(std::string_view key);
  /// Adds the members of another object, or overwrites those of the same key.
  void update(const Json& other);
  /// Adds a member whose key the caller knows to be new, without a look at the others.
  void append(std::string key, Json value);

  /// Null becomes an array.
  void push_back(Json element);
  Json& back();

  /// As text: on one line, or with that many blanks a level. What is not UTF-8 becomes U+FFFD.
  std::string dump(int indent = -1) const;

 private:
  using Number = std::variant<int64_t, uint64_t>;
  explicit Json(Number value);
  void expect(bool ok, std::string_view what) const;

  /// A copy of its own on the heap, so that an element of an array takes 16 bytes: a text of two may be one.
  template <class T>
  class Box {
   public:
    explicit Box(T value) : held_(new T(std::move(value))) {}
    Box(const Box& other) : held_(new T(*other)) {}
    Box(Box&&) noexcept = default;
    Box& operator=(Box other) noexcept {
      held_ = std::move(other.held_);
      return *this;
    }
    T& operator*() const { return *held_; }
    bool operator==(const Box& other) const { return **this == *other; }

   private:
    std::unique_ptr<T> held_;
  };

  // An int64_t is negative: each integer has one form.
  std::variant<std::monostate, bool, int64_t, uint64_t, double, Box<std::string>, Box<Array>, Box<Object>> value_;
};

struct JsonMember {
  std::string key;
  Json value;
  bool operator==(const JsonMember&) const = default;
};

struct JsonProblem {
  std::string what;  // one line
  size_t byte = 0;   // where the text is malformed, from 1 on; 0: it is well-formed, but not to be read
};

struct JsonRead {
  Json value;
  std::optional<JsonProblem> problem;  // why there is none
};

/// The value of `text`, or what keeps it from being read: it is malformed, has more than `levels` levels of nesting
/// (copying and printing a value recurse), uses a key twice in one object, of which a reader would see one, or has a
/// zero byte behind the value. Time and memory are linear in the text.
JsonRead read_json(const std::string& text, size_t levels);

}  // namespace sked

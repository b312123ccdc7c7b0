#include "core/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/text.h"

namespace sked {
namespace {

using nlohmann::json;

/// The library's reason without its own prefix and position.
std::string reason(const std::string& what) {
  const size_t column = what.find("column ");
  const size_t start = column == std::string::npos ? what.find("] ") : what.find(": ", column);
  return start == std::string::npos ? what : what.substr(start + 2);
}

/// Stops the parser at the first problem. (A callback of json::parse sees keys and levels too, but with one each
/// object's end looks at everything that its parent holds so far.)
class Watch : public nlohmann::json_sax<json> {
 public:
  explicit Watch(size_t levels) : levels_(levels) {}

  bool key(string_t& key) override {
    return keys_.back().insert(key).second || stop("the key \"" + excerpt(key) + "\" stands twice in one object");
  }
  bool start_object(size_t) override { return enter(); }
  bool start_array(size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t byte, const std::string&, const json::exception& error) override {
    return stop(valid_utf8(reason(error.what())), byte);
  }

  std::optional<JsonProblem> problem;

 private:
  bool enter() {
    if (keys_.size() == levels_)
      return stop("expected at most " + std::to_string(levels_) + " levels of nesting, got more");
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }
  bool stop(const std::string& what, size_t byte = 0) {
    problem = {what, byte};
    return false;
  }

  size_t levels_;
  std::vector<std::set<std::string>> keys_;  // of each level
};

}  // namespace

std::optional<JsonProblem> json_problem(const std::string& text, size_t levels) {
  if (is_utf16(text)) return JsonProblem{"text in UTF-16, expected UTF-8", 1};
  Watch watch(levels);
  json::sax_parse(text, &watch);
  return watch.problem;
}

}  // namespace sked

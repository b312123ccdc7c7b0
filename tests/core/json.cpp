#include "core/json.h"

#include <doctest/doctest.h>

#include <chrono>

using namespace sked;

namespace {

std::string nested(size_t levels) { return std::string(levels, '[') + "1" + std::string(levels, ']'); }

double seconds_for(const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(json_problem(text, 32).has_value());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// `{"a": [{}, {}, …]}`.
std::string empty_objects(int count) {
  std::string text = "{\"a\": [{}";
  for (int i = 1; i < count; ++i) text += ",{}";
  return text + "]}";
}

}  // namespace

TEST_CASE("json: what is well-formed, not too deep and says nothing twice has no problem") {
  for (const char* good : {"1", "null", "\"text\"", "[]", R"({"a": 1, "b": {"a": [1.5e3, true]}})", "\xEF\xBB\xBF{}"})
    CHECK_FALSE(json_problem(good, 3).has_value());
  CHECK_FALSE(json_problem(nested(32), 32).has_value());
}

TEST_CASE("json: problems with the byte of what is malformed") {
  CHECK(json_problem("{\"a\": ,}", 3)->byte == 7);
  CHECK(json_problem("", 3)->byte == 1);
  CHECK(json_problem("1 2", 3)->byte == 3);
  CHECK(json_problem("\"\xFF\"", 3)->what.find("\\xFF") != std::string::npos);
  CHECK(json_problem("1e999", 3)->what.find("number overflow") == 0);
  CHECK(json_problem("\xFF\xFE{", 3)->what == "text in UTF-16, expected UTF-8");
  const auto twice = json_problem(R"({"a": {"b": 1, "b": 2}})", 3);
  REQUIRE(twice.has_value());
  CHECK(twice->byte == 0);
  CHECK(twice->what == "the key \"b\" stands twice in one object");
  const auto deep = json_problem(nested(1'000'000), 32);
  REQUIRE(deep.has_value());
  CHECK(deep->byte == 0);
  CHECK(deep->what == "expected at most 32 levels of nesting, got more");
  CHECK(json_problem("{\"a\":[{\"b\":1}]}", 2)->what == "expected at most 2 levels of nesting, got more");
}

TEST_CASE("json: time is linear in the text") {
  const double small = seconds_for(empty_objects(10'000)), large = seconds_for(empty_objects(200'000));
  CHECK(large < 20 * 10 * small + 0.1);
}

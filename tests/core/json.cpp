#include "core/json.h"

#include <doctest/doctest.h>

#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/common/files.h"

using namespace sked;

namespace {

std::string nested(size_t levels) { return std::string(levels, '[') + "1" + std::string(levels, ']'); }

double seconds_for(const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  CHECK_FALSE(read_json(text, 32).problem.has_value());
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
    CHECK_FALSE(read_json(good, 3).problem.has_value());
  CHECK_FALSE(read_json(nested(32), 32).problem.has_value());
}

TEST_CASE("json: problems with the byte of what is malformed") {
  CHECK(read_json("{\"a\": ,}", 3).problem->byte == 7);
  CHECK(read_json("", 3).problem->byte == 1);
  CHECK(read_json("1 2", 3).problem->byte == 3);
  CHECK(read_json("{}" + std::string(3, '\0') + "{}", 3).problem->byte == 3);
  CHECK(read_json("\"" + std::string(500'000, 'x'), 3).problem->what.size() < 300);
  CHECK(read_json("\"\xFF\"", 3).problem->what.find("\\xFF") != std::string::npos);
  CHECK(read_json("1e999", 3).problem->what.find("number overflow") == 0);
  CHECK(read_json("\xFF\xFE{", 3).problem->what == "text in UTF-16, expected UTF-8");
  const auto twice = read_json(R"({"a": {"b": 1, "b": 2}})", 3).problem;
  REQUIRE(twice.has_value());
  CHECK(twice->byte == 0);
  CHECK(twice->what == "the key \"b\" stands twice in one object");
  const auto deep = read_json(nested(1'000'000), 32).problem;
  REQUIRE(deep.has_value());
  CHECK(deep->byte == 0);
  CHECK(deep->what == "expected at most 32 levels of nesting, got more");
  CHECK(read_json("{\"a\":[{\"b\":1}]}", 2).problem->what == "expected at most 2 levels of nesting, got more");
}

TEST_CASE("json: time is linear in the text") {
  const double small = seconds_for(empty_objects(10'000)), large = seconds_for(empty_objects(200'000));
  CHECK(large < 20 * 10 * small + 0.1);
}

TEST_CASE("json: a value is written as the library writes it") {
  const std::vector<std::string> texts = {"null",
                                          "[]",
                                          "{}",
                                          "-0.0",
                                          "0.1",
                                          "1e300",
                                          "-9223372036854775808",
                                          "18446744073709551615",
                                          "1.0",
                                          "5e-324",
                                          R"("\u00e9\ud83d\ude00\n\"\\")",
                                          R"({"z": 1, "a": [1, -2, 3.5, {"x": {}}], "": [[], [true, false, null]]})"};
  for (const std::string& text : texts) {
    CAPTURE(text);
    const JsonRead read = read_json(text, 8);
    REQUIRE_FALSE(read.problem.has_value());
    for (const int indent : {-1, 0, 2})
      CHECK(read.value.dump(indent) == nlohmann::ordered_json::parse(text).dump(indent));
    CHECK(read_json(read.value.dump(), 8).value == read.value);
  }
  CHECK(Json(std::numeric_limits<double>::quiet_NaN()).dump() == "null");
  CHECK(Json("caf\xE9").dump() == "\"caf\uFFFD\"");
}

TEST_CASE("json: objects and arrays are built in the order of their making") {
  Json line{{"step", 3}, {"share", 0.5}, {"names", std::vector<std::string>{"a", "b"}}, {"none", Json::array()}};
  line["split"] = "train";
  line["step"] = uint64_t{4};
  line["more"]["depth"] = true;
  line["list"].push_back({{"x", -1}});
  line.append("tail", Json());
  CHECK(line.dump() == R"({"step":4,"share":0.5,"names":["a","b"],"none":[],"split":"train",)"
                       R"("more":{"depth":true},"list":[{"x":-1}],"tail":null})");
  line.erase("names");
  line.erase("nothing");
  line.update({{"share", 1}, {"end", std::map<std::string, std::string>{{"k", "v"}}}});
  CHECK(line.dump() == R"({"step":4,"share":1,"none":[],"split":"train","more":{"depth":true},"list":[{"x":-1}],)"
                       R"("tail":null,"end":{"k":"v"}})");
  CHECK(line.size() == 8);
  CHECK(line.find("nothing") == nullptr);
  CHECK(line.at("list").elements().front().at("x").integer() == -1);
  const Json copy = line;
  Json taken = std::move(line);
  CHECK(taken == copy);
  CHECK(line.is_null());
  line["again"] = taken;
  CHECK(line.dump() == "{\"again\":" + copy.dump() + "}");
  taken = taken.at("list").elements().front();
  CHECK(taken.dump() == "{\"x\":-1}");
  for (const char* text : {"true", "7", "-7", "0.5", "\"text\"", "[1]", "{\"b\":2}", "null"}) {
    CAPTURE(text);
    const Json part = read_json(text, 3).value;
    Json whole{{"a", part}};
    whole["new"] = whole["a"];
    CHECK(whole == Json{{"a", part}, {"new", part}});
    whole["deep"].push_back(whole);
    whole["self"] = whole;
    CHECK(whole.at("self").at("deep").elements()[0].at("new") == part);
    whole = whole["a"];
    CHECK(whole == part);
  }
  Json nested = read_json(R"({"a": {"a": {"b": 1}, "c": 2}})", 4).value;
  nested.update(nested["a"]);
  CHECK(nested.dump() == R"({"a":{"b":1},"c":2})");
  nested["a"] = std::move(nested);
  CHECK(nested.dump() == R"({"a":{"a":{"b":1},"c":2}})");
  CHECK(sizeof(Json) == 16);
  CHECK(Json(1) == Json(1U));
  CHECK(Json(1) == Json(1.0));
  CHECK(Json(-1) != Json(UINT64_MAX));
  CHECK(Json(0.5) != Json(0));
  CHECK(Json{{"a", 1}} == Json{{"a", 1}});
  CHECK(Json{{"a", 1}} != Json{{"a", 2}});
  CHECK(Json{{"a", 1}, {"b", 1}} != Json{{"b", 1}, {"a", 1}});
}

TEST_CASE("json: what is of another kind is an error that shows it") {
  const Json value = read_json(R"({"big": 18446744073709551615, "less": -1, "text": "t", "list": [1.5]})", 3).value;
  CHECK(value.at("big").unsigned_integer() == UINT64_MAX);
  CHECK(value.at("big").number() == 0x1p64);
  CHECK(value.at("less").is_integer());
  CHECK_FALSE(value.at("less").is_unsigned());
  CHECK_FALSE(value.at("list").elements()[0].is_integer());
  const auto error = [&](const auto& read) { return test::error_of([&] { read(value); }); };
  CHECK(error([](const Json& v) { v.at("big").integer(); }) ==
        "[json] expected at most 9223372036854775807, got 18446744073709551615");
  CHECK(error([](const Json& v) { v.at("less").unsigned_integer(); }) ==
        "[json] expected an integer from 0 on, got -1");
  CHECK(error([](const Json& v) { v.at("text").number(); }) == "[json] expected a number, got \"t\"");
  CHECK(error([](const Json& v) { v.at("list").string(); }) == "[json] expected a string, got [1.5]");
  CHECK(error([](const Json& v) { v.at("list").at("x"); }) == "[json] expected an object with the key x, got [1.5]");
  CHECK(error([](const Json& v) { v.elements(); }).starts_with("[json] expected an array, got {\"big\":"));
  CHECK(error([](const Json& v) { v.at("text").members(); }) == "[json] expected an object, got \"t\"");
  CHECK(error([](const Json& v) { v.at("less").boolean(); }) == "[json] expected true or false, got -1");
  CHECK(error([](const Json& v) { Json(v.at("text"))["x"] = 1; }) == "[json] expected an object, got \"t\"");
  CHECK(error([](const Json& v) { Json(v).push_back(1); }).starts_with("[json] expected an array"));
}

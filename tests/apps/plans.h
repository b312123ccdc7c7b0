#pragma once
// What tests of plans and reports need: a tiny plan for the real binary, words to look for in what it leaves, and the
// environment it runs in.

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/apps/support.h"

namespace sked::test {

using Json = nlohmann::ordered_json;

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

/// An environment variable with another value as long as one lives.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (before_)
      setenv(name_, before_->c_str(), 1);
    else
      unsetenv(name_);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// A tiny data set and a plan of two heads and two seeds on it, for the real binary.
struct Workplace {
  Workplace() {
    write_tiny_data(folder.path("data"));
    write_plan(tiny_config(folder.path("data")));
  }
  void write_plan(const RunConfig& base, const char* last_head = "het-xl") {
    const Json plan = {{"base", Json::parse(config_text(base))},
                       {"heads", {{"DET", {{"head.kind", "det"}}}, {"HET <XL>", {{"head.kind", last_head}}}}},
                       {"seeds", {0, 1}}};
    folder.write("plan.json", plan.dump());
  }
  std::vector<std::string> command(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"replicate", "--config", folder.path("plan.json"), "--out", folder.path(out),
                                   "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Json results(const std::string& out) const { return Json::parse(slurp(folder.path(out + "/results.json"))); }
  bool exists(const std::string& file) const { return std::filesystem::exists(folder.path(file)); }
  TemporaryFolder folder;
};

}  // namespace sked::test

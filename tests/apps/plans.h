#pragma once
// What tests of plans and reports need: a tiny plan for the real binary.

#include <string>
#include <vector>

#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/common/library_json.h"

namespace sked::test {

/// Without what differs from machine to machine and from stop to stop.
inline LibraryJson without_timings(LibraryJson json) {
  for (const char* key : {"train_seconds", "wait_seconds", "test_seconds", "images_per_second", "peak_memory_bytes",
                          "step_ms", "peak_memory", "command", "made_by"})
    if (json.is_object()) json.erase(key);
  for (LibraryJson& part : json)
    if (part.is_structured()) part = without_timings(part);
  return json;
}

/// A tiny data set and a plan of two heads and two seeds on it, for the real binary.
struct Workplace {
  Workplace() {
    write_tiny_data(folder.path("data"));
    write_plan(tiny_config(folder.path("data")));
  }
  void write_plan(const RunConfig& base, const char* last_head = "het-xl") {
    const LibraryJson plan = {{"base", library_json(config_text(base))},
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
  LibraryJson results(const std::string& out) const { return library_json(slurp(folder.path(out + "/results.json"))); }
  bool exists(const std::string& file) const { return std::filesystem::exists(folder.path(file)); }
  TemporaryFolder folder;
};

}  // namespace sked::test

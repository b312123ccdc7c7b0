// Rehearses tests/gpu_check.sh: what a half hour on a card depends on must not be tried there for the first time. It
// runs this program's own cases, on the emulated GPU as on a real one, with faults planted (case_log.h).

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/device.h"
#include "tests/common/files.h"

namespace sked::test {
namespace {

using LibraryJson = nlohmann::json;

const std::vector<std::string> kFamilies = {"attention",
                                            "attention with rounded factors",
                                            "convolution and pooling",
                                            "convolutions with rounded factors",
                                            "element-wise",
                                            "index",
                                            "likelihood",
                                            "memory",
                                            "norms",
                                            "optimizers",
                                            "products",
                                            "products with rounded factors",
                                            "random",
                                            "reductions",
                                            "softmax"};

/// The folder of programs that the script is to use; empty, with a line that says why, where there is none.
std::string programs() {
  const char* folder = std::getenv("SKEDASTIC_BUILD");
  if (!is_available(Device::cuda)) return skip("no usable GPU here, nor the emulated one: the rehearsal"), "";
  if (!folder || !std::filesystem::exists(std::string(folder) + "/bench"))
    return skip("no bench beside these tests (SKEDASTIC_BUILD): the rehearsal"), "";
  return folder;
}

/// Starts the script; `settings` are words NAME=VALUE.
pid_t start(const std::string& folder, std::vector<std::string> settings) {
  settings.insert(settings.begin(), {"env", "CUDA=host", "OUT=" + folder, "BUILD=" + programs()});
  settings.push_back("tests/gpu_check.sh");
  std::vector<char*> words;
  for (std::string& word : settings) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int said = open((folder + "/said").c_str(), O_WRONLY | O_CREAT, 0644);
    if (said < 0 || dup2(said, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0) _exit(126);
    execvp(words[0], words.data());
    _exit(127);
  }
  REQUIRE(child > 0);
  return child;
}

int status_of(pid_t child) {
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

LibraryJson result_in(const std::string& folder) { return LibraryJson::parse(slurp(folder + "/gpu-check.json")); }

/// The one object of a list whose member has that value.
LibraryJson find(const LibraryJson& list, const char* member, const std::string& value) {
  for (const LibraryJson& object : list)
    if (object.value(member, LibraryJson()) == value) return object;
  FAIL("no " << member << " " << value << " in " << list.dump());
  return {};
}

/// Of the failures of a family, those that have the member.
std::vector<LibraryJson> failures(const LibraryJson& result, const std::string& family, const char* member) {
  std::vector<LibraryJson> found;
  for (const LibraryJson& failure : result["failures"])
    if (failure["family"] == family && failure.contains(member)) found.push_back(failure);
  return found;
}

/// Is there a process that has the mark in its environment, as all do that a script started with it starts?
bool alive(const std::string& mark) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc"))
    if (slurp(entry.path().string() + "/environ").find(mark) != std::string::npos) return true;
  return false;
}

}  // namespace

namespace {

void check_families(const LibraryJson& result) {
  std::vector<std::string> families;
  for (const LibraryJson& family : result["families"]) {
    families.push_back(family["family"]);
    CAPTURE(families.back());
    CHECK(family["cases"] == 4);
    const bool faulty = families.back() == "norms" || families.back() == "softmax" || families.back() == "products" ||
                        families.back() == "index";
    CHECK(find(result["stages"], "item", "cases/" + families.back())["status"] == (faulty ? "failed" : "passed"));
    CHECK(family["compared"] >= (faulty ? 2 : 4));
  }
  std::sort(families.begin(), families.end());
  CHECK(families == kFamilies);
}

void check_faults(const LibraryJson& result) {
  const std::vector<LibraryJson> wrong = failures(result, "norms", "error");
  REQUIRE(!wrong.empty());
  for (const LibraryJson& failure : wrong) {
    CHECK(failure["number"] == 1);
    CHECK(failure["error"].get<double>() > failure["allowed"].get<double>());
    CHECK(failure["got"].get<double>() == failure["want"].get<double>() + failure["error"].get<double>());
    CHECK(failure["wrong"] == 1);
    CHECK(failure["non_finite"] == 0);
    for (const char* member : {"kernel", "what", "way", "dtype", "index", "seconds"})
      CHECK_MESSAGE(failure.contains(member), std::string(member));
  }
  REQUIRE(failures(result, "softmax", "thrown").size() == 1);
  CHECK(failures(result, "softmax", "thrown")[0]["thrown"] == "planted");
  REQUIRE(failures(result, "index", "crashed").size() == 1);
  CHECK(failures(result, "index", "crashed")[0]["crashed"] == 2);
  REQUIRE(failures(result, "index", "thrown").size() == 1);  // behind the crash
  CHECK(failures(result, "index", "thrown")[0]["number"] == 3);
  find(result["alone"], "case", "index-2");
  // A real GPU is not killed by asking.
  if (result["facts"]["gpu"] == "emulated" && !failures(result, "products", "dead").empty()) {
    CHECK(failures(result, "products", "dead")[0]["dead"] == 1);
    CHECK(failures(result, "products", "thrown")[0]["thrown"].get<std::string>().find("illegal") != std::string::npos);
    CHECK(!find(result["alone"], "case", "products-1")["lines"].empty());
  }
}

void check_margins(const LibraryJson& result) {
  std::vector<std::string> measured;
  for (const LibraryJson& margin : result["margins"]) {
    measured.push_back(margin["kernel"]);
    CHECK(margin["share"].is_number());
  }
  for (const char* kernel : {"l2_normalize_forward", "conv2d_forward", "attention_forward", "unary_forward"})
    CHECK_MESSAGE(std::count(measured.begin(), measured.end(), kernel) > 0, std::string(kernel));
}

}  // namespace

TEST_CASE("gpu-check: planted faults are in its JSON with their values, and nothing behind them is lost") {
  if (programs().empty()) return;
  TemporaryFolder folder;
  const std::string plant =
      "SKEDASTIC_PLANT=failure:norms:1,throw:softmax:0,dead:products:1,crash:index:2,throw:index:3";
  CHECK(status_of(start(folder.path(), {"STAGES=cases own-steps", "SKEDASTIC_LAST_CASE=3", plant})) == 1);
  const LibraryJson result = result_in(folder.path());
  CHECK(result["complete"] == true);
  for (const char* member : {"gpu", "clocks_before", "clocks_after", "nvcc", "cudnn", "torch", "load", "sources"})
    CHECK_MESSAGE(result["facts"].contains(member), std::string(member));
  check_families(result);
  check_faults(result);
  check_margins(result);
  CHECK(find(result["stages"], "item", "own-steps")["status"] == "passed");
  CHECK(result["speeds"].at(0)["milliseconds"].get<double>() > 0);
  CHECK(result["bench"].at("own-steps").at("steps").at(0)["seconds"].get<double>() > 0);
  for (const char* file : {"gpu-check.txt", "cases.jsonl", "logs.tgz"})
    CHECK_MESSAGE(std::filesystem::file_size(folder.path(file)) > 0, std::string(file));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) <= 5);  // with what it said
}

TEST_CASE("gpu-check: what hangs is ended, and looked at alone, and the next case runs") {
  if (programs().empty()) return;
  TemporaryFolder folder;
  const std::string mark = "SKEDASTIC_REHEARSAL=" + folder.path();
  CHECK(status_of(start(folder.path(), {mark, "STAGES=cases", "FAMILIES=random,optimizers", "FAMILY_LIMIT=15",
                                        "ALONE_LIMIT=2", "SKEDASTIC_LAST_CASE=2", "SKEDASTIC_PLANT=hang:random:1"})) ==
        1);
  const LibraryJson result = result_in(folder.path());
  REQUIRE(failures(result, "random", "crashed").size() == 1);
  CHECK(failures(result, "random", "crashed")[0]["crashed"] == 1);
  CHECK(find(result["families"], "family", "random")["cases"] == 3);
  CHECK(!alive(mark));
  CHECK(find(result["stages"], "item", "cases/optimizers")["status"] == "passed");
}

TEST_CASE("gpu-check: stopped from outside it leaves its JSON and no process behind") {
  if (programs().empty()) return;
  TemporaryFolder folder;
  const std::string mark = "SKEDASTIC_REHEARSAL=" + folder.path();
  const pid_t child = start(folder.path(), {mark, "STAGES=cases", "FAMILIES=optimizers,random,memory",
                                            "SKEDASTIC_LAST_CASE=2", "SKEDASTIC_PLANT=hang:random:1"});
  const auto waited_for = [&](const std::string& text) {
    for (int i = 0; i < 1200; ++i) {
      if (std::filesystem::exists(folder.path("cases.jsonl")) &&
          slurp(folder.path("cases.jsonl")).find(text) != std::string::npos)
        return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  };
  CHECK(waited_for(R"("family":"random","begin":1)"));
  CHECK(alive(mark));
  kill(child, SIGTERM);
  CHECK(status_of(child) == 130);
  const LibraryJson result = result_in(folder.path());
  CHECK(result["complete"] == false);
  CHECK(find(result["stages"], "item", "cases/optimizers")["status"] == "passed");
  CHECK(find(result["families"], "family", "random")["cases"] == 2);
  for (int i = 0; i < 100 && alive(mark); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!alive(mark));
  CHECK(std::filesystem::exists(folder.path("logs.tgz")));
}

}  // namespace sked::test

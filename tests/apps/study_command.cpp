// make study: its script on tiny plans, by several processes, stopped and gone on with, and what it refuses.

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/apps/plans.h"
#include "tests/common/shell.h"

using namespace sked;
using namespace sked::test;

namespace {

/// Two plans of DET and HET with two seeds on a tiny data set; the second measures time.
struct StudyPlace {
  StudyPlace() {
    write_tiny_data(folder.path("data"));
    RunConfig base = tiny_config(folder.path("data"));
    base.train.steps = 10;
    json = {{"base", library_json(config_text(base))},
            {"heads", {{"DET", {{"head.kind", "det"}}}, {"HET", {{"head.kind", "het"}}}}},
            {"seeds", {0, 1}},
            {"full", {{"train.steps", 11}}},
            {"study",
             {{"claims",
               {{{"claim", "1"},
                 {"title", "Tiny"},
                 {"question", "Is it?"},
                 {"expectation", "It is."},
                 {"comparisons",
                  {{{"head", "HET"}, {"than", "DET"}, {"metric", "nll"}, {"expect", "lower"}, {"worth", 0.01}}}}}}}}}};
    write("1-first", json);
    json["about"]["processes"] = 1;
    json["study"]["claims"][0]["claim"] = "2";
    write("2-second", json);
  }
  void write(const std::string& name, const LibraryJson& plan) const {
    std::filesystem::create_directories(folder.path("configs"));
    folder.write("configs/" + name + ".json", plan.dump(1));
  }
  std::string command(const std::string& variables = "") const {
    return "BUILD='" + build_folder() + "' JOBS=2 STUDY_DATA=none STUDY_CONFIGS='" + folder.path("configs") +
           "' STUDY_OUT='" + folder.path("study") + "' " + variables + " .make/study.sh";
  }
  std::string file(const std::string& name) const { return slurp(folder.path("study/" + name)); }
  LibraryJson json;
  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("make study: every plan by its processes, stopped and gone on with, then the page") {
  const StudyPlace place;
  const std::string first = place.folder.path("study/1-first/results.json");
  const std::string stop = " & pid=$!; until [ -e '" + first + "' ]; do sleep 0.02; done; kill -TERM $pid; wait $pid";
  const Shell stopped =
      until_stopped(place.folder.path("study"), "study.html", [&] { return shell(place.command() + stop); });
  CHECK_MESSAGE(stopped.code == 143, stopped.text);
  CHECK(has(stopped.text, "stopped; the same command goes on from here\n"));
  CHECK_FALSE(std::filesystem::exists(place.folder.path("study/study.html")));

  const Shell whole = shell(place.command());
  REQUIRE_MESSAGE(whole.code == 0, whole.text);
  CHECK(has(whole.text, "---- 1-first: plan 1 of 2, processes: 2, logs in "));
  CHECK(has(whole.text, "---- 2-second: plan 2 of 2, processes: 1, logs in "));
  for (const char* name : {"1-first", "2-second"}) {
    const LibraryJson results = library_json(place.file(std::string(name) + "/results.json"));
    REQUIRE(results["cells"].size() == 2);
    for (const LibraryJson& cell : results["cells"]) CHECK(cell["runs"].size() == 2);
    CHECK(has(place.file(std::string(name) + "/process-1.log"), "results in "));
  }
  CHECK(has(place.file("1-first/process-2.log"), "results in "));
  CHECK_FALSE(std::filesystem::exists(place.folder.path("study/2-second/process-2.log")));
  CHECK(place.file("study.html").ends_with("</html>\n"));
}

TEST_CASE("make study: what cannot be run ends it with the name and the log, before others are trained") {
  StudyPlace place;
  const auto refused = [&](const std::string& variables, const std::vector<std::string>& parts) {
    const Shell outcome = shell(place.command(variables));
    CHECK(outcome.code == 1);
    for (const std::string& part : parts) CHECK_MESSAGE(has(outcome.text, part), outcome.text);
    CHECK_FALSE(std::filesystem::exists(place.folder.path("study/2-second")));
  };
  refused("STUDY=none", {"error: [study] STUDY=none: no such plan", "1-first 2-second"});
  refused("SIZE=medium", {"SIZE=medium: expected small or full"});
  for (const std::string jobs : {"JOBS=0", "JOBS=00", "JOBS=08", "JOBS=-1"}) refused(jobs, {jobs + ": expected"});
  if (!std::filesystem::exists("/dev/nvidia0")) refused("SIZE=full", {"no GPU here", "days", "DEVICE=cpu"});
  refused("STUDY_DATA=embeddings DATA_ROOT='" + place.folder.path("none") + "'",
          {"embeddings", "data sets that are not there: embeddings", "MIRROR=folder"});
  LibraryJson bad = place.json;
  bad["base"]["model"]["name"] = "resnet21";
  place.write("3-bad", bad);
  refused("", {"3-bad: error: ", "resnet21", "1 of 3 plans cannot be run"});
  // A failure on the way: training diverges.
  bad = place.json;
  bad["base"]["schedule"]["peak"] = 1e30;
  place.write("1-first", bad);
  refused("STUDY='1-first 2-second'", {"error: [study] 1-first: process ", "process-", ".log: error: [train]"});
  CHECK(shell(place.command("SIZE=full DEVICE=cpu STUDY=2-second")).code == 0);
  CHECK(has(place.file("2-second/results.json"), "\"full\": true"));
}

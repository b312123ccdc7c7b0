// replicate --dry-run: what it says of runs that are finished, begun or not there, and that it writes nothing.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "apps/replicate/stages.h"
#include "core/text.h"
#include "tests/apps/plans.h"

using namespace sked;
using namespace sked::test;

namespace {

/// Every file below a folder with the time of its last change.
std::string everything_in(const std::string& folder) {
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    lines.push_back(entry.path().string() + " " +
                    std::to_string(std::filesystem::last_write_time(entry).time_since_epoch().count()));
  std::ranges::sort(lines);
  return join(lines, "\n");
}

size_t widest_line(const std::string& text) {
  size_t width = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) width = std::max(width, display_width(line));
  return width;
}

}  // namespace

TEST_CASE("dry run: every run with its stage and what would be done, and nothing is written") {
  const Workplace place;
  const auto dry_run = [&](std::vector<std::string> more = {}) {
    more.push_back("--dry-run");
    return run_program(place.command("out", more));
  };
  const std::string empty = everything_in(place.folder.path());
  const Outcome before = dry_run();
  REQUIRE_MESSAGE(before.code == 0, before.err);
  CHECK(before.err.empty());
  CHECK(occurrences(before.out, "not begun  train\n") == 4);
  CHECK(has(before.out, "Next: train: 4\n"));
  CHECK(everything_in(place.folder.path()) == empty);

  REQUIRE(run_program(place.command("out", {"--seed", "0"})).code == 0);
  REQUIRE(run_program(place.command("out", {"--seed", "1", "--set", "train.time_limit=0.001"})).code == 124);
  const std::string there = everything_in(place.folder.path());
  const Outcome outcome = dry_run();
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(has(outcome.out,
            "  head      seed  folder           stage              next\n"
            "  DET       0     DET/seed-0       finished           keep\n"
            "  HET <XL>  0     HET--XL-/seed-0  finished           keep\n"
            "  DET       1     DET/seed-1       at epoch 0.1 of 3  go on\n"
            "  HET <XL>  1     HET--XL-/seed-1  not begun          train\n"));
  CHECK(has(outcome.out, "Next: go on: 1, keep: 2, train: 1\n"));
  CHECK(widest_line(outcome.out.substr(outcome.out.find("\n  head"))) <= 80);

  const Outcome longer = dry_run({"--set", "train.epochs=4"});
  CHECK(occurrences(longer.out, "finished           go on to epoch 4\n") == 2);
  CHECK(has(longer.out, "at epoch 0.1 of 4  go on\n"));
  const Outcome steps = dry_run({"--set", "train.steps=40"});
  CHECK(occurrences(steps.out, "finished         go on to step 40\n") == 2);
  CHECK(has(steps.out, "at step 1 of 40  go on\n"));
  const Outcome fresh = dry_run({"--fresh"});
  CHECK(occurrences(fresh.out, "finished   start over\n") == 2);
  CHECK(occurrences(fresh.out, "begun      start over\n") == 1);
  CHECK(occurrences(fresh.out, "not begun  train\n") == 1);
  // What the plan would be refused for.
  CHECK(fails_with(dry_run({"--set", "schedule.peak=0.01"}), 2, "DET/seed-0", "schedule.peak differs"));
  CHECK(fails_with(dry_run({"--set", "model.name=resnet21"}), 2, "resnet21"));
  CHECK(everything_in(place.folder.path()) == there);
}

TEST_CASE("dry run: names of any length fit the terminal, and columns stand below each other") {
  Plan plan;
  plan.settings = {{"Fashion-MNIST, instance noise 40 %"}};
  plan.heads = {{"HET-XL with a name as long as a sentence, which no table has the room for"}, {"日本 DET"}};
  plan.seeds = {0, 18446744073709551615u};
  const std::vector<PlannedRun> runs = runs_of(plan);
  const TemporaryFolder folder;
  for (const size_t columns : {size_t{60}, size_t{80}, size_t{120}}) {
    CAPTURE(columns);
    const std::string text = stage_tables(plan, runs, folder.path(), false, columns);
    const std::string table = text.substr(text.find("  head"));
    CHECK(widest_line(table) <= columns);
    std::istringstream lines(table);
    std::string line;
    std::getline(lines, line);
    const size_t stage = display_width(line.substr(0, line.find("stage")));
    for (size_t i = 0; i < runs.size(); ++i) {
      std::getline(lines, line);
      REQUIRE(has(line, "not begun"));
      CHECK(display_width(line.substr(0, line.find("not begun"))) == stage);
    }
  }
}

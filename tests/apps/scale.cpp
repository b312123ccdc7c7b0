// scale: counts on modules against the formulas, names and numbers on the command line, the files it leaves.

#include "apps/scale/costs.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "core/error.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

TEST_CASE("scale: extra parameters follow the formulas, flat in K for HET-XL, and HET : HET-XL is K : D") {
  constexpr int64_t kLargest = 1 << 28;
  const auto heads = scale::compared_heads(4, 3);
  REQUIRE(heads.size() == 4);
  const scale::Named width{"16", 16};
  for (const int64_t k : {8, 100, 1000}) {
    std::vector<scale::Costs> costs;
    for (const auto& head : heads) costs.push_back(scale::count(head, width, {"", k}, kLargest));
    for (const auto& c : costs) CHECK(c.counted);
    CHECK(costs[0].extra == 0);
    CHECK(costs[1].extra == k * 4 * 17 + k * 17);
    CHECK(costs[2].extra == k * 17 + k * 4 + k * 17);
    CHECK(costs[3].extra == 16 * 17 + 16 * 4 + 16 * 17);
    CHECK(costs[2].extra * 16 == costs[3].extra * k);
    CHECK(costs[3].parameters == k * 17 + costs[3].extra);
    CHECK(costs[3].bytes == 16.0 * static_cast<double>(costs[3].parameters));
  }
  CHECK(!scale::count(heads[1], width, {"", 1000}, 1000).counted);
}

TEST_CASE("scale: a measured step has a time and a memory") {
  const auto heads = scale::compared_heads(2, 4);
  for (const size_t i : {size_t{0}, size_t{2}, size_t{3}}) {
    scale::Costs c = scale::count(heads[i], {"8", 8}, {"50", 50}, 1 << 20);
    scale::measure(c, heads[i], 6, 2);
    CHECK(c.seconds > 0);
    CHECK(c.extra_bytes > 0);
  }
}

TEST_CASE("scale: names, numbers and mistakes") {
  CHECK(scale::width_of("resnet152").value == 2048);
  CHECK(scale::classes_of("JFT-4B").value == 29593);
  CHECK(scale::classes_of("77").value == 77);
  for (const char* wrong : {"", "0", "-5", "12x", "99999999999999999999", "jft-4c"})
    CHECK_THROWS_AS(scale::classes_of(wrong), UsageError);
  CHECK_THROWS_AS(scale::width_of("ViT-X"), UsageError);
}

TEST_CASE("scale: the program writes its table, JSON and plots") {
  const TemporaryFolder folder;
  const Outcome good = run_program({"scale", "--width", "32", "--classes", "20", "40", "--samples", "4", "--batch", "4",
                                    "--rank", "2", "--rounds", "1", "--measure", "--out", folder.path("out")});
  CHECK(good.code == 0);
  const std::string json = slurp(folder.path("out") + "/scale.json");
  REQUIRE(size_at(json, "/heads") == 8);
  CHECK(text_at(json, "/heads/7/head") == "HET-XL");
  CHECK(number_at(json, "/heads/7/extra_parameters") == 32 * 33 + 32 * 2 + 32 * 33);
  CHECK(number_at(json, "/heads/7/step_seconds") > 0);
  CHECK(slurp(folder.path("out") + "/table.md") == good.out);
  CHECK(fails_with(run_program({"scale", "--classes", "imagnet"}), 2, "ImageNet"));
  CHECK(fails_with(run_program({"scale", "--rank", "64", "--width", "32", "--classes", "20"}), 2, "--rank", "(32)",
                   "64"));
}

TEST_CASE("scale, bench: what cannot be written is found out before the work, and plots are not needed") {
  const TemporaryFolder folder;
  folder.write("file", "mine");
  std::filesystem::create_directories(folder.path("taken/scale.json"));
  const auto scale = [&](const std::string& out) {
    return run_program({"scale", "--width", "32", "--classes", "20", "--rank", "2", "--out", folder.path(out)});
  };
  for (const auto& [out, part] : {std::pair("file", "Not a directory"),
                                  {"file/x", "Not a directory"},
                                  {"taken", "taken/scale.json: Is a directory"}}) {
    const Outcome outcome = scale(out);
    CHECK(fails_with(outcome, 1, part));
    CHECK(outcome.out.empty());
  }
  const Outcome bench = run_program({"bench", "kernels", "--out", folder.path("none/x.json")});
  CHECK(fails_with(bench, 1, "none/x.json", "No such file"));
  CHECK(bench.out.empty());
  CHECK(slurp(folder.path("file")) == "mine");

  std::filesystem::permissions(folder.write("programs/gnuplot", "#!/bin/sh\necho broken >&2; exit 1\n"),
                               std::filesystem::perms::owner_all);
  const Environment environment("PATH", folder.path("programs"));
  const Outcome good = scale("good");
  CHECK(good.code == 0);
  CHECK(good.err.starts_with("note: gnuplot failed: broken: no plots\n"));
  CHECK(slurp(folder.path("good/table.md")) == good.out);
  CHECK(std::filesystem::exists(folder.path("good/scale.json")));
  CHECK_FALSE(std::filesystem::exists(folder.path("good/parameters.svg")));
}

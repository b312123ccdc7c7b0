// The noise of a study's cells in results.json.

#include "apps/replicate/cell_noise.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/apps/plans.h"

using namespace sked;
using namespace sked::test;

namespace {

/// The plan of a workplace, with a study and data whose covariance is known.
void write_study(const Workplace& place, bool study) {
  LibraryJson plan = library_json(slurp(place.folder.path("plan.json")));
  plan["base"]["data"]["noise"] = "heteroscedastic";
  plan["base"]["train"]["epochs"] = 1;
  plan["seeds"] = {3, 5};
  if (study)
    plan["study"] = {
        {"claims",
         {{{"claim", "1"},
           {"title", "t"},
           {"question", "q?"},
           {"expectation", "e"},
           {"comparisons",
            {{{"head", "HET <XL>"}, {"than", "DET"}, {"metric", "nll"}, {"expect", "lower"}, {"worth", 0.01}}}},
           {"figures", {"covariance", "images"}}}}}};
  place.folder.write("plan.json", plan.dump());
}

const LibraryJson& cell_of(const LibraryJson& results, const std::string& head) {
  for (const LibraryJson& cell : results.at("cells"))
    if (cell.at("head") == head) return cell;
  FAIL("no cell of " << head);
  return results;
}

}  // namespace

TEST_CASE("cell noise: a study's cells have it of their first run, and keep it when the weights are gone") {
  const Workplace place;
  write_study(place, true);
  const Outcome first = run_program(place.command("out"));
  REQUIRE_MESSAGE(first.code == 0, first.err);
  const LibraryJson results = place.results("out");
  CHECK_FALSE(cell_of(results, "DET").contains("noise"));
  const LibraryJson noise = cell_of(results, "HET <XL>").at("noise");
  CHECK(noise.at("classes").size() == 10);
  for (const char* which : {"learned", "true"}) {
    CAPTURE(which);
    const LibraryJson& matrix = noise.at(which);
    REQUIRE(matrix.size() == 10);
    double trace = 0;
    for (size_t i = 0; i < 10; ++i) {
      double row = 0;
      for (size_t j = 0; j < 10; ++j) {
        row += matrix[i][j].get<double>();
        CHECK(matrix[i][j].get<double>() == doctest::Approx(matrix[j][i].get<double>()).epsilon(1e-3));
      }
      trace += matrix[i][i].get<double>();
      CHECK(std::abs(row) < 1e-3 * (1 + std::abs(matrix[i][i].get<double>())));  // centered; six digits are kept
    }
    CHECK(trace > 0);
  }
  CHECK(noise.at("images").size() == 12);
  CHECK(noise.at("images")[0].at("noise") >= noise.at("images")[11].at("noise"));
  CHECK(noise.at("images")[0].at("picture").get<std::string>().starts_with("data:image/"));
  CHECK(cell_of(results, "HET <XL>").contains("covariance_correlation"));
  CHECK_FALSE(cell_of(results, "DET").contains("covariance_correlation"));

  LibraryJson damaged = results;
  for (LibraryJson& cell : damaged["cells"])
    if (cell.contains("noise")) cell["noise"]["learned"][0][1] = nullptr;
  place.folder.write("out/results.json", damaged.dump());
  REQUIRE(run_program(place.command("out")).code == 0);
  CHECK(cell_of(place.results("out"), "HET <XL>").at("noise") == noise);  // looked at once more

  for (const char* name : {"last.safetensors", "best.safetensors"})
    std::filesystem::remove(place.folder.path(std::string("out/fashion-mnist/HET--XL-/seed-3/") + name));
  const Outcome again = run_program(place.command("out"));
  REQUIRE_MESSAGE(again.code == 0, again.err);
  CHECK(cell_of(place.results("out"), "HET <XL>").at("noise") == noise);

  for (const char* name : {"results.json", "table.md", "report.html"})  // nothing to keep, nothing to look at
    std::filesystem::remove(place.folder.path(std::string("out/") + name));
  const Outcome gone = run_program(place.command("out"));
  REQUIRE_MESSAGE(gone.code == 0, gone.err);
  CHECK(has(gone.err, "the noise of fashion-mnist · HET <XL> is left out: "));
  CHECK_FALSE(cell_of(place.results("out"), "HET <XL>").contains("noise"));
}

TEST_CASE("cell noise: none of a plan without a study") {
  const Workplace place;
  write_study(place, false);
  const Outcome outcome = run_program(place.command("out"));
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK_FALSE(cell_of(place.results("out"), "HET <XL>").contains("noise"));
}

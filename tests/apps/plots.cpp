// plots: what gnuplot is given, what it must not be given, and what happens where it fails.

#include "apps/common/measure/plots.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>

#include "tests/apps/environment.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

TEST_CASE("plots: any name is drawn as it is, and nothing in it is run") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  const TemporaryFolder folder;
  const std::string touch = "touch " + folder.path("ran");
  for (const std::string& name :
       {"'; system '" + touch + "'; '", "''; system '" + touch + "' #", "\n!" + touch + "\n", "`" + touch + "`",
        "$(" + touch + ")", "\"; system \"" + touch + "\"", "a\\'; system '" + touch + "' #",
        "x' \\\n; system '" + touch + "'\nEOD", "EOD\nsystem '" + touch + "'", std::string("nul \0 '", 7),
        std::string("@macro %s ; # & $d0 ± \\")}) {
    CAPTURE(name);
    const Plot plot{.title = name,
                    .x_label = name,
                    .y_label = name,
                    .series = {{.name = name, .x = {0, 1}, .y = {1, 2}}},
                    .categories = {name, "b"}};
    const std::string svg = draw(plot);
    CHECK(svg.starts_with("<svg"));
    CHECK(has(svg.substr(svg.size() - 10), "</svg>"));
    CHECK_FALSE(std::filesystem::exists(folder.path("ran")));
  }
  const std::string svg = draw({.title = "'<b> & ± `x` \\n \"7\"7",
                                .x_label = "",
                                .y_label = "",
                                .series = {{.name = "s", .x = {0, 1}, .y = {0, 1}}}});
  CHECK(has(svg, "'&lt;b> &amp; ± `x` \\n \"7\"7"));
}

TEST_CASE("plots: points that are not finite are left out, and a series may have none") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
  const auto plot = [](std::vector<Series> series) {
    return Plot{.title = "t", .x_label = "x", .y_label = "y", .series = std::move(series)};
  };
  const std::string two = draw(plot({{.name = "kept", .x = {0, 1}, .y = {0, 1}}}));
  CHECK(draw(plot({{.name = "kept", .x = {0, 1, 2, 3, kNan}, .y = {0, 1, kNan, kInf, 1}}})) == two);
  const Series whole{.name = "whole", .x = {0, 1}, .y = {0, 1}, .error = {0.1, 0.1}};
  const Series nothing{.name = "nothing", .error = {}}, lost{.name = "lost", .x = {1}, .y = {kNan}, .error = {0}};
  const Series one{.name = "one", .x = {1}, .y = {1}, .error = {0}};
  for (const std::vector<Series>& series :
       {std::vector<Series>{}, {nothing}, {lost}, {nothing, whole}, {whole, lost}, {one}}) {
    CAPTURE(series.size());
    Plot p = plot(series);
    for (bool diagonal : {false, true}) {
      p.diagonal = p.unit_square = diagonal;
      const std::string svg = draw(p);
      CHECK(svg.starts_with("<svg"));
      CHECK(has(svg.substr(svg.size() - 10), "</svg>"));
      CHECK_FALSE(has(svg, "warning"));
      for (const Series& s : series) CHECK(has(svg, s.name));
    }
  }
}

TEST_CASE(
    "plots: a name is drawn letter for letter, as a label of a tic and in the key, and cut where it is too long") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  const auto drawn = [](const std::string& name) {
    return draw({.title = name,
                 .x_label = "",
                 .y_label = "",
                 .series = {{.name = name, .x = {0, 1}, .y = {1, 2}}},
                 .categories = {name, "b"}});
  };
  for (const std::string name : {"50% samples", "90%", "%", "%%", "%s%n%d", "% c", "40 % wrong labels", "%l", "100 %!",
                                 "{/Symbol a}_b^c", "@x", "a\\nb", "`id`", "#", "--persist", "é 日本語"}) {
    CAPTURE(name);
    CHECK(occurrences(drawn(name), "<text>" + name + "</text>") == 3);  // title, tic, key
  }
  CHECK(occurrences(drawn("<b>&amp;"), "<text>&lt;b>&amp;amp;</text>") == 3);
  CHECK(occurrences(drawn("\x1b[31m\n\xe9"), "<text>\\x1B[31m\\x0A\\xE9</text>") == 3);
  const std::string svg = drawn(std::string(1000, '%'));
  CHECK(occurrences(svg, "<text>" + std::string(40, '%') + "…</text>") == 2);
  CHECK(occurrences(svg, "<text>" + std::string(72, '%') + "…</text>") == 1);
}

TEST_CASE("plots: no folder of temporary files is needed") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  const TemporaryFolder folder;
  for (const std::string& temporary : {folder.path(), folder.path("none"), std::string("/proc"), std::string()}) {
    const Environment environment("TMPDIR", temporary);
    CHECK(draw({.title = "t", .x_label = "", .y_label = "", .series = {{.name = "s", .x = {0, 1}, .y = {0, 1}}}})
              .starts_with("<svg"));
  }
  CHECK(folder.count() == 0);
}

TEST_CASE("plots: a gnuplot that is missing or does not work is found out, with its own words") {
  const TemporaryFolder folder;
  const auto reason = [&](const std::string& script) {
    const TemporaryFolder programs;
    std::filesystem::permissions(programs.write("gnuplot", "#!/bin/sh\n" + script + "\n"),
                                 std::filesystem::perms::owner_all);
    const Environment environment("PATH", programs.path());
    const std::string why = why_no_plots();
    const Plot plot{.title = "t", .x_label = "", .y_label = ""};
    CHECK(error_of([&] { draw(plot); }) == (why.empty() ? "" : "[report] " + why));
    return why;
  };
  CHECK(reason("echo 'no\nterminal' >&2; exit 3") == "gnuplot failed: no?terminal");
  CHECK(reason("exit 0") == "gnuplot made no <svg> element: ");
  CHECK(reason("echo '<svg>'") == "gnuplot made no <svg> element: ");  // half of one
  CHECK(reason("kill -9 $$").starts_with("gnuplot failed"));
  CHECK(reason("echo '<svg></svg>'; echo a warning >&2").empty());
  const Environment environment("PATH", folder.path());
  CHECK(why_no_plots() == "gnuplot was not found");
}

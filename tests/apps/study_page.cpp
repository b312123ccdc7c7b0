// build/replicate --report on results whose every comparison SciPy has computed, and on results that are damaged.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "tests/apps/plans.h"

using namespace sked;
using namespace sked::test;

namespace {

LibraryJson fixture() { return library_json(slurp("tests/fixtures/study.json")); }

struct StudyFolder {
  StudyFolder() { write(json); }
  void write(const LibraryJson& results) const { folder.write("plan/results.json", results.dump()); }
  Outcome report(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"replicate", "--report", folder.path()};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
  std::string page() const { return slurp(folder.path("study.html")); }
  LibraryJson json = fixture()["results"];
  TemporaryFolder folder;
};

/// What lies between two texts, behind the first place of `begin`; empty where they are not there.
std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  if (from == text.npos) return "";
  const size_t to = text.find(end, from + begin.size());
  return to == text.npos ? "" : text.substr(from + begin.size(), to - from - begin.size());
}

/// The cells of each row, tags within them left out.
std::vector<std::vector<std::string>> cells_of(const std::string& table) {
  std::vector<std::vector<std::string>> rows;
  for (size_t at = 0; (at = table.find('<', at)) != table.npos; ++at) {
    if (table.compare(at, 4, "<tr>") == 0) rows.emplace_back();
    if (table.compare(at, 3, "<th") != 0 && table.compare(at, 3, "<td") != 0) continue;
    if (table[at + 3] != '>' && table[at + 3] != ' ') continue;
    const std::string end = table.substr(at + 1, 2);
    const size_t from = table.find('>', at) + 1;
    std::string cell = table.substr(from, table.find("</" + end + ">", from) - from);
    for (size_t tag = 0; (tag = cell.find('<')) != cell.npos;) cell.erase(tag, cell.find('>', tag) - tag + 1);
    rows.back().push_back(cell);
  }
  return rows;
}

/// The section of a claim, by its heading.
std::string section_of(const std::string& page, const std::string& heading) {
  const std::string section = between(page, "\">" + heading + " <span class=\"verdict\">", "</section>");
  REQUIRE_MESSAGE(!section.empty(), heading);
  return section;
}

/// A number as the page rounds it.
void check_number(const std::string& text, double expected) {
  const size_t point = text.find('.');
  REQUIRE_MESSAGE(point != text.npos, text);
  const double digits = static_cast<double>(text.size() - point - 1);
  CHECK_MESSAGE(std::abs(std::stod(text) - expected) <= 0.5001 * std::pow(10, -digits), text << " for " << expected);
}

void check_interval(const std::string& text, double low, double high) {
  const std::string dots = "&nbsp;… ";
  const size_t at = text.find(dots);
  REQUIRE_MESSAGE(at != text.npos, text);
  check_number(text.substr(0, at), low);
  check_number(text.substr(at + dots.size()), high);
}

std::string word(const LibraryJson& text) { return text.get<std::string>(); }

void check_comparisons(const std::string& section, const LibraryJson& claim) {
  const auto rows = cells_of(between(section, "<caption>Every comparison", "</table>"));
  const LibraryJson& expected = claim["comparisons"];
  REQUIRE(rows.size() == 1 + expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const LibraryJson& e = expected[i];
    const std::vector<std::string>& row = rows[i + 1];
    CAPTURE(word(e["setting"]));
    REQUIRE(row.size() == 10);
    CHECK(row[0] == "XL − " + word(claim["than"]) + ", " + word(e["setting"]));
    CHECK(row[1] == word(e["outcome"]));
    CHECK(row[5] == "4");
    check_number(row[6], e["mean"]);
    check_interval(row[7], e["low_95"], e["high_95"]);
    check_interval(row[8], e["low"], e["high"]);
    check_number(row[9], e["detectable"]);
  }
}

/// `changed` results are refused with one line that names the file and holds `parts`, and no page is left.
void check_refused(const StudyFolder& study, const std::function<void(LibraryJson&)>& change,
                   const std::vector<std::string>& parts, int code = 1) {
  LibraryJson results = study.json;
  change(results);
  study.write(results);
  const Outcome outcome = study.report();
  CAPTURE(outcome.err);
  CHECK(outcome.code == code);
  CHECK(one_error_line(outcome));
  CHECK(outcome.err.size() < 700);
  for (const std::string& part : parts) CHECK_MESSAGE(outcome.err.find(part) != std::string::npos, part);
  CHECK(study.folder.count() == 1);
}

}  // namespace

TEST_CASE("study page: verdicts, counts and every comparison are SciPy's") {
  const StudyFolder study;
  const Outcome outcome = study.report();
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string page = study.page();
  const auto summary = cells_of(between(page, "<table", "</table>"));
  const LibraryJson expected = fixture()["expected"];
  REQUIRE(summary.size() == 1 + expected.size() + 2);
  size_t comparisons = 7;  // of the last two claims
  for (size_t i = 0; i < expected.size(); ++i) {
    const LibraryJson& e = expected[i];
    const std::string name = word(e["claim"]), verdict = word(e["verdict"]);
    CAPTURE(name);
    const LibraryJson& n = e["counts"];
    const size_t all = e["comparisons"].size();
    comparisons += all;
    const std::string counts = n[0].dump() + " of " + std::to_string(all) +
                               (all == 1 ? " comparison" : " comparisons") + " came out as claimed, " + n[1].dump() +
                               " the other way, " + n[2].dump() + " without a difference that matters, " + n[3].dump() +
                               " open";
    CHECK(has(outcome.out, name + " Claim <" + name + ">: " + verdict + "\n    " + counts + "\n"));
    std::string brief = n[0].dump() + " of " + std::to_string(all) + " as claimed";
    for (const auto& [at, what] : {std::pair(1, " the other way"), {2, " no difference"}, {3, " open"}})
      if (n[at] != 0) brief += ", " + n[at].dump() + what;
    CHECK(summary[i + 1] == std::vector{name + " Claim &lt;" + name + "&gt;Is it?", verdict, brief});
    const std::string section = section_of(page, name + " Claim &lt;" + name + "&gt;");
    CHECK(section.starts_with(verdict + "</span>"));
    CHECK(has(section, counts));
    CHECK(has(section, "A &lt;made-up&gt; study"));
    check_comparisons(section, e);
  }
  CHECK(has(page, "15 claims by 1 plan, " + std::to_string(comparisons) + " comparisons in all."));
}

TEST_CASE("study page: a sweep, a difference of differences, what is missing, names of any kind") {
  const StudyFolder study;
  REQUIRE(study.report().code == 0);
  const std::string page = study.page();
  const auto rows = cells_of(between(section_of(page, "sweep Learned"), "<caption>Every comparison", "</table>"));
  REQUIRE(rows.size() == 6);
  // Of each seed the head with the lowest held-out NLL is 0.01 above; three heads of 3 s beside one of 2 s.
  for (const size_t i : {size_t{1}, size_t{2}}) {
    CHECK(has(rows[i][0], "XL − sweep, K = 1"));
    CHECK(has(rows[i][0], "(the sweep's training: 4.5 times the head's)"));
    CHECK(rows[i][1] == "as claimed");
    check_number(rows[i][6], 0.01);
  }
  CHECK(rows[3][0] == "XL − DET, K = 1,000 beyond K = 10");
  CHECK(rows[3][1] == "no difference");
  check_number(rows[3][6], 0);
  CHECK(rows[4][2] == "accuracy %");

  const std::string unfinished = section_of(page, "unfinished Missing");
  CHECK(has(unfinished, "open: no run of XL in no run"));
  CHECK(has(unfinished, "open: one common seed"));
  const size_t settings = study.json["plan"]["settings"].size(), all = settings * 5 * 4;
  size_t there = 0;
  for (const LibraryJson& cell : study.json["cells"]) there += cell["runs"].size();
  CHECK(has(page, "<strong>Not finished:</strong> " + std::to_string(all - there) + " of " + std::to_string(all) +
                      " runs of A &lt;made-up&gt; study are missing."));
  CHECK(has(page, "<li>XL, one seed: seed 1, 2, 3</li>"));
  CHECK(has(page, "<td>schedule.peak 0.01</td><td>2</td><td>0.4200 ± 0.0100</td><td>1.5</td><td></td>"));
  CHECK(has(page, "<td>schedule.peak 0.02</td><td>2</td><td>0.3850 ± 0.0050</td><td>1.2</td><td>chosen</td>"));
  CHECK(has(page, "<td>schedule.peak 9</td><td>2</td><td>-</td>"));

  CHECK_FALSE(has(page, "<script"));
  CHECK_FALSE(has(page, "<img src=x>"));
  CHECK_FALSE(has(page, "<b>machine"));
  CHECK(has(page, "&lt;script&gt;alert(1)&lt;"));
  CHECK(has(page, "build/replicate --config study.json"));
}

TEST_CASE("study page: from results.json alone, the same bytes again, over a page of before only") {
  const StudyFolder study;
  REQUIRE(study.report().code == 0);
  const std::string first = study.page();
  REQUIRE(study.report().code == 0);
  CHECK(study.page() == first);

  study.folder.write("mine.html", "<html>mine</html>");
  CHECK(fails_with(study.report({"--out", study.folder.path("mine.html")}), 1, "mine.html", "not touched"));
  CHECK(slurp(study.folder.path("mine.html")) == "<html>mine</html>");
  CHECK(fails_with(study.report({"--out", study.folder.path("none/a.html")}), 1, "none/a.html", "No such file"));
  CHECK(fails_with(study.report({"--out", study.folder.path("plan")}), 1, "plan", "Is a directory"));
  CHECK(fails_with(study.report({"--out", "/proc/a.html"}), 1, "/proc/a.html", "cannot write"));
  CHECK(study.report({"--out", study.folder.path("other.html")}).code == 0);
  CHECK(has(slurp(study.folder.path("other.html")), "15 claims by 1 plan"));
}

TEST_CASE("study page: results without a study beside one are passed over") {
  const StudyFolder study;
  LibraryJson plain = study.json;
  plain.erase("study");
  study.folder.write("another/results.json", plain.dump());
  study.folder.write("results.json", plain.dump());
  study.folder.write("notes.txt", "mine");
  CHECK(study.report().code == 0);
  CHECK(has(study.page(), "15 claims by 1 plan"));
}

TEST_CASE("study page: results of wrong types, sizes and names are refused, naming the file and the place") {
  const StudyFolder study;
  const std::string file = "plan/results.json";
  const auto refused = [&](const std::function<void(LibraryJson&)>& change, const std::vector<std::string>& parts,
                           int code = 1) { check_refused(study, change, parts, code); };
  const auto xl = [](LibraryJson& r) -> LibraryJson& {
    for (LibraryJson& cell : r["cells"])
      if (cell["setting"] == "K = 10" && cell["head"] == "XL") return cell;
    return r["cells"][0];
  };
  refused([](LibraryJson& r) { r["cells"] = "none"; }, {file, "cells"});
  refused([](LibraryJson& r) { r.erase("plan"); }, {file, "plan"});
  refused([](LibraryJson& r) { r["plan"]["seeds"] = {1.5}; }, {file, "plan.seeds: ", "got 1.5"});
  refused([](LibraryJson& r) { r["plan"]["seeds"] = LibraryJson::array(); }, {file, "1 to 1000 seeds, got 0"});
  refused([](LibraryJson& r) { r["plan"]["seeds"] = std::vector<int>(100000, 1); }, {file, "seeds, got 100000"});
  refused([](LibraryJson& r) { r["plan"]["heads"]["DET"] = 3; }, {file, "DET", "an object, got 3"});
  refused([](LibraryJson& r) { r["plan"]["settings"] = {"a", "b"}; }, {file, "plan.settings: expected an object"});
  refused([](LibraryJson& r) { r["cells"][0]["setting"] = "nowhere"; }, {file, "cells[0]", "nowhere"});
  refused([](LibraryJson& r) { r["cells"][1] = r["cells"][0]; }, {file, "cells[1]", "once"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"] = LibraryJson::array(); }, {file, "cells[2]", "got none"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"][1]["seed"] = 0; }, {file, "cells[2]", "0 twice"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"][1]["seed"] = 77; }, {file, "cells[2]", "77"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"][1]["summary"] = "x"; }, {file, "cells[2]", "seed 1"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"][1]["summary"]["test"]["nll"] = "NaN"; }, {file, "cells[2]"});
  refused([](LibraryJson& r) { r["cells"][2]["runs"][1]["summary"]["test"]["nll"] = {1}; }, {file, "cells[2]"});
  refused([&](LibraryJson& r) { xl(r)["tuning"][0]["train_seconds"] = "1"; }, {file, "cells[49]: tuning: "});
  refused([&](LibraryJson& r) { xl(r)["tuning"][0]["held_out_nll"] = 0.4; }, {file, "tuning: held_out_nll", "got 0.4"});
  refused([&](LibraryJson& r) { xl(r)["tuning"][0]["held_out_nll"] = {"x"}; }, {file, "cells[49]: tuning: "});
  refused([&](LibraryJson& r) { xl(r)["tuning"][0]["held_out_nll"] = LibraryJson::array(); },
          {file, "tuning: ", "none"});
  refused([&](LibraryJson& r) { xl(r)["calibrated"][0]["temperature"] = nullptr; }, {file, "calibrated: ", "got null"});
  refused([&](LibraryJson& r) { xl(r)["noise"]["learned"] = {{1, 2}}; }, {file, "2 rows, got 1"});
  refused([&](LibraryJson& r) { xl(r)["noise"]["true"][1] = std::vector<int>(100000, 1); }, {"2 columns, got 100000"});
  refused([&](LibraryJson& r) { xl(r)["noise"]["learned"][0][0] = "NaN"; }, {file, "noise: ", "got \"NaN\""});
  refused([&](LibraryJson& r) { xl(r)["noise"]["classes"] = std::vector<std::string>(100000, "a"); },
          {file, "1 to 60 classes, got 100000"});
  for (const char* picture : {"http://example.org/a.png", "data:image/svg+xml;base64,AAAA", "javascript:alert(1)",
                              "data:image/png;base64,A\"B"})
    refused([&](LibraryJson& r) { xl(r)["noise"]["images"][0]["picture"] = picture; }, {file, "data:image/png"});
  const auto compared = [](LibraryJson& r) -> LibraryJson& { return r["study"]["claims"][0]["comparisons"][0]; };
  refused([&](LibraryJson& r) { compared(r)["metric"] = "nlll"; }, {file, "metric", "did you mean \"nll\"?"});
  refused([&](LibraryJson& r) { compared(r)["than_metric"] = "nlll"; }, {"than_metric", "did you mean \"nll\"?"});
  refused([&](LibraryJson& r) { compared(r)["than"] = "XL"; }, {"another head than \"XL\", or another than_metric"});
  refused([&](LibraryJson& r) { compared(r)["than"] = "XL", compared(r)["than_metric"] = "nll"; },
          {"another than_metric"});
  refused([&](LibraryJson& r) { compared(r)["head"] = {"XL"}; }, {file, "head"});
  refused([](LibraryJson& r) { r["study"] = nullptr; }, {file, "study: expected an object, got null"});
}

TEST_CASE("study page: no folder, no results, none with a study, damaged files") {
  const StudyFolder study;
  const std::string none = study.folder.path("none");
  CHECK(fails_with(run_program({"replicate", "--report", none}), 1, "none", "expected a folder of results"));
  CHECK(fails_with(run_program({"replicate", "--report", study.folder.path("plan/results.json")}), 1, "results.json",
                   "expected a folder of results"));
  std::filesystem::create_directories(study.folder.path("empty"));
  CHECK(fails_with(run_program({"replicate", "--report", study.folder.path("empty")}), 1, "empty", "results.json"));
  LibraryJson plain = study.json;
  plain.erase("study");
  study.write(plain);
  CHECK(fails_with(study.report(), 1, "expected results.json of plans with a `study`"));
  const std::string whole = study.json.dump();
  for (const std::string& damaged : {whole.substr(0, whole.size() / 2), std::string(), std::string("PK\x03\x04"),
                                     std::string(100000, '['), std::string("{\"study\": NaN}")}) {
    study.folder.write("plan/results.json", damaged);
    const Outcome outcome = study.report();
    CHECK(fails_with(outcome, 1, "plan/results.json"));
    CHECK(outcome.err.find("results.json") == outcome.err.rfind("results.json"));  // said once
  }
  std::filesystem::remove(study.folder.path("plan/results.json"));
  std::filesystem::create_directories(study.folder.path("plan/results.json"));
  CHECK(fails_with(study.report(), 1, "plan/results.json", "expected a regular file"));
  std::filesystem::remove(study.folder.path("plan/results.json"));
  REQUIRE(mkfifo(study.folder.path("plan/results.json").c_str(), 0600) == 0);
  CHECK(fails_with(study.report(), 1, "plan/results.json", "expected a regular file"));
}

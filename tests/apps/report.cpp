// The report of a plan: names of any kind, tools and files that are missing, and nothing lost that was trained.

#include <doctest/doctest.h>

#include "apps/common/measure/plots.h"
#include "core/npy.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "tests/apps/plans.h"

using namespace sked;
using namespace sked::test;

namespace {

namespace fs = std::filesystem;

/// Plans whose runs are as short as can be.
struct Reporting : Workplace {
  Reporting() {
    base = tiny_config(folder.path("data"));
    base.train.steps = 2;
    base.train.eval_every = 0.1;
    base.train.eval_samples = base.head.test_samples = 2;
    heads = {{"DET", {{"head.kind", "det"}}}, {"XL", LibraryJson::object()}};
  }
  Outcome run(const std::string& out = "out", const std::vector<std::string>& more = {}) {
    LibraryJson plan = {{"base", library_json(config_text(base))}, {"heads", heads}, {"seeds", {0, 1}}};
    plan.update(extra);
    folder.write("plan.json", plan.dump());
    return run_program(command(out, more));
  }
  std::string file(const std::string& name) const { return slurp(folder.path("out/" + name)); }
  std::string run_file(const std::string& head, const std::string& name) const {
    return folder.path("out/fashion-mnist/" + head + "/seed-0/" + name);
  }
  RunConfig base;
  LibraryJson heads, extra = LibraryJson::object();
};

/// A gnuplot of one's own in front of $PATH.
class Gnuplot {
 public:
  explicit Gnuplot(const std::string& script) : path_("PATH", folder_.path() + ":" + std::getenv("PATH")) {
    fs::permissions(folder_.write("gnuplot", "#!/bin/sh\n" + script + "\n"), fs::perms::owner_all);
  }
  std::string folder() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
  Environment path_;
};

/// Other than line ends and the tabs of gnuplot.
bool has_controls(const std::string& text) {
  return std::ranges::any_of(text, [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; });
}

}  // namespace

TEST_CASE("report: heads and settings of any printable name") {
  Reporting place;
  const std::vector<std::string> names = {"50% samples",
                                          "%s%n",
                                          "a\"b'c",
                                          "`id` $(id) ${HOME}",
                                          "<script>alert(1)</script>",
                                          "a|b",
                                          "a\\|b",
                                          "\\",
                                          "*b* _c_ ~d~ [e](f)",
                                          "&amp;",
                                          "{/Symbol a}_b^c",
                                          "#1",
                                          "--help",
                                          "..",
                                          "///",
                                          "é",
                                          "日本語",
                                          "'; system 'id"};
  place.heads = LibraryJson::object();
  for (const std::string& name : names) place.heads[name] = {{"head.kind", "det"}};
  place.extra["settings"] = LibraryJson::object();
  for (const std::string name : {"40 % | <wrong>", ".."}) place.extra["settings"][name] = LibraryJson::object();
  place.extra["about"] = {{"title", "\x1b[31m<b>100 %</b>\nred"}};
  const Outcome outcome = place.run("out", {"--seed", "0", "--set", "train.steps=1"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err.empty());
  CHECK_FALSE(has_controls(outcome.out));
  const LibraryJson results = place.results("out");
  REQUIRE(results["cells"].size() == 2 * names.size());
  for (size_t i = 0; i < names.size(); ++i) CHECK(results["cells"][i]["head"] == names[i]);
  const std::string table = place.file("table.md"), report = place.file("report.html");
  CHECK(occurrences(table, "\n") == 2 * (4 + names.size()) + 1);
  CHECK(has(table, "**40 % \\| \\<wrong>**"));
  for (const char* row : {"| 50% samples | 1 |", "| a\\|b | 1 |", "| a\\\\\\|b | 1 |", "| \\\\ | 1 |",
                          "| \\*b\\* \\_c\\_ \\~d\\~ \\[e](f) | 1 |", "| \\<script>alert(1)\\</script> | 1 |"})
    CHECK_MESSAGE(has(table, row), row);
  CHECK_FALSE(has(report, "<script"));
  CHECK_FALSE(has(report, "<b>"));
  CHECK_FALSE(has_controls(report));
  CHECK(has(report, "<h1>\\x1B[31m&lt;b&gt;100 %&lt;/b&gt;\\x0Ared</h1>"));
  CHECK(occurrences(report, "<details><summary>Accuracy of each class") == 2);
  CHECK(has(report, "AURC"));
  CHECK_FALSE(has(report, "ρ(noise"));  // nothing to correlate with
  if (why_no_plots().empty()) CHECK(occurrences(report, "<text>50% samples</text>") == 2 * 6);
  // Nothing outside the plan's folder: its files, and one folder a setting.
  CHECK(std::distance(fs::directory_iterator(place.folder.path("out")), fs::directory_iterator()) == 5);
  CHECK(std::distance(fs::directory_iterator(place.folder.path()), fs::directory_iterator()) == 3);
}

TEST_CASE("report: names that cannot be shown or written are refused before anything is") {
  Reporting place;
  const LibraryJson heads = place.heads;
  const auto refused = [&](const std::string& key, const std::string& name, const char* part) {
    place.heads = heads;
    place.extra = LibraryJson::object();
    (key == "heads" ? place.heads : place.extra[key])[name] = LibraryJson::object();
    return fails_with(place.run(), 2, "plan.json", "`" + key, part);
  };
  for (const std::string key : {"heads", "settings"}) {
    for (const std::string& name :
         {std::string("a\nb"), std::string("a\tb"), std::string("\x1b[31m"), std::string(1, '\0'), std::string("\x7f"),
          std::string("\u009b31m"), std::string("\u202egnp"), std::string("\u2028")})
      CHECK(refused(key, name, "control characters"));
    CHECK(refused(key, "", "expected names"));
    CHECK(refused(key, "  ", "expected names"));
    CHECK(refused(key, std::string(1000, 'x'), "at most 255 bytes, got 1000"));
  }
  for (const std::string name : {"results.json", "table.md", "report.html"})
    CHECK(refused("settings", name, "is a file of the results"));
  CHECK_FALSE(place.exists("out"));
}

TEST_CASE("report: a gnuplot that does not work is said before training, and costs the plots alone") {
  Reporting place;
  const Gnuplot broken("echo 'no such terminal' >&2; exit 1");
  const Outcome outcome = place.run();
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "note: gnuplot failed: no such terminal: report.html has no plots\n");
  CHECK(has(place.file("report.html"), "<p>gnuplot failed: no such terminal: the plots are left out.</p>"));
  CHECK_FALSE(has(place.file("report.html"), "GNUPLOT"));
  CHECK(has(place.file("report.html"), "<table>"));
  CHECK(place.results("out")["cells"].size() == 2);

  // Said even where the training fails then.
  place.base.schedule.peak = 1e30;
  place.base.train.steps = 50;
  const Outcome failed = place.run("other");
  CHECK(failed.code == 1);
  CHECK(failed.err.starts_with("note: gnuplot failed"));
}

TEST_CASE("report: a gnuplot that stops working costs the plots from there on") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  Reporting place;
  const std::string path = std::getenv("PATH");
  const Gnuplot failing(
      "d=$(dirname \"$0\"); echo >> \"$d/count\"; [ $(wc -l < \"$d/count\") -gt 3 ] && "
      "{ echo out of paper >&2; exit 1; }; PATH='" +
      path + "' exec gnuplot \"$@\"");
  const Outcome outcome = place.run();
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "note: [report] gnuplot failed: out of paper: the other plots are left out\n");
  CHECK(occurrences(place.file("report.html"), "GNUPLOT") == 2);  // the first was the test
  CHECK(occurrences(place.file("report.html"), "out of paper") == 1);
  CHECK(place.file("report.html").ends_with("</body></html>\n"));
}

TEST_CASE("report: no folder of temporary files is needed") {
  if (!why_no_plots().empty()) return skip("gnuplot is not installed");
  Reporting place;
  const Environment environment("TMPDIR", "/nowhere");
  // run_program's own temporary files are not $TMPDIR's
  const Outcome outcome = place.run();
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  CHECK(occurrences(place.file("report.html"), "GNUPLOT") == 6);
}

TEST_CASE("report: finished runs stay finished without their weights, and the report is made of what is there") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  const LibraryJson results = place.results("out");
  const std::string summary = slurp(place.run_file("XL", "summary.json"));
  for (const std::string head : {"DET", "XL"}) {
    fs::remove(place.run_file(head, "last.safetensors"));
    fs::remove(place.run_file(head, "best.safetensors"));
  }
  const Outcome again = place.run();
  CHECK(again.code == 0);
  CHECK(occurrences(again.err, "checkpoints are gone") == 2);
  CHECK_FALSE(has(again.out, "epoch"));  // as an evaluation says
  CHECK(place.results("out") == results);
  CHECK(slurp(place.run_file("XL", "summary.json")) == summary);
  CHECK_FALSE(has(place.file("report.html"), "<h3>"));  // no images without weights

  fs::remove(place.run_file("DET", "metrics.jsonl"));
  const Outcome without_metrics = place.run();
  CHECK(without_metrics.code == 0);
  CHECK(place.results("out") == results);
  if (why_no_plots().empty())
    for (const char* part : {"curves", "DET/seed-0/metrics.jsonl", "No such file"})
      CHECK_MESSAGE(has(without_metrics.err, part), part);
  // Nor are the images they were trained on needed.
  CHECK(place.run("out", {"--data-root", place.folder.path("gone")}).code == 0);
  CHECK(place.results("out") == results);
}

TEST_CASE("report: images that cannot be looked at any more cost the images alone") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  CHECK(has(place.file("report.html"), "<h3>"));
  place.folder.write("out/fashion-mnist/XL/seed-0/best.safetensors", "damaged");
  const Outcome outcome = place.run();
  CHECK(outcome.code == 0);
  CHECK(one_line_with(outcome.err.substr(0, outcome.err.size() - 1), "note: the noisiest images of XL are left out",
                      "best.safetensors"));
  CHECK(has(place.file("report.html"), "<p>the noisiest images of XL are left out"));
  CHECK(place.file("report.html").ends_with("</body></html>\n"));
}

TEST_CASE("report: of noise that is known its confusion of classes and how the predicted noise compares") {
  Reporting place;
  CHECK(place.run("out", {"--seed", "0"}).code == 0);
  CHECK(occurrences(place.file("report.html"), "skedastic heat map") == 2);  // correlation and covariance, of XL alone
  place.base.data.noise = LabelNoise::instance;
  place.base.data.noise_rate = 0.4;
  place.extra["settings"] = {{"a", LibraryJson::object()}, {"b", {{"head.rank", 2}}}};
  const Outcome outcome = place.run("out", {"--seed", "0", "--fresh"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string report = place.file("report.html");
  CHECK(occurrences(report, "aria-label=\"Correlation of sampled logits, 10 classes\"") == 2);
  CHECK(occurrences(report, "aria-label=\"Known noise: p(y|x) by class, 10 classes\"") == 2);
  if (why_no_plots().empty()) CHECK(has(report, "aria-label=\"Predicted noise against known noise, rank correlation "));
  CHECK(has(report, "<li><a href=\"#setting-2\">b</a></li>"));
  CHECK(has(report, "<h2 id=\"setting-2\">b</h2>"));
  CHECK(has(report, "<a href=\"a/XL/seed-0/\">"));
  CHECK(occurrences(report, "<summary>Values of each seed</summary>") == 2);
  CHECK(has(report, "What you see here.</strong> 4 runs on fashion-mnist"));
}

TEST_CASE("report: a summary that is none is named") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  for (const char* text : {"", "{", "[]", "{\"x\": 1}", "{\"test\": [1]}", "{\"test\": {\"nll\": \"low\"}}", "null"}) {
    CAPTURE(text);
    place.folder.write("out/fashion-mnist/XL/seed-0/summary.json", text);
    CHECK(fails_with(place.run(), 1, "XL/seed-0/summary.json"));
  }
}

TEST_CASE("report: heads that left the plan, and folders of others, are no part of the results") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  const LibraryJson before = place.results("out");
  place.folder.write("out/fashion-mnist/XL/seed-7/summary.json", "not ours");
  place.folder.write("out/fashion-mnist/notes.txt", "mine");
  place.heads.erase("XL");
  REQUIRE(place.run().code == 0);
  const LibraryJson after = place.results("out");
  REQUIRE(after["cells"].size() == 1);
  CHECK(after["cells"][0] == before["cells"][0]);
  CHECK(after["comparisons"].empty());
  CHECK_FALSE(has(place.file("table.md"), "XL"));
  CHECK(fs::exists(place.run_file("XL", "last.safetensors")));
  CHECK(slurp(place.folder.path("out/fashion-mnist/notes.txt")) == "mine");
}

TEST_CASE("report: a head that fails takes nothing from the results that are there") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  const LibraryJson before = place.results("out");
  place.heads = {{"fails", {{"schedule.peak", 1e30}, {"train.steps", 50}}},
                 {"DET", place.heads["DET"]},
                 {"XL", LibraryJson::object()}};
  CHECK(place.run().code == 1);
  const LibraryJson after = place.results("out");
  REQUIRE(after["cells"].size() == 2);
  for (size_t i = 0; i < 2; ++i) CHECK(after["cells"][i] == before["cells"][i]);
}

TEST_CASE("report: what cannot be written is found out before training") {
  Reporting place;
  for (const std::string file : {"results.json", "table.md", "report.html"}) {
    fs::create_directories(place.folder.path("taken-" + file + "/" + file));
    CHECK(fails_with(place.run("taken-" + file), 1, "taken-" + file + "/" + file, "Is a directory"));
    CHECK_FALSE(place.exists("taken-" + file + "/fashion-mnist"));
  }
  place.folder.write("later/fashion-mnist/XL", "a file where a run's folder should be");
  CHECK(fails_with(place.run("later"), 1, "later/fashion-mnist/XL", "Not a directory"));
  CHECK_FALSE(place.exists("later/fashion-mnist/DET"));
  const std::string own = place.folder.write("own/fashion-mnist/XL/seed-1/metrics.jsonl", "mine");
  CHECK(fails_with(place.run("own"), 1, own));
  CHECK_FALSE(place.exists("own/fashion-mnist/DET"));
  CHECK(slurp(own) == "mine");
}

TEST_CASE("report: photographs, one of them damaged") {
  if (!can_decode_images()) return skip("built without image libraries");
  Reporting place;
  for (const std::string split : {"train", "test"})
    for (const std::string name : {"cat", "\x1b[31m<dog>"})
      for (int i = 0; i < 3; ++i) {
        const std::string path = "images/" + split + "/" + name + "/" + std::to_string(i) + ".png";
        place.folder.write(path, "");
        write_png(place.folder.path(path), Tensor::full({300, 500, 3}, 40 * i, DType::u8));
      }
  place.folder.write("images/test/cat/1.png", "damaged");
  const std::string pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  place.base.data = {};
  place.base.data.name = "image-folder";
  place.base.data.path = place.folder.path("images");
  place.base.data.train_pipeline = place.base.data.eval_pipeline = pipeline;
  place.base.data.skip_limit = 1;
  place.base.train.batch_size = 3;
  const Outcome outcome = place.run("out", {"--seed", "0"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK_FALSE(has_controls(outcome.out));
  const std::string report = place.file("report.html");
  CHECK(occurrences(report, "<figure>") == 5 + 5);  // of all, and of each class
  CHECK(has(report, "\\x1B[31m&lt;dog&gt;"));
  CHECK_FALSE(has_controls(report));
  CHECK(occurrences(report, "<br><a href=\"../images/test/cat/0.png\">0.png</a>") == 2);
  CHECK(occurrences(report, "<br><a href=\"../images/test/%1B%5B31m%3Cdog%3E/2.png\">2.png</a>") == 2);
  const size_t largest = size_t{224} * 373 * 3 * 4 / 3;  // base64 of a bitmap whose shorter side is 224
  CHECK(report.size() < 5 * (largest + 1000) + 5 * (largest / 4 + 1000) + 500000);  // half as wide by class
}

TEST_CASE("report: of vectors the noise without pictures, beside that of the rule which made them") {
  Reporting place;
  place.base.data = {};
  place.base.data.name = "made-embeddings";
  place.base.data.labels = "confused";
  place.base.data.made = {.classes = 6, .superclass_size = 3, .width = 8, .train = 40, .test = 20};
  place.base.data.train_pipeline = place.base.data.eval_pipeline = kDefaultPipeline;
  place.base.model = {};
  place.base.model.name = "none";
  const Outcome outcome = place.run("out", {"--seed", "0"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string report = place.file("report.html");
  for (const char* map :
       {"Correlation of sampled logits", "Covariance of sampled logits", "Known noise: p(y|x) by class"})
    CHECK_MESSAGE(occurrences(report, "aria-label=\"" + std::string(map) + ", 6 classes\"") == 1, map);
  CHECK(has(report, "mean over 20 of the examples measured, 64 samples each"));
  CHECK(has(report, " % of the training labels are not the clean ones."));
  CHECK(has(report, "Rank correlation of the predicted noise with the entropy of p(y|x) over the test images: XL "));
  CHECK_FALSE(has(report, "<figure>"));
  CHECK_FALSE(has(report, "Noisiest images"));
}

TEST_CASE("report: people's votes by class, beside what the head holds for uncertain") {
  Reporting place;
  const int64_t images = 12, classes = 2;
  Tensor x = Tensor::empty({images, 3}), y = Tensor::empty({images}, DType::i64),
         votes = Tensor::empty({images, classes}, DType::i64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i % 7) - 3;
  for (int64_t i = 0; i < images; ++i) {
    y.data<int64_t>()[i] = i % 2;
    votes.data<int64_t>()[2 * i] = i % 2 == 0 ? 3 : 1;  // of four people three see class 0, or one
    votes.data<int64_t>()[2 * i + 1] = 4 - votes.data<int64_t>()[2 * i];
  }
  fs::create_directory(place.folder.path("vectors"));
  for (const std::string part : {"train", "test"})
    save_safetensors(place.folder.path("vectors/" + part + ".safetensors"), {{"features", x}, {"labels", y}});
  save_npy(place.folder.path("votes.npy"), votes);
  place.base.data = {};
  place.base.data.name = "embeddings";
  place.base.data.path = place.folder.path("vectors");
  place.base.data.votes = place.folder.path("votes.npy");
  place.base.model = {};
  place.base.model.name = "none";
  place.base.train.batch_size = 4;
  const Outcome outcome = place.run("out", {"--seed", "0"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const std::string report = place.file("report.html");
  const size_t map = report.find("aria-label=\"Votes: p(y|x) by class, 2 classes\"");
  REQUIRE(map != std::string::npos);
  const std::string drawn = report.substr(map, report.find("</svg>", map) - map);
  CHECK(has(drawn, "fill-opacity=\"0.75\" d=\"M0 0h1v1h-1zM1 1h1v1h-1z\""));
  CHECK(has(drawn, "fill-opacity=\"0.25\" d=\"M1 0h1v1h-1zM0 1h1v1h-1z\""));
  CHECK_FALSE(has(drawn, ">−1<"));
}

TEST_CASE("report: what is printed goes into no file where the standard streams are closed") {
  Reporting place;
  REQUIRE(place.run().code == 0);
  const std::string table = place.file("table.md"), report = place.file("report.html");
  for (const auto& closed : std::vector<std::vector<int>>{{1}, {2}, {0, 1, 2}}) {
    for (const char* file : {"table.md", "report.html"}) fs::remove(place.folder.path("out/" + std::string(file)));
    CHECK(run_program(place.command("out"), {.closed = closed}).code == 0);
    CHECK(place.file("table.md") == table);
    CHECK(place.file("report.html") == report);
  }
}

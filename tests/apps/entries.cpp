// Every reader at a hundred thousand entries: time in proportion to them. What is quadratic takes minutes there.

#include <doctest/doctest.h>

#include <chrono>

#include "apps/common/measure/summary.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/run_folder.h"
#include "apps/replicate/report.h"
#include "apps/replicate/results.h"
#include "apps/replicate/tables.h"
#include "core/gzip.h"
#include "core/safetensors.h"
#include "data/image_collection.h"
#include "data/relabeled.h"
#include "data/tokenizer.h"
#include "tests/apps/support.h"
#include "tests/common/mutate.h"

using namespace sked;
using namespace sked::test;

namespace {

constexpr int64_t kMany = 100'000;

/// Calls f and demands that it takes no longer than `most` seconds: 20 times what was measured, and a fraction of what
/// quadratic work takes.
template <class F>
void in_time(const char* what, double most, F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK_MESSAGE(seconds < most, std::string(what) << " took " << seconds << " s");
}

std::string numbered(const std::string& word, int64_t i) { return word + std::to_string(i); }

/// `"word0": value, "word1": value, …`
std::string members(const std::string& word, const std::string& value, int64_t count = kMany) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) text += (i > 0 ? ",\"" : "\"") + numbered(word, i) + "\":" + value;
  return text;
}

}  // namespace

TEST_CASE("entries: safetensors files of many tensors, and of much metadata") {
  const TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (int64_t i = 0; i < kMany; ++i) tensors.push_back({numbered("blocks.0.t", i), Tensor::zeros({1})});
  const std::string path = folder.path("many.safetensors");
  in_time("save_safetensors", 10, [&] { save_safetensors(path, tensors, {{"format", "pt"}}); });
  in_time("load_safetensors", 10, [&] { CHECK(load_safetensors(path).tensors.size() == tensors.size()); });
  const TensorFile file = load_safetensors(path);
  in_time("follow_file", 10, [&] {
    ModelConfig model;
    model.name = "vit-s";
    CHECK(error_of([&] { follow_file(model, file, path, {224, 224, 3}, true); }).empty());
  });
  std::map<std::string, std::string> metadata;
  for (int64_t i = 0; i < kMany; ++i) metadata[numbered("key", i)] = "text";
  in_time("metadata", 10, [&] {
    save_safetensors(path, {}, metadata);
    CHECK(load_safetensors(path).metadata == metadata);
  });
}

TEST_CASE("entries: checkpoints of many tensors, and whose state and data have many keys") {
  const TemporaryFolder folder;
  const std::string path = folder.path("many.safetensors"), config = config_text(RunConfig{});
  std::vector<NamedTensor> tensors;
  for (int64_t i = 0; i < kMany; ++i) tensors.push_back({numbered("optimizer.t", i), Tensor::zeros({1})});
  save_safetensors(path, tensors, {{"config", config}, {"state", "{}"}});
  in_time("read_checkpoint", 10, [&] { CHECK(error_of([&] { read_checkpoint(path); }).empty()); });
  save_safetensors(path, {}, {{"config", config}, {"state", "{" + members("k", "1") + "}"}});
  in_time("state", 10, [&] { CHECK(one_line_with(error_of([&] { read_checkpoint(path); }), "k0")); });
  std::string names;
  for (int64_t i = 0; i < kMany; ++i) names += (i > 0 ? ",\"" : "\"") + numbered("class ", i) + "\"";
  const std::string set = R"({"count": 1, "fingerprint": ""})";
  save_safetensors(path, {},
                   {{"config", config},
                    {"state", "{}"},
                    {"data", "{\"classes\":[" + names + "],\"train\":" + set + ",\"validation\":" + set +
                                 ",\"test\":" + set + "}"}});
  in_time("data", 10, [&] { CHECK(read_checkpoint(path).data->classes.size() == kMany); });
}

TEST_CASE("entries: configurations, plans and summaries with many keys") {
  const TemporaryFolder folder;
  in_time("about", 10, [] { parse_config("{\"about\":{" + members("k", "1") + "}}", "c.json"); });
  in_time("objects", 10, [] {
    parse_config(
        "{\"about\":{\"a\":[{}" +
            [] {
              std::string text;
              for (int64_t i = 0; i < kMany; ++i) text += ",{}";
              return text;
            }() +
            "]}}",
        "c.json");
  });
  in_time("unknown key", 10, [] {
    CHECK_FALSE(error_of([] { parse_config("{\"" + std::string(1'000'000, 'k') + "\":1}", "c.json"); }).empty());
  });
  const std::string heads =
      R"({"base": {"data": {"name": "cifar-10"}}, "heads": {)" + members("h", "{}", 50'000) + "}}";
  in_time("heads", 10, [&] { CHECK(read_plan(folder.write("plan.json", heads), {}).heads.size() == 50'000); });
  in_time("seeds", 10, [&] {
    std::string text = R"({"base": {}, "heads": {"a": {}}, "seeds": [0)";
    for (int64_t i = 1; i < kMany; ++i) text += "," + std::to_string(i);
    CHECK(read_plan(folder.write("plan.json", text + "]}"), {}).seeds.size() == kMany);
  });
  in_time("summary", 10, [&] {
    const std::string path = folder.write("summary.json", "{" + members("k", "1", 50'000) + "}");
    CHECK_FALSE(error_of([&] { read_summary(path); }).empty());
  });
}

TEST_CASE("entries: a plan of ten thousand runs, and a log of many lines") {
  const TemporaryFolder folder;
  Plan plan;
  plan.settings = {{"s"}};
  plan.heads = {{"DET"}, {"XL"}};
  std::vector<FinishedRun> runs;
  for (size_t i = 0; i < 10'000; ++i) {
    FinishedRun run;
    run.plan = {0, i % 2, i / 2, {}, "run"};
    run.summary.seed = i / 2;
    run.summary.test.measures.nll = static_cast<double>(i);
    runs.push_back(run);
  }
  in_time("results", 20, [&] {
    const std::vector<Cell> cells = cells_of(plan, runs);
    CHECK(results_json(plan, cells).size() > runs.size());
    CHECK(table_markdown(plan, cells).find("| 5000 |") != std::string::npos);
  });
  std::string lines;
  for (int64_t i = 0; i < kMany; ++i)
    lines += R"({"step":1,"split":"validation","epoch":)" + std::to_string(i) + R"(,"nll":1,"accuracy":0.5})" + "\n";
  folder.write("run/metrics.jsonl", lines);
  const std::vector<Cell> cells = cells_of(plan, {runs.begin(), runs.begin() + 1});
  // A gnuplot that draws nothing: how fast the real one is does not matter here.
  folder.write("bin/gnuplot", "#!/bin/sh\necho '<svg></svg>'\n");
  std::filesystem::permissions(folder.path("bin/gnuplot"), std::filesystem::perms::owner_all);
  const std::string before = std::getenv("PATH");
  setenv("PATH", (folder.path("bin") + ":" + before).c_str(), 1);
  in_time("metrics", 20, [&] { CHECK_FALSE(report_html(plan, cells, folder.path(), "").empty()); });
  setenv("PATH", before.c_str(), 1);
}

TEST_CASE("entries: gzip files of many members, vocabularies of many pieces, lists of many classes") {
  const TemporaryFolder folder;
  std::string members_of_gzip;
  for (int64_t i = 0; i < kMany; ++i) members_of_gzip += gzipped("a");
  in_time("gunzip", 10, [&] {
    size_t size = kMany;
    const std::string text = error_of([&] { size = gunzip(members_of_gzip, "f.gz", 1 << 30).size(); });
    CHECK(size == kMany);
    CHECK((text.empty() || text.find("without zlib") != std::string::npos));
  });
  std::string list;
  std::vector<std::string> names;
  for (int64_t i = 0; i < kMany; ++i) {
    names.push_back(numbered("class ", i));
    list += std::to_string(i) + "\t" + numbered("n", i) + "\t" + names.back() + "\n";
  }
  in_time("class list", 10, [&] { CHECK(load_class_list(folder.write("classes.tsv", list)).names.size() == kMany); });
  in_time("class difference", 10, [&] {
    std::vector<std::string> others = names;
    others.back() = "other";
    CHECK_FALSE(class_difference(names, others).empty());
  });
  if (!can_tokenize()) return;
  // The pieces of the fixture, with many more in front of its settings.
  const std::string model = slurp("tests/fixtures/tokenizer.model");
  std::string more;
  for (int64_t i = 0; i < kMany; ++i) {
    const std::string text = numbered("piece", i);
    const std::string piece =
        "\x0a" + std::string(1, static_cast<char>(text.size())) + text + std::string("\x15\0\0\0\0", 5);
    more += "\x0a" + std::string(1, static_cast<char>(piece.size())) + piece;
  }
  in_time("vocabulary", 20, [&] {
    const Tokenizer tokenizer = Tokenizer::parse(model + more, "many");
    CHECK(tokenizer.vocabulary() > kMany);
    tokenizer.encode({"a photo of piece99999"}, 60, true);
  });
}

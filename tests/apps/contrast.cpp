// Contrastive training end to end on a tiny captioned data set: training and resuming, zero-shot classification, a
// locked image tower, files as input, and what is refused.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/contrastive.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "data/image_file.h"
#include "tests/apps/support.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;

namespace {

RunConfig captioned_config(const std::string& root) {
  RunConfig config = tiny_captioned(tiny_config(root));
  config.contrast.features = root + "/features";
  config.train.eval_every = 1;
  return config;
}

struct Workplace {
  Workplace() { write_tiny_data(root()); }
  std::string root() const { return folder.path("data"); }
  RunConfig config() const { return captioned_config(root()); }
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  std::string write(const RunConfig& config) const {
    folder.write("run.json", config_text(config));
    return folder.path("run.json");
  }
  Outcome contrast(const RunConfig& config, const std::string& out, const std::vector<std::string>& more = {},
                   const RunLimits& limits = {}) const {
    std::vector<std::string> words{"contrast", "--config", write(config), "--out", folder.path(out), "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words, limits);
  }
  TemporaryFolder folder;
};

/// Images with texts: row i shows image rows[i].first.
class PairTable final : public DatasetView {
 public:
  PairTable(std::shared_ptr<const Dataset> images, std::vector<std::pair<int64_t, std::string>> rows)
      : DatasetView(std::move(images)), rows_(std::move(rows)) {}
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  int64_t classes() const override { return 0; }
  int64_t base_index(int64_t i) const override { return rows_[static_cast<size_t>(i)].first; }
  bool has_captions() const override { return true; }
  std::string caption(int64_t i, Rng&) const override { return rows_[static_cast<size_t>(i)].second; }

 private:
  std::vector<std::pair<int64_t, std::string>> rows_;
};

bool same_tensors(const std::string& a, const std::string& b) {
  const TensorFile left = load_safetensors(a), right = load_safetensors(b);
  return std::ranges::equal(left.tensors, right.tensors, [](const NamedTensor& x, const NamedTensor& y) {
    return x.name == y.name && x.tensor.shape() == y.tensor.shape() &&
           std::memcmp(x.tensor.raw(), y.tensor.raw(), x.tensor.bytes()) == 0;
  });
}

const TrainOptions kQuiet{.quiet = true};

bool without_sentencepiece() {
  if (!can_tokenize()) skip("built without SentencePiece");
  return !can_tokenize();
}

/// The towers of a finished run, with its weights.
Towers towers_of(const RunFolder& run, Device device = Device::cpu) {
  const TensorFile file = load_safetensors(run.last());
  const RunConfig config = config_of(file, run.last());
  Towers towers = make_towers(config, vocabulary_of(file, run.last(), config), {8, 8, 1}, device);
  restore_weights(file, run.last(), *towers.model);
  return towers;
}

}  // namespace

TEST_CASE("contrast: it learns to name classes it was only told of in captions") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  config.train.epochs = 30;
  for (const ContrastKind kind : {ContrastKind::det, ContrastKind::het_xl}) {
    CAPTURE(kind);
    config.contrast.kind = kind;
    const Summary s = train(config, place.run(name_of(kind)).path, kQuiet);
    CHECK(s.test.measures.count == 60);
    CHECK(s.test.measures.accuracy > 0.5);  // chance: 0.1
    CHECK(s.test.retrieval.count == 40);
    CHECK(s.test.retrieval.image_to_text_1 > 0.3);
    CHECK(s.test.retrieval.image_to_text_10 >= s.test.retrieval.image_to_text_1);
    CHECK(s.head == name_of(kind));
    CHECK((s.params_head_extra > 1) == (kind == ContrastKind::het_xl));
    CHECK(read_summary(place.run(name_of(kind)).summary()).test.retrieval.text_to_image_5 ==
          s.test.retrieval.text_to_image_5);
  }
}

TEST_CASE("contrast: killed and resumed, it ends as if never stopped") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  config.train.epochs = 12;
  config.train.log_every = 1;
  config.train.checkpoint_every = 7;
  REQUIRE(place.contrast(config, "whole").code == 0);
  const RunFolder part = place.run("part");
  const auto ready = [&] { return count_lines(part.metrics()) >= 30; };
  const auto kill = [&] { return place.contrast(config, "part", {}, {.signal = SIGKILL, .when = ready}); };
  REQUIRE(until_stopped(part.path, "summary.json", kill).code == 128 + SIGKILL);
  const Outcome resumed = place.contrast(config, "part");
  CHECK(resumed.code == 0);
  CHECK(same_tensors(place.run("whole").last(), part.last()));
  CHECK(metrics_without_timings(place.run("whole").metrics()) == metrics_without_timings(part.metrics()));
}

TEST_CASE("contrast: it goes on with the very files of templates and class names it began with") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  config.captions.templates = place.folder.write("templates.txt", "a photo of {}\n");
  config.captions.classes = place.folder.write("classes.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  config.train.epochs = 1;
  CHECK(place.contrast(config, "run", {"--set", "train.time_limit=0.000001"}).code == 124);
  const auto refused_with = [&](const std::string& name, const std::string& text, const char* key) {
    const std::string before = slurp(place.folder.path(name));
    place.folder.write(name, text);
    CHECK(fails_with(place.contrast(config, "run"), 1, key, "another file", "--fresh"));
    place.folder.write(name, before);
  };
  refused_with("templates.txt", "a picture of {}\n", "captions.templates");
  refused_with("classes.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nk\n", "captions.classes");
  CHECK(place.contrast(config, "run").code == 0);
}

TEST_CASE("contrast: a run of recorded steps is the run without, bit for bit") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  config.text.dropout = 0.1;
  config.train.epochs = 2;
  for (const TextPool pool : {TextPool::last, TextPool::token}) {
    CAPTURE(pool);
    config.text.pool = pool;
    train(config, place.run(name_of(pool) + "-plain").path, kQuiet);
    const StandInRecorder recorder;
    train(config, place.run(name_of(pool) + "-recorded").path, kQuiet);
    CHECK(recorder.replays() == 19);  // of 20 steps
    CHECK(same_tensors(place.run(name_of(pool) + "-plain").last(), place.run(name_of(pool) + "-recorded").last()));
  }
}

TEST_CASE("contrast: embeddings at test time know neither the seed of the noise nor that there is noise") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  train(config, place.run("run").path, kQuiet);
  Towers towers = towers_of(place.run("run"));
  const Splits splits = load_splits(config.data, 0);
  const ZeroShotClasses classes = zero_shot_classes(*splits.test, config.captions);
  const auto images = with_captions(splits, config.captions).test;
  const Evaluation a = evaluate_zero_shot(towers, images, classes, config, Device::cpu);
  config.seed = 77;
  const Evaluation b = evaluate_zero_shot(towers, images, classes, config, Device::cpu);
  CHECK(a.measures.nll == b.measures.nll);
  CHECK(a.retrieval.image_to_text_1 == b.retrieval.image_to_text_1);
}

TEST_CASE("contrast: images are drawn from the whole set, each with all its captions, whatever the order of the rows") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  // 60 images; the first 30 have one caption, the others three, and caption c of an image is shared with all i mod 7.
  std::vector<std::pair<int64_t, std::string>> rows;
  for (int64_t i = 0; i < 60; ++i)
    for (int64_t c = 0; c < (i < 30 ? 1 : 3); ++c)
      rows.emplace_back(i, std::string("a photo of ") + "abcdefg"[i % 7] + "xyz"[c]);
  const auto images = load_splits(config.data, 0).test;
  std::vector<std::string> texts;
  for (const auto& row : rows) texts.push_back(row.second);
  Towers towers = make_towers(config, Tokenizer::train(texts, 60), {8, 8, 1}, Device::cpu);
  const auto evaluated = [&](int64_t searched) {
    config.contrast.retrieval = searched;
    return evaluate_zero_shot(towers, std::make_shared<PairTable>(images, rows), {}, config, Device::cpu);
  };
  const Evaluation whole = evaluated(1000), part = evaluated(20);
  CHECK(whole.retrieval.count == 60);
  CHECK(whole.retrieval.captions == 120);
  CHECK(whole.retrieval.equal_captions == 120);
  CHECK(whole.measures.count == 60);
  CHECK(part.retrieval.count == 20);
  CHECK(part.measures.count == 20);
  CHECK(part.retrieval.captions > 20);  // not the first 20
  CHECK(part.retrieval.captions < 60);
  const std::string json = evaluation_json(whole, false).dump();
  CHECK(number_at(json, "/retrieval/equal_captions/count") == 120);
  CHECK(read_evaluation(parse_json(json, "test"), "test").retrieval.alike.text_to_image_10 ==
        whole.retrieval.alike.text_to_image_10);

  for (const int64_t size : {2, 5}) {
    on_ranks(size, [&](Communicator& ranks) {
      const Evaluation e =
          evaluate_zero_shot(towers, std::make_shared<PairTable>(images, rows), {}, config, Device::cpu, {}, ranks);
      CHECK(e.measures.count == 20);
      CHECK(e.measures.nll == doctest::Approx(part.measures.nll).epsilon(1e-6));
      CHECK(e.retrieval.image_to_text_5 == part.retrieval.image_to_text_5);
      CHECK(e.retrieval.captions == part.retrieval.captions);
    });
  }
  std::ranges::stable_sort(rows, {}, &std::pair<int64_t, std::string>::second);
  const Evaluation turned = evaluated(1000);
  CHECK(turned.retrieval.count == 60);
  CHECK(turned.retrieval.text_to_image_5 == doctest::Approx(whole.retrieval.text_to_image_5));
  CHECK(turned.measures.nll == doctest::Approx(whole.measures.nll).epsilon(1e-5));
}

TEST_CASE("contrast: an embedding that is not finite is refused, naming the image or the text") {
  if (without_sentencepiece()) return;
  const Workplace place;
  const RunConfig config = place.config();
  const Splits splits = with_captions(load_splits(config.data, 0), config.captions);
  const ZeroShotClasses classes = zero_shot_classes(*splits.test, config.captions);
  Towers towers = make_towers(config, Tokenizer::train(captions_of(*splits.test, 0), 80), {8, 8, 1}, Device::cpu);
  const auto refusal = [&](const std::string& weight) {
    for (NamedVar& p : towers.model->parameters())
      if (!weight.empty() && p.name.ends_with(weight)) p.var.mutable_value().fill(std::nan(""));
    return error_of([&] { evaluate_zero_shot(towers, splits.test, classes, config, Device::cpu); });
  };
  CHECK(refusal("").empty());
  CHECK(one_line_with(refusal("text_projection.weight"), "[towers]", "the text \"a", "nan"));
  CHECK(one_line_with(refusal("image_projection.weight"), "fashion-mnist, image 0", "embedding is nan"));
}

TEST_CASE("contrast: the program measures a finished run, on other templates, classes and data") {
  if (without_sentencepiece()) return;
  const Workplace place;
  const RunConfig config = place.config();
  const Outcome trained = place.contrast(config, "run");
  CHECK(trained.code == 0);
  CHECK(trained.out.find("zero-shot: nll") != std::string::npos);
  CHECK(trained.out.find("retrieval among 40 images and 40 captions") != std::string::npos);
  const std::string run = place.folder.path("run");
  const Outcome again = run_program({"contrast", "--evaluate", run, "--out", place.folder.path("measured")});
  CHECK(again.code == 0);
  CHECK(number_at(slurp(place.folder.path("measured/evaluation.json")), "/test/accuracy") ==
        number_at(slurp(place.run("run").summary()), "/test/accuracy"));
  CHECK(run_program({"contrast", "--evaluate", run, "--set", "captions.templates=plain"}).code == 0);

  place.folder.write("double.txt", "shirt\nb\nc\nd\ne\nf\nshirt\nh\ni\nj\n");
  CHECK(fails_with(
      run_program({"contrast", "--evaluate", run, "--set", "captions.classes=" + place.folder.path("double.txt")}), 1,
      "double.txt", "shirt"));
  place.folder.write("templates.txt", "a photo of a {}\nnothing here\n");
  CHECK(fails_with(
      run_program({"contrast", "--evaluate", run, "--set", "captions.templates=" + place.folder.path("templates.txt")}),
      1, "templates.txt:2"));
}

TEST_CASE("contrast: a locked image tower is computed once and stays as it was") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig classifier = tiny_config(place.root());
  train(classifier, place.run("classifier").path, kQuiet);
  RunConfig config = place.config();
  config.contrast.lock_image = true;
  config.train.init = place.run("classifier").last();
  config.data.train_pipeline = config.data.eval_pipeline;
  config.captions.unseen = 2;
  config.train.epochs = 6;
  const Summary s = train(config, place.run("lit").path, kQuiet);
  const TensorFile before = load_safetensors(place.run("classifier").last()),
                   after = load_safetensors(place.run("lit").last());
  CHECK(after.at("visual.conv1.weight").to_vector<float>() == before.at("conv1.weight").to_vector<float>());
  CHECK_FALSE(after.contains("optimizer.first.visual.conv1.weight"));
  CHECK(s.test.unseen.count == 12);
  CHECK(s.test.unseen.accuracy <= s.test.unseen.accuracy_between);

  // A second run reads the features; one whose features are damaged says so.
  const auto files = [&] {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(config.contrast.features))
      paths.push_back(entry.path());
    return paths;
  };
  const size_t kept = files().size();
  CHECK(kept == 3);  // training, validation, test
  const Summary again = train(config, place.run("again").path, kQuiet);
  CHECK(again.test.measures.nll == s.test.measures.nll);
  CHECK(files().size() == kept);
  for (const std::string& path : files()) std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  CHECK(fails_with(place.contrast(config, "broken"), 1, "features", ".safetensors"));
}

TEST_CASE("predict: image files against phrases") {
  if (without_sentencepiece()) return;
  if (!can_decode_images()) return skip("built without image libraries");
  const Workplace place;
  REQUIRE(place.contrast(place.config(), "run").code == 0);
  Tensor image = Tensor::zeros({8, 8, 3}, DType::u8);
  write_png(place.folder.path("image.png"), image);
  const std::string run = place.folder.path("run"), file = place.folder.path("image.png");
  const Outcome named = run_program(
      {"predict", run, file, "--zero-shot", "a shirt, an ankle boot", "--json", place.folder.path("answer.json")});
  CHECK(named.code == 0);
  const std::string json = slurp(place.folder.path("answer.json"));
  REQUIRE(size_at(json, "/0/top") == 2);
  CHECK(number_at(json, "/0/top/0/probability") + number_at(json, "/0/top/1/probability") ==
        doctest::Approx(1).epsilon(1e-5));
  CHECK(fails_with(run_program({"predict", run, file}), 2, "--zero-shot"));
  CHECK(fails_with(run_program({"predict", run, file, "--zero-shot", "a shirt,a shirt"}), 2, "a shirt", "twice"));
  CHECK(fails_with(run_program({"predict", run, file, "--zero-shot", "a shirt,,a bag"}), 1, "phrase 2", "got none"));
  CHECK(fails_with(run_program({"predict", run, file, "--zero-shot", "a shirt,\xff\xfe"}), 1, "phrase 2", "UTF-8"));
  const std::string longer =
      "a very long phrase of many words that no context of two dozen pieces could ever be expected to hold in full";
  CHECK(fails_with(run_program({"predict", run, file, "--zero-shot", longer}), 1, "a very long phrase", "22"));
}

TEST_CASE("contrast: what is refused") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  REQUIRE(place.contrast(config, "run").code == 0);

  // A vocabulary that is not the checkpoint's.
  const Tokenizer other = Tokenizer::train({"quite another caption", "and one more of them"}, 40);
  other.save(place.folder.path("other.model"));
  const std::string run = place.folder.path("run"), set = "text.vocabulary=" + place.folder.path("other.model");
  CHECK(fails_with(run_program({"contrast", "--evaluate", run, "--set", set}), 2, "other.model",
                   "is not the vocabulary of"));
  place.folder.write("garbage.model", "not a model");
  CHECK(fails_with(
      run_program({"contrast", "--evaluate", run, "--set", "text.vocabulary=" + place.folder.path("garbage.model")}), 1,
      "garbage.model"));

  config.text.context = 4;
  CHECK(fails_with(place.contrast(config, "short"), 1, "context"));
  config.text.truncate = true;
  CHECK(place.contrast(config, "cut").code == 0);

  CHECK(fails_with(place.contrast(place.config(), "kind", {"--set", "contrast.kind=het"}), 2, "contrast.kind", "het"));
  config = place.config();
  config.contrast.lock_image = true;
  CHECK(fails_with(place.contrast(config, "locked"), 2, "contrast.lock_image", "train.init"));
  config = place.config();
  config.captions.unseen = 10;
  CHECK(fails_with(place.contrast(config, "unseen"), 2, "captions.unseen", "10"));

  // Each task has its own sections and programs.
  CHECK(fails_with(run_program({"evaluate", run}), 2, "build/contrast --evaluate"));
  CHECK(fails_with(run_program({"train", "--config", place.write(place.config()), "--out", place.folder.path("t")}), 2,
                   "build/contrast"));
  CHECK(fails_with(place.contrast(tiny_config(place.root()), "c"), 2, "task", "classification"));
  CHECK(fails_with(place.contrast(place.config(), "s", {"--set", "head.kind=het"}), 2, "head.kind"));
  CHECK(fails_with(place.contrast(place.config(), "run", {"--set", "contrast.rank=3"}), 2, "contrast.rank", "differ"));
}

TEST_CASE("contrast: a run is looked at by its own programs") {
  if (without_sentencepiece()) return;
  const Workplace place;
  RunConfig config = place.config();
  config.train.steps = 2;
  REQUIRE(place.contrast(config, "run").code == 0);
  const std::string run = place.folder.path("run"), file = place.run("run").last();
  place.folder.write("classes.json", config_text(tiny_config(place.root())));
  for (const std::string& measured : {run, file}) {
    CHECK(fails_with(run_program({"evaluate", measured, "--config", place.folder.path("classes.json")}), 2,
                     "task: contrastive, the configuration's is classification"));
    CHECK(fails_with(run_program({"evaluate", measured}), 2, "build/contrast --evaluate"));
  }
  place.folder.write("file", "mine");
  const Outcome blocked = run_program({"contrast", "--evaluate", run, "--out", place.folder.path("file/below")});
  CHECK(fails_with(blocked, 1, "file/below/evaluation.json", "Not a directory"));
  CHECK(blocked.out.empty());

  // An image that cannot be read takes nothing from the other.
  place.folder.write("bad.png", "no image");
  write_png(place.folder.path("good.png"), Tensor::full({8, 8, 3}, 90, DType::u8));
  const Outcome asked = run_program({"predict", run, place.folder.path("bad.png"), place.folder.path("good.png"),
                                     "--zero-shot", "a cat,a \x1b[31mdog", "--json", place.folder.path("a.json")});
  CHECK(asked.code == 1);
  CHECK(one_error_line(asked));
  CHECK(asked.out.starts_with(place.folder.path("good.png")));
  const std::string answers = slurp(place.folder.path("a.json"));
  REQUIRE(size_at(answers, "") == 1);
  CHECK(size_at(answers, "/0/top") == 2);
}

// What a contrastive run hands on: to a classifier, to another contrastive run, to few-shot classification.

#include <doctest/doctest.h>

#include <map>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/contrastive.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

using Values = std::map<std::string, std::vector<float>>;

Values values_of(const RunFolder& run) {
  Values all;
  for (const auto& [name, tensor] : load_safetensors(run.last()).tensors)
    all[name] = tensor.to(DType::f32).to_vector<float>();
  return all;
}

/// A finished run of `contrast`, and configurations to begin with it.
struct Place {
  Place() {
    write_tiny_data(root());
    if (!can_tokenize()) return;
    RunConfig config = this->config();
    config.seed = 7;
    config.train.init = "";
    config.train.epochs = 1;
    train(config, run("given").path, {.quiet = true});
  }
  std::string root() const { return folder.path("data"); }
  /// Of another seed, whose own weights are others.
  RunConfig config() const {
    RunConfig config = tiny_captioned(tiny_config(root()));
    config.contrast.features = root() + "/features";
    config.train.epochs = 0;
    config.train.init = folder.path("given");
    return config;
  }
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  Outcome start(const std::string& app, const RunConfig& config, const std::string& out,
                const std::vector<std::string>& more = {}) const {
    folder.write("run.json", config_text(config));
    std::vector<std::string> words{app,         "--config", folder.path("run.json"), "--out", folder.path(out),
                                   "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
  TemporaryFolder folder;
};

/// Which of the tensors of `now` whose names begin so are those of `before`, and no others?
bool taken(const Values& before, const Values& now, const std::string& prefix, const std::string& was = "") {
  bool any = false, all = true;
  for (const auto& [name, values] : now) {
    if (!name.starts_with(prefix)) continue;
    const auto found = before.find(was + name);
    const bool same = found != before.end() && found->second == values;
    any = any || same;
    all = all && same;
  }
  CHECK_MESSAGE(any == all, prefix);
  return all;
}

bool without_sentencepiece() {
  if (!can_tokenize()) skip("built without SentencePiece");
  return !can_tokenize();
}

}  // namespace

TEST_CASE("transfer: the image tower of a contrastive run becomes a classifier's backbone") {
  if (without_sentencepiece()) return;
  const Place place;
  const Values given = values_of(place.run("given"));
  RunConfig config = tiny_config(place.root());
  config.train.epochs = 0;
  for (const std::string& init : {place.run("given").path.string(), place.run("given").last()}) {
    const Outcome outcome = place.start("train", config, "begun", {"--init", init, "--fresh"});
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    CHECK(outcome.out.find("a run of build/contrast: its image tower is taken; its text tower and projections are left "
                           "out") != std::string::npos);
    CHECK(outcome.out.find("the classifier is new: the file has none") != std::string::npos);
    CHECK(outcome.out.find("the noise is new: the file has none") != std::string::npos);
    size_t compared = 0;
    for (const auto& [name, values] : values_of(place.run("begun"))) {
      if (name.starts_with("head.") || name.starts_with("optimizer.")) continue;
      CAPTURE(name);
      REQUIRE(given.contains("visual." + name));
      CHECK(given.at("visual." + name) == values);
      ++compared;
    }
    CHECK(compared > 10);
    CHECK(size_at(slurp(place.run("begun").init()), "/notes") == 2);
  }
  // It is trained on, as any other.
  config.train.epochs = 12;
  const Outcome tuned = place.start("train", config, "tuned", {"--init", place.folder.path("given")});
  REQUIRE_MESSAGE(tuned.code == 0, tuned.err);
  CHECK(number_at(slurp(place.run("tuned").summary()), "/test/accuracy") > 0.2);  // chance: 0.1
  // Another backbone is refused as that of any other file.
  config.model.base_width = 8;
  CHECK(fails_with(place.start("train", config, "other", {"--init", place.folder.path("given")}), 1, "given",
                   "a first stage of a width of 4, model.base_width is 8"));
}

TEST_CASE("transfer: a contrastive run begins with the whole of another") {
  if (without_sentencepiece()) return;
  const Place place;
  const Values given = values_of(place.run("given"));
  RunConfig config = place.config();
  config.captions.templates = "plain";  // other captions, of which another vocabulary would be learned
  const Outcome outcome = place.start("contrast", config, "whole");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find(" is new") == std::string::npos);
  const Values whole = values_of(place.run("whole"));
  size_t compared = 0;
  for (const auto& [name, values] : whole) {
    if (name.starts_with("optimizer.")) continue;
    CAPTURE(name);
    REQUIRE(given.contains(name));
    CHECK(given.at(name) == values);
    ++compared;
  }
  CHECK(compared > 30);
  // What it measures is what the other does.
  config = place.config();
  REQUIRE(place.start("contrast", config, "same").code == 0);
  CHECK(number_at(slurp(place.run("same").summary()), "/test/nll") ==
        number_at(slurp(place.run("given").summary()), "/test/nll"));
  // And it goes on from its own checkpoint, without the file.
  config.train.epochs = 2;
  const Outcome stopped = place.start("contrast", config, "on", {"--set", "train.time_limit=0.000001"});
  CHECK(stopped.code == 124);
  const Outcome resumed = place.start("contrast", config, "on");
  CHECK_MESSAGE(resumed.code == 0, resumed.err);
  // A locked image tower may be one's own.
  config.contrast.lock_image = true;
  config.data.train_pipeline = config.data.eval_pipeline;
  REQUIRE(place.start("contrast", config, "locked").code == 0);
  CHECK(taken(given, values_of(place.run("locked")), "visual."));
  CHECK(values_of(place.run("locked")).at("text.ln_final.weight") != given.at("text.ln_final.weight"));
}

TEST_CASE("transfer: what of the shared space is another is new, and said; the towers stay") {
  if (without_sentencepiece()) return;
  const Place place;
  const Values given = values_of(place.run("given"));
  const auto begin = [&](const std::string& name, const auto& change, const std::vector<std::string>& said) {
    CAPTURE(name);
    RunConfig config = place.config();
    change(config.contrast);
    const Outcome outcome = place.start("contrast", config, name);
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    for (const std::string& line : said) CHECK_MESSAGE(outcome.out.find(line) != std::string::npos, outcome.out);
    const Values now = values_of(place.run(name));
    CHECK(taken(given, now, "visual."));
    CHECK(taken(given, now, "text."));
    CHECK(taken(given, now, "vocabulary"));
    return now;
  };
  const Values ranked =
      begin("rank", [](auto& c) { c.noise.rank = 3; }, {"the noise is new: contrast.rank is 2 in the file, 3 here"});
  CHECK(taken(given, ranked, "contrast.image_projection"));
  CHECK(taken(given, ranked, "contrast.temperature"));
  CHECK(ranked.at("contrast.noise.diagonal.weight") != given.at("contrast.noise.diagonal.weight"));
  const Values placed = begin("place", [](auto& c) { c.noise_place = ContrastNoise::after; },
                              {"the noise is new: contrast.noise is before in the file, after here"});
  CHECK(placed.at("contrast.noise.diagonal.weight") != given.at("contrast.noise.diagonal.weight"));
  const Values narrow =
      begin("width", [](auto& c) { c.width = 8; },
            {"the projections are new: contrast.width is 16 in the file, 8 here", "the noise is new"});
  CHECK(narrow.at("contrast.image_projection.weight").size() != given.at("contrast.image_projection.weight").size());
  const Values det = begin("det", [](auto& c) { c.kind = ContrastKind::det; },
                           {"the noise of the file's head is left out: this head has none (contrast.kind)"});
  CHECK(taken(given, det, "contrast."));
  begin("fixed", [](auto& c) { c.temperature.learn = false; }, {"the temperature is ", ", here it begins at 0.1"});
  // The other way round there is no noise to take.
  RunConfig config = place.config();
  config.train.init = place.folder.path("det");
  const Outcome outcome = place.start("contrast", config, "noisy");
  CHECK(outcome.out.find("the noise is new: the file has none") != std::string::npos);
  CHECK(taken(given, values_of(place.run("noisy")), "contrast.text_projection"));
}

TEST_CASE("transfer: another text tower or vocabulary is refused, or new where that is asked for") {
  if (without_sentencepiece()) return;
  const Place place;
  const Values given = values_of(place.run("given"));
  RunConfig config = place.config();
  config.text.context = 32;
  config.text.width = 24;
  CHECK(fails_with(place.start("contrast", config, "text"), 2, "given", "its text tower is another",
                   "text.context is 24 in the file, 32 here; text.width is 16 in the file, 24 here",
                   "train.init_partial=true"));
  config.train.init_partial = true;
  const Outcome partial = place.start("contrast", config, "text");
  REQUIRE_MESSAGE(partial.code == 0, partial.err);
  CHECK(partial.out.find("the text tower is new: text.context is 24 in the file, 32 here") != std::string::npos);
  CHECK(taken(given, values_of(place.run("text")), "visual."));
  CHECK(taken(given, values_of(place.run("text")), "contrast.image_projection"));

  config = place.config();
  Tokenizer::train({"quite another caption of a thing", "and one more photo of them"}, 40)
      .save(place.folder.path("other.model"));
  config.text.vocabulary = place.folder.path("other.model");
  CHECK(fails_with(place.start("contrast", config, "words"), 2, "other.model", "is not the vocabulary of", "given"));
  config.train.init_partial = true;
  config.captions.templates = place.folder.write("templates.txt", "a {}\n");
  const Outcome words = place.start("contrast", config, "words", {"--set", "text.context=64"});
  REQUIRE_MESSAGE(words.code == 0, words.err);
  CHECK(words.out.find("the text tower is new: its vocabulary is not ") != std::string::npos);
  CHECK(taken(given, values_of(place.run("words")), "visual."));
}

TEST_CASE("transfer: few-shot classification on an image tower, before its projection") {
  if (without_sentencepiece()) return;
  const Place place;
  RunConfig config = place.config();
  config.few_shot = {.data = {"fashion-mnist"}, .shots = {1, 5, 10}};
  const Outcome outcome = place.start("contrast", config, "run");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("few-shot on fashion-mnist, 1/5/10 images of each class: ") != std::string::npos);
  const Outcome measured =
      run_program({"contrast", "--few-shot", "fashion-mnist", "--evaluate", place.folder.path("run"), "--out",
                   place.folder.path("measured"), "--threads", "1"});
  REQUIRE_MESSAGE(measured.code == 0, measured.err);
  CHECK(measured.out.find("few-shot on fashion-mnist, 60 test images") != std::string::npos);
  const std::string json = slurp(place.folder.path("measured/evaluation.json")), few = "/few_shot/0/results";
  CHECK(json_at(json, few) == json_at(slurp(place.run("run").summary()), few));
  CHECK(size_at(json, few) == 3);
  // A classifier that begins with this tower has its representation, and so its accuracy.
  RunConfig classifier = tiny_config(place.root());
  classifier.train.epochs = 0;
  classifier.train.init = place.folder.path("run");
  classifier.few_shot = config.few_shot;
  REQUIRE(place.start("train", classifier, "classifier").code == 0);
  CHECK(json_at(slurp(place.run("classifier").summary()), few) == json_at(json, few));
  CHECK(fails_with(place.start("contrast", config, "x", {"--few-shot", "fashion-mnist"}), 2, "--few-shot",
                   "--evaluate RUN", "few_shot.data"));
  CHECK(fails_with(run_program({"contrast", "--evaluate", place.folder.path("run"), "--few-shot", "none"}), 2, "none"));
}

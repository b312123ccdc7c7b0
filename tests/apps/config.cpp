// Configurations: what is read is what was written, and what is wrong is refused with its place.

#include "apps/common/config/config.h"
#include "apps/replicate/plan.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "apps/common/config/cli.h"
#include "core/error.h"
#include "data/transforms.h"
#include "layers/heads/make_head.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

/// The message of the UsageError that parsing `text` throws.
std::string refusal(const std::string& text) {
  try {
    validate(parse_config(text, "run.json"));
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

std::string set_refusal(const std::string& assignment) {
  RunConfig config;
  return error_of([&] { set_field(assignment, fields_of(config)); });
}

/// Of its data set's images; (0, 0, 3) where they are files, and of vectors any length.
Shape image_shape_of(const RunConfig& config) {
  if (config.data.name == "cifar-10") return {32, 32, 3};
  if (config.data.name == "embeddings") return {1};
  return config.data.name == "fashion-mnist" ? Shape{28, 28, 1} : Shape{0, 0, 3};
}

}  // namespace

TEST_CASE("config: a resolved configuration reads back as itself") {
  RunConfig config;
  config.about.text = R"({"what":"a test"})";
  config.data.noise_rate = 0.1;  // not a short binary fraction
  config.model.blocks = {1, 2, 3};
  config.head.kind = HeadKind::het;
  config.train.epochs = 1.0 / 3;
  config.seed = 18446744073709551615u;
  const std::string text = config_text(config);
  const RunConfig again = parse_config(text, "again");
  CHECK(config_text(again) == text);
  CHECK(again.train.epochs == config.train.epochs);
  CHECK(again.seed == config.seed);
  CHECK(again.model.blocks == config.model.blocks);
  CHECK(again.about == config.about);
  CHECK(differing_keys(config, again).empty());
}

TEST_CASE("config: keys that are left out keep their defaults") {
  const RunConfig config = parse_config(R"({"head": {"kind": "het-xl"}})", "run.json");
  CHECK(config.head.kind == HeadKind::het_xl);
  CHECK(config.head.noise.rank == HeadConfig{}.noise.rank);
  CHECK(config.train.batch_size == TrainConfig{}.batch_size);
}

TEST_CASE("config: an unknown key is refused with the nearest valid one") {
  CHECK(one_line_with(refusal(R"({"train": {"bach_size": 3}})"), "run.json", "unknown key train.bach_size",
                      "train.batch_size?"));
  CHECK(refusal("{\"" + std::string(100'000, 'k') + "\": 1}").size() < 300);
  CHECK(one_line_with(refusal(R"({"captions.templates": ""})"), "unknown key captions.templates", "task contrastive"));
  RunConfig classes;
  CHECK(one_line_with(error_of([&] { set_config_field("contrast.kind=det", classes); }), "--set contrast.kind=det",
                      "task contrastive"));
  CHECK(one_line_with(refusal(R"({"haed": {}})"), "unknown key haed", "did you mean head?"));
  CHECK(one_line_with(refusal(R"({"hed": 3})"), "unknown key hed", "did you mean"));
  CHECK(one_line_with(refusal(R"({"optimizer": {"floor": 0.5}})"), "optimizer.floor", "schedule.floor?"));
  CHECK(one_line_with(set_refusal("train.epoch=3"), "--set train.epoch=3", "train.epochs?"));
}

TEST_CASE("config: what other programs call a key leads to it, and what is like none leads to no other") {
  const std::vector<std::pair<std::string, std::string>> meant = {
      {"lr", "did you mean schedule.peak?"},
      {"optimizer.learning_rate", "did you mean schedule.peak?"},
      {"samples", "did you mean head.train_samples?"},
      {"Train.Batch-Size", "did you mean train.batch_size?"},
      {"batchSize", "did you mean train.batch_size?"},
      {"wd", "did you mean optimizer.weight_decay?"},
      {"weight_decay", "did you mean optimizer.weight_decay?"},
      {"dropout", "did you mean model.dropout?"},
      {"backbone", "did you mean model.name?"},
      {"dataset", "did you mean data.name?"},
      {"noise", "did you mean data.noise?"},
      {"kind", "did you mean head.kind or optimizer.kind or schedule.kind?"},
      {"optim.kind", "did you mean optimizer.kind?"},
      {"gpu", "did you mean --device?"},
      {"shedule", "did you mean schedule?"},
      {"rnak", "did you mean head.rank?"},
      {"model.num_classes", "the data says how many classes there are"},
      {"zzzz",
       "the sections are about, task, data, model, head, optimizer, schedule, train, few_shot, seed "
       "(--list-keys has all keys)"},
      {"schedule.zzzz", "schedule has kind, peak, floor, warmup_epochs, warmup_steps, timescale, cooldown_steps"}};
  for (const auto& [typed, line] : meant)
    CHECK(set_refusal(typed + "=1") == "[config] --set " + typed + "=1: unknown key " + typed + ": " + line);
}

TEST_CASE("config: a value of the wrong type is refused with file, key, expectation and value") {
  CHECK(one_line_with(refusal(R"({"train": {"batch_size": "many"}})"), "run.json", "train.batch_size", "an integer",
                      "\"many\""));
  CHECK(one_line_with(refusal(R"({"train": {"batch_size": 2.5}})"), "an integer", "2.5"));
  CHECK(
      one_line_with(refusal(R"({"train": {"batch_size": 9223372036854775808}})"), "an integer", "9223372036854775808"));
  CHECK(one_line_with(refusal(R"({"seed": -1})"), "seed", "a non-negative integer", "-1"));
  CHECK(one_line_with(refusal(R"({"train": 3})"), "train", "an object", "3"));
  CHECK(one_line_with(refusal(R"({"model": {"blocks": [1, "two"]}})"), "model.blocks", "a list of integers"));
  CHECK(one_line_with(refusal(R"({"optimizer": {"nesterov": 1}})"), "true or false"));
  CHECK(one_line_with(refusal(R"({"data": {"name": null}})"), "data.name", "text", "null"));
  CHECK(one_line_with(refusal(R"({"about": "words"})"), "about", "an object"));
  CHECK(one_line_with(refusal("[1]"), "an object", "[1]"));
}

TEST_CASE("config: malformed JSON is refused with line and column") {
  CHECK(one_line_with(refusal("{\n  \"seed\": ,\n}"), "run.json:2:11", "malformed JSON"));
  CHECK(one_line_with(refusal(""), "run.json:1:1", "malformed JSON"));
  CHECK(one_line_with(refusal("{\"seed\": 1"), "run.json:1:", "malformed JSON"));
  CHECK(one_line_with(refusal("{\"seed\": 1e999}"), "malformed JSON"));
  CHECK(one_line_with(refusal("{\"about\": {\"a\": \"\xff\"}}"), "malformed JSON"));
  CHECK(one_line_with(refusal(R"({"seed": 1, "seed": 2})"), "seed", "twice"));
  CHECK(one_line_with(refusal(std::string(100000, '[')), "levels of nesting"));
}

TEST_CASE("config: a key may be dotted, but not twice in both ways") {
  CHECK(parse_config(R"({"head.kind": "het"})", "run.json").head.kind == HeadKind::het);
  CHECK(
      one_line_with(refusal(R"({"head": {"kind": "det"}, "head.kind": "het"})"), "run.json", "head.kind stands twice"));
}

TEST_CASE("config: numbers out of range are refused with their key") {
  CHECK(one_line_with(refusal(R"({"train": {"batch_size": 0}})"), "train.batch_size", "at least 1", "0"));
  CHECK(one_line_with(refusal(R"({"train": {"epochs": -1}})"), "train.epochs"));
  CHECK(one_line_with(refusal(R"({"train": {"log_every": 0}})"), "train.log_every"));
  CHECK(one_line_with(refusal(R"({"train": {"ema_decay": 1}})"), "train.ema_decay"));
  CHECK(one_line_with(refusal(R"({"schedule": {"peak": 0}})"), "schedule.peak"));
  CHECK(one_line_with(refusal(R"({"data": {"validation": -5}})"), "data.validation", "-5"));
  CHECK(refusal(R"({"train": {"steps": 5, "epochs": 0}})").empty());
  CHECK(one_line_with(refusal(R"({"train": {"label_smoothing": 1}})"), "train.label_smoothing", "[0, 1)", "got 1"));
  CHECK(one_line_with(refusal(R"({"task": "contrastive", "train": {"label_smoothing": 0.1}})"), "train.label_smoothing",
                      "contrastive", "got 0.1"));
  CHECK(one_line_with(refusal(R"({"train": {"on_value": 0.9}})"), "train.on_value", "head.link sigmoid"));
  CHECK(one_line_with(refusal(R"({"train": {"off_value": 0.1}})"), "train.off_value", "head.link sigmoid"));
  CHECK(one_line_with(refusal(R"({"task": "contrastive", "train": {"off_value": 0.1}})"), "train.off_value",
                      "task contrastive"));
  CHECK(one_line_with(refusal(R"({"train": {"accumulate": 0}})"), "train.accumulate", "1 to train.batch_size, 128"));
  CHECK(one_line_with(refusal(R"({"train": {"batch_size": 4, "accumulate": 5}})"), "batch_size, 4", "got 5"));
  CHECK(one_line_with(refusal(R"({"task": "contrastive", "train": {"accumulate": 2}})"), "train.accumulate",
                      "contrastive", "got 2"));
  CHECK(one_line_with(refusal(R"({"schedule": {"timescale": 0}})"), "schedule.timescale", "above 0"));
  CHECK(one_line_with(refusal(R"({"schedule": {"cooldown_steps": -1}})"), "schedule.cooldown_steps", "-1"));
  CHECK(one_line_with(refusal(R"({"optimizer": {"noise_lr_scale": -1}})"), "optimizer.noise_lr_scale", "-1"));
  CHECK(one_line_with(refusal(R"({"optimizer": {"noise_weight_decay": -0.5}})"), "optimizer.noise_weight_decay",
                      "-1: as weight_decay", "-0.5"));
  const std::string sigmoid = R"({"head.link": "sigmoid", "train": {)";
  CHECK(refusal(sigmoid + R"("on_value": 0.9999, "off_value": 0.0001}})").empty());
  CHECK(one_line_with(refusal(sigmoid + R"("on_value": 0.2, "off_value": 0.2}})"), "train.on_value", "off_value",
                      "got 0.2"));
  CHECK(one_line_with(refusal(sigmoid + R"("off_value": -0.1}})"), "train.off_value", "got -0.1"));
  CHECK(one_line_with(refusal(sigmoid + R"("on_value": 0.9, "label_smoothing": 0.1}})"), "train.label_smoothing",
                      "beside train.on_value"));
}

TEST_CASE("config: every key says what it means, and takes its own default") {
  for (const TaskKind task : {TaskKind::classification, TaskKind::contrastive}) {
    RunConfig config;
    config.task = task;
    const auto fields = fields_of(config);
    CHECK_NOTHROW(check_ranges(fields));
    for (const Field& field : fields) {
      CAPTURE(field.path);
      CHECK(std::string(field.meaning).size() > 5);
      CHECK_FALSE(allowed_words(field).empty());
    }
  }
}

TEST_CASE("config: what a key takes is said in words") {
  const auto words = [](const std::string& path) {
    RunConfig config;
    for (const Field& field : fields_of(config))
      if (field.path == path) return allowed_words(field);
    return std::string("no such key");
  };
  CHECK(words("train.batch_size") == "an integer, at least 1");
  CHECK(words("train.eval_samples") == "an integer, 0 to 16777216");
  CHECK(words("train.ema_decay") == "a number in [0, 1)");
  CHECK(words("schedule.peak") == "a number, above 0");
  CHECK(words("optimizer.noise_weight_decay") == "a number, at least 0 (or -1: as weight_decay)");
  CHECK(words("few_shot.shots") == "a list of integers, each 1 to 10000");
  CHECK(words("head.kind") == "one of det, het, het-xl");
  CHECK(words("data.name").starts_with("fashion-mnist, cifar-10, "));
  CHECK(one_line_with(words("model.name"), "resnet20", "vit-ti", "wide-resnet<depth>-<factor>"));
  CHECK(one_line_with(words("data.train_pipeline"), "resize(n)", "mixup(alpha)"));
  CHECK(
      one_line_with(refusal(R"({"few_shot": {"shots": [5, 0]}})"), "few_shot.shots", "a list of 1 to 10000", "[5,0]"));
  CHECK(one_line_with(refusal(R"({"optimizer": {"beta2": 1}})"), "optimizer.beta2", "a number in [0, 1)", "got 1"));
}

TEST_CASE("config: --set takes JSON, and bare text for text") {
  RunConfig config;
  const auto fields = fields_of(config);
  set_field("data.name=cifar-10", fields);
  set_field("data.labels=\"worst\"", fields);
  set_field("train.epochs=2.5", fields);
  set_field("model.blocks=[1,2]", fields);
  set_field("head.learn_temperature=true", fields);
  set_field("data.root=1=2", fields);
  CHECK(config.data.name == "cifar-10");
  CHECK(config.data.labels == "worst");
  CHECK(config.train.epochs == 2.5);
  CHECK(config.model.blocks == std::vector<int64_t>{1, 2});
  CHECK(config.head.temperature.learn);
  CHECK(config.data.root == "1=2");
  CHECK(one_line_with(set_refusal("train.epochs"), "key.path=value"));
  CHECK(one_line_with(set_refusal("=3"), "key.path=value"));
  CHECK(one_line_with(set_refusal("train=3"), "train is a section", "train.batch_size"));
  CHECK(one_line_with(set_refusal("train.batch_size=ten"), "train.batch_size", "an integer", "\"ten\""));
}

TEST_CASE("config: an enumeration is one of its names, in files, --set and what is written") {
  RunConfig config = parse_config(R"({"optimizer": {"kind": "adam"}, "schedule": {"kind": "linear"}})", "run.json");
  CHECK(config.optimizer.kind == OptimizerKind::adam);
  CHECK(config.schedule.kind == ScheduleKind::linear);
  set_field("optimizer.kind=adamw", fields_of(config));
  set_field("schedule.kind=\"constant\"", fields_of(config));
  CHECK(config.schedule.kind == ScheduleKind::constant);
  CHECK(text_at(config_text(config), "/optimizer/kind") == "adamw");
  CHECK(differing_keys(config, RunConfig{}) == std::vector<std::string>{"optimizer.kind", "schedule.kind"});
  CHECK(refusal(R"({"optimizer": {"kind": "adamax"}})") ==
        "[config] run.json: optimizer.kind: expected one of sgd, adam, adamw, got \"adamax\" (did you mean \"adam\"?)");
  CHECK(one_line_with(refusal(R"({"schedule": {"kind": 3}})"), "schedule.kind",
                      "expected one of constant, linear, cosine, rsqrt, got 3"));
  CHECK(one_line_with(set_refusal("schedule.kind=cosin"), "--set schedule.kind=cosin: schedule.kind",
                      "constant, linear, cosine", "did you mean \"cosine\""));
  CHECK(one_line_with(set_refusal("head.kind=het-xxl"), "expected one of det, het, het-xl, got \"het-xxl\"",
                      "did you mean \"het-xl\""));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"head.factors=ful", "full, efficient, diagonal"},
      {"head.link=probit", "softmax, sigmoid"},
      {"head.likelihood=exact", "streaming, composed"},
      {"model.stem=big", "imagenet, cifar, cifar2, deep"},
      {"model.shortcut=max", "conv, pad, avg"},
      {"model.pool=max", "token, gap, map"},
      {"model.class_token=true", "yes, no"},
      {"model.norm=all", "tokens, pooled"},
      {"model.positions=none", "all, patches"},
      {"model.gelu=fast", "exact, tanh, quick"},
      {"data.noise=pairs", "none, symmetric, pair, instance"},
      {"head.kind=", "det, het, het-xl"}};
  for (const auto& [assignment, names] : wrong)
    CHECK(one_line_with(set_refusal(assignment), "[config] --set " + assignment, "expected one of " + names));
  RunConfig pairs = parse_config(R"({"task": "contrastive"})", "run.json");
  const std::vector<std::pair<std::string, std::string>> wrong_of_pairs = {{"contrast.kind=het", "det, het-xl"},
                                                                           {"contrast.noise=behind", "before, after"},
                                                                           {"text.pool=gap", "last, token"}};
  for (const auto& [assignment, names] : wrong_of_pairs)
    CHECK(one_line_with(error_of([&] { set_field(assignment, fields_of(pairs)); }), "expected one of " + names));
}

TEST_CASE("config: an optional enumeration may be left to the model's name") {
  RunConfig config = parse_config(R"({"model": {"stem": "", "pool": "map"}})", "run.json");
  CHECK_FALSE(config.model.stem);
  CHECK(config.model.pool == Pool::map);
  CHECK(text_at(config_text(config), "/model/stem").empty());
  CHECK(text_at(config_text(config), "/model/pool") == "map");
  set_field("model.pool=", fields_of(config));
  CHECK_FALSE(config.model.pool);
  CHECK(config_text(config) == config_text(RunConfig{}));
}

TEST_CASE("config: keys without effect on the numbers do not make another run") {
  RunConfig a, b;
  b.about.text = R"({"other":1})";
  b.data.root = "/elsewhere";
  b.train.loader_threads = 7;
  CHECK(differing_keys(a, b).empty());
  b.head.kind = HeadKind::het;
  b.train.epochs = 3;
  CHECK(differing_keys(a, b) == std::vector<std::string>{"head.kind", "train.epochs"});
}

TEST_CASE("config: a plan is not a run") {
  CHECK(one_line_with(refusal(R"({"base": {}, "heads": {}})"), "run.json", "a plan", "build/replicate"));
}

TEST_CASE("config: each task has sections of its own") {
  const RunConfig config = parse_config(R"({"text": {"depth": 3}, "task": "contrastive"})", "run.json");
  CHECK(config.text.depth == 3);
  CHECK(parse_config(config_text(config), "again").text.depth == 3);
  CHECK_FALSE(json_at(config_text(config), "/contrast").empty());
  CHECK(json_at(config_text(config), "/head").empty());
  CHECK(json_at(config_text(RunConfig{}), "/text").empty());
  CHECK(one_line_with(refusal(R"({"text": {"depth": 3}})"), "run.json", "unknown key text", "task contrastive"));
  CHECK(one_line_with(refusal(R"({"task": "contrastive", "head": {}})"), "run.json", "unknown key head"));
  CHECK(one_line_with(refusal(R"({"task": "ranking"})"), "run.json: task: expected one of classification, contrastive",
                      "\"ranking\""));
  CHECK(one_line_with(refusal(R"({"task": "contrastive", "contrast": {"retrieval": 0}})"), "contrast.retrieval"));
  CHECK(differing_keys(config, RunConfig{}) == std::vector<std::string>{"task"});
  RunConfig elsewhere = config;
  elsewhere.contrast.features = "/elsewhere";
  CHECK(differing_keys(config, elsewhere).empty());
}

TEST_CASE("config: every ready plan is valid and says how to run it") {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("apps/configs")) {
    const std::string name = entry.path().stem().string();
    if (!name.starts_with("plan-")) continue;
    CAPTURE(name);
    const Plan plan = read_plan(entry.path().string(), {});
    CHECK(runs_of(plan).size() == plan.settings.size() * plan.heads.size() * plan.seeds.size());
    const Shape image = image_shape_of(plan.base);
    const Shape in = Pipeline::parse(plan.base.data.train_pipeline).output_shape(image);
    CHECK(Pipeline::parse(plan.base.data.eval_pipeline).output_shape(image) == in);
    CHECK(one_line_with(text_at(plan.about, "/command"), "build/replicate --config apps/configs/" + name + ".json",
                        "--out runs/" + name.substr(5)));
    ++count;
  }
  CHECK(count == 8);
}

TEST_CASE("config: every ready single-run configuration is valid and says how to run it") {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("apps/configs")) {
    const std::string name = entry.path().filename().string();
    const bool published = name.starts_with("published-");  // what weights of others are measured with
    if (!published && !name.starts_with("fashion-mnist-") && !name.starts_with("cifar10-") &&
        !name.starts_with("tiny-"))
      continue;
    CAPTURE(name);
    const RunConfig config = read_config(entry.path().string());
    validate(config);
    const Shape image = image_shape_of(config);
    const Shape in = Pipeline::parse(config.data.train_pipeline).output_shape(image);
    CHECK(Pipeline::parse(config.data.eval_pipeline).output_shape(image) == in);
    Init init(0);
    const auto backbone = make_backbone(config.model, in, init);
    make_head(config.head, backbone->width(), 10, init);
    const std::string command = text_at(config.about.text, "/command");
    CHECK(command.starts_with(published ? "build/evaluate " : "build/train "));
    CHECK(command.ends_with(" --config apps/configs/" + name));
    ++count;
  }
  CHECK(count == 21);
}

#include "apps/common/config/config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {

void visit_fields(FieldList& fields, MadeEmbeddingsSpec& c) {
  fields("classes", c.classes);
  fields("superclass_size", c.superclass_size);
  fields("width", c.width);
  fields("train", c.train);
  fields("test", c.test);
  fields("spread", c.spread);
  fields("confusion", c.confusion);
  fields("seed", c.seed);
}

void visit_fields(FieldList& fields, DataConfig& c) {
  fields("name", c.name);
  fields("path", c.path);
  fields("root", c.root);
  fields("labels", c.labels);
  fields("votes", c.votes);
  fields("noise", c.noise);
  fields("noise_rate", c.noise_rate);
  fields("noise_seed", c.noise_seed);
  fields("validation", c.validation);
  fields("train_subset", c.train_subset);
  fields("skip_limit", c.skip_limit);
  fields("made", c.made);
  fields("train_pipeline", c.train_pipeline);
  fields("eval_pipeline", c.eval_pipeline);
}

void visit_fields(FieldList& fields, ModelConfig& c) {
  fields("name", c.name);
  fields("blocks", c.blocks);
  fields("base_width", c.base_width);
  fields("stem", c.stem);
  fields("shortcut", c.shortcut);
  fields("groups", c.groups);
  fields("width_per_group", c.width_per_group);
  fields("patch", c.patch);
  fields("width", c.width);
  fields("depth", c.depth);
  fields("heads", c.heads);
  fields("mlp", c.mlp);
  fields("pool", c.pool);
  fields("class_token", c.class_token);
  fields("norm", c.norm);
  fields("positions", c.positions);
  fields("registers", c.registers);
  fields("layer_scale", c.layer_scale);
  fields("qk_norm", c.qk_norm);
  fields("pre_norm", c.pre_norm);
  fields("norm_eps", c.norm_eps);
  fields("gelu", c.gelu);
  fields("representation", c.representation);
  fields("dropout", c.dropout);
  fields("drop_path", c.drop_path);
  fields("standardize", c.standardize);
  fields("l2_normalize", c.l2_normalize);
  fields("widths", c.widths);
  fields("activation", c.activation);
  fields("layer_norm", c.layer_norm);
  fields("recompute", c.recompute);
}

void visit_fields(FieldList& fields, HeadConfig& c) {
  fields("kind", c.kind);
  fields("factors", c.noise.factors);
  fields("rank", c.noise.rank);
  fields("link", c.link);
  fields("train_samples", c.train_samples);
  fields("test_samples", c.test_samples);
  fields("antithetic", c.noise.antithetic);
  fields("likelihood", c.likelihood);
  fields("sample_chunk", c.sample_chunk);
  fields("learn_temperature", c.temperature.learn);
  fields("temperature", c.temperature.value);
  fields("temperature_lo", c.temperature.lo);
  fields("temperature_hi", c.temperature.hi);
  fields("temperature_init", c.temperature.init);
  fields("bias_init", c.bias_init);
  fields("diagonal_noise", c.noise.diagonal);
  fields("factor_bias", c.noise.factor_bias);
  fields("noise_init", c.noise.init);
  fields("noise_init_scale", c.noise.init_scale);
}

void visit_fields(FieldList& fields, CaptionSpec& c) {
  fields("templates", c.templates);
  fields("classes", c.classes);
  fields("noise_rate", c.noise_rate);
  fields("noise_seed", c.noise_seed);
  fields("unseen", c.unseen);
}

void visit_fields(FieldList& fields, TextTowerConfig& c) {
  fields("vocabulary", c.vocabulary);
  fields("pieces", c.pieces);
  fields("truncate", c.truncate);
  fields("context", c.context);
  fields("width", c.width);
  fields("depth", c.depth);
  fields("heads", c.heads);
  fields("mlp", c.mlp);
  fields("pool", c.pool);
  fields("dropout", c.dropout);
  fields("recompute", c.recompute);
}

void visit_fields(FieldList& fields, ContrastiveConfig& c) {
  fields("kind", c.kind);
  fields("width", c.width);
  fields("factors", c.noise.factors);
  fields("rank", c.noise.rank);
  fields("train_samples", c.train_samples);
  fields("noise", c.noise_place);
  fields("antithetic", c.noise.antithetic);
  fields("likelihood", c.likelihood);
  fields("learn_temperature", c.temperature.learn);
  fields("temperature", c.temperature.value);
  fields("temperature_lo", c.temperature.lo);
  fields("temperature_hi", c.temperature.hi);
  fields("temperature_init", c.temperature.init);
  fields("diagonal_noise", c.noise.diagonal);
  fields("factor_bias", c.noise.factor_bias);
  fields("noise_init", c.noise.init);
  fields("noise_init_scale", c.noise.init_scale);
  fields("lock_image", c.lock_image);
  fields("features", c.features);
  fields("retrieval", c.retrieval);
}

void visit_fields(FieldList& fields, OptimizerConfig& c) {
  fields("kind", c.kind);
  fields("momentum", c.momentum);
  fields("nesterov", c.nesterov);
  fields("beta1", c.beta1);
  fields("beta2", c.beta2);
  fields("eps", c.eps);
  fields("weight_decay", c.weight_decay);
  fields("clip_norm", c.clip_norm);
  fields("noise_lr_scale", c.noise_lr_scale);
  fields("noise_weight_decay", c.noise_weight_decay);
}

void visit_fields(FieldList& fields, ScheduleConfig& c) {
  fields("kind", c.kind);
  fields("peak", c.peak);
  fields("floor", c.floor);
  fields("warmup_epochs", c.warmup_epochs);
  fields("warmup_steps", c.warmup_steps);
  fields("timescale", c.timescale);
  fields("cooldown_steps", c.cooldown_steps);
}

void visit_fields(FieldList& fields, TrainConfig& c) {
  fields("batch_size", c.batch_size);
  fields("accumulate", c.accumulate);
  fields("epochs", c.epochs);
  fields("steps", c.steps);
  fields("log_every", c.log_every);
  fields("eval_every", c.eval_every);
  fields("eval_samples", c.eval_samples);
  fields("checkpoint_every", c.checkpoint_every);
  fields("time_limit", c.time_limit);
  fields("label_smoothing", c.label_smoothing);
  fields("on_value", c.on_value);
  fields("off_value", c.off_value);
  fields("ema_decay", c.ema_decay);
  fields("init", c.init);
  fields("init_partial", c.init_partial);
  fields("lock_backbone", c.lock_backbone);
  fields("features", c.features);
  fields("loader_threads", c.loader_threads);
}

void visit_fields(FieldList& fields, FewShotConfig& c) {
  fields("data", c.data);
  fields("shots", c.shots);
  fields("every", c.every);
}

void visit_fields(FieldList& fields, RunConfig& c) {
  fields("about", c.about);
  fields("task", c.task);
  fields("data", c.data);
  fields("model", c.model);
  if (c.task == TaskKind::contrastive) {
    fields("captions", c.captions);
    fields("text", c.text);
    fields("contrast", c.contrast);
  } else {
    fields("head", c.head);
  }
  fields("optimizer", c.optimizer);
  fields("schedule", c.schedule);
  fields("train", c.train);
  fields("few_shot", c.few_shot);
  fields("seed", c.seed);
}

/// Throws UsageError for a key of the other task.
static void check_task(const std::string& key, TaskKind task, const std::string& source) {
  const std::string section = key.substr(0, key.find('.')) + ".";
  const auto has = [&](TaskKind kind) {
    RunConfig config;
    config.task = kind;
    return std::ranges::any_of(fields_of(config), [&](const Field& f) { return f.path.starts_with(section); });
  };
  const TaskKind other = task == TaskKind::contrastive ? TaskKind::classification : TaskKind::contrastive;
  require_usage(has(task) || !has(other), "config", source, ": unknown key ", excerpt(key), ": it belongs to task ",
                other, ", and this is ", task);
}

void set_config_field(const std::string& assignment, RunConfig& config) {
  check_task(assignment.substr(0, assignment.find('=')), config.task, "--set " + excerpt(assignment));
  set_field(assignment, fields_of(config));
}

void read_config_fields(const Json& object, RunConfig& config, const std::string& source) {
  require_usage(!object.contains("base") || !object.contains("heads"), "config", source,
                ": a plan (it has base and heads): build/replicate runs it");
  if (object.contains("task")) read_fields({{"task", object.at("task")}}, fields_of(config), source);
  if (object.is_object())
    for (const auto& [key, value] : object.members()) check_task(key, config.task, source);
  read_fields(object, fields_of(config), source);
}

RunConfig parse_config(const std::string& text, const std::string& source) {
  RunConfig config;
  read_config_fields(parse_json(text, source), config, source);
  return config;
}

RunConfig read_config(const std::string& path) {
  constexpr uint64_t kMostBytes = 1 << 20;
  return parse_config(read_file(path, kMostBytes), path);
}

std::string config_text(const RunConfig& config) {
  RunConfig copy = config;  // fields_of hands out addresses to write to
  return json_text(write_fields(fields_of(copy)));
}

namespace {

/// Paths may be of any bytes, but a configuration is JSON.
void check_utf8(RunConfig config) {
  for (const Field& field : fields_of(config)) {
    std::vector<std::string> texts;
    if (const auto* text = std::get_if<std::string*>(&field.value)) texts = {**text};
    if (const auto* list = std::get_if<std::vector<std::string>*>(&field.value)) texts = **list;
    for (const std::string& text : texts)
      require_usage(!invalid_utf8(text), "config", field.path, ": expected UTF-8, got \"", excerpt(text),
                    "\" (a link of another name leads to the same place)");
  }
}

template <class T>
void check(bool ok, const char* key, const std::string& expected, const T& value) {
  require_usage(ok, "config", key, ": expected ", expected, ", got ", value);
}

/// What training makes of its targets.
void check_targets(const RunConfig& config) {
  const TrainConfig& t = config.train;
  const bool values = t.on_value != 1 || t.off_value != 0;
  check(t.label_smoothing >= 0 && t.label_smoothing < 1, "train.label_smoothing", "a number in [0, 1)",
        t.label_smoothing);
  check(t.label_smoothing == 0 || config.task == TaskKind::classification, "train.label_smoothing",
        "0 with task contrastive, whose targets are pairs", t.label_smoothing);
  check(t.off_value >= 0 && t.off_value < 1, "train.off_value", "a number in [0, 1)", t.off_value);
  check(t.on_value > t.off_value && t.on_value <= 1, "train.on_value", "a number above train.off_value, at most 1",
        t.on_value);
  const char* value = t.on_value != 1 ? "train.on_value" : "train.off_value";
  require_usage(!values || config.task == TaskKind::classification, "config", value,
                ": expected its default with task contrastive, whose targets are pairs");
  require_usage(!values || config.head.link == Link::sigmoid, "config", value,
                ": expected head.link sigmoid beside it: distributions are smoothed by train.label_smoothing");
  require_usage(!values || t.label_smoothing == 0, "config",
                "train.label_smoothing: expected 0 beside train.on_value and train.off_value, got ", t.label_smoothing);
}

}  // namespace

static void validate(const FewShotConfig& config) {
  constexpr int64_t kMostShots = 10000;
  constexpr size_t kMostSets = 64;
  const auto in_range = [](int64_t shots) { return shots >= 1 && shots <= kMostShots; };
  require_usage(!config.shots.empty() && std::ranges::all_of(config.shots, in_range), "config",
                "few_shot.shots: expected a list of 1 to ", kMostShots, ", got ", Json(config.shots).dump());
  require_usage(config.every >= 0, "config", "few_shot.every: expected at least 0, got ", config.every);
  require_usage(config.data.size() <= kMostSets, "config", "few_shot.data: expected at most ", kMostSets,
                " data sets, got ", config.data.size());
  for (const std::string& name : config.data)
    require_usage(std::ranges::count(config.data, name) == 1, "config", "few_shot.data: ", excerpt(name),
                  " stands there twice");
}

void validate(const RunConfig& config) {
  check_utf8(config);
  validate(config.few_shot);
  check_targets(config);
  const TrainConfig& t = config.train;
  check(t.batch_size >= 1, "train.batch_size", "at least 1", t.batch_size);
  check(t.accumulate >= 1 && t.accumulate <= t.batch_size, "train.accumulate",
        "1 to train.batch_size, " + std::to_string(t.batch_size), t.accumulate);
  check(t.accumulate == 1 || config.task == TaskKind::classification, "train.accumulate",
        "1 with task contrastive, where each pair is told from all others of its batch", t.accumulate);
  check(t.steps >= 0, "train.steps", "at least 0", t.steps);
  check(t.epochs >= 0, "train.epochs", "at least 0", t.epochs);
  check(t.epochs <= 1e6, "train.epochs", "at most 1000000", t.epochs);
  check(t.log_every >= 1, "train.log_every", "at least 1", t.log_every);
  check(t.eval_every >= 0, "train.eval_every", "at least 0", t.eval_every);
  check(t.eval_samples >= 0 && t.eval_samples <= kMostSamples, "train.eval_samples",
        "0 to " + std::to_string(kMostSamples), t.eval_samples);
  check(t.checkpoint_every >= 0, "train.checkpoint_every", "at least 0", t.checkpoint_every);
  check(t.time_limit >= 0, "train.time_limit", "a number of seconds, at least 0", t.time_limit);
  check(t.ema_decay >= 0 && t.ema_decay < 1, "train.ema_decay", "a number in [0, 1)", t.ema_decay);
  check(!t.lock_backbone || config.task == TaskKind::classification, "train.lock_backbone",
        "false with task contrastive, which has contrast.lock_image", t.lock_backbone);
  check(!t.lock_backbone || !t.features.empty(), "train.features", "a folder", t.features);
  check(t.loader_threads >= 0 && t.loader_threads <= 256, "train.loader_threads", "0 to 256", t.loader_threads);
  const ScheduleConfig& s = config.schedule;
  check(s.peak > 0, "schedule.peak", "a number above 0", s.peak);
  check(s.floor >= 0 && s.floor <= 1, "schedule.floor", "a number in [0, 1]", s.floor);
  check(s.warmup_epochs >= 0, "schedule.warmup_epochs", "at least 0", s.warmup_epochs);
  check(s.warmup_steps >= 0, "schedule.warmup_steps", "at least 0", s.warmup_steps);
  check(s.timescale > 0, "schedule.timescale", "a number of steps above 0", s.timescale);
  check(s.cooldown_steps >= 0, "schedule.cooldown_steps", "at least 0", s.cooldown_steps);
  const double noise_decay = config.optimizer.noise_weight_decay;
  check(config.optimizer.noise_lr_scale >= 0, "optimizer.noise_lr_scale", "at least 0",
        config.optimizer.noise_lr_scale);
  check(noise_decay >= 0 || noise_decay == -1, "optimizer.noise_weight_decay", "at least 0 (or -1: as weight_decay)",
        noise_decay);
  const ContrastiveConfig& contrast = config.contrast;
  check(contrast.retrieval >= 1 && contrast.retrieval <= 1 << 16, "contrast.retrieval", "1 to 65536",
        contrast.retrieval);
  check(!contrast.lock_image || !contrast.features.empty(), "contrast.features", "a folder", contrast.features);
  check(config.text.pieces >= 8 && config.text.pieces <= 1 << 20, "text.pieces", "8 to 1048576", config.text.pieces);
  check(config.data.validation >= 0, "data.validation", "at least 0", config.data.validation);
  check(config.data.skip_limit >= -1, "data.skip_limit", "at least 0 (or -1: not set)", config.data.skip_limit);
  check(config.data.train_subset >= 0, "data.train_subset", "at least 0", config.data.train_subset);
}

namespace {

template <class Section>
Section filled(const Section& given, const Section& chosen) {
  Section result = given, untouched, from = chosen;
  const Json mine = write_fields(fields_of(result)), open = write_fields(fields_of(untouched));
  Json fill = write_fields(fields_of(from));
  for (const auto& [key, value] : mine.members()) {
    if (value != open.at(key)) fill.erase(key);
  }
  read_fields(fill, fields_of(result), "configuration");
  return result;
}

}  // namespace

ModelConfig filled_in(const ModelConfig& given, const ModelConfig& chosen) { return filled(given, chosen); }
HeadConfig filled_in(const HeadConfig& given, const HeadConfig& chosen) { return filled(given, chosen); }

std::vector<std::string> differing_network(const RunConfig& a, const RunConfig& b) {
  constexpr std::array<std::string_view, 12> kWithoutEffect{
      "model.dropout",     "model.drop_path",       "model.recompute", "head.train_samples",
      "head.test_samples", "head.antithetic",       "head.likelihood", "head.sample_chunk",
      "head.bias_init",    "head.temperature_init", "head.noise_init", "head.noise_init_scale"};
  RunConfig left, right;
  left.model = a.model, left.head = a.head, right.model = b.model, right.head = b.head;
  std::vector<std::string> keys = differing_fields(fields_of(left), fields_of(right));
  std::erase_if(keys, [&](const std::string& key) { return std::ranges::count(kWithoutEffect, key) > 0; });
  return keys;
}

std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b) {
  constexpr std::array<std::string_view, 7> kWithoutEffect{
      "about",          "data.root",        "data.skip_limit", "train.loader_threads", "train.time_limit",
      "train.features", "contrast.features"};
  if (a.task != b.task) return {"task"};
  RunConfig left = a, right = b;
  std::vector<std::string> keys = differing_fields(fields_of(left), fields_of(right));
  std::erase_if(keys, [&](const std::string& key) { return std::ranges::count(kWithoutEffect, key) > 0; });
  return keys;
}

}  // namespace sked

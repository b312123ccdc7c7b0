#include "apps/common/config/config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "data/held_out.h"

namespace sked {

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

RunConfig read_config(const std::string& path) { return parse_config(read_json_file(path), path); }

std::string config_text(const RunConfig& config) {
  RunConfig copy = config;  // fields_of hands out addresses to write to
  return json_text(write_fields(fields_of(copy)));
}

namespace {

/// Paths may be of any bytes, but a configuration is JSON.
void check_texts(RunConfig config) {
  for (const Field& field : fields_of(config)) {
    std::vector<std::string> texts;
    if (const auto* text = std::get_if<std::string*>(&field.value)) texts = {**text};
    if (const auto* list = std::get_if<std::vector<std::string>*>(&field.value)) texts = **list;
    for (const std::string& text : texts) {
      require_usage(!invalid_utf8(text), "config", field.path, ": expected UTF-8, got \"", excerpt(text),
                    "\" (a link of another name leads to the same place)");
      require_usage(!text.starts_with("~/"), "config", field.path, ": ", excerpt(text),
                    ": ~ is known to a shell alone: expected the whole path");
    }
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
  check(t.label_smoothing == 0 || config.task == TaskKind::classification, "train.label_smoothing",
        "0 with task contrastive, whose targets are pairs", t.label_smoothing);
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
  constexpr size_t kMostSets = 64;
  require_usage(!config.shots.empty(), "config", "few_shot.shots: expected at least one number, got []");
  require_usage(config.data.size() <= kMostSets, "config", "few_shot.data: expected at most ", kMostSets,
                " data sets, got ", config.data.size());
  for (const std::string& name : config.data)
    require_usage(std::ranges::count(config.data, name) == 1, "config", "few_shot.data: ", excerpt(name),
                  " stands there twice");
}

void validate(const RunConfig& config) {
  check_texts(config);
  RunConfig copy = config;  // fields_of hands out addresses to write to
  check_ranges(fields_of(copy));
  validate(config.few_shot);
  check_targets(config);
  check_validation(config.data.validation);
  const TrainConfig& t = config.train;
  check(t.accumulate >= 1 && t.accumulate <= t.batch_size, "train.accumulate",
        "1 to train.batch_size, " + std::to_string(t.batch_size), t.accumulate);
  check(t.accumulate == 1 || config.task == TaskKind::classification, "train.accumulate",
        "1 with task contrastive, where each pair is told from all others of its batch", t.accumulate);
  check(config.optimizer.head_lr_scale == 1 || config.task == TaskKind::classification, "optimizer.head_lr_scale",
        "1 with task contrastive, which has no head", config.optimizer.head_lr_scale);
  check(config.optimizer.layer_decay == 1 || config.task == TaskKind::classification, "optimizer.layer_decay",
        "1 with task contrastive", config.optimizer.layer_decay);
  check(!config.head.shard_classes || config.head.kind == HeadKind::det ||
            config.head.likelihood == Likelihood::streaming,
        "head.shard_classes", "false with head.likelihood composed", config.head.shard_classes);
  check(!t.lock_backbone || config.task == TaskKind::classification, "train.lock_backbone",
        "false with task contrastive, which has contrast.lock_image", t.lock_backbone);
  check(!t.lock_backbone || !t.features.empty(), "train.features", "a folder", t.features);
  const ContrastiveConfig& contrast = config.contrast;
  check(!contrast.lock_image || !contrast.features.empty(), "contrast.features", "a folder", contrast.features);
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
  constexpr std::array<std::string_view, 14> kWithoutEffect{
      "model.batch_norm",      "model.dropout",   "model.drop_path",       "model.recompute",   "head.train_samples",
      "head.test_samples",     "head.antithetic", "head.likelihood",       "head.sample_chunk", "head.bias_init",
      "head.temperature_init", "head.noise_init", "head.noise_init_scale", "head.shard_classes"};
  RunConfig left, right;
  left.model = a.model, left.head = a.head, right.model = b.model, right.head = b.head;
  std::vector<std::string> keys = differing_fields(fields_of(left), fields_of(right));
  std::erase_if(keys, [&](const std::string& key) { return std::ranges::count(kWithoutEffect, key) > 0; });
  return keys;
}

std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b) {
  constexpr std::array<std::string_view, 11> kWithoutEffect{"about",
                                                            "data.root",
                                                            "data.skip_limit",
                                                            "train.loader_threads",
                                                            "train.time_limit",
                                                            "train.features",
                                                            "contrast.features",
                                                            "train.keep_checkpoints",
                                                            "train.tensorboard",
                                                            "optimizer.shard",
                                                            "head.shard_classes"};
  if (a.task != b.task) return {"task"};
  RunConfig left = a, right = b;
  std::vector<std::string> keys = differing_fields(fields_of(left), fields_of(right));
  std::erase_if(keys, [&](const std::string& key) { return std::ranges::count(kWithoutEffect, key) > 0; });
  return keys;
}

std::vector<std::string> differing_but_length(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> keys = differing_keys(a, b);
  std::erase_if(keys, [](const std::string& key) { return key == "train.epochs" || key == "train.steps"; });
  return keys;
}

}  // namespace sked

#include "apps/common/measure/summary.h"

#include "core/error.h"
#include "core/file.h"

namespace sked {
namespace {

std::vector<Field> list_of(Summary& s) {
  FieldList fields;
  fields("head", s.head);
  fields("link", s.link);
  fields("dataset", s.dataset);
  fields("backbone", s.backbone);
  fields("seed", s.seed);
  fields("params_total", s.params_total);
  fields("params_head_extra", s.params_head_extra);
  fields("temperature", s.temperature);
  fields("weights", s.weights);
  fields("steps", s.steps);
  fields("epochs", s.epochs);
  fields("best_step", s.best_step);
  fields("best_nll", s.best_nll);
  fields("training_images", s.training_images);
  fields("training_data", s.training_data);
  fields("measured_data", s.measured_data);
  fields("noisy_share", s.noisy_share);
  fields("pairs_left_out", s.pairs_left_out);
  fields("test_pairs_left_out", s.test_pairs_left_out);
  fields("images_per_second", s.images_per_second);
  fields("train_seconds", s.train_seconds);
  fields("wait_seconds", s.wait_seconds);
  fields("test_seconds", s.test_seconds);
  fields("peak_memory_bytes", s.peak_memory_bytes);
  fields("device", s.device);
  fields("precision", s.precision);
  fields("command", s.command);
  fields("made_by", s.made_by);
  return fields.take();
}

}  // namespace

Json summary_json(const Summary& summary) {
  Summary copy = summary;  // field lists hand out addresses to write to
  Json json = write_fields(list_of(copy));
  Json& measured = json[summary.measured];
  measured = evaluation_json(summary.test, true);
  constexpr size_t kMostClasses = 100;  // of a table that people read; evaluate has it of any number
  if (summary.test.classes.size() > kMostClasses) measured.erase("classes");
  if (!summary.few_shot.empty()) json["few_shot"] = few_shot_json(summary.few_shot);
  return json;
}

std::string summary_text(const Summary& summary) { return json_text(summary_json(summary)); }

Summary summary_of(Json json, const std::string& source) {
  Summary summary;
  try {
    if (json.is_object() && json.contains("validation")) summary.measured = "validation";
    require(json.is_object() && json.contains(summary.measured), "summary", source,
            ": expected an object with a key test");
    summary.test = read_evaluation(json.at(summary.measured), source);
    require(summary.test.measures.count > 0, "summary", source, ": ", summary.measured,
            ": expected what was measured, got no image");
    json.erase(summary.measured);
    if (const Json* few_shot = json.find("few_shot")) {
      summary.few_shot = read_few_shot(*few_shot, source);
      json.erase("few_shot");
    }
    read_fields(json, list_of(summary), source);
  } catch (const UsageError& error) {  // nobody's usage is wrong: the file is
    throw Error(error.what());
  }
  return summary;
}

Summary read_summary(const std::string& path) {
  constexpr uint64_t kMostBytes = 1 << 20;
  try {
    return summary_of(parse_json(read_file(path, kMostBytes), path), path);
  } catch (const UsageError& error) {
    throw Error(error.what());
  }
}

}  // namespace sked

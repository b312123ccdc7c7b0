#include "apps/replicate/plan.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

template <class... Parts>
[[noreturn]] void fail_usage(const Parts&... parts) {
  detail::throw_error<UsageError>("plan", parts...);
}

/// A name is a row of tables, an entry of plots and a folder.
void check_name(const std::string& name, const std::string& key, const std::string& path) {
  constexpr size_t kLongestFolder = 255;  // bytes: NAME_MAX of Linux
  if (trimmed(name).empty()) fail_usage(path, ": `", key, "` expected names, got \"", excerpt(name), '"');
  if (printable(name) != name)
    fail_usage(path, ": `", key, ".", excerpt(printable(name)), "` expected a name without control characters");
  for (const char* file : {kResults, kTable, kReport})
    if (folder_name(name) == file)
      fail_usage(path, ": `", key, ".", name, "` expected another name: ", file, " is a file of the results");
  if (folder_name(name).size() > kLongestFolder)
    fail_usage(path, ": `", key, ".", excerpt(name), "` expected a name of at most ", kLongestFolder, " bytes, got ",
               name.size());
}

std::vector<Variation> variations(const Json& object, const std::string& key, const std::string& path) {
  if (!object.is_object() || object.empty())
    fail_usage(path, ": `", key, "` expected a non-empty object of name: {key.path: value, ...}, got ",
               excerpt(object.dump()));
  std::vector<Variation> result;
  std::set<std::string> folders;
  for (const auto& [name, entries] : object.members()) {
    check_name(name, key, path);
    if (!entries.is_object())
      fail_usage(path, ": `", key, ".", excerpt(name), "` expected an object, got ", excerpt(entries.dump()));
    if (!folders.insert(folder_name(name)).second)
      fail_usage(path, ": `", key, ".", excerpt(name), "` would share the folder ", folder_name(name),
                 " with another entry");
    result.push_back({name, entries.dump()});
  }
  return result;
}

/// Those of an entry; where it is not there, `otherwise`.
std::vector<uint64_t> seeds_of(const Json& plan, const std::string& key, std::vector<uint64_t> otherwise,
                               const std::string& path) {
  if (!plan.contains(key)) return otherwise;
  const Json& seeds = plan.at(key);
  std::set<uint64_t> unique;
  std::vector<uint64_t> result;
  bool ok = seeds.is_array() && !seeds.empty();
  for (size_t i = 0; ok && i < seeds.size(); ++i) {
    const Json& seed = seeds.elements()[i];
    ok = seed.is_unsigned() && unique.insert(seed.unsigned_integer()).second;
    if (ok) result.push_back(seed.unsigned_integer());
  }
  if (!ok) fail_usage(path, ": `", key, "` expected a list of different integers ≥ 0, got ", excerpt(seeds.dump()));
  return result;
}

/// What `base` says: a configuration, or the name of its file, from the plan's folder on.
RunConfig read_base(const Json& base, const std::string& path) {
  RunConfig config;
  if (!base.is_string()) {
    if (!base.is_object())
      fail_usage(path, ": base: expected an object or the name of a file, got ", excerpt(base.dump()));
    read_config_fields(base, config, path + ": base");
    return config;
  }
  const std::string file = (std::filesystem::path(path).parent_path() / base.string()).string();
  std::error_code error;
  if (!std::filesystem::exists(file, error))
    fail_usage(path, ": base: ", printable(file), " is not there (a name is taken from the plan's folder)");
  const Json json = parse_json(read_json_file(file), file);
  if (json.contains("base") || json.contains("heads"))
    fail_usage(path, ": base: ", printable(file), " is a plan itself: expected the configuration of one run");
  read_config_fields(json, config, file);
  config.seed = RunConfig{}.seed;  // of its own run
  return config;
}

/// Of those that are measured once more when all runs are trained.
bool flag_of(const Json& plan, const char* key, const RunConfig& base, const std::string& path) {
  const Json* flag = plan.find(key);
  if (flag == nullptr) return false;
  if (!flag->is_boolean()) fail_usage(path, ": `", key, "` expected true or false, got ", excerpt(flag->dump()));
  if (flag->boolean() && base.task != TaskKind::classification)
    fail_usage(path, ": `", key, "` expected false for the task ", name_of(base.task));
  return flag->boolean();
}

/// Does the key decide what is held out, or how that is measured? Then its values' held-out NLLs do not compare.
bool decides_held_out(const std::string& key) {
  const bool of_training = key == "data.train_pipeline" || key == "data.train_subset";
  return (key.starts_with("data.") && !of_training) || key == "train.eval_samples" || key == "train.eval_every";
}

std::vector<TunedKey> tuning_of(const Json& plan, const std::vector<std::string>& overrides, const std::string& path) {
  const Json tuning = plan.contains("tuning") ? plan.at("tuning") : Json::object();
  if (!tuning.is_object() || (tuning.empty() && plan.contains("tuning")))
    fail_usage(path, ": `tuning` expected a non-empty object of key.path: [value, ...], got ", excerpt(tuning.dump()));
  const Json* full = plan.find("full");
  std::vector<TunedKey> keys;
  for (const auto& [key, values] : tuning.members()) {
    bool ok = values.is_array() && !values.empty();
    for (size_t i = 0; ok && i < values.size(); ++i) {
      const Json& value = values.elements()[i];
      ok = value.is_number() || value.is_string() || value.is_boolean();
      for (size_t j = 0; ok && j < i; ++j) ok = !(values.elements()[j] == value);
    }
    if (!ok)
      fail_usage(path, ": `tuning.", excerpt(key), "` expected a list of different values, got ",
                 excerpt(values.dump()));
    if (decides_held_out(key))
      fail_usage(path, ": `tuning.", excerpt(key), "` decides what is held out or how it is measured: expected others");
    if (full != nullptr && changed_keys(*full).contains(key))
      fail_usage(path, ": `tuning.", excerpt(key), "` is in `full` as well: expected it in one of them");
    const auto sets = [&](const std::string& assignment) { return assignment.starts_with(key + "="); };
    if (std::ranges::none_of(overrides, sets)) keys.push_back({key, values.elements()});
  }
  return keys;
}

void add_changed_keys(const Json& changes, const std::string& section, std::set<std::string>& keys) {
  for (const auto& [key, value] : changes.members()) {
    keys.insert(section + key);
    if (value.is_object()) add_changed_keys(value, section + key + ".", keys);
  }
}

void check_known(const Json& plan, const std::string& path) {
  const std::vector<std::string> known = {"about",        "base", "settings",   "heads",     "seeds",      "tuning",
                                          "tuning_seeds", "full", "full_seeds", "ensembles", "calibrated", "study"};
  for (const auto& [key, value] : plan.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail_usage(path, ": unknown key `", excerpt(key), "`", did_you_mean(key, known), ": a plan has ", join(known));
  for (const char* key : {"base", "heads"})
    if (!plan.contains(key)) fail_usage(path, ": `", key, "` is missing");
}

}  // namespace

std::set<std::string> changed_keys(const Json& changes) {
  std::set<std::string> keys;
  if (changes.is_object()) add_changed_keys(changes, "", keys);
  return keys;
}

std::string folder_name(const std::string& name) {
  const auto is_blank_or_mark = [](char32_t c) {  // the blanks of Latin-1 and CJK, general punctuation
    return c == 0xA0 || c == 0x3000 || (c >= 0x2000 && c <= 0x206F);
  };
  std::string folder;
  for (size_t at = 0, bytes = 1; at < name.size(); at += bytes) {
    const std::optional<CodePoint> point = code_point(name, at);
    bytes = point ? point->bytes : 1;
    const std::string character = name.substr(at, bytes);
    const char c = character.front();
    const bool ascii = std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-';
    const bool kept = bytes == 1 ? ascii : printable(character) == character && !is_blank_or_mark(point->value);
    folder += kept ? character : "-";
  }
  if (folder.empty() || folder.front() == '.') folder.insert(0, "-");
  return folder;
}

Plan read_plan(const std::string& path, const std::vector<std::string>& overrides, bool full) {
  const Json json = parse_json(read_json_file(path), path);
  if (!json.is_object()) fail_usage(path, ": expected an object, got ", excerpt(json.dump()));
  if (!json.contains("base") && !json.contains("heads") && (json.contains("data") || json.contains("model")))
    fail_usage(path, ": a configuration of one run (a plan has base and heads): build/train runs it");
  check_known(json, path);

  Plan plan;
  plan.path = path;
  const Json about = json.contains("about") ? json.at("about") : Json::object();
  if (!about.is_object()) fail_usage(path, ": `about` expected an object, got ", excerpt(about.dump()));
  plan.about = about.dump();
  plan.title = about.contains("title") && about.at("title").is_string() ? about.at("title").string()
                                                                        : std::filesystem::path(path).stem().string();
  plan.base = read_base(json.at("base"), path);
  plan.full = full;
  if (full && !json.contains("full")) fail_usage(path, ": `full` is missing, which --full asks for");
  RunConfig changed = plan.base;  // looked at in the small size as well
  if (const Json* changes = json.find("full")) read_config_fields(*changes, changed, path + ": full");
  if (full) plan.base = changed;
  for (const std::string& assignment : overrides) set_config_field(assignment, plan.base);
  plan.settings = json.contains("settings") ? variations(json.at("settings"), "settings", path)
                                            : std::vector<Variation>{{plan.base.data.name}};
  plan.heads = variations(json.at("heads"), "heads", path);
  plan.seeds = seeds_of(json, "seeds", {0, 1, 2}, path);
  if (const std::vector<uint64_t> seeds = seeds_of(json, "full_seeds", plan.seeds, path); full) plan.seeds = seeds;
  plan.ensembles = flag_of(json, "ensembles", plan.base, path);
  plan.calibrated = flag_of(json, "calibrated", plan.base, path);
  plan.tuning = tuning_of(json, overrides, path);
  plan.tuning_seeds = seeds_of(json, "tuning_seeds", {1000}, path);
  if (json.contains("tuning_seeds") && !json.contains("tuning"))
    fail_usage(path, ": `tuning_seeds` expected with `tuning` alone");
  if (const Json* study = json.find("study")) plan.study = study->dump();
  return plan;
}

RunConfig varied(const Plan& plan, size_t setting, size_t head, const std::string& values) {
  RunConfig config = plan.base;
  const std::string setting_name = "settings." + excerpt(plan.settings[setting].name);
  const std::string in_setting = plan.path + ": " + setting_name;
  const std::string in_head = plan.path + ": heads." + excerpt(plan.heads[head].name);
  const std::string in_tuning = plan.path + ": tuning";
  read_config_fields(parse_json(values, in_tuning), config, in_tuning);
  read_config_fields(parse_json(plan.settings[setting].changes, in_setting), config, in_setting);
  read_config_fields(parse_json(plan.heads[head].changes, in_head), config, in_head);
  if (config.seed != RunConfig{}.seed)
    fail_usage(plan.path, ": seed: expected none beside the plan's `seeds`, got ", config.seed);
  try {
    validate(config);
  } catch (const UsageError& error) {
    const std::string tuned = values_text(values);
    fail_usage(in_head, " with ", setting_name, tuned.empty() ? "" : ", tuning " + tuned, ": ", error.what());
  }
  return config;
}

std::string values_text(const std::string& values) {
  std::vector<std::string> parts;
  const Json json = parse_json(values, "values");
  for (const auto& [key, value] : json.members())
    parts.push_back(key + " " + (value.is_string() ? value.string() : value.dump()));
  return join(parts);
}

std::string PlannedRun::what() const {
  return (of_tuning ? "tuning " + values_text(values) + ", " : "") + "seed " + std::to_string(seed);
}

std::string cell_folder(const Plan& plan, size_t setting, size_t head) {
  return folder_name(plan.settings[setting].name) + "/" + folder_name(plan.heads[head].name);
}

std::vector<PlannedRun> runs_of(const Plan& plan) {
  std::vector<PlannedRun> runs;
  for (uint64_t seed : plan.seeds)
    for (size_t s = 0; s < plan.settings.size(); ++s)
      for (size_t h = 0; h < plan.heads.size(); ++h) {
        PlannedRun run{s, h, seed, varied(plan, s, h), {}};
        run.config.seed = seed;
        run.folder = cell_folder(plan, s, h) + "/seed-" + std::to_string(seed);
        runs.push_back(std::move(run));
      }
  return runs;
}

}  // namespace sked

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

std::vector<uint64_t> seeds_of(const Json& plan, const std::string& path) {
  const Json seeds = plan.contains("seeds") ? plan.at("seeds") : Json::array({0u, 1u, 2u});
  std::set<uint64_t> unique;
  std::vector<uint64_t> result;
  bool ok = seeds.is_array() && !seeds.empty();
  for (size_t i = 0; ok && i < seeds.size(); ++i) {
    const Json& seed = seeds.elements()[i];
    ok = seed.is_unsigned() && unique.insert(seed.unsigned_integer()).second;
    if (ok) result.push_back(seed.unsigned_integer());
  }
  if (!ok) fail_usage(path, ": `seeds` expected a list of different integers ≥ 0, got ", excerpt(seeds.dump()));
  return result;
}

/// The base with the changes of a setting, then of a head.
RunConfig varied(const Plan& plan, const Variation& setting, const Variation& head) {
  RunConfig config = plan.base;
  const std::string in_setting = plan.path + ": settings." + excerpt(setting.name);
  const std::string in_head = plan.path + ": heads." + excerpt(head.name);
  read_config_fields(parse_json(setting.changes, in_setting), config, in_setting);
  read_config_fields(parse_json(head.changes, in_head), config, in_head);
  if (config.seed != RunConfig{}.seed)
    fail_usage(plan.path, ": seed: expected none beside the plan's `seeds`, got ", config.seed);
  try {
    validate(config);
  } catch (const UsageError& error) {
    fail_usage(in_head, " with settings.", excerpt(setting.name), ": ", error.what());
  }
  return config;
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

}  // namespace

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

Plan read_plan(const std::string& path, const std::vector<std::string>& overrides) {
  const Json json = parse_json(read_json_file(path), path);
  if (!json.is_object()) fail_usage(path, ": expected an object, got ", excerpt(json.dump()));
  if (!json.contains("base") && !json.contains("heads") && (json.contains("data") || json.contains("model")))
    fail_usage(path, ": a configuration of one run (a plan has base and heads): build/train runs it");
  const std::vector<std::string> known = {"about", "base", "settings", "heads", "seeds", "ensembles", "study"};
  for (const auto& [key, value] : json.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail_usage(path, ": unknown key `", excerpt(key), "`", did_you_mean(key, known), ": a plan has ", join(known));
  for (const char* key : {"base", "heads"})
    if (!json.contains(key)) fail_usage(path, ": `", key, "` is missing");

  Plan plan;
  plan.path = path;
  const Json about = json.contains("about") ? json.at("about") : Json::object();
  if (!about.is_object()) fail_usage(path, ": `about` expected an object, got ", excerpt(about.dump()));
  plan.about = about.dump();
  plan.title = about.contains("title") && about.at("title").is_string() ? about.at("title").string()
                                                                        : std::filesystem::path(path).stem().string();
  plan.base = read_base(json.at("base"), path);
  for (const std::string& assignment : overrides) set_config_field(assignment, plan.base);
  plan.settings = json.contains("settings") ? variations(json.at("settings"), "settings", path)
                                            : std::vector<Variation>{{plan.base.data.name}};
  plan.heads = variations(json.at("heads"), "heads", path);
  plan.seeds = seeds_of(json, path);
  if (const Json* ensembles = json.find("ensembles")) {
    if (!ensembles->is_boolean())
      fail_usage(path, ": `ensembles` expected true or false, got ", excerpt(ensembles->dump()));
    plan.ensembles = ensembles->boolean();
    if (plan.ensembles && plan.base.task != TaskKind::classification)
      fail_usage(path, ": `ensembles` expected false for the task ", name_of(plan.base.task));
  }
  if (const Json* study = json.find("study")) plan.study = study->dump();
  return plan;
}

std::vector<PlannedRun> runs_of(const Plan& plan) {
  std::vector<PlannedRun> runs;
  for (uint64_t seed : plan.seeds)
    for (size_t s = 0; s < plan.settings.size(); ++s)
      for (size_t h = 0; h < plan.heads.size(); ++h) {
        PlannedRun run{s, h, seed, varied(plan, plan.settings[s], plan.heads[h]), {}};
        run.config.seed = seed;
        run.folder = folder_name(plan.settings[s].name) + "/" + folder_name(plan.heads[h].name) + "/seed-" +
                     std::to_string(seed);
        runs.push_back(std::move(run));
      }
  return runs;
}

}  // namespace sked

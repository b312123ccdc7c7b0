#include "apps/replicate/study_results.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "apps/common/measure/heat_map.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr uint64_t kMostBytes = uint64_t{256} << 20;
constexpr size_t kMostNames = 1000, kMostSeeds = 1000;

double finite(const Json& value, const char* what) {
  const double number = value.number();
  require(std::isfinite(number), "study", what, ": expected a finite number, got ", number);
  return number;
}

/// What `read` returns; its errors name the place.
template <class Read>
auto at_place(const std::string& place, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string what = error.what();
    throw Error(place + ": " + what.substr(what.starts_with('[') ? what.find("] ") + 2 : 0));
  }
}

const std::vector<Json>& list_at(const Json& object, const char* key) {
  const Json& list = object.at(key);
  require(list.is_array(), "study", key, ": expected a list, got ", excerpt(list.dump()));
  return list.elements();
}

/// Names and changes, in the plan's order.
std::vector<Variation> variations(const Json& object) {
  require(object.members().size() <= kMostNames, "study", "expected at most ", kMostNames, " names, got ",
          object.size());
  std::vector<Variation> result;
  for (const auto& [name, changes] : object.members()) {
    require(changes.is_object(), "study", excerpt(name), ": expected an object, got ", excerpt(changes.dump()));
    result.push_back({name, changes.dump()});
  }
  return result;
}

size_t index_of(const std::vector<Variation>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &Variation::name);
  require(found != all.end(), "study", "expected a name of the plan, got \"", excerpt(name), '"');
  return static_cast<size_t>(found - all.begin());
}

std::vector<Trial> tuning_of(const Json& list) {
  std::vector<Trial> result;
  for (const Json& one : list.elements()) {
    const Json& values = one.at("values");
    require(values.is_object(), "study", "values: expected an object, got ", excerpt(values.dump()));
    result.push_back({.values = values.dump(),
                      .train_seconds = finite(one.at("train_seconds"), "train_seconds"),
                      .chosen = one.at("chosen").boolean()});
    for (const Json& nll : list_at(one, "held_out_nll"))
      result.back().held_out_nll.push_back(nll.is_null() ? HUGE_VAL : nll.number());
    require(!result.back().held_out_nll.empty(), "study", "held_out_nll: expected one of each seed, got none");
  }
  return result;
}

Tensor matrix_of(const Json& rows, size_t classes) {
  require(rows.elements().size() == classes, "study", "expected ", classes, " rows, got ", rows.size());
  const auto k = static_cast<int64_t>(classes);
  Tensor matrix = Tensor::empty({k, k});
  auto* element = matrix.data<float>();
  for (const Json& row : rows.elements()) {
    require(row.elements().size() == classes, "study", "expected ", classes, " columns, got ", row.size());
    for (const Json& value : row.elements()) *element++ = static_cast<float>(finite(value, "covariance"));
  }
  return matrix;
}

/// Could it only be a picture within the page?
bool is_picture(const std::string& uri) {
  const auto base64 = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/' || c == '=';
  };
  for (const std::string kind : {"png", "jpeg", "bmp"})
    if (const std::string begin = "data:image/" + kind + ";base64,"; uri.starts_with(begin))
      return std::all_of(uri.begin() + static_cast<int64_t>(begin.size()), uri.end(), base64);
  return false;
}

StudyCell cell_of(const Json& json, const StudyResults& results) {
  StudyCell result;
  Cell& cell = result.cell;
  cell.setting = index_of(results.plan.settings, json.at("setting").string());
  cell.head = index_of(results.plan.heads, json.at("head").string());
  for (const Json& run : list_at(json, "runs")) {
    const uint64_t seed = run.at("seed").unsigned_integer();
    require(std::ranges::find(results.plan.seeds, seed) != results.plan.seeds.end(), "study",
            "expected a seed of the plan, got ", seed);
    for (const FinishedRun& other : cell.runs)
      require(other.plan.seed != seed, "study", "expected different seeds, got ", seed, " twice");
    FinishedRun finished;
    finished.plan.setting = cell.setting;
    finished.plan.head = cell.head;
    finished.plan.seed = seed;
    finished.summary = summary_of(run.at("summary"), "seed " + std::to_string(seed));
    cell.runs.push_back(std::move(finished));
  }
  require(!cell.runs.empty(), "study", "expected runs, got none");
  std::ranges::sort(cell.runs, {}, [](const FinishedRun& run) { return run.plan.seed; });
  if (const Json* tuning = json.find("tuning")) cell.tuning = at_place("tuning", [&] { return tuning_of(*tuning); });
  if (const Json* calibrated = json.find("calibrated"))
    cell.calibrated = at_place("calibrated", [&] { return read_calibrated(*calibrated, ""); });
  if (const Json* noise = json.find("noise")) result.noise = at_place("noise", [&] { return read_noise(*noise); });
  return result;
}

/// A damaged file is no wrong usage: not as for a configuration.
Json json_of(const std::string& file) {
  try {
    return parse_json(read_file(file, kMostBytes), file);
  } catch (const UsageError& error) {
    throw Error(error.what());
  }
}

std::optional<StudyResults> results_of(const Json& json, const std::string& file) {
  if (!json.is_object() || !json.contains("study")) return {};
  StudyResults results{.file = file};
  Plan& plan = results.plan;
  const Json& said = json.at("plan");
  plan.path = said.at("path").string();
  plan.title = json.at("title").string();
  if (const Json* command = json.at("about").find("command")) results.command = command->string();
  plan.settings = at_place("plan.settings", [&] { return variations(said.at("settings")); });
  plan.heads = at_place("plan.heads", [&] { return variations(said.at("heads")); });
  for (const Json& seed : list_at(said, "seeds"))
    plan.seeds.push_back(at_place("plan.seeds", [&] { return seed.unsigned_integer(); }));
  require(!plan.seeds.empty() && plan.seeds.size() <= kMostSeeds, "study", "expected 1 to ", kMostSeeds, " seeds, got ",
          plan.seeds.size());
  plan.study = json.at("study").dump();
  results.claims = claims_of(plan);
  std::set<std::pair<size_t, size_t>> seen;
  size_t index = 0;
  for (const Json& cell : list_at(json, "cells")) {
    results.cells.push_back(at_place("cells[" + std::to_string(index) + "]", [&] { return cell_of(cell, results); }));
    const Cell& added = results.cells.back().cell;
    require(seen.emplace(added.setting, added.head).second, "study", "cells[", index,
            "]: expected each setting and head once, got ", excerpt(plan.settings[added.setting].name), ", ",
            excerpt(plan.heads[added.head].name), " twice");
    ++index;
  }
  return results;
}

}  // namespace

std::vector<CalibratedRun> read_calibrated(const Json& list, const std::string& source) {
  std::vector<CalibratedRun> result;
  for (const Json& one : list.elements())
    result.push_back({.seed = one.at("seed").unsigned_integer(),
                      .temperature = finite(one.at("temperature"), "temperature"),
                      .test = read_evaluation(one.at("test"), source)});
  return result;
}

ShownNoise read_noise(const Json& json) {
  ShownNoise noise;
  for (const Json& name : list_at(json, "classes")) noise.classes.push_back(name.string());
  const auto classes = static_cast<int64_t>(noise.classes.size());
  require(classes > 0 && classes <= kMostNamedClasses, "study", "expected 1 to ", kMostNamedClasses, " classes, got ",
          noise.classes.size());
  if (const Json* learned = json.find("learned")) noise.learned = matrix_of(*learned, noise.classes.size());
  if (const Json* known = json.find("true")) noise.known = matrix_of(*known, noise.classes.size());
  if (const Json* images = json.find("images"))
    for (const Json& one : images->elements()) {
      noise.images.push_back({.picture = one.at("picture").string(),
                              .label = one.at("label").string(),
                              .prediction = one.at("prediction").string(),
                              .noise = finite(one.at("noise"), "noise")});
      require(is_picture(noise.images.back().picture), "study", "expected a picture as data:image/png, got ",
              excerpt(noise.images.back().picture));
    }
  return noise;
}

const StudyCell* StudyResults::cell(const std::string& setting, const std::string& head) const {
  for (const StudyCell& one : cells)
    if (plan.settings[one.cell.setting].name == setting && plan.heads[one.cell.head].name == head) return &one;
  return nullptr;
}

std::vector<StudyResults> read_studies(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  require(fs::is_directory(folder, error), "study", printable(folder.string()), ": expected a folder of results");
  std::set<fs::path> files{folder / kResults};
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    files.insert(entry->path() / kResults);
  require(!error, "study", printable(folder.string()), ": ", error.message());
  std::vector<StudyResults> studies;
  for (const fs::path& file : files) {
    if (!fs::exists(file, error)) continue;
    // Reading from a pipe would wait for ever.
    require(fs::is_regular_file(file, error), "study", printable(file.string()), ": expected a regular file");
    const Json json = json_of(file.string());
    auto results = at_place("[study] " + printable(file.string()), [&] { return results_of(json, file.string()); });
    if (results) studies.push_back(std::move(*results));
  }
  require(!studies.empty(), "study", printable(folder.string()), ": expected ", kResults,
          " of plans with a `study`, in it or in its folders");
  return studies;
}

}  // namespace sked

#include "apps/replicate/earlier.h"

#include "core/error.h"
#include "core/file.h"

namespace sked {

EarlierResults::EarlierResults(const std::filesystem::path& out) {
  constexpr uint64_t kMaxResultsBytes = uint64_t{1} << 30;
  const std::string path = (out / kResults).string();
  if (!std::filesystem::exists(path)) return;
  try {
    results_ = parse_json(read_file(path, kMaxResultsBytes), path);
  } catch (const Error&) {  // it is written anew
  }
}

std::optional<bool> EarlierResults::full() const {
  if (!results_.contains("cells")) return std::nullopt;
  const Json* full = results_.find("full");
  return full != nullptr && full->is_boolean() && full->boolean();
}

const Json* EarlierResults::find(const Plan& plan, const Cell& cell, const std::string& key) const {
  const Json* cells = results_.find("cells");
  if (cells == nullptr || !cells->is_array()) return nullptr;
  const auto is = [](const Json* value, const Json& expected) { return value != nullptr && *value == expected; };
  for (const Json& known : cells->elements())
    if (is(known.find("setting"), plan.settings[cell.setting].name) &&
        is(known.find("head"), plan.heads[cell.head].name) && known.contains(key) &&
        is(known.find("runs"), cell.runs_json()))
      return known.find(key);
  return nullptr;
}

}  // namespace sked

#include "apps/common/config/listing.h"

#include <algorithm>
#include <set>

#include "apps/common/config/config.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// The default, as --set takes it.
std::string default_of(const std::string& path, const Json& defaults) {
  const Json* value = &defaults;
  for (size_t begin = 0, dot = 0; dot != std::string::npos; begin = dot + 1) {
    dot = path.find('.', begin);
    value = &value->at(path.substr(begin, dot == std::string::npos ? dot : dot - begin));
  }
  return value->is_string() ? value->string() : value->dump();
}

std::string section_of(const std::string& path) {
  return path.find('.') == std::string::npos ? "" : path.substr(0, path.find('.'));
}

template <class Chosen>
std::string listed(const Chosen& chosen, size_t columns) {
  std::string text, section = "-";
  std::set<std::string> seen;
  for (const TaskKind task : {TaskKind::classification, TaskKind::contrastive}) {
    RunConfig config;
    config.task = task;
    const std::vector<Field> fields = fields_of(config);
    const Json defaults = write_fields(fields);
    for (const Field& field : fields) {
      if (!seen.insert(field.path).second || !chosen(field)) continue;
      if (section_of(field.path) != section) {
        section = section_of(field.path);
        if (!text.empty()) text += "\n";
        if (task == TaskKind::contrastive) text += section + " is there with task=contrastive:\n";
      }
      const std::string key = field.path + "=" + default_of(field.path, defaults) + " (" + allowed_words(field) + ")";
      text += wrapped(key, columns, 4) + "\n    " + wrapped(field.meaning, columns, 4) + "\n";
    }
  }
  return text;
}

}  // namespace

std::string key_list(const std::string& pattern, size_t columns) {
  const std::string wanted = lower_case(pattern);
  const auto holds = [&](std::string_view text) { return lower_case(text).find(wanted) != std::string::npos; };
  std::string text = listed([&](const Field& field) { return holds(field.path); }, columns);
  if (text.empty()) text = listed([&](const Field& field) { return holds(field.meaning); }, columns);
  require_usage(!text.empty(), "config", "--list-keys ", excerpt(pattern),
                ": no key has that in its name or its meaning");
  return text;
}

}  // namespace sked

#include "apps/common/run/metrics_views.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>

#include "apps/common/config/fields.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string text_of(const Json& line, const char* key) {
  const Json* found = line.find(key);
  return found && found->is_string() ? found->string() : "";
}

int64_t step_of(const Json& line) {
  const Json* step = line.find("step");
  return step ? step->as_int64().value_or(0) : 0;
}

/// When the start was that an event file is named after; 0 where its name has no such number.
int64_t second_of(const std::string& file) {
  constexpr int64_t kLatest = 99'999'999'999;
  const std::string name = std::filesystem::path(file).filename().string().substr(RunFolder::kEvents.size());
  int64_t second = 0;
  std::from_chars(name.data(), name.data() + name.size(), second);
  return second < kLatest ? second : 0;
}

/// Numbers at any depth; of lists those of few_shot, whose entries have names.
void collect(const std::string& name, const Json& value, Scalars& scalars) {
  if (value.is_number()) {
    scalars.emplace_back(name, value.number());
  } else if (value.is_object()) {
    for (const JsonMember& member : value.members()) collect(name + "/" + member.key, member.value, scalars);
  } else if (value.is_array()) {
    for (const Json& entry : value.elements()) {
      const Json* results = entry.find("results");
      if (!results || !results->is_array()) continue;
      for (const Json& result : results->elements()) {
        const Json *shots = result.find("shots"), *accuracy = result.find("accuracy");
        if (shots && accuracy && accuracy->is_number())
          scalars.emplace_back(name + "/" + text_of(entry, "dataset") + "/" + shots->dump(), accuracy->number());
      }
    }
  }
}

/// `read` gets each line of metrics.jsonl that is one.
void for_each_line(const RunFolder& folder, const std::function<void(const Json&)>& read) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  if (!std::filesystem::exists(folder.metrics())) return;
  const std::string text = read_file(folder.metrics(), kMostBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    try {
      const Json line = parse_json(text.substr(begin, end - begin), folder.metrics());
      if (line.is_object()) read(line);
    } catch (const UsageError&) {  // somebody's own: it means nothing here
    }
    begin = end + 1;
  }
}

}  // namespace

Scalars scalars_of(const Json& line) {
  Scalars scalars;
  const std::string split = text_of(line, "split");
  for (const JsonMember& member : line.members())
    if (member.key != "step") collect(split + "/" + member.key, member.value, scalars);
  return scalars;
}

void write_metrics_table(const RunFolder& folder) {
  struct Row {
    std::string split;
    int64_t step;
    std::map<size_t, std::string> cells;
  };
  std::vector<std::string> columns;
  std::map<std::string, size_t> column_of;
  std::vector<Row> rows;
  for_each_line(folder, [&](const Json& line) {
    Row& row = rows.emplace_back(Row{text_of(line, "split"), step_of(line), {}});
    for (const auto& [tag, value] : scalars_of(line)) {
      const std::string name = tag.substr(row.split.size() + 1);
      const auto [column, added] = column_of.emplace(name, columns.size());
      if (added) columns.push_back(name);
      row.cells[column->second] = Json(value).dump();
    }
  });
  std::string text = "step,split";
  for (const std::string& column : columns) text += "," + quoted_field(column);
  for (const Row& row : rows) {
    text += "\n" + std::to_string(row.step) + "," + quoted_field(row.split);
    for (size_t c = 0; c < columns.size(); ++c) {
      const auto cell = row.cells.find(c);
      text += "," + (cell == row.cells.end() ? "" : cell->second);
    }
  }
  write_file(folder.metrics_table(), text + "\n");
}

EventLog::EventLog(const RunFolder& folder, bool wanted) {
  const std::vector<std::string> earlier = folder.event_files();
  if (wanted) {
    // TensorBoard reads the files of a folder in the order of their names: a later start is called so.
    auto second = static_cast<int64_t>(now());
    for (const std::string& file : earlier) second = std::max(second, second_of(file) + 1);
    path_ = folder.event_file(second);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    require(descriptor_ >= 0, "run", path_, " cannot be written: ", std::strerror(errno));
    append(event_version(now()) + event_start(now(), 0));
    for_each_line(folder, [&](const Json& line) { write(line); });
  }
  for (const std::string& file : earlier) ::unlink(file.c_str());
}

EventLog::~EventLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventLog::write(const Json& line) {
  if (descriptor_ < 0) return;
  const Scalars scalars = scalars_of(line);
  if (!scalars.empty()) append(event_scalars(now(), step_of(line), scalars));
}

void EventLog::write(int64_t step, const EventImage& image) {
  if (descriptor_ >= 0) append(event_image(now(), step, image));
}

void EventLog::append(const std::string& records) {
  const int error = write_all(descriptor_, records.data(), records.size());
  require(error == 0, "run", path_, " cannot be written: ", std::strerror(error));
}

}  // namespace sked

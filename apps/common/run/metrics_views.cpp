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
#include <optional>

#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/raster.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_file.h"

namespace sked {
namespace {

constexpr size_t kLevels = 32;  // of nesting in a line

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

/// The bins of an evaluation's line; nothing where it has none.
std::optional<Measures> reliability_of(const Json& line) {
  const Json* bins = line.find("reliability");
  if (!bins) return std::nullopt;
  try {
    return read_evaluation({{"reliability", *bins}}, "").measures;
  } catch (const UsageError&) {  // somebody's own
    return std::nullopt;
  }
}

/// `read` gets each line of metrics.jsonl that is one.
void for_each_line(const RunFolder& folder, const std::function<void(const Json&)>& read) {
  constexpr size_t kLongest = size_t{1} << 24;
  if (!std::filesystem::exists(folder.metrics())) return;
  const auto take = [&](const std::string& text) {
    if (text.size() > kLongest) return;
    const Json line = read_json(text, kLevels).value;  // null where it is somebody's own: it means nothing here
    if (line.is_object()) read(line);
  };
  InputFile file(folder.metrics());
  std::string chunk(1 << 16, '\0'), line;
  while (const size_t got = file.read_some(chunk.data(), chunk.size())) {
    std::string_view rest(chunk.data(), got);
    for (size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
      line += rest.substr(0, end);
      take(line);
      line.clear();
    }
    if (line.size() <= kLongest) line += rest;
  }
  take(line);
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
  constexpr size_t kAtOnce = 1 << 16;
  AtomicFile table(folder.metrics_table());
  std::string header = "step,split";
  std::map<std::string, size_t> columns;
  for_each_line(folder, [&](const Json& line) {
    for (const auto& [tag, value] : scalars_of(line)) {
      const std::string name = tag.substr(text_of(line, "split").size() + 1);
      if (columns.emplace(name, columns.size()).second) header += "," + quoted_field(name);
    }
  });
  std::string text = header + "\n";
  for_each_line(folder, [&](const Json& line) {
    const std::string split = text_of(line, "split");
    std::vector<std::string> cells(columns.size());
    for (const auto& [tag, value] : scalars_of(line))
      if (const auto column = columns.find(tag.substr(split.size() + 1)); column != columns.end())
        cells[column->second] = Json(value).dump();
    text += std::to_string(step_of(line)) + "," + quoted_field(split);
    for (const std::string& cell : cells) text += "," + cell;
    text += "\n";
    if (text.size() < kAtOnce) return;
    table.write(text);
    text.clear();
  });
  table.write(text);
  table.commit();
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
  if (!takes_pictures()) return;
  if (const std::optional<Measures> measures = reliability_of(line))
    write(step_of(line), (line.contains("final") ? "final" : text_of(line, "split")) + "/reliability",
          reliability_picture(measures->bins));
}

bool EventLog::takes_pictures() const { return descriptor_ >= 0 && can_decode_images(); }

void EventLog::write(int64_t step, const std::string& tag, const Tensor& picture) {
  if (!takes_pictures()) return;
  append(event_image(now(), step,
                     {.tag = tag,
                      .height = picture.dim(0),
                      .width = picture.dim(1),
                      .channels = picture.dim(2),
                      .png = png_bytes(picture, tag)}));
}

void EventLog::append(const std::string& records) {
  const int error = write_all(descriptor_, records.data(), records.size());
  require(error == 0, "run", path_, " cannot be written: ", std::strerror(error));
}

}  // namespace sked

// Labeled images as a CSV of paths and labels.
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/csv.h"
#include "data/image_collection.h"
#include "data/tar.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 14> kPaths{"path",       "filepath",       "file_path", "filename", "file_name",
                                                  "file",       "image",          "img",       "images",   "image_path",
                                                  "image_name", "image_filename", "id",        "image_id"};
constexpr std::array<std::string_view, 12> kLabels{"label",     "labels",   "class",         "class_name",
                                                   "classname", "category", "category_name", "target",
                                                   "species",   "name",     "klasse",        "art"};

/// Which columns a table has.
struct Columns {
  size_t path = 0, label = 1, count = 2;
};

/// The first column of one of these names.
template <size_t N>
std::optional<size_t> column(const CsvRow& row, const std::array<std::string_view, N>& names) {
  for (const std::string_view name : names)
    for (size_t i = 0; i < row.fields.size(); ++i)
      if (lower_case(trimmed(row.fields[i])) == name) return i;
  return std::nullopt;
}

class LabelReader {
 public:
  LabelReader(const std::string& path, const std::vector<std::string>& classes)
      : path_(path), folder_(fs::path(path).parent_path().string()), classes_(classes) {
    if (folder_.empty()) folder_ = ".";
  }
  Collected read();
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  Columns columns(const std::vector<CsvRow>& rows);
  void add(const CsvRow& row, const Columns& columns);
  void number_classes();
  std::string source(const CsvRow& row) const { return path_ + ":" + std::to_string(row.line); }

  const std::string& path_;
  std::string folder_;
  std::vector<std::string> classes_;
  Collected all_;
  std::vector<std::pair<std::string, int64_t>> labels_;  // of each entry, and the line
  std::map<std::string, int64_t> lines_;                 // of each path
  bool header_ = false;
};

Columns LabelReader::columns(const std::vector<CsvRow>& rows) {
  const CsvRow& first = rows.front();
  const auto path = column(first, kPaths), label = column(first, kLabels);
  std::error_code error;
  header_ = path && label && *path != *label && !fs::exists(folder_ + "/" + first.fields[*path], error);
  if (header_) return {*path, *label, first.fields.size()};
  require(first.fields.size() == 2, "labels", source(first), ": expected path,label, or a first line that names such ",
          "columns, got ", first.fields.size(), " fields, the first \"", excerpt(first.fields[0]), "\"");
  return {};
}

void LabelReader::add(const CsvRow& row, const Columns& columns) {
  require(row.fields.size() == columns.count, "labels", source(row), ": expected ", columns.count, " fields, got ",
          row.fields.size());
  const std::string given(trimmed(row.fields[columns.path])), label(trimmed(row.fields[columns.label]));
  require(stays_below(given), "labels", source(row), ": expected a path below the table's folder, got \"",
          excerpt(given), "\"");
  require(!invalid_utf8(label), "labels", source(row), ": the label \"", excerpt(label),
          "\" is not UTF-8: save the table as CSV UTF-8");
  require(!label.empty(), "labels", source(row), ": no label");
  std::error_code error;
  const std::string name = fs::path(given).lexically_normal().string();
  require(fs::is_regular_file(folder_ + "/" + name, error), "labels", source(row), ": no file \"",
          excerpt(folder_ + "/" + given), "\"",
          invalid_utf8(given) ? " (it is not UTF-8: save the table as CSV UTF-8)"
          : header_           ? ""
                              : " (without a first line that names its columns a table is path,label)");
  const auto [before, is_new] = lines_.emplace(name, row.line);
  require(is_new, "labels", source(row), ": \"", excerpt(given), "\" is in line ", before->second, " as well");
  all_.entries.push_back({.name = name, .line = row.line});
  labels_.emplace_back(label, row.line);
}

/// Without a list of classes they are the labels, sorted: as numbers where all of them are.
void LabelReader::number_classes() {
  const bool known = !classes_.empty();
  if (!known) {
    std::set<std::string> names;
    for (const auto& [label, line] : labels_) names.insert(label);
    classes_.assign(names.begin(), names.end());
    const auto is_number = [](const std::string& s) {
      return s.size() < 16 && std::ranges::all_of(s, [](char c) { return c >= '0' && c <= '9'; });
    };
    if (std::ranges::all_of(classes_, is_number))
      std::ranges::sort(classes_, {}, [](const std::string& s) { return std::stoll(s); });
  }
  std::map<std::string, int64_t> index;
  for (size_t k = 0; k < classes_.size(); ++k) index.emplace(classes_[k], static_cast<int64_t>(k));
  for (size_t i = 0; i < labels_.size(); ++i) {
    const auto& [label, line] = labels_[i];
    const auto found = index.find(label);
    require(found != index.end(), "labels", path_, ":", line, ": \"", excerpt(label), "\" is none of the ",
            classes_.size(), " classes", did_you_mean(label, classes_));
    all_.entries[i].label = found->second;
  }
}

Collected LabelReader::read() {
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  const std::vector<CsvRow> rows = read_csv(read_file(path_, kMostBytes), path_);
  require(!rows.empty(), "labels", path_, ": expected lines path,label, got none");
  const Columns columns = this->columns(rows);
  for (size_t i = header_ ? 1 : 0; i < rows.size(); ++i) add(rows[i], columns);
  require(!all_.entries.empty(), "labels", path_, ": no image behind the names of its columns");
  number_classes();
  all_.root = folder_;
  return std::move(all_);
}

}  // namespace

std::shared_ptr<ImageCollection> load_label_table(const std::string& name, const std::string& path,
                                                  const std::vector<std::string>& classes) {
  LabelReader reader(path, classes);
  Collected files = reader.read();
  return std::make_shared<ImageCollection>(name, reader.classes(), std::move(files));
}

}  // namespace sked

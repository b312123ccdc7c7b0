// Where the parts of a data set of vectors lie: open_embeddings() of embeddings.h.

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/npy.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "data/embeddings.h"
#include "data/image_collection.h"
#include "data/parts.h"
#include "data/relabeled.h"

namespace sked {
namespace {

constexpr int64_t kMostClasses = int64_t{1} << 20;
constexpr int64_t kUnnamedClasses = int64_t{1} << 16;  // or as many as rows: more is a label gone wrong

template <class... Parts>
void check(bool ok, const Parts&... parts) {
  require(ok, "embeddings", parts...);
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) && !is_folder(path);
}

/// Arrays by name: the tensors of a file, or the .npy files of a prefix.
struct Source {
  std::string where;  // for messages
  std::function<std::optional<StoredArray>(const std::string&)> find;
};

Source tensors_of(const std::string& path) {
  return {path, [file = open_safetensors(path)](const std::string& name) {
            const auto found = file.tensors.find(name);
            return found == file.tensors.end() ? std::nullopt : std::optional(found->second);
          }};
}

Source arrays_of(const std::string& base) {
  return {base + "*.npy", [base](const std::string& name) {
            const std::string path = base + name + ".npy";
            return is_file(path) ? std::optional(open_npy(path)) : std::nullopt;
          }};
}

EmbeddingColumns columns_of(const Source& source) {
  std::optional<StoredArray> features = source.find("features");
  check(features.has_value(), source.where, ": no `features`");
  return {*features, source.find("scale"), source.find("labels"), source.find("label_distribution"),
          source.find("ids")};
}

/// One part: its columns, and which of their rows it is of, in order; all of them where there is no index array.
struct Part {
  std::string name;
  std::optional<StoredArray> index = std::nullopt;
  std::vector<int64_t> rows = {};
};

struct Files {
  std::vector<Part> parts;  // train, test, and perhaps validation; none: one set, which is no training set
  std::vector<EmbeddingColumns> columns;  // of each part; one of all where there are index arrays
  std::vector<std::string> class_lists;   // where one may be, the nearest first
  std::vector<std::string> notes = {};

  bool indexed() const { return columns.size() < parts.size(); }
  bool one_set() const { return parts.empty(); }
  const EmbeddingColumns& columns_of(size_t part) const { return columns[indexed() ? 0 : part]; }
};

/// Which of the parts' names there are, in the order of Files::parts; nothing where there is none.
std::vector<Part> parts_there(const std::string& where, const char* of,
                              const std::function<bool(const std::string&)>& has, std::vector<std::string>& notes) {
  const auto first_of = [&](const auto& names, const std::string& but) {
    const auto* found = std::ranges::find_if(names, [&](const char* name) { return name != but && has(name); });
    return found == names.end() ? std::string() : std::string(*found);
  };
  const std::string train = first_of(kTrainNames, ""), test = first_of(kTestNames, "");
  if (train.empty() && test.empty()) return {};
  check(!train.empty(), where, ": no ", of, " `train`");
  check(!test.empty(), where, ": no ", of, " `test` (or val, dev)");
  std::vector<Part> parts{{train}, {test}};
  const std::string validation = first_of(kValidationNames, test);
  if (!validation.empty()) parts.push_back({validation});
  if (test != "test") notes.push_back(where + ": no " + of + " `test`: the test set is `" + test + "`");
  return parts;
}

/// Tables that index arrays cut into parts.
Files indexed_files(const Source& source) {
  Files files;
  files.columns = {columns_of(source)};
  files.parts = parts_there(
      source.where, "index array", [&](const std::string& name) { return source.find(name).has_value(); }, files.notes);
  for (Part& part : files.parts) part.index = source.find(part.name);
  if (files.one_set())
    files.notes.push_back(source.where + ": no index arrays `train` and `test`: all rows are a test set");
  return files;
}

Files files_by_part(const std::string& base, const std::string& ending) {
  Files files;
  const auto path = [&](const std::string& part) { return base + part + ending; };
  files.parts = parts_there(
      base + "*" + ending, "part", [&](const std::string& name) { return is_file(path(name)); }, files.notes);
  for (const Part& part : files.parts) {
    const bool tensors = ending == ".safetensors";
    files.columns.push_back(columns_of(tensors ? tensors_of(path(part.name)) : arrays_of(base + part.name + "-")));
  }
  return files;
}

Files find_files(const std::string& path) {
  const std::filesystem::path given(path);
  const std::string folder = given.has_parent_path() ? given.parent_path().string() : ".";
  if (is_file(path)) {
    Files files = indexed_files(tensors_of(path));
    files.class_lists = {(given.parent_path() / given.stem()).string() + "-classes.txt", folder + "/classes.txt"};
    return files;
  }
  const bool in_folder = is_folder(path);
  const std::string base = path + (in_folder ? "/" : "-");
  const auto any = [&](const std::string& ending) {
    return std::ranges::any_of(kTrainNames, [&](const char* name) { return is_file(base + name + ending); });
  };
  const bool tensors = any(".safetensors"), arrays = any("-features.npy"), table = is_file(base + "features.npy");
  check(tensors || arrays || table, "data.path: no file ", in_folder ? "" : path + ", ", base, "train.safetensors, ",
        base, "train-features.npy or ", base, "features.npy");
  check(tensors + arrays + table == 1, "data.path: ", base, ": expected one of train.safetensors, train-features.npy ",
        "and features.npy, got several");
  Files files =
      table ? indexed_files(arrays_of(base)) : files_by_part(base, tensors ? ".safetensors" : "-features.npy");
  files.class_lists = {base + "classes.txt"};
  if (!in_folder) files.class_lists.push_back(folder + "/classes.txt");
  return files;
}

/// Reads the index arrays; of each row, whether it is of a part.
std::vector<bool> read_index(Files& files) {
  if (!files.indexed()) return {};
  const StoredArray& features = files.columns.front().features;
  const int64_t count = features.rows();
  std::vector<int8_t> owner(static_cast<size_t>(count), -1);
  for (size_t p = 0; p < files.parts.size(); ++p) {
    Part& part = files.parts[p];
    const StoredArray& index = *part.index;
    check(index.element() != Element::boolean, index.name(),
          ": expected the numbers of rows, got truth values (numpy.flatnonzero makes numbers of them)");
    check(index.shape().ndim() == 1, index.name(), ": expected (n) numbers of rows, got ", index.shape());
    part.rows.resize(static_cast<size_t>(index.rows()));
    index.read(0, index.rows(), part.rows.data());
    for (size_t i = 0; i < part.rows.size(); ++i) {
      const int64_t row = part.rows[i];
      check(row >= 0 && row < count, index.name(), ": index ", i, " is ", row, ", expected a row in 0 to ", count - 1,
            " of ", features.name());
      int8_t& by = owner[static_cast<size_t>(row)];
      check(by != static_cast<int8_t>(p), index.name(), ": row ", row, " is there twice, the second time at ", i);
      check(by < 0, index.name(), ": index ", i, " is row ", row, ", which is in `",
            by < 0 ? "" : files.parts[static_cast<size_t>(by)].name, "` as well");
      by = static_cast<int8_t>(p);
    }
  }
  std::vector<bool> used(owner.size());
  std::transform(owner.begin(), owner.end(), used.begin(), [](int8_t by) { return by >= 0; });
  return used;
}

/// K of the columns of shares; 0 where there are none.
int64_t columns_of_classes(const EmbeddingColumns& columns) {
  for (const auto* column : {&columns.labels, &columns.distributions})
    if (*column && (*column)->shape().ndim() == 2) return (*column)->row_size();
  return 0;
}

/// One more than the greatest label of training and validation.
int64_t classes_of_labels(const Files& files) {
  int64_t most = -1;
  std::string where;
  for (const size_t p : {size_t{0}, size_t{2}}) {
    if (p > 0 && p >= files.parts.size()) continue;
    const std::optional<StoredArray>& labels = files.columns_of(p).labels;
    check(labels.has_value(), files.columns_of(p).features.name(),
          ": expected `labels` or `label_distribution` beside it");
    std::vector<int64_t> values(static_cast<size_t>(labels->rows()));
    labels->read(0, labels->rows(), values.data());
    const auto note = [&](int64_t y) {
      if (y > most) where = labels->name();
      most = std::max(most, y);
    };
    if (!files.indexed()) {
      std::ranges::for_each(values, note);
      continue;
    }
    for (const int64_t row : files.parts[p].rows)
      if (static_cast<size_t>(row) < values.size()) note(values[static_cast<size_t>(row)]);
  }
  const int64_t limit = std::min(kMostClasses, std::max(kUnnamedClasses, files.columns.front().features.rows()));
  check(most < limit, where, ": a label is ", most, ", expected less than ", limit, " without a classes.txt");
  return std::max<int64_t>(most + 1, 1);
}

std::vector<std::string> class_list(const std::string& path) {
  constexpr uint64_t kLargest = uint64_t{64} << 20;
  const std::string text = read_file(path, kLargest);
  ClassList list;
  for (const std::string_view line : file_lines(text, path)) {
    list.ids.push_back(std::to_string(list.names.size()));
    list.names.push_back(valid_utf8(trimmed(line)));
    check(!list.names.back().empty(), path, ":", list.names.size(), ": expected the name of a class, got none");
  }
  check(!list.names.empty(), path, ": expected the name of a class a line, got none");
  return distinct_names(list);
}

std::vector<std::string> class_names(const Files& files) {
  int64_t columns = 0;
  std::string of;
  for (const EmbeddingColumns& c : files.columns) {
    const int64_t k = columns_of_classes(c);
    check(k == 0 || columns == 0 || k == columns, c.features.name(), ": ", k, " classes, expected ", columns, " as ",
          of);
    if (k > 0) columns = k, of = c.features.name();
  }
  check(columns <= kMostClasses, of, ": ", columns, " classes, expected at most ", kMostClasses);
  if (files.one_set() && columns == 0 && !files.columns.front().labels) return {};
  for (const std::string& path : files.class_lists) {
    if (!is_file(path)) continue;
    std::vector<std::string> names = class_list(path);
    const auto count = static_cast<int64_t>(names.size());
    check(columns == 0 || columns == count, path, ": ", count, " classes, expected ", columns, " as ", of);
    return names;
  }
  return numbered_classes(columns > 0 ? columns : classes_of_labels(files));
}

}  // namespace

EmbeddingColumns embedding_columns(const std::string& path) { return columns_of(tensors_of(path)); }

EmbeddingSplits open_embeddings(const std::string& name, const std::string& path) {
  Files files = find_files(path);
  const std::vector<bool> used = read_index(files);
  for (size_t p = 0; p < files.parts.size(); ++p) {
    const std::optional<StoredArray>& index = files.parts[p].index;
    const StoredArray& rows = index ? *index : files.columns_of(p).features;
    check(rows.rows() > 0, rows.name(), ": no rows of `", files.parts[p].name, "`");
  }
  check(!files.one_set() || files.columns[0].features.rows() > 0, files.columns[0].features.name(), ": no rows");
  const std::vector<std::string> classes = class_names(files);
  std::vector<std::shared_ptr<const Dataset>> tables, parts;
  for (const EmbeddingColumns& columns : files.columns)
    tables.push_back(std::make_shared<Embeddings>(name, classes, columns, used));
  const StoredArray& first = files.columns.front().features;
  for (const EmbeddingColumns& columns : files.columns)
    check(columns.features.row_size() == first.row_size(), columns.features.name(), ": rows of ",
          columns.features.row_size(), ", expected ", first.row_size(), " as ", first.name());
  if (files.one_set()) return {std::make_shared<Subset>(tables[0], 0, 0), nullptr, tables[0], std::move(files.notes)};
  for (size_t p = 0; p < files.parts.size(); ++p)
    parts.push_back(files.indexed() ? std::make_shared<Subset>(tables[0], files.parts[p].rows) : tables[p]);
  return {parts[0], parts.size() > 2 ? parts[2] : nullptr, parts[1], std::move(files.notes)};
}

Shape embedding_shape(const std::string& path) { return {find_files(path).columns.front().features.row_size()}; }

std::vector<std::string> embedding_classes(const std::string& path) {
  Files files = find_files(path);
  read_index(files);
  return class_names(files);
}

}  // namespace sked

#include "apps/common/measure/predictions_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "apps/common/config/outputs.h"
#include "core/error.h"
#include "core/file.h"
#include "core/npz.h"
#include "core/safetensors.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kMark = "skedastic predictions";
constexpr const char* kFirstColumn = "ids";  // of every table

std::string ending_of(const std::string& path) { return lower_case(std::filesystem::path(path).extension().string()); }

/// Does the file begin as one of ours?
bool holds_predictions(const std::string& path) {
  std::string begin(4096, '\0');
  begin.resize(InputFile(path).read_some(begin.data(), begin.size()));
  if (begin.find(kMark) != std::string::npos) return true;
  const std::string header = begin.substr(0, begin.find('\n'));
  return header.starts_with(std::string(kFirstColumn) + ",") && header.find("probabilities") != header.npos;
}

// ---- CSV

template <class T>
void append_number(std::string& line, T value) {
  std::array<char, 32> digits{};
  line.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

/// Numbers of each row.
int64_t width_of(const PredictionColumn& column) {
  int64_t width = 1;
  for (int axis = 1; axis < column.rows.ndim(); ++axis) width *= column.rows.dim(axis);
  return width;
}

/// What the header says of number i of a row.
std::string title(const PredictionColumn& column, int64_t i, const PredictionTable& table) {
  const Tensor& rows = column.rows;
  if (rows.ndim() == 1) return column.name;
  if (column.cells == Cells::by_class) return column.name + "/" + table.class_names[static_cast<size_t>(i)];
  if (rows.ndim() == 2) return column.name + "/" + std::to_string(i);
  return column.name + "/" + std::to_string(i / rows.dim(2)) + "/" + std::to_string(i % rows.dim(2));
}

std::string header_of(const PredictionTable& table) {
  std::string line;
  const auto field = [&](const std::string& text) {
    if (!line.empty()) line += ',';
    line += quoted_field(text);
  };
  for (const PredictionColumn& column : table.columns) {
    if (column.cells == Cells::text) {
      field(column.name);
      continue;
    }
    for (int64_t i = 0; i < width_of(column); ++i) {
      field(title(column, i, table));
      if (column.cells == Cells::class_ids) field(title(column, i, table) + "/name");
    }
  }
  return line + "\r\n";
}

/// Appends the fields of row n, each behind a comma.
void append_row(std::string& line, const PredictionColumn& column, int64_t n, const PredictionTable& table) {
  const int64_t width = width_of(column);
  if (column.cells == Cells::text) {
    const char* text = reinterpret_cast<const char*>(column.rows.data<uint8_t>() + n * width);
    line += ',';
    line += quoted_field({text, strnlen(text, static_cast<size_t>(width))});
    return;
  }
  for (int64_t i = n * width; i < (n + 1) * width; ++i) {
    line += ',';
    if (column.rows.dtype() == DType::f32) {
      append_number(line, column.rows.data<float>()[i]);
      continue;
    }
    const int64_t number = column.rows.data<int64_t>()[i];
    append_number(line, number);
    if (column.cells != Cells::class_ids) continue;
    line += ',';
    line += quoted_field(table.class_names.at(static_cast<size_t>(number)));
  }
}

void write_csv(const std::string& path, const PredictionTable& table) {
  constexpr size_t kPiece = 1 << 20;
  AtomicFile file(path);
  std::string text = header_of(table), line;
  const int64_t rows = table.columns.front().rows.dim(0);
  for (int64_t n = 0; n < rows; ++n) {
    line.clear();
    for (const PredictionColumn& column : table.columns) append_row(line, column, n, table);
    text.append(line, 1).append("\r\n");
    if (text.size() < kPiece) continue;
    file.write(text);
    text.clear();
  }
  file.write(text);
  file.commit();
}

}  // namespace

Json begin_about() { return {{"about", kMark}}; }

Tensor text_rows(const std::vector<std::string>& texts) {
  size_t longest = 1;
  for (const std::string& text : texts) longest = std::max(longest, text.size());
  Tensor rows = Tensor::zeros({static_cast<int64_t>(texts.size()), static_cast<int64_t>(longest)}, DType::u8);
  for (size_t i = 0; i < texts.size(); ++i) std::ranges::copy(texts[i], rows.data<uint8_t>() + i * longest);
  return rows;
}

void check_predictions_file(const std::string& path) {
  const std::string ending = ending_of(path);
  require_usage(ending == ".safetensors" || ending == ".npz" || ending == ".csv", "output", "--predictions ", path,
                ": expected a file that ends in .safetensors, .npz or .csv");
  if (ending == ".npz") require_npz_writer(path);
  check_writable(path);
  refuse_foreign(path, holds_predictions);
}

void write_predictions(const std::string& path, const PredictionTable& table) {
  const std::string ending = ending_of(path), about = table.about.dump();
  if (ending == ".csv") return write_csv(path, table);
  std::vector<NamedTensor> tensors;
  if (ending == ".npz") tensors.push_back({"about", text_rows({about}).reshape({static_cast<int64_t>(about.size())})});
  for (const PredictionColumn& column : table.columns) tensors.push_back({column.name, column.rows});
  tensors.push_back({"class_names", text_rows(table.class_names)});
  if (ending == ".npz") return save_npz(path, tensors);
  save_safetensors(path, tensors, {{"about", about}});
}

}  // namespace sked

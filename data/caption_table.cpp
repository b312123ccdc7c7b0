// Image-text pairs as lines `path<TAB>caption`.
#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

/// A line in two: the image's path, and its caption without blanks at its ends.
using Pair = std::pair<std::string, std::string_view>;

Pair split_line(std::string_view line, const std::string& source) {
  const size_t tab = line.find('\t');
  require(tab != std::string_view::npos && line.find('\t', tab + 1) == std::string_view::npos, "captions", source,
          ": expected path<TAB>caption, got \"", excerpt(line), "\"");
  return {std::string(line.substr(0, tab)), trimmed(line.substr(tab + 1))};
}

/// Does the first line name its columns, as tables for open_clip (`filepath`, `title`) and others do?
bool is_header(const Pair& first, const fs::path& folder) {
  constexpr std::array<std::string_view, 14> kPaths{
      "filepath", "file_path",  "path",       "filename",       "file_name", "file",     "image",
      "images",   "image_path", "image_name", "image_filename", "img",       "img_path", "image_file"};
  constexpr std::array<std::string_view, 9> kCaptions{"title",    "caption", "captions", "text",    "description",
                                                      "sentence", "comment", "prompt",   "alt_text"};
  const auto among = [](const auto& words, std::string_view word) {
    return std::ranges::find(words, lower_case(word)) != words.end();
  };
  std::error_code error;
  return among(kPaths, first.first) && among(kCaptions, first.second) && !fs::exists(folder / first.first, error);
}

class TableReader {
 public:
  explicit TableReader(const std::string& path) : path_(path), folder_(fs::path(path).parent_path()) {}
  Collected read();

 private:
  void add(const Pair& pair, int64_t line);
  std::string source(int64_t line) const { return path_ + ":" + std::to_string(line); }

  const std::string& path_;
  fs::path folder_;
  Collected all_;
};

Collected TableReader::read() {
  constexpr uint64_t kMostBytes = uint64_t{1} << 31;
  const std::string text = read_file(path_, kMostBytes);
  int64_t line = 0;
  for (const std::string_view row : file_lines(text, path_)) {
    ++line;
    if (trimmed(row).empty()) continue;
    const Pair pair = split_line(row, source(line));
    if (line == 1 && is_header(pair, folder_))
      all_.notes.push_back(source(1) + ": the names of columns, no pair: \"" + excerpt(row) + "\"");
    else
      add(pair, line);
  }
  require(!all_.entries.empty(), "captions", path_, ": no pair",
          all_.left_out.count > 0 ? "; " + all_.left_out.text("left out") : "");
  all_.root = folder_.empty() ? "." : folder_.string();
  all_.table = path_;
  return std::move(all_);
}

void TableReader::add(const Pair& pair, int64_t line) {
  const auto& [image, caption] = pair;
  require(stays_below(image), "captions", source(line), ": expected a path below the table's folder, got \"",
          excerpt(image), "\"");
  std::error_code error;
  if (!fs::is_regular_file(folder_ / image, error)) {
    all_.left_out.add(source(line),
                      "no file " + excerpt(image) +
                          (image.starts_with('"') ? " (quotes are part of a path, they are not read)" : ""));
    return;
  }
  if (is_blank(caption)) {
    all_.left_out.add(source(line), "an empty caption");
    return;
  }
  check_caption(caption, source(line));
  // Without `..` in it a path may lose its `.` and `//`: an image written in two ways is one image.
  all_.entries.push_back(
      {.name = fs::path(image).lexically_normal().string(), .caption = std::string(caption), .line = line});
}

}  // namespace

std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path) {
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{}, TableReader(path).read());
}

}  // namespace sked

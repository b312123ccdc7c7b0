// Image-text pairs as lines `path<TAB>caption`.
#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
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

/// A line in two: the image's path, and its caption without blanks at its ends. Both as they stand there.
using Pair = std::pair<std::string_view, std::string_view>;

Pair split_line(std::string_view line, const std::string& source) {
  const size_t tab = line.find('\t');
  require(tab != std::string_view::npos, "captions", source, ": expected path<TAB>caption, got \"", excerpt(line),
          "\"");
  const std::string_view caption = trimmed(line.substr(tab + 1));
  const auto tabs = std::ranges::count(line, '\t');
  require(tabs == 1 || unquoted(caption), "captions", source, ": expected path<TAB>caption, got ", tabs, " tabs in \"",
          excerpt(line), "\"");
  return {line.substr(0, tab), caption};
}

/// Why a file that a user sees may not be found.
std::string hint(std::string_view path) {
  if (path.starts_with('"')) return " (quotes are read where they enclose the path)";
  if (path.find('\\') != std::string_view::npos) return " (expected / between folders)";
  return "";
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
  const std::string path = unquoted(first.first).value_or(std::string(first.first)),
                    caption = unquoted(first.second).value_or(std::string(first.second));
  return among(kPaths, path) && among(kCaptions, caption) && !fs::exists(folder / path, error);
}

class TableReader {
 public:
  explicit TableReader(const std::string& path) : path_(path), folder_(fs::path(path).parent_path()) {}
  Collected read();

 private:
  void add(const Pair& pair, int64_t line);
  bool is_file(const std::string& image) const;
  std::string source(int64_t line) const { return path_ + ":" + std::to_string(line); }

  const std::string& path_;
  fs::path folder_;
  Collected all_;
  PassedOver quoted_;  // lines with a field in quotes
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
  if (quoted_.count > 0) all_.notes.push_back(quoted_.text("in quotes, read without them"));
  all_.root = folder_.empty() ? "." : folder_.string();
  all_.table = path_;
  return std::move(all_);
}

bool TableReader::is_file(const std::string& image) const {
  std::error_code error;
  return fs::is_regular_file(folder_ / image, error);
}

void TableReader::add(const Pair& pair, int64_t line) {
  std::string image(pair.first), caption(pair.second);
  const std::optional<std::string> path = unquoted(image), text = unquoted(caption);
  require(stays_below(image) && stays_below(path.value_or(image)), "captions", source(line),
          ": expected a path below the table's folder, got \"", excerpt(image), "\"");
  if (path && !is_file(image)) image = *path;  // quotes may be part of a file's name
  if (text) caption = trimmed(*text);
  if (!is_file(image)) {
    all_.left_out.add(source(line), "no file \"" + excerpt(image) + "\"" + hint(image));
    return;
  }
  if (is_blank(caption)) {
    all_.left_out.add(source(line), "an empty caption");
    return;
  }
  check_caption(caption, source(line));
  if (path || text) quoted_.add(source(line), excerpt(path ? pair.first : pair.second));
  // Without `..` in it a path may lose its `.` and `//`: an image written in two ways is one image.
  all_.entries.push_back(
      {.name = fs::path(image).lexically_normal().string(), .caption = std::move(caption), .line = line});
}

}  // namespace

std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path) {
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{}, TableReader(path).read());
}

}  // namespace sked

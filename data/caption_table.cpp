// Image-text pairs as lines `path<TAB>caption`.
#include <filesystem>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

/// One line as a pair; `source` is file:line.
ImageEntry read_pair(std::string_view line, const fs::path& folder, const std::string& source) {
  const size_t tab = line.find('\t');
  require(tab != std::string_view::npos && line.find('\t', tab + 1) == std::string_view::npos, "captions", source,
          ": expected path<TAB>caption, got \"", excerpt(line), "\"");
  const std::string image(line.substr(0, tab));
  require(stays_below(image), "captions", source, ": expected a path below the table's folder, got \"", excerpt(image),
          "\"");
  std::error_code error;
  require(fs::is_regular_file(folder / image, error), "captions", source, ": no file ", excerpt(image));
  const std::string_view caption = trimmed(line.substr(tab + 1));
  check_caption(caption, source);
  // Without `..` in it a path may lose its `.` and `//`: an image written in two ways is one image.
  return {.name = fs::path(image).lexically_normal().string(), .caption = std::string(caption)};
}

}  // namespace

std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 31;
  const std::string text = read_file(path, kMostBytes);
  const fs::path folder = fs::path(path).parent_path();
  std::vector<ImageEntry> entries;
  for (const std::string_view line : lines_of(text))
    entries.push_back(read_pair(line, folder, path + ":" + std::to_string(entries.size() + 1)));
  require(!entries.empty(), "captions", path, ": no pair");
  const std::string root = folder.empty() ? "." : folder.string();
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{}, root, std::vector<std::string>{},
                                           std::move(entries));
}

}  // namespace sked

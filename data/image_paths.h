#pragma once
// Which image files somebody means: files, folders and lists of both.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sked {

struct ImagePaths {
  std::vector<std::string> paths;    // files, whatever their ending; for a folder the images below it
  std::vector<std::string> refused;  // why something was not looked at, a line each
  int64_t others = 0;                // files in folders that do not have an image's ending, or are none (pipes …)
};

/// Of files and folders, in their order; nothing is opened. Below a folder, and below links in it to folders, the files
/// with an image's ending (kImageEndings) in natural order, each folder once, so that links in a circle end; names with
/// a dot in front and litter are not worth counting. Refused: a folder without an image, one that cannot be read, and
/// what is given but is neither file nor folder, from which reading might wait for ever.
ImagePaths image_paths(const std::vector<std::string>& given);

/// `12 other files …`: what is to be said of them.
std::string other_files(const ImagePaths& images);

/// The lines of a file, or of stdin for `-`; where there are zero bytes (`find -print0`) what stands between them.
/// Throws Error as file_lines() does, and for a list without an entry.
std::vector<std::string> listed_paths(const std::string& list);

/// Is `a` before `b` as people sort names: digits by the number they make (`img2`, `img10`), and what is in a folder
/// together?
bool natural_less(std::string_view a, std::string_view b);

}  // namespace sked

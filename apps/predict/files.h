#pragma once
// What is predicted from, and where its noise is drawn.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "data/dataset.h"

namespace sked {

/// An image file that can be read, or a vector.
struct ImageFile {
  std::string path;  // of a vector its id
  int64_t address;   // of its noise: its bytes, so that an image gets the same answer wherever it stands
};

/// Who is told why something has no answer.
using Refuse = std::function<void(const std::string& why)>;

/// Those of the files that can be read, each by one of the ranks; all know of all.
std::vector<ImageFile> readable(const std::vector<std::string>& paths, const Refuse& refuse, Communicator& ranks);
std::vector<ImageFile> rows_of(const Dataset& vectors);

}  // namespace sked

#pragma once
// A labeled dataset whose classes are numbered as another list of names numbers them.

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace sked {

/// `data` with the classes of `wanted` in their order: label k of `data` becomes the index of its name there; itself
/// where the lists are the same. Throws Error saying `whose` classes are wanted and what differs for a class that is
/// not among those wanted, or a name that a list has twice.
std::shared_ptr<const Dataset> with_classes(std::shared_ptr<const Dataset> data, const std::vector<std::string>& wanted,
                                            const std::string& whose);

/// How two lists of class names differ, for people: `3 classes (bird, cat, dog), expected 2 (cat, dog)`; the first
/// names that are on one side only. Empty for equal lists.
std::string class_difference(const std::vector<std::string>& got, const std::vector<std::string>& expected);

/// `class 0` … `class K-1`.
std::vector<std::string> numbered_classes(int64_t classes);

}  // namespace sked

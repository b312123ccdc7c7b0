#pragma once
// The stages of a pipeline that work on bytes, made from their text.

#include <memory>
#include <string_view>
#include <vector>

#include "data/transforms.h"

namespace sked {

/// `name(1, 2 3)`: arguments are lists of numbers, here {1} and {2, 3}; those of decode are words.
struct StageText {
  std::string_view text, name;
  std::vector<std::string_view> words;
  std::vector<std::vector<double>> arguments;
};

/// Throws UsageError for numbers the stage cannot take. The name and the number of arguments are known to be right.
std::shared_ptr<const ByteStage> make_stage(const StageText& stage);

}  // namespace sked

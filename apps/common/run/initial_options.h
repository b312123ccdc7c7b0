#pragma once
// How a model begins with the weights of a file (initial.h).

#include <optional>
#include <string>
#include <vector>

#include "layers/heads/options.h"

namespace sked {

struct InitialOptions {
  bool partial = false;  // take what fits, whatever else the file or the model has
  /// Of the model, and of the file where its metadata say: noise of het is not noise of het-xl, whatever its shape.
  HeadConfig head = {};
  std::optional<HeadConfig> file_head = {};
  double temperature = 1;  // τ of the model as initialized
  /// Of the classes the model tells apart, and of those the file's classifier does; empty: not known.
  std::vector<std::string> class_names = {}, file_class_names = {};
};

}  // namespace sked

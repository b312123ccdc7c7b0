#pragma once
// How a model begins with the weights of a file (initial.h).

#include <string>
#include <vector>

namespace sked {

struct InitialOptions {
  bool partial = false;    // take what fits, whatever else the file or the model has
  bool same_noise = true;  // the heads are of one kind: noise of het is not noise of het-xl, whatever its shape
  /// Of the classes the model tells apart, and of those the file's classifier does; empty: not known.
  std::vector<std::string> class_names = {}, file_class_names = {};
};

}  // namespace sked

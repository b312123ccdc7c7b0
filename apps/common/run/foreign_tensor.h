#pragma once
// A tensor of a file of weights, whoever wrote it.

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// A tensor of a file, under a name of ours.
struct ForeignTensor {
  std::string given;           // its name in the file; the first one's where several were joined
  Tensor tensor;               // undefined for a dtype that is not read
  std::string skipped_dtype;   // then: which
  std::vector<int64_t> shape;  // known in any case

  /// Integers and booleans are counters, masks and indices.
  bool is_weight() const {
    return tensor.defined() ? is_floating(tensor.dtype()) : skipped_dtype[0] == 'F' || skipped_dtype[0] == 'C';
  }
};

}  // namespace sked

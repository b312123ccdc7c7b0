#include "core/kernels/reduce.h"

namespace sked {

const char* name(Reduce op) {
  switch (op) {
    case Reduce::sum:
      return "sum";
    case Reduce::mean:
      return "mean";
    case Reduce::max:
      return "max";
  }
  return "?";
}

}  // namespace sked

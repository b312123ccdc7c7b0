#pragma once
// The geometry that convolution and pooling share.

#include <cstdint>

namespace sked {

/// The window of a convolution or pooling, square in both directions.
struct Window {
  int64_t kernel = 1, stride = 1, padding = 0;
  int64_t groups = 1;  // convolution only
  /// Output extent for an input extent: floor((in + 2 padding − kernel) / stride) + 1; throws where it would be < 1.
  int64_t output(int64_t input) const;
};

/// Throws unless kernel, stride and groups are at least 1 and the padding is not negative.
void require_window(const Window& window, const char* where);

}  // namespace sked

#pragma once
// IDX files, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist): big-endian magic 0x0000 08 dims,
// one 32-bit extent per axis, then bytes. Read as they are or gzipped.

#include <string>

#include "core/tensor.h"

namespace sked {

/// u8 (N, H, W, 1) from an idx3 file of bytes. Throws Error, naming the file, for another magic number, an image
/// without pixels, or a file shorter or longer than its extents say.
Tensor load_idx_images(const std::string& path);

/// i64 (N) from an idx1 file of bytes. Throws Error as above, and for a label outside 0 … classes-1.
Tensor load_idx_labels(const std::string& path, int64_t classes);

}  // namespace sked

#pragma once
// NumPy's array files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <string>

#include "core/tensor.h"

namespace sked {

/// Reads a .npy file (format 1.0, 2.0 or 3.0) of dtype <f4, <f8, <i8 or |u1 in C order, up to six axes. Throws Error
/// for any other dtype or order, a header that is not the documented dictionary, or a size that is not exactly shape ×
/// element size. Nothing is allocated for the data before that check.
Tensor load_npy(const std::string& path);

/// Writes format 1.0 through an AtomicFile. f32, f64, i64 and u8 (NumPy has no bf16); from any device.
void save_npy(const std::string& path, const Tensor& tensor);

}  // namespace sked

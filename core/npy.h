#pragma once
// NumPy's array files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/stored_array.h"
#include "core/tensor.h"

namespace sked {

/// A .npy file open to be read by parts; the constructor refuses what load_npy() refuses.
class NpyFile {
 public:
  explicit NpyFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// Elements [begin, end) of the first axis. Throws Error for others than are there, and where the file is shorter by
  /// now.
  Tensor rows(int64_t begin, int64_t end) const;
  /// All of it.
  Tensor read() const;

 private:
  void read_at(uint64_t begin, Tensor& tensor) const;

  InputFile file_;
  uint64_t data_begin_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_;
};

/// Reads a .npy file (format 1.0, 2.0 or 3.0) of dtype <f4, <f8, <i8 or |u1 in C order, up to six axes. Throws Error
/// for any other dtype or order, a header that is not the documented dictionary, or a size that is not exactly shape ×
/// element size. Nothing is allocated for the data before that check.
Tensor load_npy(const std::string& path);

/// A .npy file of any size, to be read by rows: of <f2, <f4, <f8, whole numbers of 1 to 8 bytes, truth values, bfloat16
/// (<V2 or |V2) and strings (<U and |S, up to 4096 characters each). Throws Error for other dtypes and as load_npy()
/// does.
StoredArray open_npy(const std::string& path);

/// A .npy file's bytes, wherever they are.
struct NpyBytes {
  std::string path;  // for messages
  uint64_t size = 0;
  std::function<size_t(void*, size_t)> read;  // up to so many of the next ones; fewer only at the end
};

/// An array; without a tensor where its elements are none of this program's.
struct NpyArray {
  Tensor tensor = {};
  std::string descr = {};  // NumPy's word for the dtype
  std::vector<int64_t> shape = {};
};

/// The same from other places than a file of its own. Of the dtypes above, of bfloat16, which NumPy knows as <V2 or |V2
/// alone, and of others, whose elements are not read.
NpyArray read_npy(const NpyBytes& bytes);

/// What stands before the elements of such a file: format 1.0, a multiple of 64 bytes. f32, f64, i64 and u8 (NumPy has
/// no bf16). Throws Error naming `what` for others.
std::string npy_header(const Tensor& tensor, const std::string& what);

/// Writes format 1.0 through an AtomicFile, what npy_header() takes, from any device.
void save_npy(const std::string& path, const Tensor& tensor);

}  // namespace sked

#pragma once
// Arrays that stay in their file and are read by rows, whatever their size: NumPy's .npy files (open_npy) and the
// tensors of a safetensors file (open_safetensors).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/shape.h"

namespace sked {

/// How a file holds an element: numbers, truth values, and NumPy's strings of bytes (|S) and of code points (<U).
enum class Element : uint8_t { f32, f64, f16, bf16, u8, i8, u16, i16, u32, i32, u64, i64, boolean, bytes, utf32 };
const char* name(Element element);
/// f32, f64, f16 or bf16?
bool is_floating(Element element);

/// N rows of an array (N, …), read by positioned reads unless it is kept in memory. Reading is safe from several
/// threads.
class StoredArray {
 public:
  /// `bytes_each` of an element, from byte `begin` of the file on; `name` for messages.
  StoredArray(std::shared_ptr<const InputFile> file, std::string name, Element element, size_t bytes_each, Shape shape,
              uint64_t begin);

  /// `x.npy`, or `x.safetensors: "features"`.
  const std::string& name() const { return name_; }
  const std::string& path() const { return file_->path(); }
  Element element() const { return element_; }
  const Shape& shape() const { return shape_; }
  /// N, and the elements of a row; 1 each where there is no axis.
  int64_t rows() const { return shape_.ndim() == 0 ? 1 : shape_[0]; }
  int64_t row_size() const { return row_size_; }
  uint64_t row_bytes() const { return static_cast<uint64_t>(row_size_) * bytes_each_; }

  /// Reads the whole array into memory, where this object and its copies find it from then on. Throws Error where the
  /// file is shorter by now.
  void keep();

  /// Rows [begin, end) as numbers f32 (end - begin, row_size()): exact but of f64, i32, u32, i64 and u64. Throws Error
  /// for other rows than are there, for text, and where the file is shorter by now.
  void read(int64_t begin, int64_t end, float* out) const;
  /// The same of whole numbers and truth values. Throws Error for others, and for one that is no i64.
  void read(int64_t begin, int64_t end, int64_t* out) const;
  /// Row i as a word: a number, or text without the zeros behind it, of u8 (N, L) as of NumPy's strings, made valid
  /// UTF-8. Throws Error for elements that are neither.
  std::string word(int64_t i) const;
  /// Can word() be asked for?
  bool holds_words() const;

 private:
  /// To `out`; without one, to what is kept or memory of this thread.
  const char* read_bytes(int64_t begin, int64_t end, void* out) const;

  std::shared_ptr<const InputFile> file_;
  std::string name_;
  Element element_;
  uint64_t bytes_each_;
  Shape shape_;
  int64_t row_size_;
  uint64_t begin_;
  std::shared_ptr<const std::vector<char>> kept_ = nullptr;  // all bytes of the array
};

}  // namespace sked

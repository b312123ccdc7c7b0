#pragma once
// Tensor: a value-semantic handle on shared storage.
//
// Threads: as with a shared_ptr, several threads may each use handles of their own, on one storage too, and read one
// handle, as long as nobody writes: to a handle (assignment), or to elements that another thread reads or writes
// (data() and raw() of a tensor that is not const, copy_from, fill, and kernels' results). keep_rounded and
// read_as(bf16) of a tensor that keeps rounded elements count as writing, and so does keep_prepared. No call takes a
// lock but allocation and prepared(), which any thread may call.

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace sked {

/// A block of one device's memory, freed with its last tensor.
class Storage {
 public:
  Storage(size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  /// To be called before elements are written: what is kept beside them is out of date from then on.
  void about_to_change() {
    if (rounded_) lose_rounded();
    if (prepared_) lose_prepared();
  }

 private:
  friend class Tensor;
  /// The elements, all of them f32, as bf16: made when first read.
  struct Rounded {
    std::shared_ptr<Storage> copy;
    bool current = false;
  };
  void lose_rounded();
  struct Prepared;
  void lose_prepared();

  void* data_;
  size_t bytes_;
  Device device_;
  std::unique_ptr<Rounded> rounded_;    // where one is kept
  std::unique_ptr<Prepared> prepared_;  // likewise
};

/// An n-dimensional array: always contiguous and row-major. Copying a Tensor copies the handle; `clone()` copies the
/// data. Views exist only by `reshape` and by `rows` of the first axis; everything else is an op. A `const Tensor`
/// gives read-only access to its elements. A default-constructed tensor is undefined: "no tensor here".
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialized elements.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu);
  /// Copies `values` (T: float, double, int64_t, uint8_t or bf16) to a new CPU tensor. Throws when the counts differ.
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    Tensor t = empty(shape, dtype_of<T>);
    t.copy_in(values.data(), static_cast<int64_t>(values.size()));
    return t;
  }
  /// Uninitialized, with the shape, dtype and device of `other`.
  static Tensor like(const Tensor& other) { return empty(other.shape(), other.dtype(), other.device()); }
  static Tensor zeros_like(const Tensor& other) { return zeros(other.shape(), other.dtype(), other.device()); }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int ndim() const { return shape_.ndim(); }
  /// Extent of an axis; negative axes count from the end.
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t numel() const { return defined() ? shape_.numel() : 0; }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  /// Elements as T. Throws when T is not the tensor's dtype or the tensor is undefined. A device pointer on CUDA.
  template <class T>
  T* data() {
    check_access(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  template <class T>
  const T* data() const {
    check_access(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  /// The elements' bytes. Throws when the tensor is undefined.
  void* raw() {
    check_defined();
    storage_->about_to_change();
    return static_cast<std::byte*>(storage_->data()) + offset_;
  }
  const void* raw() const {
    check_defined();
    return static_cast<const std::byte*>(storage_->data()) + offset_;
  }

  /// The same elements under another shape; one extent may be -1. Throws when the counts differ.
  Tensor reshape(const std::vector<int64_t>& extents) const;
  Tensor reshape(std::initializer_list<int64_t> extents) const { return reshape(std::vector<int64_t>(extents)); }
  Tensor reshape(const Shape& shape) const;
  /// Rows [begin, end) of the first axis, sharing storage.
  Tensor rows(int64_t begin, int64_t end) const;

  Tensor clone() const;
  /// This tensor where it already is there / of that dtype, else a converted copy.
  Tensor to(Device device) const;
  Tensor to(DType dtype) const;

  /// Has the storage of this f32 tensor keep its elements in bf16 beside them, for weights, which are read more often
  /// than they change. Costs nothing before the first read_as(bf16). Whatever may write to the elements, through any
  /// handle, puts the copy out of date; it is then made anew when it is read, always in the same place. (A pointer from
  /// data() or raw() taken before a reading is not to be written through after it.)
  void keep_rounded();
  /// This tensor in that dtype, to be read only and before the elements change: itself, the copy its storage keeps, or
  /// else a converted one.
  Tensor read_as(DType dtype) const;
  /// For kernels that write a tensor and its rounded copy alike: the copy, out of date or not, where there is one and
  /// this tensor is the whole of its storage; else undefined. After such a kernel, and nothing else,
  /// set_rounded_current() says that the copy is right.
  Tensor rounded_copy() const;
  void set_rounded_current();

  /// Has the storage keep what kernels make of the elements before they compute with them (blocks of filters, spectra),
  /// for weights that many calls read and none writes: as much memory again, or more. Whatever may write to the
  /// elements, through any handle, ends what is kept so far.
  void keep_prepared();
  bool keeps_prepared() const { return defined() && storage_->prepared_ != nullptr; }
  /// What make() makes of the elements, read only: made once for each `how`, an address that says what is made, where
  /// the storage keeps it; else made by every call.
  Tensor prepared(const void* how, const std::function<Tensor()>& make) const;

  /// Overwrites the elements with those of `source` (same shape; any dtype, any device).
  void copy_from(const Tensor& source);
  void fill(double value);

  /// The only element, converted to double. Throws unless numel() is 1.
  double item() const;
  /// All elements, converted to T, in row-major order; from any device.
  template <class T>
  std::vector<T> to_vector() const;

  /// Do both handles share storage?
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  /// Is this the only handle on its storage? Then it may be overwritten in place.
  bool unique() const { return storage_.use_count() == 1; }

  /// `(8, 3, 5) f32 on cpu`, as error messages say it.
  std::string str() const;

 private:
  void check_access(DType wanted) const;
  void check_defined() const { require(defined(), "tensor", "expected a defined tensor"); }
  /// The same places of the copy of the storage.
  Tensor in_copy(const std::shared_ptr<Storage>& copy) const;
  /// Overwrites the elements with `count` values of this tensor's dtype on the host.
  void copy_in(const void* values, int64_t count);

  std::shared_ptr<Storage> storage_;
  size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
};

using TensorList = std::vector<Tensor>;

/// What a tensor that is divided among ranks (core/communicator.h) is of the whole, row-major: its elements from
/// `first` on. The rank before has those before.
struct ElementShare {
  Shape whole = {};
  int64_t first = 0;
  bool divided = false;  // else the tensor is the whole
};

/// A tensor as files and states of training name it.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// One that may be divided among ranks.
struct SharedTensor {
  std::string name;
  Tensor tensor;
  ElementShare share = {};

  const Shape& whole_shape() const { return share.divided ? share.whole : tensor.shape(); }
};

inline std::ostream& operator<<(std::ostream& out, const Tensor& tensor) { return out << tensor.str(); }

/// Is every element of an f32 tensor on the CPU finite? Those of other dtypes count as finite.
bool all_finite(const Tensor& tensor);

/// Throws `[where] <what> expected <shape>, got …` unless `tensor` has that shape.
void require_shape(const Tensor& tensor, const Shape& shape, std::string_view where, std::string_view what);
/// Throws unless both have the same dtype and device.
void require_alike(const Tensor& a, const Tensor& b, std::string_view where);
/// Throws unless `t` is on x's device and in x's dtype or, beside bf16, in f32: what parameters and saved statistics
/// are.
void require_master(const Tensor& x, const Tensor& t, std::string_view where);

}  // namespace sked

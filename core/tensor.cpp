#include "core/tensor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/kernels/memory.h"
#include "core/recording.h"

namespace sked {

struct Storage::Prepared {
  std::mutex mutex;
  using Key = std::tuple<const void*, const void*, std::vector<int64_t>>;  // the first element, what is made, the shape
  std::map<Key, Tensor> made;
};

Storage::Storage(size_t bytes, Device device)
    : data_(allocator(device).allocate(bytes)), bytes_(bytes), device_(device) {}

Storage::~Storage() { allocator(device_).free(data_, bytes_); }

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  const auto most = std::numeric_limits<int64_t>::max() / static_cast<int64_t>(size_of(dtype));
  require(shape.numel() <= most, "tensor", "the bytes of ", shape, " ", dtype, " exceed 64 bits");
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.device_ = device;
  t.storage_ = std::make_shared<Storage>(static_cast<size_t>(shape.numel()) * size_of(dtype), device);
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0.0, dtype, device); }

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::reshape(const std::vector<int64_t>& extents) const {
  int inferred = -1;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] != -1) continue;
    require(inferred < 0, "reshape", "expected at most one -1, got two for ", *this);
    inferred = static_cast<int>(i);
  }
  if (inferred < 0) return reshape(Shape(std::span<const int64_t>(extents)));
  std::vector<int64_t> filled = extents;
  filled[static_cast<size_t>(inferred)] = 1;
  const int64_t known = Shape(std::span<const int64_t>(filled)).numel();
  require(known > 0 && numel() % known == 0, "reshape", "no extent for -1 divides ", *this, " into blocks of ", known);
  filled[static_cast<size_t>(inferred)] = numel() / known;
  return reshape(Shape(std::span<const int64_t>(filled)));
}

Tensor Tensor::reshape(const Shape& shape) const {
  require(defined() && shape.numel() == numel(), "reshape", "expected ", numel(), " elements for ", *this, ", got ",
          shape);
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  require(defined() && ndim() >= 1, "rows", "expected a tensor with a first axis, got ", *this);
  require(begin >= 0 && begin <= end && end <= dim(0), "rows", "expected rows of ", *this, ", got [", begin, ", ", end,
          ")");
  Tensor view = *this;
  view.shape_ = shape_.with(0, end - begin);
  view.offset_ = offset_ + static_cast<size_t>(begin * shape_.product(1, ndim())) * size_of(dtype_);
  return view;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor copy = like(*this);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(Device device) const {
  if (!defined() || device == device_) return *this;
  Tensor copy = empty(shape_, dtype_, device);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::to(DType dtype) const {
  if (!defined() || dtype == dtype_) return *this;
  Tensor copy = empty(shape_, dtype, device_);
  copy.copy_from(*this);
  return copy;
}

void Storage::lose_rounded() {
  // What a replay writes, the host does not see.
  require(!recording_now(), "recording", "expected weights that stay as they are, got a write to ", bytes_,
          " bytes of them");
  rounded_->current = false;
}

void Tensor::keep_rounded() {
  require(dtype_ == DType::f32 && defined(), "tensor", "expected f32 to keep rounded, got ", *this);
  if (!storage_->rounded_) storage_->rounded_ = std::make_unique<Storage::Rounded>();
}

Tensor Tensor::in_copy(const std::shared_ptr<Storage>& copy) const {
  Tensor there = *this;
  there.storage_ = copy;
  there.offset_ = offset_ / 2;
  there.dtype_ = DType::bf16;
  return there;
}

Tensor Tensor::read_as(DType dtype) const {
  if (!defined() || dtype != DType::bf16 || dtype_ != DType::f32 || !storage_->rounded_) return to(dtype);
  Storage::Rounded& kept = *storage_->rounded_;
  if (!kept.current) {
    if (recording_now()) return to(dtype);  // what is recorded has not happened yet
    Tensor all = *this;
    all.offset_ = 0;
    all.shape_ = Shape{static_cast<int64_t>(storage_->bytes() / 4)};
    if (!kept.copy) kept.copy = std::make_shared<Storage>(storage_->bytes() / 2, device_);
    Tensor copy = all.in_copy(kept.copy);
    copy.copy_from(all);
    kept.current = true;
  }
  recording_reads(*this);
  return in_copy(kept.copy);
}

Tensor Tensor::rounded_copy() const {
  const bool there = defined() && storage_->rounded_ && storage_->rounded_->copy && bytes() == storage_->bytes();
  return there ? in_copy(storage_->rounded_->copy) : Tensor();
}

void Tensor::set_rounded_current() {
  require(rounded_copy().defined(), "tensor", "expected a rounded copy beside ", *this);
  storage_->rounded_->current = true;
}

void Storage::lose_prepared() {
  const std::lock_guard lock(prepared_->mutex);
  prepared_->made.clear();
}

void Tensor::keep_prepared() {
  check_defined();
  if (!storage_->prepared_) storage_->prepared_ = std::make_unique<Storage::Prepared>();
}

Tensor Tensor::prepared(const void* how, const std::function<Tensor()>& make) const {
  if (!keeps_prepared()) return make();
  const std::lock_guard lock(storage_->prepared_->mutex);
  Tensor& kept = storage_->prepared_->made[{raw(), how, {shape_.begin(), shape_.end()}}];
  if (!kept.defined()) kept = make();
  return kept;
}

void Tensor::copy_from(const Tensor& source) {
  require(defined() && source.defined(), "copy", "expected two defined tensors, got ", *this, " and ", source);
  require_shape(source, shape_, "copy", "source");
  if (numel() == 0) return;
  if (device_ == source.device_) {
    if (dtype_ != source.dtype_) return kernel::cast(source, *this);
    if (DryRun::active() && is_floating(dtype_)) return;
    return memory(device_).copy(raw(), source.raw(), bytes());
  }
  // Between devices: conversion happens on the host side, where every dtype exists.
  if (source.device_ == Device::cpu) {
    const Tensor converted = source.to(dtype_);
    return memory(device_).copy_from_host(raw(), converted.raw(), bytes());
  }
  require(device_ == Device::cpu, "copy", "no way from ", source.device_, " to ", device_);
  if (dtype_ == source.dtype_) return memory(source.device_).copy_to_host(raw(), source.raw(), bytes());
  Tensor host = empty(shape_, source.dtype_);
  memory(source.device_).copy_to_host(host.raw(), source.raw(), source.bytes());
  kernel::cast(host, *this);
}

void Tensor::fill(double value) {
  require(defined(), "fill", "expected a defined tensor");
  kernel::fill(*this, value);
}

double Tensor::item() const {
  require(numel() == 1, "item", "expected one element, got ", *this);
  return to_vector<double>().front();
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  std::vector<T> values(static_cast<size_t>(numel()));
  if (values.empty()) return values;
  const Tensor host = to(Device::cpu).to(dtype_of<T>);
  memory(Device::cpu).copy(values.data(), host.raw(), host.bytes());
  return values;
}
template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<int64_t> Tensor::to_vector<int64_t>() const;
template std::vector<uint8_t> Tensor::to_vector<uint8_t>() const;
template std::vector<bf16> Tensor::to_vector<bf16>() const;

std::string Tensor::str() const {
  if (!defined()) return "undefined";
  return shape_.str() + " " + name(dtype_) + " on " + name(device_);
}

void Tensor::check_access(DType wanted) const {
  require(defined(), "tensor", "expected a defined tensor of ", wanted);
  require(wanted == dtype_, "tensor", "expected elements of ", wanted, ", got ", *this);
}

void Tensor::copy_in(const void* values, int64_t count) {
  require(count == numel(), "tensor", "expected ", numel(), " values for ", shape_, ", got ", count);
  memory(device_).copy_from_host(raw(), values, bytes());
}

bool all_finite(const Tensor& tensor) {
  if (tensor.dtype() != DType::f32) return true;
  const float* p = tensor.data<float>();
  return std::all_of(p, p + tensor.numel(), [](float x) { return std::isfinite(x); });
}

void require_shape(const Tensor& tensor, const Shape& shape, std::string_view where, std::string_view what) {
  require(tensor.defined() && tensor.shape() == shape, where, what, " expected ", shape, ", got ", tensor);
}

void require_alike(const Tensor& a, const Tensor& b, std::string_view where) {
  require(a.defined() && b.defined() && a.dtype() == b.dtype() && a.device() == b.device(), where,
          "expected tensors of one dtype and device, got ", a, " and ", b);
}

void require_master(const Tensor& x, const Tensor& t, std::string_view where) {
  const bool wider = t.defined() && t.dtype() == DType::f32 && x.dtype() == DType::bf16 && t.device() == x.device();
  if (!wider) require_alike(x, t, where);
}

}  // namespace sked

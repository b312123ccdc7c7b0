#pragma once
// oneDNN behind one interface: its versions 2.x and 3.x differ in how operations are described; onednn.cpp hides it.
// Scratch memory comes from the caching allocator, and what was planned for a problem once is kept.

#include <array>
#include <initializer_list>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

#include "core/kernels/conv.h"
#include "core/tensor.h"

namespace sked::cpu::onednn {

/// How an operand lies in memory; a default-constructed one stands for "no such operand".
using Layout = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
using Extents = dnnl::memory::dims;

/// Row-major up to the permutation `tag` spells; Tag::any leaves the choice to oneDNN, where an operation is described.
Layout layout(const Extents& extents, Tag tag, dnnl::memory::data_type type = dnnl::memory::data_type::f32);
/// With strides of its own, in elements.
Layout layout(const Extents& extents, const Extents& strides, dnnl::memory::data_type type);
/// How oneDNN names f32 and bf16.
inline dnnl::memory::data_type type_of(DType dtype) {
  return dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

/// An argument of an operation (DNNL_ARG_…) and where it lies.
struct Argument {
  int which;
  const void* data;
};

/// The library writes the code of an operation when the first of its kind is asked for, and ends the process by a null
/// pointer where there is no memory for it. Where memory is limited (ulimit -v) that shows beforehand: throws
/// std::bad_alloc.
void require_room_for_code();

/// A compiled operation: thread-safe, and costly to make.
class Operation {
 public:
  explicit Operation(const dnnl::primitive_desc_base& description);

  /// How the argument `which` must lie.
  Layout layout(int which) const;
  /// Uninitialized memory for the argument `which`.
  Tensor allocate(int which) const;
  /// Computes; returns when done.
  void run(std::initializer_list<Argument> arguments) const;

 private:
  dnnl::primitive_desc_base description_;
  dnnl::primitive primitive_;
};

/// DST (M,N) = SRC (M,Q) · WEIGHTS (Q,N) [+ BIAS (1,N)] [+ DST], all with the same number of leading extents.
Operation matmul(const Layout& a, const Layout& b, const Layout& bias, const Layout& c, bool accumulate);

/// A convolution of x and y in channels-last order with filters (and their gradient) in whatever layout `w` says.
struct ConvLayouts {
  Layout x, w, bias, y;
};
/// DST from SRC, WEIGHTS [and BIAS].
Operation convolution_forward(const ConvLayouts& layouts, const Window& window);
/// The same added to DST.
Operation convolution_forward_accumulate(const ConvLayouts& layouts, const Window& window);
/// DIFF_SRC from DIFF_DST and WEIGHTS.
Operation convolution_backward_input(const ConvLayouts& layouts, const Window& window);
/// DIFF_WEIGHTS [and DIFF_BIAS] from SRC and DIFF_DST.
Operation convolution_backward_weight(const ConvLayouts& layouts, const Window& window);

/// TO = FROM in another layout, and perhaps in another type.
Operation reorder(const Layout& from, const Layout& to);

/// An operation and the reorder of its filters from how they are given (or of their gradient, to it).
struct FilterPlan {
  Operation compute, rearrange;

  /// WEIGHTS as `compute` wants them, from w or as its storage keeps them.
  Tensor filters(const Tensor& w) const;
};

/// How many threads an operation called here would use.
int threads_here();

/// Has this processor all the instructions of `isa`?
bool processor_has(dnnl::cpu_isa isa);

/// Plans made so far for one kind of problem, found again by the numbers that define it. oneDNN plans for a number of
/// threads, so that is part of the key.
template <class Plan, size_t Numbers>
class Cache {
 public:
  template <class Make>
  const Plan& get(const std::array<int64_t, Numbers>& problem, Make&& make) {
    const std::lock_guard lock(mutex_);
    const std::pair key(threads_here(), problem);
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, make()).first;
    return found->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<int, std::array<int64_t, Numbers>>, Plan> plans_;
};

}  // namespace sked::cpu::onednn

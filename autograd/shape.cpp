#include "autograd/shape.h"

#include <numeric>

#include "autograd/support.h"
#include "core/kernels/memory.h"

namespace sked {

namespace {

Var view(const Var& x, Tensor y) {
  return record(std::move(y), {x}, [shape = x.shape()](const Tensor& dy) -> Grads { return {dy.reshape(shape)}; });
}

Tensor permuted(const Tensor& x, const std::vector<int>& perm) {
  std::vector<int64_t> extents;
  for (int axis : perm) extents.push_back(x.dim(axis));
  Tensor y = detail::empty(Shape(std::span<const int64_t>(extents)), x);
  kernel::permute(x, y, perm);
  return y;
}

/// x restricted to [begin, end) along `axis`; along the first one it shares x's storage.
Tensor sliced(const Tensor& x, int axis, int64_t begin, int64_t end) {
  if (axis == 0) return x.rows(begin, end);
  Tensor y = detail::empty(x.shape().with(axis, end - begin), x);
  kernel::slice(x, y, axis, begin);
  return y;
}

}  // namespace

// dx = dy under x's shape: no element moves.
Var reshape(const Var& x, const std::vector<int64_t>& extents) { return view(x, x.value().reshape(extents)); }
Var reshape(const Var& x, const Shape& shape) { return view(x, x.value().reshape(shape)); }

// y's axis i = x's axis perm[i], so dx's axis perm[i] = dy's axis i: the inverse permutation.
Var permute(const Var& x, const std::vector<int>& perm) {
  std::vector<int> inverse(perm.size(), -1);
  for (size_t i = 0; i < perm.size(); ++i) {
    const bool valid = perm.size() == static_cast<size_t>(x.ndim()) && perm[i] >= 0 && perm[i] < x.ndim() &&
                       inverse[static_cast<size_t>(perm[i])] < 0;
    require(valid, "permute", "expected a permutation of the axes of ", x.value(), ", got axis ", perm[i], " at place ",
            i, " of ", perm.size());
    inverse[static_cast<size_t>(perm[i])] = static_cast<int>(i);
  }
  require(perm.size() == static_cast<size_t>(x.ndim()), "permute", "expected ", x.ndim(), " axes for ", x.value(),
          ", got ", perm.size());
  return record(permuted(x.value(), perm), {x},
                [inverse](const Tensor& dy) -> Grads { return {permuted(dy, inverse)}; });
}

Var transpose(const Var& x) {
  require(x.ndim() >= 2, "transpose", "expected at least two axes, got ", x.value());
  std::vector<int> perm(static_cast<size_t>(x.ndim()));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return permute(x, perm);
}

// dx = 0 but dx[begin, end) = dy.
Var slice(const Var& x, int axis, int64_t begin, int64_t end) {
  const int i = x.shape().axis(axis);
  require(0 <= begin && begin <= end && end <= x.dim(i), "slice", "expected a range of axis ", i, " of ", x.value(),
          ", got [", begin, ", ", end, ")");
  if (begin == 0 && end == x.dim(i)) return x;
  return record(sliced(x.value(), i, begin, end), {x}, [shape = x.shape(), i, begin](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
    kernel::slice_insert(dy, dx, i, begin);
    return {dx};
  });
}

// y = [parts…]: each part's gradient is its slice of dy.
Var concat(const std::vector<Var>& parts, int axis) {
  require(!parts.empty(), "concat", "expected at least one part, got none");
  const Tensor& first = parts.front().value();
  const int i = first.shape().axis(axis);
  std::vector<int64_t> starts{0};
  for (const Var& part : parts) {
    require_alike(part.value(), first, "concat");
    require(part.ndim() == first.ndim() && part.shape().with(i, 0) == first.shape().with(i, 0), "concat",
            "expected the shape ", first.shape(), " but for axis ", i, ", got ", part.value());
    starts.push_back(starts.back() + part.dim(i));
  }
  Tensor y = detail::empty(first.shape().with(i, starts.back()), first);
  std::vector<char> needed;
  for (size_t p = 0; p < parts.size(); ++p) {
    kernel::slice_insert(parts[p].value(), y, i, starts[p]);
    needed.push_back(parts[p].requires_grad());
  }
  return record(y, parts, [starts, needed, i](const Tensor& dy) {
    Grads grads(needed.size());
    for (size_t p = 0; p < needed.size(); ++p) {
      if (needed[p]) grads[p] = sliced(dy, i, starts[p], starts[p + 1]);
    }
    return grads;
  });
}

// dx sums dy over what was repeated.
Var broadcast_to(const Var& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  require(broadcast(x.shape(), shape) == shape, "broadcast_to", "expected a shape that broadcasts to ", shape, ", got ",
          x.value());
  Tensor y = detail::empty(shape, x.value());
  kernel::broadcast_to(x.value(), y);
  return record(y, {x}, [from = x.shape()](const Tensor& dy) -> Grads { return {sum_to(dy, from)}; });
}

}  // namespace sked

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

void require_view(const Tensor& x, const Tensor& y, ReduceView view, const char* where) {
  const Shape shape{view.outer, view.n, view.inner};
  require(x.defined() && shape.numel() == x.numel(), where, "expected x to hold ", shape, ", got ", x);
  const int64_t outputs = view.outer * view.inner;
  require(y.defined() && y.numel() == outputs, where, "expected ", outputs, " outputs, got ", y);
}

namespace {

void check_forward(const char* where, const Tensor& x, const Tensor& y, Reduce op, ReduceView view) {
  require_alike(x, y, where);
  require_view(x, y, view, where);
  require(view.n > 0 || op == Reduce::sum, where, "the ", name(op), " of nothing is undefined: ", x);
}

void check_max_backward(const char* where, const Tensor& x, const Tensor& y, const Tensor& dy, const Tensor& dx,
                        ReduceView view) {
  require_view(x, y, view, where);
  for (const Tensor* other : {&y, &dy, &dx}) require_alike(x, *other, where);
  require_shape(dy, y.shape(), where, "dy");
  require_shape(dx, x.shape(), where, "dx");
}

void check_argmax(const char* where, const Tensor& x, const Tensor& index, ReduceView view) {
  require_view(x, index, view, where);
  require(index.dtype() == DType::i64 && index.device() == x.device(), where, "expected indices in i64 on ", x.device(),
          ", got ", index);
  require(view.n > 0, where, "the argmax of nothing is undefined: ", x);
}

void check_top_k(const char* where, const Tensor& x, const Tensor& values, const Tensor& index) {
  require_alike(x, values, where);
  const bool fits = x.ndim() == 2 && values.ndim() == 2 && values.dim(0) == x.dim(0) && values.dim(1) >= 1 &&
                    values.dim(1) <= x.dim(1);
  require(fits, where, "expected x (N,K) and values (N,k) with 1 <= k <= K, got ", x, " and ", values);
  require_shape(index, values.shape(), where, "index");
  require(index.dtype() == DType::i64 && index.device() == x.device(), where, "expected indices in i64 on ", x.device(),
          ", got ", index);
}

[[maybe_unused]] const bool registered = kernel::reduce_forward.expect(check_forward) &&
                                         kernel::reduce_max_backward.expect(check_max_backward) &&
                                         kernel::argmax.expect(check_argmax) && kernel::top_k.expect(check_top_k);

}  // namespace
}  // namespace sked

#include "autograd/index.h"

#include "autograd/support.h"
#include "core/kernels/index.h"

namespace sked {

// y[n] = table[ids[n]]: dtable[v] = Σ of dy[n] over ids[n] = v. Saves ids.
Var embedding(const Var& table, const Tensor& ids) {
  require(table.ndim() == 2, "embedding", "expected table (V,D), got ", table.value());
  require(ids.defined() && ids.dtype() == DType::i64 && ids.ndim() < Shape::kMaxDims, "embedding",
          "expected i64 ids of fewer than ", Shape::kMaxDims, " axes, got ", ids);
  std::vector<int64_t> extents(ids.shape().begin(), ids.shape().end());
  extents.push_back(table.dim(1));
  const Tensor flat = ids.reshape(Shape{ids.numel()});
  Tensor y = detail::empty({ids.numel(), table.dim(1)}, table.value());
  kernel::gather_rows(table.value(), flat, y);
  return record(y.reshape(extents), {table}, [flat, shape = table.shape()](const Tensor& dy) -> Grads {
    Tensor dtable = Tensor::zeros(shape, dy.dtype(), dy.device());
    kernel::scatter_add_rows(dy.reshape(Shape{flat.numel(), shape[1]}), flat, dtable);
    return {dtable};
  });
}

// y[n,s] = x[n,s,index[n]]: dx is dy there and 0 elsewhere. Saves index.
Var pick(const Var& x, const Tensor& index) {
  require(x.ndim() == 2 || x.ndim() == 3, "pick", "expected x (N,K) or (N,S,K), got ", x.value());
  require_shape(index, {x.dim(0)}, "pick", "index");
  const Shape full{x.dim(0), x.ndim() == 3 ? x.dim(1) : 1, x.dim(-1)};
  Tensor y = detail::empty(full.without(-1), x.value());
  kernel::pick(x.value().reshape(full), index, y);
  return record(y.reshape(x.shape().without(-1)), {x}, [index, full, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = detail::empty(full, dy);
    kernel::pick_backward(dy.reshape(full.without(-1)), index, dx);
    return {dx.reshape(shape)};
  });
}

}  // namespace sked

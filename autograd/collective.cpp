#include "autograd/collective.h"

#include <numeric>

#include "autograd/support.h"

namespace sked {

// y = [x of rank 0; x of rank 1 …], so the loss of every rank depends on x by these rows of its y. Saves rows.
Var all_gather_rows(const Var& x, const std::vector<int64_t>& rows, Communicator& ranks) {
  if (ranks.size() == 1) return x;
  const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  Tensor y = detail::empty(x.shape().with(0, total), x.value());
  ranks.all_gather(x.value(), rows, y);
  return record(y, {x}, [rows, &ranks, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = detail::empty(shape, dy);
    ranks.reduce_scatter(dy, rows, dx);
    return {dx};
  });
}

Var all_gather_rows(const Var& x, Communicator& ranks) {
  return all_gather_rows(x, all_gather_number(ranks, x.dim(0)), ranks);
}

// L = Σ over ranks of what each makes of its y, and x = Σ over ranks of their shares in it.
Var all_reduce_gradient(const Var& x, Communicator& ranks) {
  if (ranks.size() == 1) return x;
  return record(x.value(), {x}, [&ranks](const Tensor& dy) -> Grads {
    Tensor dx = dy.clone();
    ranks.all_reduce(dx);
    return {dx};
  });
}

}  // namespace sked

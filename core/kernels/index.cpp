#include "core/kernels/index.h"

#include "core/kernels/checks.h"

namespace sked {
namespace {

/// table (V,D), rows (N,D), ids (N) i64.
void require_rows(const Tensor& table, const Tensor& ids, const Tensor& rows, const char* where) {
  require_alike(table, rows, where);
  require(table.ndim() == 2, where, "expected a table (V, D), got ", table);
  require(rows.ndim() == 2 && rows.dim(1) == table.dim(1), where, "expected rows (N, ", table.dim(1), "), got ", rows);
  require_indices(ids, rows.dim(0), table, where, "indices");
}

void check_gather_rows(const char* where, const Tensor& table, const Tensor& ids, const Tensor& y) {
  require_rows(table, ids, y, where);
}

void check_scatter_add_rows(const char* where, const Tensor& dy, const Tensor& ids, const Tensor& dtable) {
  require_rows(dtable, ids, dy, where);
}

void check_pick(const char* where, const Tensor& x, const Tensor& index, const Tensor& picked) {
  require_alike(x, picked, where);
  require(x.ndim() == 3, where, "expected (N, S, K), got ", x);
  require_shape(picked, {x.dim(0), x.dim(1)}, where, "picked");
  require_indices(index, x.dim(0), x, where, "indices");
}

void check_pick_backward(const char* where, const Tensor& dy, const Tensor& index, const Tensor& dx) {
  check_pick(where, dx, index, dy);
}

void check_look_up(const char* where, const Tensor& x, const Tensor& table, const Tensor& y) {
  require(x.defined() && x.dtype() == DType::u8 && x.ndim() >= 1, where, "expected x (...,C) u8, got ", x);
  const bool fits = table.defined() && table.ndim() == 2 && table.dim(0) == 256 &&
                    (table.dim(1) == 1 || table.dim(1) == x.dim(-1)) && table.device() == x.device();
  require(fits, where, "expected a table of 256 rows, of 1 or ", x.dim(-1), " numbers, beside ", x, ", got ", table);
  require_shape(y, x.shape(), where, "y");
  require_master(y, table, where);
}

[[maybe_unused]] const bool registered =
    kernel::gather_rows.expect(check_gather_rows) && kernel::scatter_add_rows.expect(check_scatter_add_rows) &&
    kernel::pick.expect(check_pick) && kernel::pick_backward.expect(check_pick_backward) &&
    kernel::look_up.expect(check_look_up);

}  // namespace
}  // namespace sked

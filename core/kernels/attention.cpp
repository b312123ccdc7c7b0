#include "core/kernels/attention.h"

namespace sked {
namespace {

void check_forward(const char* where, const Tensor& qkv, const Tensor& y, const Tensor& lse, double scale, bool) {
  require(qkv.ndim() == 5 && qkv.dim(2) == 3, where, "expected qkv (N,T,3,H,E), got ", qkv);
  const auto [N, T, H, E] = attention_sizes(qkv);
  require_shape(y, {N, T, H, E}, where, "y");
  require_shape(lse, {N, H, T}, where, "lse");
  require_alike(qkv, y, where);
  require_master(qkv, lse, where);
  require(scale > 0, where, "expected a scale > 0, got ", scale);
}

void check_backward(const char* where, const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse,
                    const Tensor& dqkv, double scale, bool causal) {
  check_forward(where, qkv, y, lse, scale, causal);
  check_forward(where, dqkv, dy, lse, scale, causal);
}

/// Of `products` with T² or, where a query sees no later key, half of that and half a diagonal.
int64_t operations(const Tensor& qkv, bool causal, int64_t products) {
  const auto [N, T, H, E] = attention_sizes(qkv);
  return products * N * H * E * (causal ? T * (T + 1) : 2 * T * T);
}

int64_t forward_operations(const Tensor& qkv, const Tensor&, const Tensor&, double, bool causal) {
  return operations(qkv, causal, 2);
}

/// P once more.
int64_t backward_operations(const Tensor&, const Tensor& qkv, const Tensor&, const Tensor&, const Tensor&, double,
                            bool causal) {
  return operations(qkv, causal, 5);
}

[[maybe_unused]] const bool counted =
    kernel::attention_forward.costs(forward_operations) && kernel::attention_backward.costs(backward_operations);

[[maybe_unused]] const bool registered =
    kernel::attention_forward.expect(check_forward) && kernel::attention_backward.expect(check_backward);

}  // namespace
}  // namespace sked

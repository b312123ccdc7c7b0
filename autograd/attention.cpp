#include "autograd/attention.h"

#include <cmath>

#include "autograd/support.h"
#include "core/kernels/attention.h"

namespace sked {

// P = softmax(scale q kᵀ), y = P v: dv = Pᵀ dy, dP = dy vᵀ, dS = P (dP − Σ_e dy y), dq = scale dS k, dk = scale dSᵀ q.
// Saves qkv, y and the log-sum-exp of each query, from which P = exp(scale q kᵀ − lse) is made again.
Var attention(const Var& qkv, int64_t heads, bool causal) {
  require(qkv.ndim() == 3 && heads >= 1 && qkv.dim(2) > 0 && qkv.dim(2) % (3 * heads) == 0, "attention",
          "expected qkv (N,T,3·heads·E) with ", heads, " heads, got ", qkv.value());
  const int64_t n = qkv.dim(0), t = qkv.dim(1), e = qkv.dim(2) / (3 * heads);
  const Tensor packed = qkv.value().reshape(Shape{n, t, 3, heads, e});
  Tensor y = detail::empty({n, t, heads, e}, packed), lse = detail::empty_statistics({n, heads, t}, packed);
  const double scale = 1 / std::sqrt(static_cast<double>(e));
  kernel::attention_forward(packed, y, lse, scale, causal);
  return record(y.reshape(Shape{n, t, heads * e}), {qkv}, [packed, y, lse, scale, causal](const Tensor& dy) -> Grads {
    Tensor dqkv = Tensor::like(packed);
    kernel::attention_backward(dy.reshape(y.shape()), packed, y, lse, dqkv, scale, causal);
    return {dqkv.reshape(Shape{packed.dim(0), packed.dim(1), 3 * y.dim(2) * y.dim(3)})};
  });
}

}  // namespace sked

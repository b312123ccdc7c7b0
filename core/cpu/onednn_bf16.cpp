#include "core/cpu/onednn_bf16.h"

#include "core/cpu/onednn.h"
#include "core/precision.h"

namespace sked::cpu::onednn {
namespace {

[[maybe_unused]] const bool offered = has_bf16_instructions() && offer(Device::cpu, Precision::bf16);

/// Rounding an operand is rearranging it: both happen in one pass.
struct RoundedPlan {
  Operation multiply, round_left, round_right;
};

RoundedPlan plan_for(int64_t M, int64_t N, int64_t Q, bool left_transposed, bool right_transposed, bool accumulate) {
  constexpr auto kRounded = dnnl::memory::data_type::bf16;
  const Operation multiply = matmul(layout({M, Q}, Tag::any, kRounded), layout({Q, N}, Tag::any, kRounded), {},
                                    layout({M, N}, Tag::ab), accumulate);
  return {multiply, reorder(layout({M, Q}, left_transposed ? Tag::ba : Tag::ab), multiply.layout(DNNL_ARG_SRC)),
          reorder(layout({Q, N}, right_transposed ? Tag::ba : Tag::ab), multiply.layout(DNNL_ARG_WEIGHTS))};
}

}  // namespace

bool has_bf16_instructions() {
  static const bool has = processor_has(dnnl::cpu_isa::avx512_core_bf16);
  return has;
}

bool bf16_products() { return has_bf16_instructions() && product_precision() == Precision::bf16; }

void multiply_bf16(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c,
                   bool accumulate) {
  static Cache<RoundedPlan, 6> cache;
  const bool left_transposed = a.col != 1, right_transposed = b.col != 1;
  const RoundedPlan& plan = cache.get({M, N, Q, left_transposed, right_transposed, accumulate},
                                      [&] { return plan_for(M, N, Q, left_transposed, right_transposed, accumulate); });
  const Tensor left = plan.multiply.allocate(DNNL_ARG_SRC), right = plan.multiply.allocate(DNNL_ARG_WEIGHTS);
  plan.round_left.run({{DNNL_ARG_FROM, a.data}, {DNNL_ARG_TO, left.raw()}});
  plan.round_right.run({{DNNL_ARG_FROM, b.data}, {DNNL_ARG_TO, right.raw()}});
  plan.multiply.run({{DNNL_ARG_SRC, left.raw()}, {DNNL_ARG_WEIGHTS, right.raw()}, {DNNL_ARG_DST, c}});
}

}  // namespace sked::cpu::onednn

// What the GPU's libraries offer for a product or a convolution, and our kernels beside them (core/candidates.h).

#include "core/candidates.h"

#include "cuda/columns.cuh"
#include "cuda/cudnn.h"
#include "cuda/gemm.h"

namespace sked::cuda {
namespace {

Gemm gemm_of(const ProductWork& w) {
  const int64_t M = w.c.dim(0), N = w.c.dim(1), Q = w.a.dim(w.transpose_a ? 0 : 1);
  const auto address = [](const Tensor& t) { return t.defined() ? const_cast<void*>(t.raw()) : nullptr; };
  return {.M = M,
          .N = N,
          .Q = Q,
          .a = w.a.raw(),
          .lda = w.a.dim(1),
          .transpose_a = w.transpose_a,
          .b = w.b.raw(),
          .ldb = w.b.dim(1),
          .transpose_b = w.transpose_b,
          .c = address(w.c),
          .ldc = N,
          .in = w.a.dtype(),
          .out = w.c.dtype(),
          .bias = address(w.bias),
          .act = w.act,
          .pre = address(w.pre),
          .sum_of_a = address(w.sum_of_a),
          .through = address(w.through),
          .sum_of_c = address(w.sum_of_c)};
}

bool plain(const Gemm& g) { return !g.bias && g.act == Activation::none && !g.sum_of_a && !g.through; }

void sum_down(const Tensor& a, Tensor sum) {
  visit_device(a.dtype(), "candidate",
               [&]<class T>(T) { sum_columns("candidate", a.dim(0), a.dim(1), a.data<T>(), sum.data<float>()); });
}

std::vector<Candidate> product_candidates(const ProductWork& work, int most) {
  if (!work.c.defined()) return {{"sum_columns", [work] { sum_down(work.a, work.sum_of_a); }}};
  const Gemm g = gemm_of(work);
  std::vector<Candidate> list = gemm_candidates(g, most);
  if (list.empty() && plain(g)) list.push_back({"readable kernel", [work, g] { gemm_definition(g, "candidate"); }});
  for (Candidate& c : list) c.run = [work, run = std::move(c.run)] { run(); };  // the tensors stay as long as it does
  return list;
}

std::vector<Candidate> convolution_candidates(const ConvolutionWork& work, int most) {
  using Pass = ConvolutionWork::Pass;
  const ConvSizes s = conv_sizes(work.x, work.y);
  const auto pass = work.pass == Pass::forward          ? cudnn::Pass::forward
                    : work.pass == Pass::backward_input ? cudnn::Pass::backward_input
                                                        : cudnn::Pass::backward_weight;
  const cudnn::Convolution problem{pass, work.x.dtype(), s, work.window};
  const Tensor a = work.pass == Pass::forward ? work.x : work.y;
  const Tensor b = work.pass == Pass::backward_weight ? work.x : work.filters;
  const Tensor c = work.pass == Pass::forward ? work.y : work.pass == Pass::backward_input ? work.x : work.filters;
  return cudnn::candidates(problem, a, b, c, most);
}

[[maybe_unused]] const bool registered =
    (register_candidates(Device::cuda, {product_candidates, convolution_candidates}), true);

}  // namespace
}  // namespace sked::cuda

// Norms: batch, layer, group, l2.

#include <cmath>

#include "core/kernels/batch_norm.h"
#include "core/kernels/group_norm.h"
#include "core/kernels/l2_normalize.h"
#include "core/kernels/layer_norm.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

// Means and variances of O(1) numbers.
constexpr double kNorms = 1e-5;

void add_batch_norm(ParityCases& cases, int64_t M, int64_t C, bool residual, bool relu) {
  const Tensor x = hash_tensor({M, C}, 1, 2, 3), add = residual ? hash_tensor({M, C}, 2) : Tensor();
  const Tensor gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4), one = Tensor::full({C}, 1);
  const Tensor mean = hash_tensor({C}, 5, 0.1f, 3), rstd = hash_tensor({C}, 6, 0.2f, 1), dy = hash_tensor({M, C}, 7);
  const std::string what = x.str() + (residual ? " + residual" : "") + (relu ? ", ReLU" : "");
  cases.push_back({"batch_norm_forward",
                   what,
                   {x, add, gamma, beta},
                   {unset(x.shape()), unset({C}), unset({C}), one, one},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_forward(in[0], in[1], in[2], in[3], out[0], out[1], out[2], out[3], out[4],
                                                0.25, 1e-3, relu);
                   },
                   kNorms,
                   1,
                   {0, 1},
                   {0}});
  cases.push_back({"batch_norm_inference",
                   what,
                   {x, add, gamma, beta, mean, rstd},
                   {unset(x.shape())},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_inference(in[0], in[1], in[2], in[3], in[4], in[5], out[0], 1e-3, relu);
                   },
                   kNorms,
                   1,
                   {0, 1},
                   {0}});
  // Sums of M terms of size 1, which cancel: compared on their own scale.
  const auto terms = std::sqrt(static_cast<double>(M));
  cases.push_back({"batch_norm_backward",
                   what,
                   {dy, x, relu ? hash_tensor({M, C}, 8) : Tensor(), gamma, mean, rstd},
                   {unset(x.shape()), residual ? unset(x.shape()) : Tensor(), unset({C}), unset({C})},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_backward(in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2],
                                                 out[3], relu);
                   },
                   kNorms,
                   terms,
                   {0, 1, 2},
                   {0, 1}});
}

void add_batch_norms(ParityCases& cases) {
  // Threads that meet their channels again and again, also where blocks do not end with rows; packs that do not fit.
  const int64_t batch_shapes[][2] = {{2, 1},     {3, 5},     {130, 64}, {4500, 3}, {700, 40},
                                     {1100, 72}, {300, 264}, {9, 2056}, {900, 44}};
  for (const auto& [M, C] : batch_shapes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) add_batch_norm(cases, M, C, residual, relu);
}

void add_layer_norms(ParityCases& cases) {
  // Every way the GPU cuts rows, with and without ends: packs of four up to 4096, single elements up to 1024, beyond.
  const int64_t rows[][2] = {{1, 1},   {35, 17},  {4500, 3},  {12, 130},  {5, 1001}, {3, 2049}, {0, 4},
                             {9, 128}, {700, 64}, {33, 200},  {70, 384},  {6, 512},  {90, 768}, {21, 640},
                             {4, 776}, {3, 1024}, {40, 1280}, {25, 2048}, {2, 3072}, {3, 4096}, {37, 4100}};
  for (const auto& [N, D] : rows)
    for (const bool affine : {false, true}) {
      const Tensor x = hash_tensor({N, D}, 1, 2, 3), dy = hash_tensor({N, D}, 2), mean = hash_tensor({N}, 5, 0.1f, 3),
                   rstd = hash_tensor({N}, 6, 0.2f, 1);
      const Tensor gamma = affine ? hash_tensor({D}, 3, 0.5, 1) : Tensor(),
                   beta = affine ? hash_tensor({D}, 4) : Tensor();
      cases.push_back({"layer_norm_forward",
                       x.str(),
                       {x, gamma, beta},
                       {unset({N, D}), unset({N}), unset({N})},
                       [](const TensorList& in, TensorList& out) {
                         kernel::layer_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], 1e-3);
                       },
                       kNorms,
                       1,
                       {0},
                       {0}});
      // The residual's gradient comes with γ in some rows and without in others.
      const Tensor residual = affine == (D % 3 == 0) ? hash_tensor({N, D}, 7, 2) : Tensor();
      cases.push_back({"layer_norm_backward",
                       x.str() + (affine ? ", affine" : "") + (residual.defined() ? ", residual" : ""),
                       {dy, x, gamma, mean, rstd, residual},
                       {unset({N, D}), affine ? unset({D}) : Tensor(), affine ? unset({D}) : Tensor()},
                       [](const TensorList& in, TensorList& out) {
                         kernel::layer_norm_backward(in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2]);
                       },
                       kNorms,
                       std::sqrt(static_cast<double>(N)),
                       {0, 1, 5},
                       {0}});
    }
}

void add_group_norms(ParityCases& cases) {
  const int64_t images[][4] = {{1, 1, 2, 1}, {2, 9, 6, 3}, {3, 5, 8, 8}, {2, 49, 64, 4}, {0, 4, 6, 2}};
  for (const auto& [N, P, C, groups] : images) {
    const Tensor x = hash_tensor({N, P, C}, 1, 2, 3), dy = hash_tensor({N, P, C}, 2),
                 gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4),
                 mean = hash_tensor({N, groups}, 5, 0.1f, 3), rstd = hash_tensor({N, groups}, 6, 0.2f, 1);
    cases.push_back({"group_norm_forward",
                     x.str(),
                     {x, gamma, beta},
                     {unset(x.shape()), unset({N, groups}), unset({N, groups})},
                     [groups = groups](const TensorList& in, TensorList& out) {
                       kernel::group_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], groups, 1e-3);
                     },
                     kNorms,
                     1,
                     {0},
                     {0}});
    cases.push_back({"group_norm_backward",
                     x.str(),
                     {dy, x, gamma, mean, rstd},
                     {unset(x.shape()), unset({C}), unset({C})},
                     [groups = groups](const TensorList& in, TensorList& out) {
                       kernel::group_norm_backward(in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2], groups);
                     },
                     kNorms,
                     std::sqrt(static_cast<double>(N * P)),
                     {0, 1},
                     {0}});
  }
}

void add_l2_normalize(ParityCases& cases) {
  const int64_t rows[][2] = {{1, 1}, {35, 17}, {4500, 3}, {70, 384}, {5, 2048}, {0, 4}};
  for (const auto& [N, D] : rows) {
    const Tensor x = hash_tensor({N, D}, 1, 2), dy = hash_tensor({N, D}, 2), r = hash_tensor({N}, 6, 0.2f, 1);
    cases.push_back(
        {"l2_normalize_forward",
         x.str(),
         {x},
         {unset({N, D}), unset({N})},
         [](const TensorList& in, TensorList& out) { kernel::l2_normalize_forward(in[0], out[0], out[1], 1e-3); },
         kNorms,
         1,
         {0},
         {0}});
    cases.push_back(
        {"l2_normalize_backward",
         x.str(),
         {dy, hash_tensor({N, D}, 3), r},
         {unset({N, D})},
         [](const TensorList& in, TensorList& out) { kernel::l2_normalize_backward(in[0], in[1], in[2], out[0]); },
         kNorms,
         std::sqrt(static_cast<double>(D)),
         {0, 1},
         {0}});
  }
}

}  // namespace

ParityCases norm_parity() {
  ParityCases cases;
  add_l2_normalize(cases);
  add_batch_norms(cases);
  add_layer_norms(cases);
  add_group_norms(cases);
  return cases;
}

}  // namespace sked::test

#pragma once
// The streaming Monte Carlo likelihood, a tile of sampled logits at a time (layers/heads/METHOD.md, "The streaming
// form"; layers/heads/logit_tiles.cpp iterates over the tiles). A tile a (B,C,K) holds the logits over temperature of C
// samples of each of B examples for K of the classes; it is overwritten by its gradient, and the B×S×K tensor it is cut
// from never exists. What outlives a tile is indexed by (example, sample) or (example, class) and has all samples or
// all classes: TileOrigin says where the tile lies in it. f32, f64; a tile may be bf16 beside f32.
//
// What turns a tile into its gradient takes `sums` (K of all classes) too, unless it is undefined: sums[k] += Σ_b,s
// ∂L/∂a[b,s,k], the gradient of a bias.

#include "core/kernel.h"

namespace sked {

/// The sample and the class of a tile's element (·,0,0).
struct TileOrigin {
  int64_t sample = 0, class_index = 0;
};

/// The logarithm averaged over samples for each class.
enum class ClassLog {
  softmax,            // log softmax(a)_k = a_k − lse
  sigmoid,            // log σ(a_k)
  sigmoid_complement  // log (1 − σ(a_k)) = log σ(−a_k)
};

}  // namespace sked

namespace sked::kernel {

/// z[b,c,j] = center[b,J₀+j] + d[b,J₀+j] eps[b,c,j] + (v[b,J₀+j] q[b,c,j] | q[b,c,j] | 0): the noisy (pre-)logits for
/// coordinates from J₀ = `first` on, with q = V ε^R for efficient factors (v defined), V(x) ε^R for full ones (v
/// undefined), and neither for diagonal ones. center, d, v (B,J); eps, q, z (B,C,n).
inline Kernel<void(const Tensor& center, const Tensor& d, const Tensor& eps, const Tensor& v, const Tensor& q,
                   Tensor& z, int64_t first)>
    noise_forward{"noise_forward"};

/// The adjoint, added to the gradients dcenter, dd, dv (B,J) from column `first` on: Σ_c dz, Σ_c dz eps, Σ_c dz q.
/// Where v is defined, q becomes dq = dz v; elsewhere dq is dz itself.
inline Kernel<void(const Tensor& dz, const Tensor& eps, const Tensor& v, Tensor& q, Tensor& dcenter, Tensor& dd,
                   Tensor& dv, int64_t first)>
    noise_backward{"noise_backward"};

/// Takes the tile into lse[b,s] = log Σ_k exp a[b,s,k], which starts at −∞, and, where labels (B) are defined and in
/// the tile, sets target_logit[b,s] = a[b,s,label]. lse, target_logit (B,S).
inline Kernel<void(const Tensor& a, const Tensor& labels, Tensor& lse, Tensor& target_logit, TileOrigin at)>
    label_tile_forward{"label_tile_forward"};

/// a ← ∂L/∂a = weight[b,s] (exp(a − lse) − [k = label]). weight (B,S).
inline Kernel<void(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight, Tensor& sums,
                   TileOrigin at)>
    label_tile_backward{"label_tile_backward"};

/// The columns' side of a tile whose classes choose among the examples too (image–text training, where a text's classes
/// are the images): takes the tile into lse[s,k] = log Σ_b exp a[b,s,k], which starts at −∞. lse (S,K of all classes).
inline Kernel<void(const Tensor& a, Tensor& lse, TileOrigin at)> column_tile_forward{"column_tile_forward"};

/// a ← ∂L/∂a = weight[b,s] (exp(a − lse[b,s]) − [k = label]) + column_weight[s,k] (exp(a − column_lse[s,k]) − [k =
/// label]): label_tile_backward's, with that of the columns, whose label is the example labeled with them. lse, weight
/// (B,S); column_lse, column_weight (S,K of all classes).
inline Kernel<void(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight, const Tensor& column_lse,
                   const Tensor& column_weight, Tensor& sums, TileOrigin at)>
    pair_tile_backward{"pair_tile_backward"};

/// Takes the tile into log_p[b,k] = log Σ_s exp x[b,s,k], which starts at −∞; x is what `log` says of a. lse (B,S) for
/// the softmax, else undefined. log_p (B,K of all classes).
inline Kernel<void(const Tensor& a, const Tensor& lse, Tensor& log_p, ClassLog log, TileOrigin at)> class_tile_forward{
    "class_tile_forward"};

/// total[b,s] += Σ_k share[b,k] w, w = exp(a − lse − log_p[b,k]): what the samples weigh in L = −Σ_k q_k log p_k, with
/// share = dL q.
inline Kernel<void(const Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, Tensor& total,
                   TileOrigin at)>
    soft_tile_weights{"soft_tile_weights"};

/// a ← ∂L/∂a = exp(a − lse) total[b,s] − share[b,k] w.
inline Kernel<void(Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, const Tensor& total,
                   Tensor& sums, TileOrigin at)>
    soft_tile_backward{"soft_tile_backward"};

/// a ← ∂L/∂a = −share[b,k] exp(log σ(a) − log_p) σ(−a) + rest[b,k] exp(log σ(−a) − log_not_p) σ(a), where
/// L = −Σ_k [t_k log p_k + (1 − t_k) log(1 − p_k)], share = dL t and rest = dL (1 − t). All (B,K of all classes).
inline Kernel<void(Tensor& a, const Tensor& log_p, const Tensor& log_not_p, const Tensor& share, const Tensor& rest,
                   Tensor& sums, TileOrigin at)>
    sigmoid_tile_backward{"sigmoid_tile_backward"};

}  // namespace sked::kernel

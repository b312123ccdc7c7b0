#pragma once
// The head of contrastive image–text training (METHOD.md, "Contrastive image–text training"; [1], [3]): two projections
// into one space, where the pairs of a batch find each other. B pairs, D width of the space, S samples.

#include <memory>
#include <string>

#include "layers/heads/noise.h"
#include "layers/heads/options.h"
#include "layers/heads/sampled_logits.h"
#include "layers/heads/temperature.h"

namespace sked {

/// Whether there is noise, on the image side.
enum class ContrastKind { det, het_xl };
constexpr std::array<const char*, 2> names_of(ContrastKind) { return {"det", "het-xl"}; }

/// Where the noise comes in: before or after the image's normalization.
enum class ContrastNoise { before, after };
constexpr std::array<const char*, 2> names_of(ContrastNoise) { return {"before", "after"}; }

/// What a configuration file says about it.
struct ContrastConfig {
  ContrastKind kind = ContrastKind::det;
  int64_t width = 128;  // D
  NoiseConfig noise = {};
  int64_t train_samples = 16;  // S of the loss, ≥ 1
  ContrastNoise noise_place = ContrastNoise::before;
  Likelihood likelihood = Likelihood::streaming;
  TemperatureConfig temperature{.learn = true, .value = 0.1, .lo = 0.005, .hi = 0.195};  // at first LiT's 0.1
};

/// With n(·) = l2_normalize, φ_i = W_image x_i and t_j = n(W_text y_j), the logits of image i against text j are
///   DET            u_ij  = n(φ_i)·t_j
///   HET-XL before  u_ijs = n(φ_i + V(x_i) ε^R_s + d(x_i) ⊙ ε^D_s)·t_j
///   HET-XL after   u_ijs = (n(φ_i) + V(x_i) ε^R_s + d(x_i) ⊙ ε^D_s)·t_j
/// with V and d functions of φ_i (GaussianNoise). The texts classify an image, p^r_ij = (1/S) Σ_s softmax_j(u_ijs/τ),
/// and the images a text, p^c_ij = (1/S) Σ_s softmax_i(u_ijs/τ). Parameters: `image_projection.weight` (D,W_image),
/// `text_projection.weight` (D,W_text), lecun-normal, no biases; `temperature.t` when τ is learned; GaussianNoise's as
/// `noise.*`.
class ContrastiveHead : public Module {
 public:
  /// Throws UsageError naming the key `contrast.*` for an unknown name or a value out of range: D outside 1 … 65,536,
  /// R outside 1 … D, S < 1, τ ≤ 0, lo ≥ hi.
  ContrastiveHead(const ContrastConfig& config, int64_t image_width, int64_t text_width, Init& init);

  /// Mean over i of −(log p^r_ii + log p^c_ii) / 2, shape (). image (B,W_image), text (B,W_text), B ≥ 1: row i and row
  /// i belong together. The noise of a pair is addressed by its number in context.examples (needed for HET-XL). With
  /// context.ranks, a collective: the pairs of all of them, B together and perhaps another number on each; the loss is
  /// that of the whole batch, to be weighed on each rank by its share of the pairs.
  Var loss(const Var& image, const Var& text, const Context& context);

  /// n(φ) (B,D), without noise and without a tape.
  Tensor embed_images(const Tensor& image);
  /// t (B,D), likewise.
  Tensor embed_texts(const Tensor& text);

  /// The current τ.
  double temperature() const { return temperature_.value(); }
  /// Parameters beyond the two projections.
  int64_t extra_parameters() const;

 private:
  /// u_s / τ of φ against texts t / τ, by what it is linear in.
  SampledLogits logits(const Var& phi, const Var& texts, const Context& context) const;

  int64_t image_width_, text_width_, samples_;
  bool composed_, before_;
  Linear image_projection_, text_projection_;
  Temperature temperature_;
  std::unique_ptr<GaussianNoise> noise_;  // absent for DET
};

}  // namespace sked

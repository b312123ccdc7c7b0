#pragma once
// What a configuration file says about heads.

#include <cstdint>

#include "core/names.h"

namespace sked {

/// What the factor V(x) of the noise is (noise.h).
enum class Factors { full, efficient, diagonal };
constexpr std::array<const char*, 3> names_of(Factors) { return {"full", "efficient", "diagonal"}; }

/// What d(x) scales: a standard normal of each coordinate's own, as the papers have it, or one that all coordinates of
/// a sample share, as the reference layers do (README.md, "Options of the reference layers").
enum class DiagonalNoise { independent, shared };
constexpr std::array<const char*, 2> names_of(DiagonalNoise) { return {"independent", "shared"}; }

/// The noise of a head (noise.h).
struct NoiseConfig {
  Factors factors = Factors::efficient;
  int64_t rank = 8;                                     // R; ignored (0) for diagonal factors
  DiagonalNoise diagonal = DiagonalNoise::independent;  // what d(x) scales
  bool factor_bias = false;  // efficient factors: V ε^R + c instead of V ε^R, so that the noise has a mean
  bool antithetic = false;   // samples in pairs ε, −ε: still unbiased, less variance
  /// d(x) at the start where W_d φ is 0, > 1e-3, by the bias of its layer; 0: that bias is 0, d = log 2 + 1e-3 = 0.694.
  double init = 0;
  /// Factor on the lecun-normal weights of the layers that read φ, a factor on deviations: √ of the reference layers'
  /// cov_layer_kernel_init_scale, which is one on variances.
  double init_scale = 1;
};

/// The temperature of a head (temperature.h).
struct TemperatureConfig {
  bool learn = false;  // τ = lo + (hi − lo) sigmoid(t)
  double value = 1;    // τ when it is not learned
  double lo = 0.05, hi = 5;
  double init = 0;  // τ where learning starts, in (lo, hi); 0: their middle
};

/// Where the noise is: nowhere, on the logits, on the pre-logits.
enum class HeadKind { det, het, het_xl };
constexpr std::array<const char*, 3> names_of(HeadKind) { return {"det", "het", "het-xl"}; }

/// How logits become probabilities.
enum class Link { softmax, sigmoid };
constexpr std::array<const char*, 2> names_of(Link) { return {"softmax", "sigmoid"}; }

/// How the likelihood is computed: by streaming.h, or by composed.h, the plain composition of ops it is tested against.
enum class Likelihood { streaming, composed };
constexpr std::array<const char*, 2> names_of(Likelihood) { return {"streaming", "composed"}; }

/// The most samples a configuration may ask for: more is a slip of the keyboard, found before it has been trained for.
constexpr int64_t kMostSamples = 1 << 24;

/// A head of classes (make_head.h).
struct HeadConfig {
  HeadKind kind = HeadKind::det;
  NoiseConfig noise = {};
  Link link = Link::softmax;
  int64_t train_samples = 64;  // S while training, ≥ 1
  int64_t test_samples = 512;  // S for prediction; 0: deterministic, link((Wφ + b)/τ)
  Likelihood likelihood = Likelihood::streaming;
  int64_t sample_chunk = 16;  // samples the composed likelihood holds in memory at once
  TemperatureConfig temperature = {};
  double bias_init = 0;        // the classifier's bias starts here
  bool shard_classes = false;  // classes are divided among ranks (class_shard.h)
};

}  // namespace sked

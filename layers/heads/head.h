#pragma once
// Classification heads: from pre-logits φ (B,D) to a distribution over K classes. METHOD.md has the mathematics; [1] is
// HET-XL (arXiv 2301.12860), [2] is HET (arXiv 2105.10305).

#include <memory>
#include <string>

#include "layers/module.h"

namespace sked {

enum class HeadKind { det, het, het_xl };
enum class Factors { full, efficient, diagonal };
enum class Link { softmax, sigmoid };

/// What a configuration file says about a head; the strings are those of METHOD.md.
struct HeadConfig {
  std::string kind = "det";              // det | het | het-xl
  std::string factors = "efficient";     // full | efficient | diagonal
  int64_t rank = 8;                      // R; ignored (0) for diagonal factors
  std::string link = "softmax";          // softmax | sigmoid
  int64_t train_samples = 64;            // S while training, ≥ 1
  int64_t test_samples = 512;            // S for prediction; 0: deterministic, link((Wφ + b)/τ)
  bool antithetic = false;               // samples in pairs ε, −ε: still unbiased, less variance
  std::string likelihood = "streaming";  // streaming | composed: the plain composition of ops it is tested against
  int64_t sample_chunk = 16;             // samples the composed likelihood holds in memory at once
  bool learn_temperature = false;        // τ = lo + (hi − lo) sigmoid(t)
  double temperature = 1;                // τ when it is not learned
  double temperature_lo = 0.05, temperature_hi = 5;
  double bias_init = 0;         // the classifier's bias starts here
  double noise_init_scale = 1;  // factor on the covariance layers' lecun-normal initialization
};

/// What a batch is trained towards: exactly one is defined.
struct Targets {
  Tensor labels;         // (B) i64: one class per image (softmax link; a one-hot target for the sigmoid link)
  Tensor distributions;  // (B,K) f32: label distribution (softmax) or per-class targets in [0,1] (sigmoid)
};

class Head : public Module {
 public:
  /// Mean loss over the batch, shape (): −log of the Monte Carlo average of probabilities ("Likelihood" of METHOD.md).
  virtual Var loss(const Var& phi, const Targets& targets, const Context& context) = 0;
  /// Probabilities (B,K): (1/S) Σ_s link(u_s/τ) with S = `samples`; 0: link((Wφ + b)/τ). No tape.
  virtual Tensor predict(const Tensor& phi, int64_t samples, const Context& context) = 0;
  /// Standard deviation of the noise per coordinate, averaged over coordinates: (B) f32; zeros for DET. For reports.
  virtual Tensor noise_scale(const Tensor& phi) = 0;
  /// The current τ.
  virtual double temperature() const = 0;
  /// Parameters beyond the classifier W, b: METHOD.md's formulas.
  virtual int64_t extra_parameters() const = 0;
};

/// Throws UsageError naming the key for an unknown name or a value out of range: K < 2 with softmax, S < 1, R < 1 with
/// factors that have a rank, R > J (the number of noisy coordinates), τ ≤ 0, lo ≥ hi.
std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init);

}  // namespace sked

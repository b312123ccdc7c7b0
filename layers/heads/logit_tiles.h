#pragma once
// The way through the sampled logits of a batch, tile by tile, and back. For HET-XL a chunk of samples has its noisy
// pre-logits z (B,C,J) drawn once, and a tile of logits is one product with rows of the classifier (or of the texts, in
// image–text training); for HET a tile of noisy logits is drawn itself.

#include <map>
#include <memory>
#include <utility>

#include "core/kernels/likelihood.h"
#include "layers/heads/sampled_logits.h"

namespace sked {

/// How many samples of each example and how many classes a tile holds; 0: as many as the caches take. Sizes change
/// neither the noise nor, but for rounding, the result. Classes are made a multiple of 4 and antithetic samples one of
/// 2, as addressed noise wants it.
struct TileSize {
  int64_t samples = 0, classes = 0;
};

}  // namespace sked

namespace sked::detail {

/// What the first way through the tiles leaves for later ones, where making it again costs more than keeping it.
struct KeptTiles {
  std::map<int64_t, std::pair<Tensor, Tensor>> noise;    // ε^R and ε^J of each chunk, by its first sample
  std::map<std::pair<int64_t, int64_t>, Tensor> logits;  // tiles, by their first sample and class
  int64_t room;                                          // bytes left for more
};

/// A place for HET-XL's on the CPU, if gradients will be asked for: up to 64 MiB of noise, all or nothing, and with it
/// up to 512 MiB of logits, which spares their products a second time. Null otherwise, and for many classes that are
/// divided to save memory.
std::shared_ptr<KeptTiles> worth_keeping(const SampledLogits& logits);

class LogitTiles {
 public:
  /// What `kept` has is taken from there, what it has room for put there; null: all is made each time. Throws where the
  /// shapes of `logits` do not fit.
  LogitTiles(const SampledLogits& logits, TileSize size, std::shared_ptr<KeptTiles> kept = nullptr);

  /// B and K. A tile holds all rows of the batch.
  int64_t batch() const { return B_; }
  int64_t classes() const { return K_; }

  /// f() for each chunk of samples, with its noise drawn.
  template <class F>
  void for_each_chunk(F&& f) {
    for (sample_ = 0; sample_ < S_; sample_ += chunk_) {
      draw();
      f();
    }
  }
  /// f(a, at) for each tile of the chunk; a chunk of one tile computes it once however often it is asked.
  template <class F>
  void for_each_tile(F&& f) {
    for (int64_t k = 0; k < K_; k += width(k)) f(logits(k), TileOrigin{sample_, k});
  }
  /// f(a, dbias, at) turns each tile of the chunk into ∂L/∂a, which goes on to the inputs' gradients, and adds its sum
  /// over rows to dbias (K), which is undefined where no bias is.
  template <class F>
  void differentiate(F&& f) {
    if (classifier_ && x_.bias.defined() && !dbias_.defined()) dbias_ = zeros({K_});
    for (int64_t k = 0; k < K_; k += width(k)) {
      logits(k);
      if (kept_ != nullptr) kept_->logits.erase({sample_, k});  // the gradient takes its place
      f(a_, dbias_, TileOrigin{sample_, k});
      pass_on(k);
    }
    finish_chunk();
  }
  /// Of center, d, v, factors, weight and bias, after the last chunk.
  Grads gradients() const { return {dcenter_, dd_, dv_, dfactors_, dweight_, dbias_}; }

 private:
  void draw();
  /// Classes of the tile that starts at `class_index`.
  int64_t width(int64_t class_index) const;
  /// The tile that starts there: kept, or computed and kept if there is room.
  const Tensor& logits(int64_t class_index);
  void compute(int64_t class_index);
  void pass_on(int64_t class_index);
  void finish_chunk();

  Tensor factor_noise() const;
  Tensor diagonal_noise(int64_t first, int64_t n) const;
  /// Noisy coordinates [first, first + n) of the chunk's samples: (B,C,n). Leaves eps_ and q_ for add_noise_gradients.
  Tensor noisy(int64_t first, int64_t n);
  /// q_ = V ε^R for those coordinates.
  void project(int64_t first, int64_t n);
  void add_noise_gradients(const Tensor& dz, int64_t first);
  void add_factor_gradients(const Tensor& dz, int64_t first, int64_t n);

  Tensor empty(const Shape& shape) const;
  Tensor zeros(const Shape& shape) const;
  int64_t rows() const { return B_ * count_; }

  const SampledLogits x_;
  const std::shared_ptr<KeptTiles> kept_;
  const bool classifier_;  // HET-XL
  const int64_t B_, J_, K_, S_;
  const int64_t first_;   // noisy coordinate 0 among those of all ranks
  const DType factor_;    // of z, W and the tile beside the classifier's products
  Tensor weight_, bias_;  // in factor_, rounded once
  int64_t chunk_, tile_;

  int64_t sample_ = 0, count_ = 0;  // the chunk: its first sample, its number of samples
  int64_t class_index_ = -1;        // of the tile in a_; −1: none
  Tensor eps_r_, eps_, q_;          // ε^R (B,C,R); ε^J and V ε^R of the coordinates drawn last
  Tensor z_, r_, dz_, a_;           // r_ (B·C): what z_ was multiplied by to be of length 1
  Tensor z_factor_;                 // z_ in factor_
  Tensor dcenter_, dd_, dv_, dfactors_, dweight_, dbias_;
};

}  // namespace sked::detail

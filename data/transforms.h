#pragma once
// From the bytes of an image to the floats a network sees: small pure functions, and a pipeline of them written as
// text.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace sked {

/// A window of `size`×`size` pixels of `image` (H, W, C), its corner at (top, left), which may lie outside: such pixels
/// are zero. `out` has size·size·C bytes.
void crop(const uint8_t* image, const Shape& shape, int64_t top, int64_t left, int64_t size, uint8_t* out);

/// The image (H, W, C) mirrored left to right. `out` has H·W·C bytes and is not `image`.
void flip(const uint8_t* image, const Shape& shape, uint8_t* out);

/// One step of a pipeline on bytes. `in` and `out` are HWC and do not overlap.
class ByteStage {
 public:
  virtual ~ByteStage() = default;
  /// Throws Error when an image of this shape cannot be taken.
  virtual Shape output_shape(const Shape& in) const = 0;
  virtual void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const = 0;
};

/// A preprocessing pipeline, e.g. `random_crop(32,4)|flip|value_range(0,1)|normalize(0.49 0.48 0.45, 0.25 0.24 0.26)`.
///
///   random_crop(n, pad)      zero padding of `pad` pixels on each side, then a window of n×n at a uniform position
///   flip                     mirrored left to right with probability 1/2
///   value_range(lo, hi)      byte v → lo + (hi - lo)·v/255, as float; every pipeline has it once
///   normalize(means, stds)   (v - mean_c) / std_c; one number for all channels or one per channel, separated by spaces
///
/// Geometry works on bytes and comes first; value_range, then normalize (at most once) end the pipeline. The last two
/// are one table of 256 floats per channel.
class Pipeline {
 public:
  /// Throws UsageError naming the stage and what it expects for an unknown stage (with the nearest known one), a wrong
  /// number or kind of arguments, or stages in the wrong order.
  static Pipeline parse(std::string_view text);

  /// (H, W, C) → (H, W, C). Throws Error for an image smaller than a crop or with another number of channels.
  Shape output_shape(const Shape& in) const;
  /// image u8 (H, W, C) → `out`, the H·W·C floats of output_shape(). All random draws come from `rng`, in the order of
  /// the stages. Safe from several threads.
  void apply(const Tensor& image, Rng& rng, float* out) const;
  /// The same as a new f32 tensor.
  Tensor apply(const Tensor& image, Rng& rng) const;

  const std::string& text() const { return text_; }

 private:
  Pipeline() = default;
  /// Fills table_ from what value_range and normalize ask for.
  void make_table(double lo, double hi, const std::vector<double>& means, const std::vector<double>& stds);

  std::string text_;
  std::vector<std::shared_ptr<const ByteStage>> stages_;
  int64_t channels_ = 1;      // channels of table_; 1 serves any number of channels
  std::vector<float> table_;  // (256, channels_)
};

}  // namespace sked

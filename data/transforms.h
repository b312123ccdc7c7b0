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
#include "data/dataset.h"
#include "data/image_file.h"
#include "data/mixing.h"

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
  /// (H, W, C) → (H, W, C), where H = W = 0 means: differs from image to image. Throws Error when an image of this
  /// shape cannot be taken.
  virtual Shape output_shape(const Shape& in) const = 0;
  virtual void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const = 0;
  /// By what factor of 1, 2, 4, 8 an image (H, W, C) may be smaller without this stage having to enlarge it, given the
  /// draws it is about to make.
  virtual int shrink(const Shape&, Rng) const { return 1; }
};

/// What a configuration says where it says nothing: bytes to [-1, 1].
inline constexpr const char* kDefaultPipeline = "value_range(-1,1)";

/// A preprocessing pipeline, e.g. `decode|inception_crop(224)|flip|randaugment(2,10)|value_range(-1,1)|mixup(0.2)`.
///
///   decode                   an image file to RGB bytes, upright as its EXIF orientation says, JPEG at 1/2, 1/4 or 1/8
///                            of its size where that is enough for the next stage, a resize or inception_crop: faster,
///                            but not what they make of the whole image (README.md). Images that are bytes already
///                            pass. The first stage, for datasets of files
///   decode(as_stored)        the same without turning, as torchvision's ImageFolder, timm and webdataset read files
///   decode(full)             JPEG always at its size: pixels as Pillow and torchvision make them;
///                            decode(as_stored, full) is both
///   resize(n)                to n×n, whatever the aspect          } antialiased bilinear, bit for bit Pillow's
///   resize_small(n)          the shorter side to n, aspect kept   } (image_resample.h)
///   central_crop(n)          the window of n×n around the center
///   inception_crop(n)        8 to 100 % of the area at a width of 3/4 to 4/3 of the height, resized to n×n
///   inception_crop(n, lo, hi)  lo to hi percent of the area instead (big_vision's default: 5, 100)
///   random_crop(n, pad)      zero padding of `pad` pixels on each side, then a window of n×n at a uniform position
///   flip                     mirrored left to right with probability 1/2
///   color_jitter(b, c, s, h) brightness, contrast, saturation by factors in 1 ± b, c, s, hue by up to h of the
///                            circle, in random order (image_color.h)
///   randaugment(n, m)        n operations of RandAugment at magnitude m of 30 (image_augment.h)
///   value_range(lo, hi)      byte v → lo + (hi - lo)·v/255, as float; every pipeline has it once
///   normalize(means, stds)   (v - mean_c) / std_c; one number for all channels or one per channel, separated by spaces
///   mixup(α), cutmix(α)      the whole batch mixed with λ ~ Beta(α, α): labels become soft targets (mixing.h)
///
/// decode comes first; then what works on bytes, in any order; then value_range, normalize (at most once) and one of
/// mixup and cutmix. value_range and normalize are one table of 256 floats per channel.
class Pipeline {
 public:
  /// How each stage is written: `decode`, `resize(n)` …
  static std::vector<std::string> stages();
  /// Throws UsageError naming the stage and what it expects for an unknown stage (with the nearest known one), a wrong
  /// number or kind of arguments, or stages in the wrong order.
  static Pipeline parse(std::string_view text);

  /// (H, W, C) → (H, W, C); H = W = 0 for images that differ in size. Vectors (D) stay as they are; any pipeline but
  /// the default one, which says nothing, is then a UsageError. Throws Error for an image smaller than a crop or with
  /// another number of channels, or when no stage gives images of several sizes one.
  Shape output_shape(const Shape& in) const;
  /// Throws UsageError unless the pipeline can take `dataset`: files need `decode`.
  void check(const Dataset& dataset) const;
  /// An image file as u8 (H, W, 3), at the size that is needed for the draws `rng` is about to make. Throws ImageError.
  Tensor decode(const EncodedImage& encoded, const Rng& rng) const;
  /// image u8 (H, W, C) → `out`, the H·W·C floats of output_shape(). All random draws come from `rng`, in the order of
  /// the stages. Safe from several threads.
  void apply(const Tensor& image, Rng& rng, float* out) const;
  /// The same as a new f32 tensor.
  Tensor apply(const Tensor& image, Rng& rng) const;
  /// The same up to value_range: H·W·C bytes, which stand for values().
  void apply(const Tensor& image, Rng& rng, uint8_t* out) const;
  /// What value_range and normalize make of a byte in a channel: f32 (256, C), or (256, 1) for any number of channels.
  const Tensor& values() const { return values_; }

  const std::string& text() const { return text_; }
  /// What happens to a whole batch.
  const Mixing& mixing() const { return mixing_; }

 private:
  Pipeline() = default;
  /// Runs the stages on bytes; finish(bytes, count) gets what comes out.
  template <class Finish>
  void run_stages(const Tensor& image, Rng& rng, Finish finish) const;
  /// Fills values_ from what value_range and normalize ask for.
  void make_values(double lo, double hi, const std::vector<double>& means, const std::vector<double>& stds);

  std::string text_;
  bool decodes_ = false;
  Turning turning_ = Turning::upright;
  bool full_size_ = false;  // JPEG is not decoded at a fraction
  Mixing mixing_;
  std::vector<std::shared_ptr<const ByteStage>> stages_;
  Tensor values_;
};

}  // namespace sked

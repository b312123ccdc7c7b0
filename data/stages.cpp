#include "data/stages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "data/image_augment.h"
#include "data/image_color.h"
#include "data/image_resample.h"

namespace sked {
namespace {

/// Sizes of images of which none is known yet: (0, 0, C).
bool unknown(const Shape& shape) { return shape[0] == 0; }

/// The largest of 8, 4, 2 by which a side may shrink and still have n pixels; 1 otherwise.
int shrink_to(int64_t side, int64_t n) {
  for (const int shrink : {8, 4, 2}) {
    if (side / shrink >= n) return shrink;
  }
  return 1;
}

class Resize final : public ByteStage {
 public:
  explicit Resize(int64_t size) : size_(size) {}
  Shape output_shape(const Shape& in) const override { return {size_, size_, in[2]}; }
  void apply(const uint8_t* in, const Shape& shape, Rng&, uint8_t* out) const override {
    resample(in, shape, {0, 0, shape[0], shape[1]}, size_, size_, out);
  }
  int shrink(const Shape& in, Rng) const override { return shrink_to(std::min(in[0], in[1]), size_); }

 private:
  int64_t size_;
};

class ResizeSmall final : public ByteStage {
 public:
  explicit ResizeSmall(int64_t size) : size_(size) {}
  Shape output_shape(const Shape& in) const override {
    if (unknown(in)) return in;
    const Shape out = small_size(in, size_);
    constexpr int64_t kLongest = 1 << 16;
    require(std::max(out[0], out[1]) <= kLongest, "resize_small", "an image ", in, " would become ", out[0], " x ",
            out[1]);
    return {out[0], out[1], in[2]};
  }
  void apply(const uint8_t* in, const Shape& shape, Rng&, uint8_t* out) const override {
    const Shape size = small_size(shape, size_);
    resample(in, shape, {0, 0, shape[0], shape[1]}, size[0], size[1], out);
  }
  int shrink(const Shape& in, Rng) const override { return shrink_to(std::min(in[0], in[1]), size_); }

 private:
  int64_t size_;
};

class CentralCrop final : public ByteStage {
 public:
  explicit CentralCrop(int64_t size) : size_(size) {}
  Shape output_shape(const Shape& in) const override {
    require(unknown(in) || (size_ <= in[0] && size_ <= in[1]), "central_crop", "a window of ", size_,
            " does not fit an image ", in);
    return {size_, size_, in[2]};
  }
  void apply(const uint8_t* in, const Shape& shape, Rng&, uint8_t* out) const override {
    const Crop window = central_window(shape, size_);
    crop(in, shape, window.top, window.left, size_, out);
  }

 private:
  int64_t size_;
};

class InceptionCrop final : public ByteStage {
 public:
  InceptionCrop(int64_t size, AreaRange range) : size_(size), range_(range) {}
  Shape output_shape(const Shape& in) const override { return {size_, size_, in[2]}; }
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    resample(in, shape, inception_window(shape, rng, range_), size_, size_, out);
  }
  /// The window has the same place in the smaller image, up to rounding: its draws are shares of the size.
  int shrink(const Shape& in, Rng rng) const override {
    const Crop window = inception_window(in, rng, range_);
    return shrink_to(std::min(window.height, window.width), size_);
  }

 private:
  int64_t size_;
  AreaRange range_;
};

class RandomCrop final : public ByteStage {
 public:
  RandomCrop(int64_t size, int64_t pad) : size_(size), pad_(pad) {}

  Shape output_shape(const Shape& in) const override {
    require(unknown(in) || (size_ <= in[0] + 2 * pad_ && size_ <= in[1] + 2 * pad_), "random_crop", "a window of ",
            size_, " does not fit an image ", in, " padded by ", pad_);
    return {size_, size_, in[2]};
  }
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    const int64_t top = rng.below(static_cast<uint32_t>(shape[0] + 2 * pad_ - size_ + 1));
    const int64_t left = rng.below(static_cast<uint32_t>(shape[1] + 2 * pad_ - size_ + 1));
    crop(in, shape, top - pad_, left - pad_, size_, out);
  }

 private:
  int64_t size_, pad_;
};

class SameShape : public ByteStage {
 public:
  Shape output_shape(const Shape& in) const override { return in; }
};

class RandomFlip final : public SameShape {
 public:
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    if (rng.below(2) == 1) {
      flip(in, shape, out);
    } else {
      std::copy_n(in, shape.numel(), out);
    }
  }
};

class ColorJitter final : public SameShape {
 public:
  explicit ColorJitter(const std::array<double, 4>& amounts) : amounts_(amounts) {}
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    std::array<int, 4> order{};
    std::iota(order.begin(), order.end(), 0);
    for (uint32_t i = 4; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    std::array<double, 4> values{};
    for (size_t i = 0; i < 4; ++i) {
      const double lo = i == 3 ? -amounts_[i] : std::max(0.0, 1 - amounts_[i]),
                   hi = i == 3 ? amounts_[i] : 1 + amounts_[i];
      values[i] = lo + (hi - lo) * static_cast<double>(rng.uniform());
    }
    constexpr std::array adjust{adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue};
    std::copy_n(in, shape.numel(), out);
    for (const int i : order) {
      if (amounts_[static_cast<size_t>(i)] > 0)
        adjust[static_cast<size_t>(i)](out, shape, values[static_cast<size_t>(i)]);
    }
  }

 private:
  std::array<double, 4> amounts_;  // of brightness, contrast, saturation, hue
};

class RandAugment final : public SameShape {
 public:
  RandAugment(int64_t operations, int magnitude) : operations_(operations), magnitude_(magnitude) {}
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    std::vector<uint8_t> before(in, in + shape.numel());
    for (int64_t i = 0; i < operations_; ++i) {
      const auto operation = static_cast<Augmentation>(rng.below(kAugmentations));
      const bool negative = rng.below(2) == 1;
      augment(operation, strength_of(operation, magnitude_, negative, shape), before.data(), shape, out);
      std::copy_n(out, shape.numel(), before.data());
    }
    if (operations_ == 0) std::copy_n(in, shape.numel(), out);
  }

 private:
  int64_t operations_;
  int magnitude_;
};

/// Argument `position`, a whole number in lo … hi.
int64_t whole(const StageText& stage, size_t position, int64_t lo, int64_t hi) {
  const double value = stage.arguments[position][0];
  require_usage(value >= static_cast<double>(lo) && value <= static_cast<double>(hi) && value == std::floor(value),
                "pipeline", stage.text, ": expected whole numbers, argument ", position + 1, " in ", lo, " to ", hi);
  return static_cast<int64_t>(value);
}

/// Of inception_crop(n, lo, hi), or its default.
AreaRange area_range(const StageText& stage) {
  if (stage.arguments.size() == 1) return {};
  const double lo = stage.arguments[1][0], hi = stage.arguments[2][0];
  // Up to 1 % can only be meant as a share.
  require_usage(lo > 0 && lo <= hi && hi > 1 && hi <= 100, "pipeline", stage.text,
                ": expected an area in percent, 0 < lo <= hi <= 100 and hi > 1 (8 and 100 are the default), got ", lo,
                " and ", hi);
  return {lo / 100, hi / 100};
}

}  // namespace

std::shared_ptr<const ByteStage> make_stage(const StageText& stage) {
  constexpr int64_t kMost = 1 << 15;
  const auto size = [&] { return whole(stage, 0, 1, kMost); };
  if (stage.name == "flip") return std::make_shared<RandomFlip>();
  if (stage.name == "resize") return std::make_shared<Resize>(size());
  if (stage.name == "resize_small") return std::make_shared<ResizeSmall>(size());
  if (stage.name == "central_crop") return std::make_shared<CentralCrop>(size());
  if (stage.name == "inception_crop") return std::make_shared<InceptionCrop>(size(), area_range(stage));
  if (stage.name == "random_crop") return std::make_shared<RandomCrop>(size(), whole(stage, 1, 0, kMost));
  if (stage.name == "randaugment") {
    return std::make_shared<RandAugment>(whole(stage, 0, 0, 64), static_cast<int>(whole(stage, 1, 0, kMostMagnitude)));
  }
  std::array<double, 4> amounts{};
  for (size_t i = 0; i < 4; ++i) {
    amounts[i] = stage.arguments[i][0];
    require_usage(amounts[i] >= 0 && amounts[i] <= (i == 3 ? 0.5 : 100.0), "pipeline", stage.text,
                  ": expected amounts >= 0, and a hue of at most 0.5");
  }
  return std::make_shared<ColorJitter>(amounts);
}

}  // namespace sked

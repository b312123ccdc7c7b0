#include "data/transforms.h"

#include <algorithm>

#include "core/error.h"

namespace sked {

void crop(const uint8_t* image, const Shape& shape, int64_t top, int64_t left, int64_t size, uint8_t* out) {
  const int64_t height = shape[0], width = shape[1], channels = shape[2];
  // Columns of the window that lie inside the image; the same for every row.
  const int64_t begin = std::clamp(-left, int64_t{0}, size), end = std::clamp(width - left, begin, size);
  for (int64_t r = 0; r < size; ++r, out += size * channels) {
    const int64_t row = top + r;
    if (row < 0 || row >= height || begin == end) {
      std::fill_n(out, size * channels, uint8_t{0});
      continue;
    }
    std::fill_n(out, begin * channels, uint8_t{0});
    std::copy_n(image + (row * width + left + begin) * channels, (end - begin) * channels, out + begin * channels);
    std::fill_n(out + end * channels, (size - end) * channels, uint8_t{0});
  }
}

void flip(const uint8_t* image, const Shape& shape, uint8_t* out) {
  const int64_t height = shape[0], width = shape[1], channels = shape[2];
  for (int64_t r = 0; r < height; ++r) {
    const uint8_t* in_row = image + r * width * channels;
    uint8_t* out_row = out + r * width * channels;
    for (int64_t c = 0; c < width; ++c) {
      std::copy_n(in_row + (width - 1 - c) * channels, channels, out_row + c * channels);
    }
  }
}

Shape Pipeline::output_shape(const Shape& in) const {
  if (in.ndim() == 1) {
    require_usage(text_ == kDefaultPipeline, "pipeline", text_, ": pipelines prepare images, and these examples are ",
                  "vectors: expected the default, ", kDefaultPipeline);
    return in;
  }
  const bool differ = in.ndim() == 3 && in[0] == 0 && in[1] == 0 && in[2] > 0;
  require(differ || (in.ndim() == 3 && in.numel() > 0), "pipeline", text_, ": expected images (H, W, C), got ", in);
  Shape shape = in;
  for (const auto& stage : stages_) shape = stage->output_shape(shape);
  require(shape[0] > 0, "pipeline", text_,
          ": images of several sizes: expected resize, central_crop, inception_crop or random_crop to give them one");
  require(values_.dim(1) == 1 || values_.dim(1) == shape[2], "pipeline", text_, ": normalize has ", values_.dim(1),
          " channels, the images have ", shape[2]);
  return shape;
}

void Pipeline::check(const Dataset& dataset) const {
  require_usage(decodes_ || !dataset.encoded(), "pipeline", "`", text_, "`: expected decode as its first stage, since ",
                dataset.name(), " is made of image files");
}

Tensor Pipeline::decode(const EncodedImage& encoded, const Rng& rng) const {
  int shrink = 1;
  if (!full_size_ && !stages_.empty() && is_jpeg(encoded.bytes)) {
    // The stage sees the image upright: its window, and so what may be left out, is one of that shape.
    const ImageHeader header = image_header(encoded.bytes, encoded.source);
    const bool swaps = turning_ == Turning::upright && header.orientation >= 5;
    const Shape shape{swaps ? header.width : header.height, swaps ? header.height : header.width, 3};
    shrink = stages_.front()->shrink(shape, rng);
  }
  return decode_image(encoded.bytes, encoded.source, 3, shrink, turning_);
}

template <class Finish>
void Pipeline::run_stages(const Tensor& image, Rng& rng, Finish finish) const {
  Shape shape = image.shape();
  const uint8_t* bytes = image.data<uint8_t>();
  std::vector<uint8_t> before, after;
  for (const auto& stage : stages_) {
    const Shape next = stage->output_shape(shape);
    after.resize(static_cast<size_t>(next.numel()));
    stage->apply(bytes, shape, rng, after.data());
    before.swap(after);
    bytes = before.data();
    shape = next;
  }
  finish(bytes, shape.numel());
}

void Pipeline::apply(const Tensor& image, Rng& rng, float* out) const {
  run_stages(image, rng, [&](const uint8_t* bytes, int64_t count) {
    const int64_t channels = values_.dim(1), pixels = count / channels;
    const float* table = values_.data<float>();
    if (channels == 1) {
      for (int64_t p = 0; p < pixels; ++p) out[p] = table[bytes[p]];
      return;
    }
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t c = 0; c < channels; ++c) out[p * channels + c] = table[bytes[p * channels + c] * channels + c];
    }
  });
}

void Pipeline::apply(const Tensor& image, Rng& rng, uint8_t* out) const {
  run_stages(image, rng, [&](const uint8_t* bytes, int64_t count) { std::copy_n(bytes, count, out); });
}

Tensor Pipeline::apply(const Tensor& image, Rng& rng) const {
  Tensor out = Tensor::empty(output_shape(image.shape()));
  apply(image, rng, out.data<float>());
  return out;
}

void Pipeline::make_values(double lo, double hi, const std::vector<double>& means, const std::vector<double>& stds) {
  std::vector<float> values;
  for (int v = 0; v < 256; ++v) {
    const double value = lo + (hi - lo) * v / 255.0;
    for (size_t c = 0; c < means.size(); ++c) values.push_back(static_cast<float>((value - means[c]) / stds[c]));
  }
  values_ = Tensor::from(values, {256, static_cast<int64_t>(means.size())});
}

}  // namespace sked

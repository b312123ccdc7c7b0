// Pixels by OpenCV.
#include <algorithm>
#include <limits>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "core/file.h"
#include "data/image_file.h"

namespace sked {
namespace {

/// OpenCV's own threads stay out of it: the loader has its workers, and one image is too little to share.
void stay_on_this_thread() {
  static const bool once = [] {
    cv::setNumThreads(0);
    return true;
  }();
  static_cast<void>(once);
}

int flags_of(int channels, int shrink) {
  if (channels == 1) {
    return shrink == 8   ? cv::IMREAD_REDUCED_GRAYSCALE_8
           : shrink == 4 ? cv::IMREAD_REDUCED_GRAYSCALE_4
           : shrink == 2 ? cv::IMREAD_REDUCED_GRAYSCALE_2
                         : cv::IMREAD_GRAYSCALE;
  }
  return shrink == 8   ? cv::IMREAD_REDUCED_COLOR_8
         : shrink == 4 ? cv::IMREAD_REDUCED_COLOR_4
         : shrink == 2 ? cv::IMREAD_REDUCED_COLOR_2
                       : cv::IMREAD_COLOR;
}

cv::Mat mat_of(const Tensor& image) {
  return {static_cast<int>(image.dim(0)), static_cast<int>(image.dim(1)), CV_8UC(static_cast<int>(image.dim(2))),
          const_cast<uint8_t*>(image.data<uint8_t>())};
}

}  // namespace

bool can_decode_images() { return true; }

Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels, int shrink) {
  require(channels == 1 || channels == 3, "decode_image", "expected 1 or 3 channels, got ", channels);
  require(shrink == 1 || shrink == 2 || shrink == 4 || shrink == 8, "decode_image",
          "expected a shrink of 1, 2, 4 or 8, got ", shrink);
  stay_on_this_thread();
  image_size(bytes, source);  // refuses what is no image, cut off or too large
  require(bytes.size() <= static_cast<size_t>(std::numeric_limits<int>::max()), "decode_image", source, ": ",
          bytes.size(), " bytes are too many");
  const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<uint8_t*>(bytes.data()));
  thread_local cv::Mat decoded;  // keeps its memory from image to image
  cv::Mat image;
  std::string problem = "damaged";
  try {
    image = cv::imdecode(encoded, flags_of(channels, is_jpeg(bytes) ? shrink : 1), &decoded);
  } catch (const cv::Exception& error) {
    problem = error.err;
  }
  if (image.empty() || image.depth() != CV_8U || image.channels() != channels) {
    detail::throw_error<ImageError>("image", source, ": cannot be decoded: ", problem);
  }
  Tensor pixels = Tensor::empty({image.rows, image.cols, channels}, DType::u8);
  cv::Mat out = mat_of(pixels);
  if (channels == 3) {
    cv::cvtColor(image, out, cv::COLOR_BGR2RGB);
  } else {
    image.copyTo(out);
  }
  constexpr size_t kKept = size_t{1} << 24;
  if (decoded.total() > kKept) decoded.release();
  return pixels;
}

void write_png(const std::string& path, const Tensor& image) {
  require(image.defined() && image.dtype() == DType::u8 && image.ndim() == 3 && image.numel() > 0 &&
              (image.dim(2) == 1 || image.dim(2) == 3),
          "write_png", path, ": expected an image u8 (H, W, 1 or 3), got ", image);
  stay_on_this_thread();
  cv::Mat pixels = mat_of(image);
  std::vector<uint8_t> bytes;
  try {
    if (image.dim(2) == 3) cv::cvtColor(mat_of(image), pixels = cv::Mat(), cv::COLOR_RGB2BGR);
    cv::imencode(".png", pixels, bytes);
  } catch (const cv::Exception& error) {
    fail("write_png", path, ": ", error.err);
  }
  write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Tensor captioned(const Tensor& image, const std::vector<std::string>& lines) {
  require(image.defined() && image.dtype() == DType::u8 && image.ndim() == 3 && image.dim(2) == 3 && image.numel() > 0,
          "captioned", "expected an image u8 (H, W, 3), got ", image);
  stay_on_this_thread();
  constexpr int kReadable = 320, kLine = 20;
  const int factor = std::max(1, (kReadable + static_cast<int>(image.dim(1)) - 1) / static_cast<int>(image.dim(1)));
  const int height = static_cast<int>(image.dim(0)) * factor, width = static_cast<int>(image.dim(1)) * factor;
  Tensor result = Tensor::full({height + kLine * static_cast<int64_t>(lines.size()) + 6, width, 3}, 255, DType::u8);
  cv::Mat canvas = mat_of(result);
  cv::resize(mat_of(image), canvas(cv::Rect(0, 0, width, height)), {width, height}, 0, 0, cv::INTER_NEAREST);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string text = lines[i];
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    const int bottom = height + kLine * static_cast<int>(i + 1) - 4;
    cv::putText(canvas, text, {6, bottom}, cv::FONT_HERSHEY_SIMPLEX, 0.45, {0, 0, 0}, 1, cv::LINE_AA);
  }
  return result;
}

}  // namespace sked

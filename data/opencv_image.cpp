// Pixels by OpenCV.
#include <algorithm>
#include <array>
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

/// The pixels of a file, BGR or grey, as they are stored. A new image each time: where OpenCV cannot read a header it
/// leaves one that it was given as it was, with the pixels of another file.
cv::Mat opencv_image(std::span<const uint8_t> bytes, const std::string& source, int channels, int shrink) {
  const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<uint8_t*>(bytes.data()));
  cv::Mat image;
  std::string problem = "damaged";
  try {
    image = cv::imdecode(encoded, flags_of(channels, shrink) | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception& error) {
    problem = error.err;
  }
  if (image.empty()) detail::throw_error<ImageError>("image", source, ": cannot be decoded: ", problem);
  return image;
}

/// The same of a PNM file.
cv::Mat pnm_image(std::span<const uint8_t> bytes, const std::string& source, int channels) {
  const Tensor pixels = pnm_pixels(bytes, source);
  const cv::Mat stored = mat_of(pixels);
  cv::Mat image;
  if (pixels.dim(2) == 3) {
    cv::cvtColor(stored, image, channels == 3 ? cv::COLOR_RGB2BGR : cv::COLOR_RGB2GRAY);
  } else if (channels == 3) {
    cv::cvtColor(stored, image, cv::COLOR_GRAY2BGR);
  } else {
    stored.copyTo(image);
  }
  return image;
}

/// Upright, by EXIF's orientation 1 … 8: from 5 on rows and columns are swapped first; what then is left to mirror.
cv::Mat turned(const cv::Mat& image, int orientation) {
  cv::Mat upright = image;
  if (orientation >= 5) cv::transpose(image, upright = cv::Mat());
  constexpr int kUpsideDown = 0, kLeftToRight = 1, kBoth = -1;
  if (orientation == 2 || orientation == 6) cv::flip(upright, upright, kLeftToRight);
  if (orientation == 3 || orientation == 7) cv::flip(upright, upright, kBoth);
  if (orientation == 4 || orientation == 8) cv::flip(upright, upright, kUpsideDown);
  return upright;
}

/// Scales values of at most `white` to 0 … 255, rounded down as Pillow does.
void brighten(Tensor& pixels, const std::array<uint8_t, 3>& white) {
  if (white == ImageHeader().white) return;
  auto* p = pixels.data<uint8_t>();
  const auto channels = static_cast<size_t>(pixels.dim(2));
  for (size_t i = 0; i < static_cast<size_t>(pixels.numel()); ++i)
    p[i] = static_cast<uint8_t>(std::min(255, p[i] * 255 / white[i % channels]));
}

}  // namespace

bool can_decode_images() { return true; }

Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels, int shrink,
                    Turning turning) {
  require(channels == 1 || channels == 3, "decode_image", "expected 1 or 3 channels, got ", channels);
  require(shrink == 1 || shrink == 2 || shrink == 4 || shrink == 8, "decode_image",
          "expected a shrink of 1, 2, 4 or 8, got ", shrink);
  stay_on_this_thread();
  const ImageHeader header = image_header(bytes, source);  // refuses what is no image, cut off or too large
  require(bytes.size() <= static_cast<size_t>(std::numeric_limits<int>::max()), "decode_image", source, ": ",
          bytes.size(), " bytes are too many");
  if (!is_jpeg(bytes)) shrink = 1;
  cv::Mat image = is_pnm(bytes) ? pnm_image(bytes, source, channels) : opencv_image(bytes, source, channels, shrink);
  const int64_t height = (header.height + shrink - 1) / shrink, width = (header.width + shrink - 1) / shrink;
  if (image.rows != height || image.cols != width || image.depth() != CV_8U || image.channels() != channels) {
    detail::throw_error<ImageError>("image", source, ": damaged: expected ", height, " x ", width,
                                    " pixels as its header says, got ", image.rows, " x ", image.cols);
  }
  if (turning == Turning::upright) image = turned(image, header.orientation);
  Tensor pixels = Tensor::empty({image.rows, image.cols, channels}, DType::u8);
  cv::Mat out = mat_of(pixels);
  if (channels == 3) {
    cv::cvtColor(image, out, cv::COLOR_BGR2RGB);
  } else {
    image.copyTo(out);
  }
  brighten(pixels, header.white);
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

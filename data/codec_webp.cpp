// WebP by libwebp: the first frame, on a black canvas where it does not cover it.
#include <algorithm>
#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include "core/build.h"
#include "data/codecs.h"

namespace sked {

static const WithLibrary library("libwebp " + std::to_string(WebPGetDecoderVersion() >> 16) + "." +
                                 std::to_string(WebPGetDecoderVersion() >> 8 & 255) + "." +
                                 std::to_string(WebPGetDecoderVersion() & 255));

Tensor webp_pixels(Bytes bytes, const std::string& source, const ImageHeader& header) {
  const WebPData data{bytes.data(), bytes.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> demuxer(WebPDemux(&data), WebPDemuxDelete);
  if (demuxer == nullptr) refuse_image(source, "damaged: a WebP file whose chunks libwebp does not take");
  const Shape size{WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT),
                   WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH)},
      expected{header.height, header.width};
  if (size != expected) refuse_image(source, "damaged: expected a size of ", expected, ", got ", size);
  WebPIterator frame;
  const std::unique_ptr<WebPIterator, void (*)(WebPIterator*)> released(&frame, WebPDemuxReleaseIterator);
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) refuse_image(source, "a WebP file without an image");
  const bool inside = frame.x_offset >= 0 && frame.y_offset >= 0 && frame.width > 0 && frame.height > 0 &&
                      frame.width <= size[1] - frame.x_offset && frame.height <= size[0] - frame.y_offset;
  if (!inside) refuse_image(source, "damaged: its first frame is not inside its canvas");
  const bool covers = frame.width == size[1] && frame.height == size[0];
  Tensor pixels =
      covers ? Tensor::empty({size[0], size[1], 3}, DType::u8) : Tensor::zeros({size[0], size[1], 3}, DType::u8);
  const int64_t stride = size[1] * 3, begin = frame.y_offset * stride + int64_t{3} * frame.x_offset;
  const uint8_t* decoded = WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, pixels.data<uint8_t>() + begin,
                                             static_cast<size_t>(pixels.numel() - begin), static_cast<int>(stride));
  if (decoded == nullptr) refuse_image(source, "damaged or cut off: libwebp cannot decode it");
  return pixels;
}

}  // namespace sked

// What the loader is held against: cv::imdecode and a resize, nothing around them.
#include <opencv2/imgcodecs.hpp>

#include "apps/bench/bare.h"
#include "core/error.h"
#include "data/image_resample.h"

namespace sked::bench {

void bare_decode(const EncodedImage& file, int64_t size, uint8_t* out) {
  const cv::Mat image = cv::imdecode(file.bytes, cv::IMREAD_COLOR);
  require(!image.empty() && image.isContinuous(), "bench", file.source, ": cv::imdecode gave nothing");
  resample(image.data, {image.rows, image.cols, 3}, {0, 0, image.rows, image.cols}, size, size, out);
}

}  // namespace sked::bench

#include "apps/common/measure/raster.h"

#include <algorithm>
#include <cmath>

namespace sked {
namespace {

constexpr Color kRight = 0x3d7dca, kMoreThanThought = 0xa8c8ec, kMissing = 0xe58f99, kLine = 0x666666, kGrid = 0xdddddd,
                kCount = 0xaaaaaa;
constexpr int64_t kMargin = 8, kWidth = 16, kSide = kWidth * kReliabilityBins, kCounts = 40;

int64_t pixels(double share, int64_t of) { return std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(of)); }

}  // namespace

Color over_white(Color color, double share) {
  Color mixed = 0;
  for (const int shift : {16, 8, 0}) {
    const double part = static_cast<double>(color >> shift & 0xff);
    mixed |= static_cast<Color>(std::lround(255 + (part - 255) * share)) << shift;
  }
  return mixed;
}

Tensor white_picture(int64_t height, int64_t width) {
  Tensor picture = Tensor::empty({height, width, 3}, DType::u8);
  std::fill_n(picture.data<uint8_t>(), picture.numel(), uint8_t{255});
  return picture;
}

void fill(Tensor& picture, int64_t top, int64_t left, int64_t bottom, int64_t right, Color color) {
  for (int64_t y = top; y < bottom; ++y) {
    for (int64_t x = left; x < right; ++x) {
      uint8_t* pixel = picture.data<uint8_t>() + (y * picture.dim(1) + x) * 3;
      for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(color >> (16 - 8 * c) & 0xff);
    }
  }
}

Tensor reliability_picture(const std::array<ReliabilityBin, kReliabilityBins>& bins) {
  constexpr int64_t kBase = kMargin + kSide, kEnd = kMargin + kSide, kFoot = kBase + kMargin + kCounts;
  Tensor picture = white_picture(kFoot + kMargin, kEnd + kMargin);
  for (int64_t quarter = 0; quarter <= 4; ++quarter) {
    const int64_t y = kBase - quarter * kSide / 4;
    fill(picture, y, kMargin, y + 1, kEnd, kGrid);
  }
  const int64_t most = std::ranges::max(bins, {}, &ReliabilityBin::count).count;
  for (size_t i = 0; i < bins.size(); ++i) {
    const ReliabilityBin& bin = bins[i];
    if (bin.count <= 0) continue;
    const int64_t left = kMargin + static_cast<int64_t>(i) * kWidth + 1, right = left + kWidth - 2;
    const int64_t accuracy = pixels(bin.accuracy, kSide), confidence = pixels(bin.confidence, kSide);
    fill(picture, kBase - std::min(accuracy, confidence), left, kBase, right, kRight);
    fill(picture, kBase - accuracy, left, kBase - confidence, right, kMoreThanThought);
    fill(picture, kBase - confidence, left, kBase - accuracy, right, kMissing);
    const int64_t share = pixels(static_cast<double>(bin.count) / static_cast<double>(most), kCounts);
    fill(picture, kFoot - std::max<int64_t>(1, share), left, kFoot, right, kCount);
  }
  for (int64_t i = 0; i < kSide; ++i) fill(picture, kBase - 1 - i, kMargin + i, kBase - i, kMargin + i + 1, kLine);
  return picture;
}

}  // namespace sked

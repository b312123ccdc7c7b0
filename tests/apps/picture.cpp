// Pictures inside pages.

#include <doctest/doctest.h>

#include <cmath>

#include "apps/common/measure/picture.h"
#include "data/image_file.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

std::string base64_decoded(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t word = 0;
  int bits = 0;
  for (char c : text) {
    if (c == '=') break;
    const size_t digit = digits.find(c);
    REQUIRE(digit != std::string::npos);
    word = word << 6 | static_cast<uint32_t>(digit);
    bits += 6;
    if (bits >= 8) bytes += static_cast<char>(word >> (bits -= 8) & 0xff);
  }
  return bytes;
}

uint32_t little_endian(const std::string& bytes, size_t at, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i)
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)])) << (8 * i);
  return value;
}

/// Smooth, as photographs are.
Tensor photo(int64_t height, int64_t width) {
  Tensor image = Tensor::empty({height, width, 3}, DType::u8);
  for (int64_t i = 0; i < image.numel(); ++i) {
    const auto x = static_cast<double>(i / 3 % width), y = static_cast<double>(i / 3 / width);
    image.data<uint8_t>()[i] = static_cast<uint8_t>(128 + 100 * std::sin(x / 40 + static_cast<double>(i % 3) + y / 60));
  }
  return image;
}

Tensor decoded(const std::string& uri, const std::string& prefix) {
  REQUIRE(uri.starts_with(prefix));
  const std::string bytes = base64_decoded(uri.substr(prefix.size()));
  return decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "picture");
}

}  // namespace

TEST_CASE("pictures: a bitmap with its header, rows from the bottom up, B G R, padded") {
  for (int64_t channels : {1, 3}) {
    for (int64_t width = 1; width <= 5; ++width) {
      CAPTURE(channels);
      CAPTURE(width);
      constexpr int64_t kHeight = 3;
      Tensor image = Tensor::zeros({kHeight, width, channels}, DType::u8);
      for (int64_t i = 0; i < image.numel(); ++i) image.data<uint8_t>()[i] = static_cast<uint8_t>(250 - 5 * i);
      const std::string uri = bitmap_uri(image), prefix = "data:image/bmp;base64,";
      REQUIRE(uri.starts_with(prefix));
      CHECK((uri.size() - prefix.size()) % 4 == 0);
      const std::string bytes = base64_decoded(uri.substr(prefix.size()));
      const auto stride = static_cast<size_t>((width * 3 + 3) / 4 * 4);
      REQUIRE(bytes.size() == 54 + stride * kHeight);
      CHECK(bytes.starts_with("BM"));
      CHECK(little_endian(bytes, 2, 4) == bytes.size());
      CHECK(little_endian(bytes, 10, 4) == 54);  // where the pixels begin
      CHECK(little_endian(bytes, 14, 4) == 40);
      CHECK(little_endian(bytes, 18, 4) == width);
      CHECK(little_endian(bytes, 22, 4) == kHeight);  // positive: bottom up
      CHECK(little_endian(bytes, 26, 2) == 1);
      CHECK(little_endian(bytes, 28, 2) == 24);
      CHECK(little_endian(bytes, 30, 4) == 0);  // not compressed
      CHECK(little_endian(bytes, 34, 4) == stride * kHeight);
      for (int64_t y = 0; y < kHeight; ++y) {
        const size_t row = 54 + static_cast<size_t>(kHeight - 1 - y) * stride;
        for (int64_t x = 0; x < width; ++x)
          for (int64_t bgr = 0; bgr < 3; ++bgr) {
            const int64_t channel = channels == 1 ? 0 : 2 - bgr;
            CHECK(little_endian(bytes, row + static_cast<size_t>(3 * x + bgr), 1) ==
                  image.data<uint8_t>()[(y * width + x) * channels + channel]);
          }
        for (size_t i = static_cast<size_t>(3 * width); i < stride; ++i) CHECK(bytes[row + i] == 0);
      }
    }
  }
  CHECK(one_line_with(error_of([] {
                        bitmap_uri(Tensor::zeros({2, 2, 4}, DType::u8));
                      }),
                      "1 or 3 channels", "(2, 2, 4)"));
}

TEST_CASE("pictures: icons are PNG and keep every pixel, photographs are JPEG and small") {
  const Tensor icon = photo(64, 40), large = photo(300, 200);
  if (!can_decode_images()) {
    CHECK(picture_uri(icon) == bitmap_uri(icon));
    return skip("built without image libraries");
  }
  const Tensor same = decoded(picture_uri(icon), "data:image/png;base64,");
  CHECK(same.shape() == icon.shape());
  CHECK(same.to_vector<uint8_t>() == icon.to_vector<uint8_t>());
  const std::string uri = picture_uri(large);
  const Tensor near = decoded(uri, "data:image/jpeg;base64,");
  REQUIRE(near.shape() == large.shape());
  int worst = 0;
  for (int64_t i = 0; i < near.numel(); ++i)
    worst = std::max(worst, std::abs(near.data<uint8_t>()[i] - large.data<uint8_t>()[i]));
  CHECK(worst < 24);
  CHECK(uri.size() < 20000);
  CHECK(decoded(picture_uri(Tensor::full({90, 70, 1}, 77, DType::u8)), "data:image/jpeg;base64,").data<uint8_t>()[0] ==
        77);
  CHECK(one_line_with(error_of([] { jpeg_bytes(Tensor::zeros({2, 2, 3}), "x.jpg"); }), "x.jpg", "u8", "f32"));
  CHECK(one_line_with(error_of([] {
                        jpeg_bytes(Tensor::zeros({1, 70000, 3}, DType::u8), "x.jpg");
                      }),
                      "x.jpg", "70000"));
}

TEST_CASE("pictures: photographs are shrunk, whatever their shape; small ones stay") {
  CHECK(thumbnail(photo(480, 640)).shape() == Shape{240, 320, 3});
  CHECK(thumbnail(photo(640, 480), 64).shape() == Shape{64, 48, 3});
  CHECK(thumbnail(photo(1, 5000)).shape() == Shape{1, 320, 3});
  CHECK(thumbnail(photo(320, 20)).shape() == Shape{320, 20, 3});
  CHECK(thumbnail(Tensor::full({400, 400, 1}, 9, DType::u8)).data<uint8_t>()[0] == 9);
}

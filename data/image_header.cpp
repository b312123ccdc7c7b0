// The headers of image files, read without trust: every number is checked against what is there.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <optional>
#include <string_view>

#include "data/image_file.h"

namespace sked {
namespace {

using Bytes = std::span<const uint8_t>;

struct Size {
  int64_t height = 0, width = 0, channels = 0;
};

bool begins_with(Bytes bytes, std::string_view magic, size_t at = 0) {
  return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

/// `count` bytes from `at` on as a number; the caller has checked that they are there.
int64_t big_endian(Bytes bytes, size_t at, size_t count) {
  int64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | bytes[at + i];
  return value;
}
int64_t little_endian(Bytes bytes, size_t at, size_t count) {
  int64_t value = 0;
  for (size_t i = count; i > 0; --i) value = value << 8 | bytes[at + i - 1];
  return value;
}

/// A walk over the segments of a JPEG file (ITU-T T.81, annex B) from SOI to EOI: the size from the first frame header.
/// Nothing where the file ends or a segment begins wrongly before both are found: decoders make up what is missing.
std::optional<Size> jpeg_size(Bytes bytes) {
  constexpr uint8_t kEnd = 0xD9, kScan = 0xDA;
  const auto is_frame = [](uint8_t m) { return m >= 0xC0 && m <= 0xCF && m != 0xC4 && m != 0xC8 && m != 0xCC; };
  Size size;
  bool framed = false;
  for (size_t at = 2; at < bytes.size();) {
    if (bytes[at] != 0xFF) return std::nullopt;
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;  // fill bytes
    if (at == bytes.size()) return std::nullopt;
    const uint8_t marker = bytes[at++];
    if (marker == kEnd) return framed ? std::optional(size) : std::nullopt;
    if (at + 2 > bytes.size()) return std::nullopt;
    const auto length = static_cast<size_t>(big_endian(bytes, at, 2));
    if (length < 2 || at + length > bytes.size()) return std::nullopt;
    if (is_frame(marker) && !framed) {
      if (length < 8) return std::nullopt;
      size = {big_endian(bytes, at + 3, 2), big_endian(bytes, at + 5, 2), bytes[at + 7]};
      framed = true;
    }
    at += length;
    if (marker != kScan) continue;
    // Entropy-coded data: to the next marker that is neither a stuffed zero nor a restart.
    for (;; ++at) {
      const void* found = at < bytes.size() ? std::memchr(bytes.data() + at, 0xFF, bytes.size() - at) : nullptr;
      if (found == nullptr) return std::nullopt;
      at = static_cast<size_t>(static_cast<const uint8_t*>(found) - bytes.data());
      if (at + 1 == bytes.size()) return std::nullopt;
      const uint8_t next = bytes[at + 1];
      if (next != 0 && next != 0xFF && (next < 0xD0 || next > 0xD7)) break;
    }
  }
  return std::nullopt;
}

/// Do the chunks of a PNG file follow each other up to IEND, with image data among them? Some decoders return
/// uninitialised pixels where there is none.
bool png_is_whole(Bytes bytes) {
  bool data = false;
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const auto length = static_cast<size_t>(big_endian(bytes, at, 4));
    if (length > bytes.size() - at - 12) return false;
    data = data || begins_with(bytes, "IDAT", at + 4);
    if (begins_with(bytes, "IEND", at + 4)) return data;
    at += 12 + length;
  }
  return false;
}

std::optional<Size> png_size(Bytes bytes) {
  if (bytes.size() < 33 || !begins_with(bytes, "IHDR", 12) || !png_is_whole(bytes)) return std::nullopt;
  constexpr std::array<int64_t, 7> kChannels{1, 0, 3, 3, 2, 0, 4};  // by colour type
  const uint8_t type = bytes[25];
  if (type >= kChannels.size() || kChannels[type] == 0) return std::nullopt;
  return Size{big_endian(bytes, 20, 4), big_endian(bytes, 16, 4), kChannels[type]};
}

std::optional<Size> bmp_size(Bytes bytes) {
  if (bytes.size() < 54 || little_endian(bytes, 14, 4) < 40)
    return std::nullopt;  // BITMAPINFOHEADER and its successors
  const auto width = static_cast<int32_t>(little_endian(bytes, 18, 4));
  const int64_t height = static_cast<int32_t>(little_endian(bytes, 22, 4));
  return Size{height < 0 ? -height : height, width, little_endian(bytes, 28, 2) == 32 ? 4 : 3};
}

std::optional<Size> webp_size(Bytes bytes) {
  if (bytes.size() < 30 || little_endian(bytes, 4, 4) > static_cast<int64_t>(bytes.size()) - 8) return std::nullopt;
  if (begins_with(bytes, "VP8 ", 12) && begins_with(bytes, "\x9d\x01\x2a", 23)) {
    return Size{little_endian(bytes, 28, 2) & 0x3FFF, little_endian(bytes, 26, 2) & 0x3FFF, 3};
  }
  if (begins_with(bytes, "VP8L", 12) && bytes[20] == 0x2f) {
    const int64_t bits = little_endian(bytes, 21, 4);
    return Size{(bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, (bits >> 28 & 1) != 0 ? 4 : 3};
  }
  if (begins_with(bytes, "VP8X", 12)) {
    return Size{little_endian(bytes, 27, 3) + 1, little_endian(bytes, 24, 3) + 1, (bytes[20] & 0x10) != 0 ? 4 : 3};
  }
  return std::nullopt;
}

/// P1 … P6: width and height as text behind the magic, with comments.
std::optional<Size> pnm_size(Bytes bytes) {
  std::array<int64_t, 2> numbers{};
  size_t at = 2;
  for (int64_t& number : numbers) {
    while (at < bytes.size() && (std::isspace(bytes[at]) != 0 || bytes[at] == '#')) {
      if (bytes[at] == '#') {
        while (at < bytes.size() && bytes[at] != '\n') ++at;
      } else {
        ++at;
      }
    }
    size_t digits = 0;
    for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9'; ++at, ++digits) {
      if (digits == 9) return std::nullopt;
      number = 10 * number + (bytes[at] - '0');
    }
    if (digits == 0) return std::nullopt;
  }
  return Size{numbers[1], numbers[0], bytes[1] == '3' || bytes[1] == '6' ? 3 : 1};
}

std::optional<Size> size_of_image(Bytes bytes, const std::string& source) {
  if (is_jpeg(bytes)) return jpeg_size(bytes);
  if (begins_with(bytes, "\x89PNG\r\n\x1a\n")) return png_size(bytes);
  if (begins_with(bytes, "BM")) return bmp_size(bytes);
  if (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8)) return webp_size(bytes);
  if (bytes.size() > 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6') return pnm_size(bytes);
  detail::throw_error<ImageError>("image", source, ": expected a JPEG, PNG, BMP, WebP or PNM file, got ",
                                  bytes.empty() ? "an empty one" : "another one", " of ", bytes.size(), " bytes");
}

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) { return begins_with(bytes, "\xff\xd8\xff"); }

Shape image_size(std::span<const uint8_t> bytes, const std::string& source) {
  const std::optional<Size> size = size_of_image(bytes, source);
  if (!size) {
    detail::throw_error<ImageError>("image", source, ": cut off or damaged: its ", bytes.size(),
                                    " bytes do not hold a whole image");
  }
  const auto [height, width, channels] = *size;
  if (height < 1 || width < 1 || channels < 1 || height > kLargestImage / width) {
    detail::throw_error<ImageError>("image", source, ": expected 1 … ", kLargestImage, " pixels, got ", height, " x ",
                                    width);
  }
  return {height, width, channels};
}

}  // namespace sked

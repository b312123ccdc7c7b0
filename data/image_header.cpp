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

/// A reason to refuse a file that is neither cut off nor unknown.
[[noreturn]] void refuse(const std::string& source, std::string_view reason) {
  detail::throw_error<ImageError>("image", source, ": ", reason);
}

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

/// A walk over the segments of a JPEG file (ITU-T T.81, annex B) from SOI to EOI: the size from the first frame header,
/// the orientation from the first EXIF.
/// Nothing where the file ends or a segment begins wrongly before both are found: decoders make up what is missing.
std::optional<ImageHeader> jpeg_header(Bytes bytes) {
  constexpr uint8_t kEnd = 0xD9, kScan = 0xDA, kApp1 = 0xE1;
  constexpr std::string_view kExif("Exif\0\0", 6);
  const auto is_frame = [](uint8_t m) { return m >= 0xC0 && m <= 0xCF && m != 0xC4 && m != 0xC8 && m != 0xCC; };
  ImageHeader header;
  bool framed = false, oriented = false;
  for (size_t at = 2; at < bytes.size();) {
    if (bytes[at] != 0xFF) return std::nullopt;
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;  // fill bytes
    if (at == bytes.size()) return std::nullopt;
    const uint8_t marker = bytes[at++];
    if (marker == kEnd) return framed ? std::optional(header) : std::nullopt;
    if (at + 2 > bytes.size()) return std::nullopt;
    const auto length = static_cast<size_t>(big_endian(bytes, at, 2));
    if (length < 2 || at + length > bytes.size()) return std::nullopt;
    if (is_frame(marker) && !framed) {
      if (length < 8) return std::nullopt;
      header.height = big_endian(bytes, at + 3, 2);
      header.width = big_endian(bytes, at + 5, 2);
      header.channels = bytes[at + 7];
      framed = true;
    }
    if (marker == kApp1 && !oriented && begins_with(bytes, kExif, at + 2)) {
      header.orientation = exif_orientation(bytes.subspan(at + 2, length - 2));
      oriented = true;
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

/// The checksum of a PNG chunk (PNG specification, annex D): CRC-32, reflected.
uint32_t crc32(Bytes bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
  }
  return ~crc;
}

/// A walk over the chunks of a PNG file up to IEND, with image data among them: some decoders return uninitialised
/// pixels where there is none. EXIF may stand behind the data. Checksums of the data are the decoder's business.
std::optional<ImageHeader> png_header(Bytes bytes, const std::string& source) {
  if (bytes.size() < 33 || !begins_with(bytes, "IHDR", 12)) return std::nullopt;
  if (crc32(bytes.subspan(12, 17)) != big_endian(bytes, 29, 4)) refuse(source, "the checksum of its header is wrong");
  constexpr std::array<int64_t, 7> kChannels{1, 0, 3, 3, 2, 0, 4};  // by colour type
  const uint8_t type = bytes[25];
  if (type >= kChannels.size() || kChannels[type] == 0) return std::nullopt;
  ImageHeader header{
      .height = big_endian(bytes, 20, 4), .width = big_endian(bytes, 16, 4), .channels = kChannels[type]};
  bool data = false;
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const auto length = static_cast<size_t>(big_endian(bytes, at, 4));
    if (length > bytes.size() - at - 12) return std::nullopt;
    data = data || begins_with(bytes, "IDAT", at + 4);
    if (begins_with(bytes, "eXIf", at + 4)) header.orientation = exif_orientation(bytes.subspan(at + 8, length));
    if (begins_with(bytes, "IEND", at + 4)) return data ? std::optional(header) : std::nullopt;
    at += 12 + length;
  }
  return std::nullopt;
}

/// Which bits of a pixel are red, green and blue. Decoders go by the usual order, whatever these say.
void check_bmp_masks(Bytes bytes, int64_t bits, ImageHeader& header, const std::string& source) {
  constexpr int64_t kMasked = 3;
  const bool masked = little_endian(bytes, 30, 4) == kMasked;
  using Masks = std::array<int64_t, 3>;
  constexpr Masks k555{0x7C00, 0x3E0, 0x1F}, k565{0xF800, 0x7E0, 0x1F}, k888{0xFF0000, 0xFF00, 0xFF};
  Masks masks = bits == 16 ? k555 : k888;
  if (masked && bytes.size() < 66) refuse(source, "cut off: expected colour masks");
  for (size_t c = 0; masked && c < 3; ++c) masks[c] = little_endian(bytes, 54 + 4 * c, 4);
  if (bits == 16 ? masks != k555 && masks != k565 : masks != k888)
    refuse(source, "a BMP file with unusual colour masks, expected 5-5-5, 5-6-5 or 8-8-8 bits of red, green, blue");
  if (masks == k555) header.white = {248, 248, 248};
  if (masks == k565) header.white = {248, 252, 248};
}

std::optional<ImageHeader> bmp_header(Bytes bytes, const std::string& source) {
  if (bytes.size() < 54 || little_endian(bytes, 14, 4) < 40)
    return std::nullopt;  // BITMAPINFOHEADER and its successors
  const auto width = static_cast<int32_t>(little_endian(bytes, 18, 4));
  const int64_t height = static_cast<int32_t>(little_endian(bytes, 22, 4));
  const int64_t bits = little_endian(bytes, 28, 2);
  ImageHeader header{.height = height < 0 ? -height : height, .width = width, .channels = bits == 32 ? 4 : 3};
  if (bits == 16 || bits == 32) check_bmp_masks(bytes, bits, header, source);
  return header;
}

/// The orientation in an extended WebP file: its EXIF chunk, where its flags announce one.
int webp_orientation(Bytes bytes) {
  constexpr uint8_t kHasExif = 0x08;
  const auto end = static_cast<size_t>(little_endian(bytes, 4, 4)) + 8;  // within the file, as webp_header() knows
  for (size_t at = 12; (bytes[20] & kHasExif) != 0 && at + 8 <= end;) {
    const auto length = static_cast<size_t>(little_endian(bytes, at + 4, 4));
    if (length > end - at - 8) break;
    if (begins_with(bytes, "EXIF", at)) return exif_orientation(bytes.subspan(at + 8, length));
    at += 8 + length + length % 2;
  }
  return 1;
}

std::optional<ImageHeader> webp_header(Bytes bytes, const std::string& source) {
  if (bytes.size() < 30 || little_endian(bytes, 4, 4) > static_cast<int64_t>(bytes.size()) - 8) return std::nullopt;
  ImageHeader header;
  if (begins_with(bytes, "VP8 ", 12) && begins_with(bytes, "\x9d\x01\x2a", 23)) {
    header = {little_endian(bytes, 28, 2) & 0x3FFF, little_endian(bytes, 26, 2) & 0x3FFF, 3};
  } else if (begins_with(bytes, "VP8L", 12) && bytes[20] == 0x2f) {
    const int64_t bits = little_endian(bytes, 21, 4);
    header = {(bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, (bits >> 28 & 1) != 0 ? 4 : 3};
  } else if (begins_with(bytes, "VP8X", 12)) {
    constexpr uint8_t kHasAlpha = 0x10, kIsAnimated = 0x02;
    if ((bytes[20] & kIsAnimated) != 0) refuse(source, "an animated WebP file, expected a still image");
    header = {little_endian(bytes, 27, 3) + 1, little_endian(bytes, 24, 3) + 1, (bytes[20] & kHasAlpha) != 0 ? 4 : 3,
              webp_orientation(bytes)};
  } else {
    return std::nullopt;
  }
  return header;
}

/// P1 … P6: width and height as text behind the magic, with comments.
std::optional<ImageHeader> pnm_header(Bytes bytes) {
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
  return ImageHeader{numbers[1], numbers[0], bytes[1] == '3' || bytes[1] == '6' ? 3 : 1};
}

std::optional<ImageHeader> header_of(Bytes bytes, const std::string& source) {
  if (is_jpeg(bytes)) return jpeg_header(bytes);
  if (begins_with(bytes, "\x89PNG\r\n\x1a\n")) return png_header(bytes, source);
  if (begins_with(bytes, "BM")) return bmp_header(bytes, source);
  if (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8)) return webp_header(bytes, source);
  if (is_pnm(bytes)) return pnm_header(bytes);
  const bool tiff = begins_with(bytes, "II*") || begins_with(bytes, "MM");
  const std::string_view got = bytes.empty()                                                   ? "an empty one"
                               : begins_with(bytes, "GIF8")                                    ? "a GIF file"
                               : tiff                                                          ? "a TIFF file"
                               : begins_with(bytes, "ftyp", 4) && begins_with(bytes, "avi", 8) ? "an AVIF file"
                               : begins_with(bytes, "ftyp", 4)                                 ? "a HEIF file"
                                                                                               : "another one";
  detail::throw_error<ImageError>("image", source, ": expected a JPEG, PNG, BMP, WebP or PNM file, got ", got, " of ",
                                  bytes.size(), " bytes");
}

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) { return begins_with(bytes, "\xff\xd8\xff"); }

ImageHeader image_header(std::span<const uint8_t> bytes, const std::string& source) {
  const std::optional<ImageHeader> header = header_of(bytes, source);
  if (!header) {
    detail::throw_error<ImageError>("image", source, ": cut off or damaged: its ", bytes.size(),
                                    " bytes do not hold a whole image");
  }
  const int64_t height = header->height, width = header->width;
  if (height < 1 || width < 1 || header->channels < 1 || height > kLargestImage / width) {
    detail::throw_error<ImageError>("image", source, ": expected 1 … ", kLargestImage, " pixels, got ", height, " x ",
                                    width);
  }
  return *header;
}

Shape image_size(std::span<const uint8_t> bytes, const std::string& source) {
  const ImageHeader header = image_header(bytes, source);
  return {header.height, header.width, header.channels};
}

}  // namespace sked

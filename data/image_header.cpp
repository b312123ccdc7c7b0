// The headers of image files, read without trust: every number is checked against what is there.
#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <string_view>
#include <vector>

#include "core/gzip.h"
#include "data/codecs.h"

namespace sked {
namespace {

using namespace std::string_view_literals;

/// A JPEG file (ITU-T T.81, annex B) up to its first scan: size, and orientation from the first EXIF or else from XMP.
/// Bytes between segments are skipped, as decoders do.
std::optional<ImageHeader> jpeg_header(Bytes bytes, const std::string& source) {
  constexpr uint8_t kScan = 0xDA, kApp1 = 0xE1;
  constexpr auto kExif = "Exif\0\0"sv, kXmp = "http://ns.adobe.com/xap/1.0/\0"sv;
  const auto is_frame = [](uint8_t m) { return m >= 0xC0 && m <= 0xCF && m != 0xC4 && m != 0xC8 && m != 0xCC; };
  std::optional<ImageHeader> header;
  std::optional<int64_t> in_exif, in_xmp;
  for (size_t at = 2; at < bytes.size();) {
    if (bytes[at++] != 0xFF) continue;
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;  // fill bytes
    if (at == bytes.size()) return std::nullopt;
    const uint8_t marker = bytes[at++];
    if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xD9)) continue;  // no segment follows
    if (at + 2 > bytes.size()) return std::nullopt;
    const auto length = static_cast<size_t>(std::max<int64_t>(2, big_endian(bytes, at, 2)));  // less holds nothing, too
    if (length > bytes.size() - at) return std::nullopt;
    const Bytes body = bytes.subspan(at + 2, length - 2);
    at += length;
    if (is_frame(marker)) {
      if (body.size() < 6) return std::nullopt;
      header = {big_endian(body, 1, 2), big_endian(body, 3, 2), body[5]};
      if (marker % 4 == 3) refuse_image(source, "a lossless JPEG file, expected lossy ones: baseline or progressive");
      if (body[0] != 8) refuse_image(source, "a JPEG file of ", int{body[0]}, " bits a sample, expected 8");
      if (header->channels != 1 && header->channels != 3 && header->channels != 4)
        refuse_image(source, "a JPEG file of ", header->channels, " components, expected 1, 3 or 4");
    }
    if (marker == kApp1 && begins_with(body, kExif) && !in_exif) in_exif = orientation_tag(body);
    if (marker == kApp1 && begins_with(body, kXmp)) in_xmp = xmp_orientation(body);
    if (marker == kScan) {
      if (header) header->orientation = valid_orientation(in_exif ? in_exif : in_xmp);
      return header;
    }
  }
  return std::nullopt;
}

/// The checksum of a PNG chunk (PNG specification, annex D): CRC-32, reflected.
uint32_t crc32(Bytes bytes) {
  static constexpr auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
      table[byte] = crc;
    }
    return table;
  }();
  uint32_t crc = ~uint32_t{0};
  for (const uint8_t byte : bytes) crc = crc >> 8 ^ kTable[(crc ^ byte) & 0xFF];
  return ~crc;
}

/// What the chunks of a PNG file say of its orientation: the last eXIf, or else the last EXIF as ImageMagick wrote it
/// before there was such a chunk, in a text; where they name none, the last XMP.
class PngOrientation {
 public:
  /// `chunk` is its type and what it holds.
  void look_at(Bytes chunk) {
    if (begins_with(chunk, "eXIf")) exif_ = chunk.subspan(4);
    if (!begins_with(chunk, "tEXt") && !begins_with(chunk, "zTXt") && !begins_with(chunk, "iTXt")) return;
    if (begins_with(chunk, kProfile, 4)) profile_ = chunk;
    if (begins_with(chunk, kXmp, 4)) xmp_ = chunk;
  }

  std::optional<int64_t> found() const {
    const auto in_exif = exif_ ? orientation_tag(*exif_) : in_profile(text_of(profile_, kProfile.size()));
    if (in_exif) return in_exif;
    const std::string xmp = text_of(xmp_, kXmp.size());
    return xmp_orientation({reinterpret_cast<const uint8_t*>(xmp.data()), xmp.size()});
  }

 private:
  static constexpr auto kProfile = "Raw profile type exif\0"sv, kXmp = "XML:com.adobe.xmp\0"sv;

  /// The text behind a keyword of `keyword` bytes, unpacked where it is packed; none where it is damaged.
  static std::string text_of(Bytes chunk, size_t keyword) {
    if (chunk.empty()) return {};
    std::string_view text(reinterpret_cast<const char*>(chunk.data()) + 4 + keyword, chunk.size() - 4 - keyword);
    bool packed = chunk[0] == 'z';
    size_t begin = packed ? 1 : 0;  // behind the method
    if (chunk[0] == 'i') {          // … and whether it is packed, the language, and the keyword in it
      packed = !text.empty() && text[0] != '\0';
      begin = text.find('\0', 2) + 1;
      if (begin > 0) begin = text.find('\0', begin) + 1;
      if (begin == 0) return {};
    }
    if (begin > text.size()) return {};
    constexpr size_t kMostText = 1 << 20;  // as in Pillow
    text.remove_prefix(begin);
    return packed ? inflated(text, kMostText).value_or("") : std::string(text);
  }

  /// An empty line, a name, a length, then bytes as lines of hexadecimal digits.
  static std::optional<int64_t> in_profile(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
      const size_t end = text.find('\n');
      if (end == std::string_view::npos) return std::nullopt;
      text.remove_prefix(end + 1);
    }
    std::vector<uint8_t> exif;
    size_t digits = 0;
    for (const char c : text) {
      if (std::isspace(static_cast<unsigned char>(c)) != 0) continue;
      const size_t digit = "0123456789abcdef"sv.find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
      if (digit == std::string_view::npos) return std::nullopt;
      if (digits++ % 2 == 0) exif.push_back(0);
      exif.back() = static_cast<uint8_t>(exif.back() << 4 | digit);
    }
    return orientation_tag(exif);
  }

  std::optional<Bytes> exif_;
  Bytes profile_, xmp_;
};

/// A PNG file, chunk by chunk. Up to the image data every chunk must be whole and match its checksum, as Pillow
/// demands; EXIF and XMP may stand behind the data, where anything else is forgiven: the decoder says whether the data
/// is whole.
std::optional<ImageHeader> png_header(Bytes bytes, const std::string& source) {
  if (begins_with(bytes, "CgBI", 12))
    refuse_image(source, "a PNG file in Apple's own form (CgBI), expected one as the standard has it");
  if (bytes.size() < 33 || !begins_with(bytes, "\0\0\0\15IHDR"sv, 8)) return std::nullopt;
  constexpr std::array<int64_t, 7> kChannels{1, 0, 3, 3, 2, 0, 4};  // by color type
  const uint8_t type = bytes[25];
  ImageHeader header{.height = big_endian(bytes, 20, 4),
                     .width = big_endian(bytes, 16, 4),
                     .channels = type < kChannels.size() ? kChannels[type] : 0};
  bool data = false;
  PngOrientation orientation;
  for (size_t at = 8; bytes.size() - at >= 12 || (!data && bytes.size() - at >= 8);) {
    const auto length = static_cast<size_t>(big_endian(bytes, at, 4));
    if (begins_with(bytes, "IDAT", at + 4)) data = true;
    if (begins_with(bytes, "IEND", at + 4) || length > bytes.size() - at - 8 || length + 12 > bytes.size() - at) break;
    if (!data && crc32(bytes.subspan(at + 4, 4 + length)) != big_endian(bytes, at + 8 + length, 4))
      refuse_image(source, "the checksum of ", at == 8 ? "its header" : "a chunk before its image data", " is wrong");
    orientation.look_at(bytes.subspan(at + 4, 4 + length));
    at += 12 + length;
  }
  if (!data || header.channels == 0) return std::nullopt;
  header.orientation = valid_orientation(orientation.found());
  return header;
}

/// The orientation in an extended WebP file: its EXIF chunk, or else its XMP, where its flags announce them.
int webp_orientation(Bytes bytes) {
  constexpr uint8_t kHasExif = 0x08, kHasXmp = 0x04;
  const auto end = static_cast<size_t>(little_endian(bytes, 4, 4)) + 8;  // within the file, as webp_header() knows
  std::optional<int64_t> in_exif, in_xmp;
  for (size_t at = 12; at + 8 <= end;) {
    const auto length = static_cast<size_t>(little_endian(bytes, at + 4, 4));
    if (length > end - at - 8) break;
    const Bytes body = bytes.subspan(at + 8, length);
    if ((bytes[20] & kHasExif) != 0 && !in_exif && begins_with(bytes, "EXIF", at)) in_exif = orientation_tag(body);
    if ((bytes[20] & kHasXmp) != 0 && !in_xmp && begins_with(bytes, "XMP ", at)) in_xmp = xmp_orientation(body);
    at += 8 + length + length % 2;
  }
  return valid_orientation(in_exif ? in_exif : in_xmp);
}

/// The canvas: of an animated file, its first frame's.
std::optional<ImageHeader> webp_header(Bytes bytes, const std::string& source) {
  if (bytes.size() < 30) return std::nullopt;
  const int64_t announced = little_endian(bytes, 4, 4) + 8;
  if (announced > static_cast<int64_t>(bytes.size()))
    refuse_image(source, "cut off: it says that it has ", announced, " bytes, and has ", bytes.size());
  if (begins_with(bytes, "VP8 ", 12) && begins_with(bytes, "\x9d\x01\x2a", 23))
    return ImageHeader{little_endian(bytes, 28, 2) & 0x3FFF, little_endian(bytes, 26, 2) & 0x3FFF, 3};
  if (begins_with(bytes, "VP8L", 12) && bytes[20] == 0x2f) {
    const int64_t bits = little_endian(bytes, 21, 4);
    return ImageHeader{(bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, (bits >> 28 & 1) != 0 ? 4 : 3};
  }
  constexpr uint8_t kHasAlpha = 0x10;
  if (!begins_with(bytes, "VP8X", 12)) return std::nullopt;
  return ImageHeader{little_endian(bytes, 27, 3) + 1, little_endian(bytes, 24, 3) + 1,
                     (bytes[20] & kHasAlpha) != 0 ? 4 : 3, webp_orientation(bytes)};
}

/// P1 … P6: width and height as text behind the magic, with comments.
std::optional<ImageHeader> pnm_header(Bytes bytes) {
  std::array<int64_t, 2> numbers{};
  size_t at = 2;
  for (int64_t& number : numbers) {
    while (at < bytes.size() && (std::isspace(bytes[at]) != 0 || bytes[at] == '#')) {
      if (bytes[at] == '#') {
        while (at < bytes.size() && bytes[at] != '\n' && bytes[at] != '\r') ++at;
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
  switch (image_format(bytes, source)) {
    case ImageFormat::jpeg:
      return jpeg_header(bytes, source);
    case ImageFormat::png:
      return png_header(bytes, source);
    case ImageFormat::webp:
      return webp_header(bytes, source);
    case ImageFormat::tiff:
      return tiff_header(bytes, source);
    case ImageFormat::gif:
      return gif_header(bytes, source);
    case ImageFormat::bmp:
      return bmp_header(bytes, source);
    case ImageFormat::pnm:
      return pnm_header(bytes);
  }
  return std::nullopt;
}

}  // namespace

ImageHeader image_header(std::span<const uint8_t> bytes, const std::string& source) {
  const std::optional<ImageHeader> header = header_of(bytes, source);
  if (!header)
    refuse_image(source, "cut off or damaged: its ", bytes.size(), " bytes do not hold the header of an image");
  const int64_t height = header->height, width = header->width;
  if (height < 1 || width < 1 || header->channels < 1 || height > kLargestImage / width)
    refuse_image(source, "expected 1 to ", kLargestImage, " pixels, got ", height, " x ", width);
  return *header;
}

Shape image_size(std::span<const uint8_t> bytes, const std::string& source) {
  const ImageHeader header = image_header(bytes, source);
  return {header.height, header.width, header.channels};
}

}  // namespace sked

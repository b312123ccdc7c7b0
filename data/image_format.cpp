// Which format a file has, by its first bytes alone: what decides on the decoder that sees it.
#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "data/codecs.h"

namespace sked {
namespace {

using namespace std::string_view_literals;

/// First bytes of files that are met among images and are none, or none that is read here.
struct Signature {
  size_t at;
  std::string_view bytes, name;
};
constexpr std::array<Signature, 28> kOthers{{
    {4, "ftypavi", "an AVIF file"},
    {4, "ftypqt", "a QuickTime film"},
    {4, "ftypmp4", "an MP4 film"},
    {4, "ftypiso", "an MP4 film"},
    {4, "ftypM4", "an MP4 film"},
    {4, "ftyp", "a HEIF file"},
    {0, "\0\0\0\x0cjP  "sv, "a JPEG 2000 file"},
    {0, "\xff\x4f\xff\x51", "a JPEG 2000 file"},
    {0, "\0\0\0\x0cJXL "sv, "a JPEG XL file"},
    {0, "\xff\x0a", "a JPEG XL file"},
    {0, "8BPS", "a Photoshop file"},
    {0, "\0\0\1\0"sv, "a Windows icon"},
    {0, "%PDF", "a PDF file"},
    {0, "%!PS", "a PostScript file"},
    {0, "\x89HDF\r\n\x1a\n", "an HDF5 file"},
    {0, "CDF\1", "a netCDF file"},
    {0, "CDF\2", "a netCDF file"},
    {0, "SIMPLE  =", "a FITS file"},
    {0, "\x93NUMPY", "a NumPy array"},
    {0, "DDS ", "a DirectDraw surface"},
    {0, "#?RADIANCE", "a Radiance picture"},
    {0, "v/1\1", "an OpenEXR file"},
    {0, "PK\3\4", "a zip archive"},
    {0, "\x1f\x8b", "a gzip file"},
    {0, "\x28\xb5\x2f\xfd", "a zstd file"},
    {0,
     "\xfd"
     "7zXZ",
     "an xz file"},
    {0, "Rar!", "a RAR archive"},
    {0, "version https://git-lfs", "a pointer of Git LFS"},
}};

/// What a file of text is, as far as its beginning tells.
std::string_view kind_of_text(Bytes bytes) {
  constexpr size_t kBeginning = 1024;
  size_t at = begins_with(bytes, "\xef\xbb\xbf") ? 3 : 0;  // a byte-order mark
  while (at < bytes.size() && std::isspace(bytes[at]) != 0) ++at;
  std::string text;
  for (; at < bytes.size() && text.size() < kBeginning; ++at) text += static_cast<char>(std::tolower(bytes[at]));
  if (!text.starts_with("<")) return {};
  for (const char* word : {"<!doctype html", "<html", "<head"})
    if (text.find(word) != std::string::npos) return "an HTML page";
  return text.find("<svg") != std::string::npos ? "an SVG drawing" : "an XML text";
}

std::string kind_of(Bytes bytes) {
  if (bytes.empty()) return "an empty one";
  for (const Signature& other : kOthers)
    if (begins_with(bytes, other.bytes, other.at)) return std::string(other.name);
  if (const std::string_view text = kind_of_text(bytes); !text.empty()) return std::string(text);
  std::string start;
  for (const uint8_t byte : bytes.first(std::min<size_t>(bytes.size(), 12)))
    start += byte >= ' ' && byte <= '~' ? static_cast<char>(byte) : '.';
  return "another one that begins `" + start + "`,";
}

bool is_pnm(Bytes bytes) {
  return bytes.size() > 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6' && std::isspace(bytes[2]) != 0;
}

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) { return begins_with(bytes, "\xff\xd8\xff"); }

ImageFormat image_format(Bytes bytes, const std::string& source) {
  if (is_jpeg(bytes)) return ImageFormat::jpeg;
  if (begins_with(bytes, "\x89PNG\r\n\x1a\n")) return ImageFormat::png;
  if (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8)) return ImageFormat::webp;
  // Classic TIFF and BigTIFF, in both byte orders.
  for (const std::string_view magic : {"II*\0"sv, "MM\0*"sv, "II+\0"sv, "MM\0+"sv})
    if (begins_with(bytes, magic)) return ImageFormat::tiff;
  if (begins_with(bytes, "GIF87a") || begins_with(bytes, "GIF89a")) return ImageFormat::gif;
  if (begins_with(bytes, "BM")) return ImageFormat::bmp;
  if (is_pnm(bytes)) return ImageFormat::pnm;
  refuse_image(source, "expected a JPEG, PNG, WebP, GIF, TIFF, BMP or PNM file, got ", kind_of(bytes), " of ",
               bytes.size(), " bytes");
}

}  // namespace sked

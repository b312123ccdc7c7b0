// Files of every format, whole, odd and damaged, against Pillow (tests/fixtures/image_files.py): the same pixels of
// those it takes, a refusal of those it refuses. And files that would cost more than they are worth.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>
#include <thread>

#include "data/image_file.h"
#include "tests/common/files.h"
#include "tests/data/images.h"

namespace sked {
namespace {

using test::difference;
using test::error_of;
using test::one_line_with;

const TensorFile& fixtures() {
  static const TensorFile file = load_safetensors("tests/fixtures/image_files.safetensors");
  return file;
}

std::vector<uint8_t> bytes_of(const std::string& name) { return fixtures().at("file/" + name).to_vector<uint8_t>(); }

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : fixtures().tensors)
    if (tensor.name.starts_with("file/")) names.push_back(tensor.name.substr(5));
  return names;
}

bool needs_a_library(const std::string& name) {
  for (const char* ending : {".gif", ".bmp", ".ppm", ".pgm", ".pbm", "-gif.jpg"})
    if (name.ends_with(ending)) return false;
  return true;
}

TEST_CASE("image formats: Pillow's pixels of every file it takes, and no others") {
  if (!can_decode_images()) test::skip("built without image libraries: JPEG, PNG, WebP and TIFF");
  int taken = 0, refused = 0;
  for (const std::string& name : all_names()) {
    if (needs_a_library(name) && !can_decode_images()) continue;
    CAPTURE(name);
    const std::vector<uint8_t> bytes = bytes_of(name);
    const Tensor expected = fixtures().at("rgb/" + name);
    if (expected.numel() == 0) {
      CHECK_THROWS_AS(decode_image(bytes, name), ImageError);
      CHECK(one_line_with(error_of([&] { decode_image(bytes, name); }), name));
      ++refused;
      continue;
    }
    // libjpeg of another version: an inverse DCT may round a sample the other way, color conversion spreads that to 2.
    const int off = name.ends_with(".jpg") || name == "jpeg.tif" ? 2 : 0;
    CHECK(difference(decode_image(bytes, name), expected).largest <= off);
    ++taken;
  }
  if (can_decode_images()) {  // Pillow itself turns TIFF files, and so does whoever reads them as they are stored
    const Tensor stored = decode_image(bytes_of("turned-6.tif"), "x", 3, 1, Turning::as_stored);
    CHECK(difference(stored, fixtures().at("rgb/turned-6.tif")).largest == 0);
  }
  CHECK(taken >= (can_decode_images() ? 125 : 40));
  CHECK(refused >= (can_decode_images() ? 35 : 10));
}

TEST_CASE("image formats: a refusal says what the file is") {
  const auto reason = [](const std::string& name) { return error_of([&] { decode_image(bytes_of(name), name); }); };
  CHECK(one_line_with(reason("12-bit.jpg"), "12 bits a sample, expected 8"));
  CHECK(one_line_with(reason("lossless.jpg"), "lossless JPEG"));
  CHECK(one_line_with(reason("no-height.jpg"), "got 0 x 13"));
  CHECK(one_line_with(reason("header-checksum.png"), "checksum of its header"));
  CHECK(one_line_with(reason("text-checksum.png"), "checksum of a chunk before its image data"));
  CHECK(one_line_with(reason("jpeg-inside.bmp"), "compressed by method 4"));
  CHECK(one_line_with(reason("2-bit.bmp"), "2 bits a pixel"));
  CHECK(one_line_with(reason("masks-444.bmp"), "unusual color masks"));
  CHECK(one_line_with(reason("too-few.gif"), "cut off"));
  CHECK(one_line_with(reason("cut.gif"), "cut off: its data end before its last pixel"));
  CHECK(one_line_with(reason("cut.webp"), "cut off: it says that it has"));
  CHECK(
      one_line_with(reason("no-blank.pgm"), "expected a JPEG, PNG, WebP, GIF, TIFF, BMP or PNM file, got another one"));
  if (can_decode_images()) {
    CHECK(one_line_with(reason("cut-2.jpg"), "cut off"));
    CHECK(one_line_with(reason("two-soi.jpg"), "damaged", "SOI"));
    CHECK(one_line_with(reason("cut-in-data.png"), "cut off"));
    CHECK(one_line_with(reason("unknown-method.tif"), "compressed by method 999"));
  }
  using namespace std::string_literals;
  const std::pair<std::string, const char*> others[]{{"", "an empty one"},
                                                     {"\0\0\0\x20"
                                                      "ftypavif"s,
                                                      "an AVIF file"},
                                                     {"\0\0\0\x18"
                                                      "ftypheic"s,
                                                      "a HEIF file"},
                                                     {"\0\0\0\x0cjP  \r\n"s, "a JPEG 2000 file"},
                                                     {"\xff\x0a", "a JPEG XL file"},
                                                     {"8BPS", "a Photoshop file"},
                                                     {"\0\0\1\0\1"s, "a Windows icon"},
                                                     {"%PDF-1.4", "a PDF file"},
                                                     {"\x89HDF\r\n\x1a\n", "an HDF5 file"},
                                                     {"CDF\1", "a netCDF file"},
                                                     {"\n <svg xmlns=", "an SVG drawing"},
                                                     {"<?xml version=\"1.0\"?>\n<!-- -->\n<svg>", "an SVG drawing"},
                                                     {"<!DOCTYPE html>", "an HTML page"},
                                                     {"<!-- 404 -->\r\n<HTML>", "an HTML page"},
                                                     {"\x89PNG\r\n\x1a\n\0\0\0\4CgBI"s, "Apple's own form (CgBI)"},
                                                     {"<VRTDataset/>", "an XML text"},
                                                     {"hello", "another one"}};
  for (const auto& [text, name] : others) {
    const std::vector<uint8_t> bytes(text.begin(), text.end());
    CHECK(one_line_with(error_of([&] { image_size(bytes, "x.jpg"); }), "x.jpg", name));
  }
}

TEST_CASE("image formats: no more is decoded after the first bytes have spoken for one format") {
  // Each begins as a format does, and goes on as no decoder of that format can take it.
  const std::string text = "<VRTDataset rasterXSize=\"5\" rasterYSize=\"5\"/>" + std::string(200, ' ');
  using namespace std::string_literals;
  for (const std::string& magic : {"P55 5 "s, "P6\n"s, "BM"s, "GIF87a"s, "GIF89a"s, "II*\0"s, "MM\0*"s, "II+\0"s,
                                   "RIFF\xf0\0\0\0WEBPVP8 "s, "\x89PNG\r\n\x1a\n"s, "\xff\xd8\xff"s}) {
    CAPTURE(magic);
    const std::string file = magic + text;
    const std::vector<uint8_t> bytes(file.begin(), file.end());
    CHECK_THROWS_AS(decode_image(bytes, "x.jpg"), ImageError);
  }
}

TEST_CASE("image formats: GIF codes may be longer than their 256 indices need") {
  // index 1, then 257, in codes of 12 and 13 bits: Pillow keeps an index's low byte
  using namespace std::string_literals;
  const auto gif = [](char bits, const std::string& codes) {
    std::string file = "GIF89a\2\0\1\0\x80\0\0"s + "\x0a\x14\x1e\x28\x32\x3c" + ",\0\0\0\0\2\0\1\0\0"s;
    file += std::string{bits, static_cast<char>(codes.size())} + codes + "\0;"s;
    return std::vector<uint8_t>(file.begin(), file.end());
  };
  const std::vector<uint8_t> both_second{40, 50, 60, 40, 50, 60};
  CHECK(decode_image(gif(11, "\x00\x18\x00\x01\x11\x80"s), "11.gif").to_vector<uint8_t>() == both_second);
  CHECK(decode_image(gif(12, "\x00\x30\x00\x04\x84\x00\x08"s), "12.gif").to_vector<uint8_t>() == both_second);
  CHECK(one_line_with(error_of([&] { decode_image(gif(13, "\0"s), "13.gif"); }),
                      "codes of 13 bits, expected at most 12"));
}

TEST_CASE("image formats: a JPEG segment whose length is too short even for itself is empty") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const std::vector<uint8_t> jpeg = bytes_of("420.jpg");
  const Tensor expected = decode_image(jpeg, "420.jpg");
  for (const uint8_t length : {0, 1, 2}) {
    std::vector<uint8_t> odd = jpeg;
    const std::array<uint8_t, 4> segment{0xFF, 0xE5, 0, length};
    odd.insert(odd.begin() + 2, segment.begin(), segment.end());
    CHECK(difference(decode_image(odd, "odd.jpg"), expected).largest == 0);
  }
}

void append(std::vector<uint8_t>& bytes, std::initializer_list<int> more) {
  for (const int byte : more) bytes.push_back(static_cast<uint8_t>(byte));
}

/// A gray progressive JPEG file of side×side pixels and `scans` scans of its DC coefficients: the first and a
/// refinement that one bit a block makes, and those all say 0.
std::vector<uint8_t> many_scans(int side, int scans) {
  std::vector<uint8_t> jpeg{0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0};
  jpeg.resize(jpeg.size() + 64, 1);
  append(jpeg, {0xFF, 0xC2, 0, 11, 8, side >> 8, side & 255, side >> 8, side & 255, 1, 1, 0x11, 0});
  append(jpeg, {0xFF, 0xC4, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});  // one code: `0` for 0
  const int blocks = (side + 7) / 8 * ((side + 7) / 8);
  for (int scan = 0; scan < scans; ++scan) {
    append(jpeg, {0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, scan == 0 ? 0x01 : 0x10});
    jpeg.resize(jpeg.size() + static_cast<size_t>((blocks + 7) / 8), 0);
  }
  append(jpeg, {0xFF, 0xD9});
  return jpeg;
}

TEST_CASE("image formats: a JPEG of thousands of scans is refused in time") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  CHECK(decode_image(many_scans(64, 100), "few.jpg").shape() == Shape{64, 64, 3});
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<uint8_t> small = many_scans(256, 5000), large = many_scans(8000, 200);
  CHECK(one_line_with(error_of([&] { decode_image(small, "small.jpg"); }), "small.jpg", "too many scans"));
  CHECK(one_line_with(error_of([&] { decode_image(large, "large.jpg"); }), "large.jpg", "too many scans"));
  // far from the limit on an idle machine, under a sanitizer or beside others
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

/// A TIFF file whose directory has `entries` entries of unknown tags, each of them with the whole file for its value.
std::vector<uint8_t> greedy_tiff(int entries) {
  std::vector<uint8_t> tiff{'I', 'I', '*', 0, 8, 0, 0, 0};
  append(tiff, {entries & 255, entries >> 8});
  const int size = 14 + 12 * entries;
  append(tiff, {0, 1, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0});  // 1 x 1
  for (int i = 2; i < entries; ++i)
    append(tiff, {i & 255, 4 + (i >> 8), 1, 0, size & 255, size >> 8 & 255, size >> 16, 0, 0, 0, 0, 0});
  append(tiff, {0, 0, 0, 0});
  return tiff;
}

/// A TIFF file of side x side pixels in one strip, which is `count` bytes from byte `at` on.
std::vector<uint8_t> tiff_of_one_strip(int side, int compression, int photometric, int samples, int bits, int at,
                                       int count) {
  const std::array<std::array<int, 2>, 9> entries{{{256, side},
                                                   {257, side},
                                                   {258, bits},
                                                   {259, compression},
                                                   {262, photometric},
                                                   {273, at},
                                                   {277, samples},
                                                   {278, side},
                                                   {279, count}}};
  std::vector<uint8_t> tiff{'I', 'I', '*', 0, 8, 0, 0, 0, entries.size(), 0};
  for (const auto& [tag, value] : entries)
    append(tiff, {tag & 255, tag >> 8, 4, 0, 1, 0, 0, 0, value & 255, value >> 8, 0, 0});
  append(tiff, {0, 0, 0, 0});
  return tiff;
}

/// One whose strip is its own first bytes.
std::vector<uint8_t> hollow_tiff(int side, int compression, int photometric, int samples, int bits) {
  return tiff_of_one_strip(side, compression, photometric, samples, bits, 8, 100);
}

/// Leaves `byte` in memory that is free, for blocks of `size` bytes.
void leave_behind(int byte, size_t size) {
  void* (*const volatile fill)(void*, int, size_t) = std::memset;  // a compiler drops what is written before free()
  std::array<void*, 4> blocks;
  for (void*& block : blocks) block = fill(std::malloc(size), byte, size);
  for (void* block : blocks) std::free(block);
}

TEST_CASE("image formats: a deflated strip of more rows than there are is read or refused, as libtiff can") {
  if (!can_decode_images()) return;
  constexpr int kDeflate = 8, kBlackIsZero = 1, kSide = 16, kStored = 2 * kSide * kSide;
  std::vector<uint8_t> tiff = tiff_of_one_strip(kSide, kDeflate, kBlackIsZero, 1, 8, 122, kStored + 11);
  REQUIRE(tiff.size() == 122);
  append(tiff, {0x78, 0x01, 1, kStored & 255, kStored >> 8, ~kStored & 255, ~kStored >> 8 & 255});  // RFC 1950, 1951
  for (int i = 0; i < kStored; ++i) tiff.push_back(static_cast<uint8_t>(i));
  append(tiff, {0, 0, 0, 0});
  for (const int byte : {0x55, 0xAA}) {
    leave_behind(byte, kSide * kSide);
    std::vector<uint8_t> pixels;
    const std::string why = error_of([&] { pixels = decode_image(tiff, "long.tif", 1).to_vector<uint8_t>(); });
    if (why.empty())
      CHECK(std::ranges::equal(pixels, std::span(tiff).subspan(129, pixels.size())));
    else
      CHECK(one_line_with(why, "long.tif", "damaged: strip or tile 0 holds more than its rows"));
  }
}

/// Kilobytes of memory this program has had at once.
int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST_CASE("image formats: what a small file announces costs nothing before it is checked") {
  const std::vector<uint8_t> tiff = bytes_of("grey-8.tif"), bmp = bytes_of("plain-24.bmp"), gif = bytes_of("plain.gif");
  const auto with = [](std::vector<uint8_t> bytes, size_t at, std::initializer_list<int> values) {
    for (const int value : values) bytes[at++] = static_cast<uint8_t>(value);
    return bytes;
  };
  const int64_t before = peak_memory();
  CHECK_THROWS_AS(decode_image(with(gif, 6, {255, 255, 255, 255}), "65535.gif"), ImageError);
  CHECK_THROWS_AS(decode_image(with(bmp, 18, {0, 32, 0, 0, 0, 32, 0, 0}), "8192.bmp"), ImageError);
  if (can_decode_images()) {
    CHECK_THROWS_AS(decode_image(with(tiff, 18, {0, 32, 0, 0}), "8192-wide.tif"), ImageError);
    CHECK_THROWS_AS(decode_image(with(tiff, 18, {0, 0, 1, 0}), "65536-wide.tif"), ImageError);
    // 9 x 8,388,609 pixels in one strip, 11585 x 11585 in a progressive JPEG of a few hundred bytes
    std::vector<uint8_t> lzw = bytes_of("lzw.tif");
    const auto width = std::ranges::search(lzw, std::array<uint8_t, 8>{1, 0, 0, 0, 13, 0, 0, 0}).begin() - lzw.begin();
    lzw = with(lzw, static_cast<size_t>(width) - 2, {4, 0, 1, 0, 0, 0, 1, 0, 128, 0});
    CHECK(image_size(lzw, "wide.tif") == Shape{9, 8388609, 3});
    CHECK_THROWS_AS(decode_image(lzw, "wide.tif"), ImageError);
    std::vector<uint8_t> jpeg = bytes_of("cut-progressive.jpg");
    const auto frame = std::ranges::search(jpeg, std::array<uint8_t, 2>{0xFF, 0xC2}).begin() - jpeg.begin();
    jpeg = with(jpeg, static_cast<size_t>(frame) + 5, {0x2D, 0x41, 0x2D, 0x41});
    CHECK(one_line_with(error_of([&] { decode_image(jpeg, "large.jpg"); }), "large.jpg", "cut off"));
    // the same with colors as fine as the brightness, and bytes enough: its coefficients would take 769 MiB
    jpeg[static_cast<size_t>(frame) + 11] = 0x11;
    jpeg.resize(300000);
    CHECK(one_line_with(error_of([&] { decode_image(jpeg, "fine.jpg"); }), "fine.jpg", "takes 769 MiB"));
    constexpr int kDeflate = 8, kRgb = 2;
    const std::vector<uint8_t> deep = hollow_tiff(11585, kDeflate, kRgb, 3, 16);
    CHECK(one_line_with(error_of([&] { decode_image(deep, "deep.tif"); }), "deep.tif", "of 805273350 bytes"));
    constexpr int kPlain = 1, kFax4 = 4, kWhiteIsZero = 0, kYCbCr = 6;
    for (const auto& hollow : {hollow_tiff(8000, kPlain, kYCbCr, 3, 8), hollow_tiff(8000, kFax4, kWhiteIsZero, 1, 1)}) {
      const std::string why = error_of([&] { decode_image(hollow, "hollow.tif"); });
      CHECK(one_line_with(why, "hollow.tif", "damaged or cut off: "));
      CHECK_FALSE(why.ends_with(": "));
    }
    const std::vector<uint8_t> many = greedy_tiff(60000), few = greedy_tiff(900);
    CHECK(one_line_with(error_of([&] { decode_image(many, "many.tif"); }), "many.tif", "60000 entries"));
    CHECK(one_line_with(error_of([&] { decode_image(few, "few.tif"); }), "few.tif", "more bytes than the file has"));
  }
  // each of them would take 200 MB or more; AddressSanitizer marks an eighth of what is only asked for
  CHECK(peak_memory() - before < 128 << 10);
}

TEST_CASE("image formats: decoders run side by side") {
  const std::vector<std::string> names = all_names();
  using Results = std::vector<std::vector<uint8_t>>;
  const auto decode_all = [&](Results& results) {
    for (const std::string& name : names) {
      results.emplace_back();
      const std::string why =
          error_of([&] { results.back() = decode_image(bytes_of(name), name).to_vector<uint8_t>(); });
      results.back().insert(results.back().end(), why.begin(), why.end());
    }
  };
  Results first, second;
  std::thread other([&] { decode_all(second); });
  decode_all(first);
  other.join();
  CHECK(first == second);
}

}  // namespace
}  // namespace sked

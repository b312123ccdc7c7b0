// EXIF orientation: Pillow's exif_transpose, bytes that lie, and the pipeline that turns or does not.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "core/gzip.h"
#include "data/image_file.h"
#include "data/image_resample.h"
#include "data/transforms.h"
#include "tests/common/bytes.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"
#include "tests/data/images.h"

namespace sked {
namespace {

using test::difference;
using test::error_of;
using test::image_file;
using test::image_fixtures;
using test::one_line_with;

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

/// A TIFF structure with one directory, `entries` already in its byte order.
std::string tiff(bool little, const std::vector<std::string>& entries) {
  const auto count = static_cast<char>(entries.size());
  std::string bytes = little ? std::string("II*\0\x08\0\0\0", 8) : std::string("MM\0*\0\0\0\x08", 8);
  bytes += little ? std::string{count, '\0'} : std::string{'\0', count};
  for (const std::string& entry : entries) bytes += entry;
  return bytes + std::string(4, '\0');
}
std::string little_entry(char orientation, char type = 3, char count = 1) {
  return std::string("\x12\x01", 2) + std::string{type, '\0', count, '\0', '\0', '\0', orientation, '\0', '\0', '\0'};
}

TEST_CASE("exif: orientation in both byte orders, and what lies about itself is none") {
  const auto orientation = [](const std::string& exif) { return exif_orientation(bytes_of(exif)); };
  const std::string big_six = std::string("\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 12);
  const std::string make = std::string("\x0f\x01\x02\0\x04\0\0\0abc\0", 12);
  for (int o = 1; o <= 8; ++o) CHECK(orientation(tiff(true, {little_entry(static_cast<char>(o))})) == o);
  CHECK(orientation(tiff(false, {big_six})) == 6);
  CHECK(orientation(std::string("Exif\0\0", 6) + tiff(false, {big_six})) == 6);
  CHECK(orientation(tiff(true, {make, little_entry(3)})) == 3);
  CHECK(orientation(tiff(true, {little_entry(8, 4)})) == 8);
  for (const char none : {'\0', '\x09', '\x7f'}) CHECK(orientation(tiff(true, {little_entry(none)})) == 1);
  CHECK(orientation(tiff(true, {little_entry(6, 2)})) == 1);     // text
  CHECK(orientation(tiff(true, {little_entry(6, 1)})) == 1);     // a byte
  CHECK(orientation(tiff(true, {little_entry(6, 8)})) == 6);     // with a sign
  CHECK(orientation(tiff(true, {little_entry(6, 3, 2)})) == 6);  // the first of two
  CHECK(orientation(tiff(true, {little_entry(6, 3, 3)})) == 1);  // not in the entry
  CHECK(orientation(tiff(true, {little_entry(6, 3, 0)})) == 1);
  CHECK(orientation(tiff(true, {little_entry(3), little_entry(6)})) == 3);
  CHECK(orientation(tiff(true, {})) == 1);
  CHECK(orientation("") == 1);
  CHECK(orientation("Exif") == 1);
  CHECK(orientation("XX*\0\x08\0\0\0") == 1);
  std::string whole = tiff(true, {make, little_entry(6)});
  for (size_t length = 0; length < whole.size() - 4; ++length) CHECK(orientation(whole.substr(0, length)) == 1);
  whole[8] = whole[9] = '\xff';  // 65535 entries
  CHECK(orientation(whole) == 6);
  for (const std::string far : {"\xff\xff\xff\xff", "\xf8\xff\xff\xff", "\xff\xff\xff\x7f"}) {
    CHECK(orientation(whole.replace(4, 4, far)) == 1);
  }
}

/// A PNG chunk.
std::string chunk(const std::string& type, const std::string& body) {
  const auto big_endian = [](uint32_t value) {
    std::string text = test::little_endian(value, 4);
    std::reverse(text.begin(), text.end());
    return text;
  };
  return big_endian(static_cast<uint32_t>(body.size())) + type + body + big_endian(test::crc32(type + body));
}

/// A zlib stream (RFC 1950) that holds `data` as it is.
std::string packed(const std::string& data) {
  uint32_t a = 1, b = 0;
  for (const char c : data) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  const auto size = static_cast<uint32_t>(data.size());
  const std::string sum{static_cast<char>(b >> 8), static_cast<char>(b), static_cast<char>(a >> 8),
                        static_cast<char>(a)};
  return "\x78\x01\x01" + test::little_endian(size, 2) + test::little_endian(~size, 2) + data + sum;
}

/// EXIF as ImageMagick writes it to a text: lines of hexadecimal digits.
std::string profile(char orientation) {
  std::string text = "\nexif\n      32\n";
  size_t digits = 0;
  for (const char c : std::string("Exif\0\0", 6) + tiff(true, {little_entry(orientation)})) {
    for (const int digit : {c >> 4 & 15, c & 15}) text += "0123456789abcdef"[digit];
    if (++digits % 9 == 0) text += '\n';
  }
  return text + '\n';
}

TEST_CASE(
    "image file: a PNG file is turned by EXIF in its own chunk, in ImageMagick's text, or by XMP, in that order") {
  const std::string raw("Raw profile type exif\0", 22), xmp("XML:com.adobe.xmp\0", 18);
  const std::string six = profile(6), three = "<x tiff:Orientation=\"3\"/>";
  const std::string none(1, '\0'), plain(4, '\0'), own_8 = chunk("eXIf", tiff(true, {little_entry(8)}));
  std::string upper = six;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto of = [](const std::string& before, const std::string& behind = "") {
    std::string png = test::image_text("png");
    png.insert(png.size() - 12, behind);
    return image_header(bytes_of(png.insert(33, before)), "x.png").orientation;
  };
  CHECK(of("") == 1);
  CHECK(of(chunk("tEXt", raw + six)) == 6);
  CHECK(of("", chunk("tEXt", raw + six)) == 6);
  CHECK(of(chunk("tEXt", raw + upper)) == 6);
  CHECK(of(chunk("iTXt", raw + plain + six)) == 6);
  CHECK(of(chunk("tEXt", raw + six) + chunk("tEXt", raw + profile(8))) == 8);
  CHECK(of(chunk("tEXt", raw + six) + own_8) == 8);
  CHECK(of(own_8 + chunk("tEXt", raw + six)) == 8);
  CHECK(of(chunk("tEXt", raw + six) + chunk("iTXt", xmp + plain + three)) == 6);
  CHECK(of(chunk("iTXt", xmp + plain + three)) == 3);
  CHECK(of(chunk("tEXt", xmp + three)) == 3);
  CHECK(of(chunk("iTXt", xmp + std::string("\0\0en\0key\0", 9) + three)) == 3);
  // EXIF without an orientation leaves it to XMP, and its own chunk silences the text.
  CHECK(of(chunk("tEXt", raw + "\nexif\n 0\n") + chunk("tEXt", xmp + three)) == 3);
  CHECK(of(chunk("eXIf", tiff(true, {})) + chunk("tEXt", raw + six)) == 1);
  // Nothing in texts that are damaged, or others.
  for (const std::string& text : {std::string(), std::string("\n"), std::string("\nexif\n 32"),
                                  "\nexif\n 32\nxy" + six.substr(16), six.substr(0, 30), six.substr(16)})
    CHECK(of(chunk("tEXt", raw + text)) == 1);
  CHECK(of(chunk("tEXt", std::string("Raw profile type iptc\0", 22) + six)) == 1);
  for (const std::string& text : {std::string(), none, none + none, none + none + "en", plain + "x"}) {
    CHECK(of(chunk("iTXt", raw + text)) == 1);
    CHECK(of(chunk("zTXt", raw + text)) == 1);
  }
  if (!inflated(packed("x"), 1)) return test::skip("built without zlib: packed texts");
  CHECK(of(chunk("zTXt", raw + none + packed(six))) == 6);
  CHECK(of("", chunk("zTXt", raw + none + packed(six))) == 6);
  CHECK(of(chunk("iTXt", raw + "\1" + std::string(3, '\0') + packed(six))) == 6);
  CHECK(of(chunk("zTXt", xmp + none + packed(three))) == 3);
  CHECK(of(chunk("iTXt", xmp + "\1" + std::string(3, '\0') + packed(three))) == 3);
  CHECK(of(chunk("zTXt", raw + none + packed(six).replace(9, 1, "\1"))) == 1);  // its checksum fails
  CHECK(of(chunk("zTXt", raw + none + packed(six).substr(0, 60))) == 1);
}

TEST_CASE("image file: upright as Pillow turns it, JPEG, PNG and WebP alike; as stored on request") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  std::vector<std::string> names{"late/png", "prefixed/webp"};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const char* form : {"/jpeg", "/png", "/webp"}) names.push_back(std::to_string(orientation) + form);
  }
  for (const std::string& name : names) {
    CAPTURE(name);
    const bool lossy = name.ends_with("jpeg");
    const std::vector<uint8_t> file = image_file(name);
    // libjpeg of another version may round a sample the other way
    CHECK(difference(decode_image(file, name), image_fixtures().at("upright/" + name)).largest <= (lossy ? 2 : 0));
    CHECK(image_size(file, name) == Shape{6, 9, 3});
    const Tensor stored = decode_image(file, name, 3, 1, Turning::as_stored);
    CHECK(difference(stored, image_fixtures().at("upright/1/png")).largest <= (lossy ? 40 : 0));
    CHECK(difference(stored, decode_image(image_file(lossy ? "1/jpeg" : "1/png"), name)).largest == 0);
  }
  CHECK(decode_image(image_file("6/png"), "gray", 1).shape() == Shape{9, 6, 1});
}

/// The large JPEG with an orientation.
std::vector<uint8_t> large_turned(char orientation) {
  const std::string exif = std::string("Exif\0\0", 6) + tiff(true, {little_entry(orientation)});
  std::string bytes = test::image_text("large");
  bytes.insert(2, std::string{'\xff', '\xe1', '\0', static_cast<char>(exif.size() + 2)} + exif);
  return bytes_of(bytes);
}

TEST_CASE("image file: large images are turned like small ones") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  for (int orientation = 1; orientation <= 8; ++orientation) {
    CAPTURE(orientation);
    const std::vector<uint8_t> file = large_turned(static_cast<char>(orientation));
    const Tensor stored = decode_image(file, "x", 3, 1, Turning::as_stored), upright = decode_image(file, "x");
    const int64_t height = stored.dim(0), width = stored.dim(1);
    REQUIRE(upright.shape() == (orientation < 5 ? Shape{height, width, 3} : Shape{width, height, 3}));
    int wrong = 0;
    for (int64_t r = 0; r < upright.dim(0); ++r) {
      for (int64_t c = 0; c < upright.dim(1); ++c) {
        const std::array<std::array<int64_t, 2>, 8> places{{{r, c},
                                                            {r, width - 1 - c},
                                                            {height - 1 - r, width - 1 - c},
                                                            {height - 1 - r, c},
                                                            {c, r},
                                                            {height - 1 - c, r},
                                                            {height - 1 - c, width - 1 - r},
                                                            {c, width - 1 - r}}};
        const auto [y, x] = places[static_cast<size_t>(orientation) - 1];
        wrong +=
            !std::equal(stored.data<uint8_t>() + (y * width + x) * 3, stored.data<uint8_t>() + (y * width + x) * 3 + 3,
                        upright.data<uint8_t>() + (r * upright.dim(1) + c) * 3);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("pipeline: a JPEG that is turned is shrunk for the window of its upright shape") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const std::vector<uint8_t> file = large_turned(6);  // stored (200, 260), upright (260, 200)
  for (const int shrink : {2, 4, 8}) {
    const Tensor stored = decode_image(file, "x", 3, shrink, Turning::as_stored),
                 upright = decode_image(file, "x", 3, shrink);
    REQUIRE(upright.shape() == Shape{stored.dim(1), stored.dim(0), 3});
    for (int64_t r = 0; r < upright.dim(0); r += 7) {
      for (int64_t c = 0; c < upright.dim(1); c += 5) {
        const int64_t from = ((stored.dim(0) - 1 - c) * stored.dim(1) + r) * 3;
        CHECK(upright.data<uint8_t>()[(r * upright.dim(1) + c) * 3] == stored.data<uint8_t>()[from]);
      }
    }
  }
  const Pipeline turning = Pipeline::parse("decode|inception_crop(40)|value_range(0,1)"),
                 leaving = Pipeline::parse("decode( as_stored )|inception_crop(40)|value_range(0,1)");
  bool matters = false;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Rng rng({seed, 0, 0});
    const auto shrunk = [&](const Shape& shape) {
      Rng draws = rng;
      const Crop window = inception_window(shape, draws);
      const int64_t least = std::min(window.height, window.width);
      return least >= 320 ? 8 : least >= 160 ? 4 : least >= 80 ? 2 : 1;
    };
    const int upright = shrunk({260, 200, 3}), stored = shrunk({200, 260, 3});
    matters = matters || upright != stored;
    CHECK(turning.decode({file, "x"}, rng).shape() == Shape{(260 + upright - 1) / upright, 200 / upright, 3});
    CHECK(leaving.decode({file, "x"}, rng).shape() == Shape{200 / stored, (260 + stored - 1) / stored, 3});
  }
  CHECK(matters);
}

TEST_CASE("pipeline: decode and its words") {
  const auto parsing = [](const std::string& text) {
    return error_of([&] { Pipeline::parse(text + "|value_range(0,1)"); });
  };
  CHECK(parsing("decode").empty());
  for (const char* text : {"decode(as_stored)", "decode(full)", "decode(as_stored, full)", "decode( full,as_stored )"})
    CHECK(parsing(text).empty());
  for (const char* text : {"decode()", "decode(upright)", "decode(1)", "decode(as_stored, 1)", "decode(full,)",
                           "decode(full, full)", "decode(full as_stored)"})
    CHECK(one_line_with(parsing(text), text, "expected decode, decode(as_stored), decode(full) or"));
  CHECK(one_line_with(parsing("decode|decode(as_stored)"), "out of order"));
  CHECK(one_line_with(parsing("flip(as_stored)"), "expected a number, got `as_stored`"));
}

}  // namespace
}  // namespace sked

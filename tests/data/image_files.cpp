// Image files against Pillow, and files that are none.
#include "data/image_file.h"

#include <doctest/doctest.h>

#include "data/transforms.h"
#include "tests/common/bytes.h"
#include "tests/common/files.h"
#include "tests/data/images.h"

namespace sked {
namespace {

using test::difference;
using test::error_of;
using test::image_file;
using test::image_fixtures;
using test::one_line_with;

bool without_libraries() {
  if (!can_decode_images()) test::skip("built without image libraries");
  return !can_decode_images();
}

Tensor decoded(const std::string& name) { return image_fixtures().at("decoded/" + name); }

TEST_CASE("image file: sizes from headers alone") {
  const auto size = [](const std::string& name) { return image_size(image_file(name), name); };
  for (const std::string name : {"jpeg", "progressive", "444", "turned", "png", "bmp", "webp", "ppm", "palette-png"}) {
    CAPTURE(name);
    CHECK(size(name) == Shape{18, 22, 3});
  }
  CHECK(size("grey-jpeg") == Shape{18, 22, 1});
  CHECK(size("grey-png") == Shape{18, 22, 1});
  CHECK(size("deep-png") == Shape{18, 22, 1});
  CHECK(size("cmyk") == Shape{18, 22, 4});
  CHECK(size("alpha-png") == Shape{18, 22, 4});
  CHECK(size("large") == Shape{200, 260, 3});
}

TEST_CASE("image file: the pixels Pillow sees") {
  if (without_libraries()) return;
  for (const std::string name : {"png", "grey-png", "alpha-png", "palette-png", "deep-png", "bmp", "webp", "ppm"}) {
    CAPTURE(name);
    CHECK(difference(decode_image(image_file(name), name), decoded(name)).largest == 0);
  }
  // libjpeg of another version: an inverse DCT may round a sample the other way, color conversion spreads that to 2.
  for (const std::string name : {"jpeg", "progressive", "444", "grey-jpeg", "turned", "cmyk"}) {
    CAPTURE(name);
    CHECK(difference(decode_image(image_file(name), name), decoded(name)).largest <= 2);
  }
}

TEST_CASE("image file: samples that do not end at 255 are scaled as Pillow does it") {
  for (const std::string greatest : {"1", "2", "6", "15", "100", "255", "1023", "65535"}) {
    for (const std::string kind : {"p2-", "p3-", "p5-", "p6-"}) {
      const std::string name = kind + greatest;
      CAPTURE(name);
      CHECK(difference(decode_image(image_file(name), name), decoded(name)).largest == 0);
    }
  }
  for (const std::string name : {"p1", "p4", "bmp-555", "bmp-565"}) {
    CAPTURE(name);
    CHECK(difference(decode_image(image_file(name), name), decoded(name)).largest == 0);
  }
  if (without_libraries()) return;
  CHECK(difference(decode_image(image_file("deep-colour-png"), "x"), decoded("deep-colour-png")).largest == 0);
}

TEST_CASE("image file: a PNM file that is not what it says") {
  const auto reading = [](const std::string& text) {
    const std::vector<uint8_t> bytes(text.begin(), text.end());
    return error_of([&] { decode_image(bytes, "x.pnm"); });
  };
  CHECK(reading("P2 2 1 7 0 7").empty());
  CHECK(reading("P1 2 2 01\n10").empty());
  CHECK(one_line_with(reading("P2 2 1 7 0 8"), "x.pnm", "a sample of 8, expected 0 to 7"));
  CHECK(one_line_with(reading("P5 2 1 7 \x01\x08"), "a sample of 8"));
  CHECK(one_line_with(reading("P2 2 1 7 0"), "cut off"));
  CHECK(one_line_with(reading("P2 2 1 7 0 x"), "expected a number at byte 11"));
  CHECK(one_line_with(reading("P2 2 1 0 0 0"), "greatest sample value of 0, expected 1 to 65535"));
  CHECK(one_line_with(reading("P2 2 1 65536 0 0"), "of 65536"));
  CHECK(one_line_with(reading("P2 2 1"), "cut off"));
  CHECK(one_line_with(reading("P1 2 1 02"), "expected 0 or 1 at byte 8"));
  CHECK(one_line_with(reading("P4 9 2 abc"), "cut off: expected 4 bytes"));
  CHECK(one_line_with(reading("P6 2 2 255 abc"), "cut off: expected 12 bytes"));
  CHECK(one_line_with(reading("P6 1 1 256 abcde"), "cut off: expected 6 bytes"));
  CHECK(one_line_with(reading("P5 1 1 255#"), "expected white space"));
  CHECK(one_line_with(reading("P3 99999 999 255 0 0 0"), "cut off"));
  CHECK(one_line_with(reading("P7 1 1"), "expected a JPEG"));
}

TEST_CASE("image file: gray on request") {
  if (without_libraries()) return;
  const Tensor gray = decode_image(image_file("grey-png"), "x", 1),
               color = decode_image(image_file("grey-png"), "x", 3);
  CHECK(gray.shape() == Shape{18, 22, 1});
  for (int64_t i = 0; i < gray.numel(); ++i) CHECK(gray.data<uint8_t>()[i] == color.data<uint8_t>()[3 * i + 1]);
  CHECK(decode_image(image_file("jpeg"), "x", 1).shape() == Shape{18, 22, 1});
  CHECK(one_line_with(error_of([] { decode_image(image_file("jpeg"), "x", 2); }), "1 or 3 channels, got 2"));
}

TEST_CASE("image file: a JPEG at a fraction of its size") {
  if (without_libraries()) return;
  for (const int shrink : {4, 8}) {
    CAPTURE(shrink);
    const Tensor small = decode_image(image_file("large"), "large", 3, shrink);
    CHECK(small.shape() == Shape{200 / shrink, (260 + shrink - 1) / shrink, 3});
    // the same smaller inverse DCT, but the color's resolution may be brought up differently
    CHECK(difference(small, decoded("large/" + std::to_string(shrink))).mean < 1.5);
  }
  CHECK(decode_image(image_file("png"), "x", 3, 4).shape() == Shape{18, 22, 3});
  CHECK(one_line_with(error_of([] { decode_image(image_file("large"), "x", 3, 3); }), "1, 2, 4 or 8, got 3"));
}

TEST_CASE("pipeline: a JPEG decoded in full and resized is Pillow's image, one decoded at a fraction is near it") {
  if (without_libraries()) return;
  const std::vector<uint8_t> file = image_file("large");  // (200, 260), an eighth of which is enough for 24
  const auto resized = [&](const std::string& decode) {
    const Pipeline pipeline = Pipeline::parse(decode + "|resize(24)|value_range(0,255)");
    Rng rng({1, 2, 3});
    const Tensor decoded = pipeline.decode({file, "large"}, rng);
    Tensor out = Tensor::empty({24, 24, 3}, DType::u8);
    pipeline.apply(decoded, rng, out.data<uint8_t>());
    return std::pair(decoded.shape(), difference(out, image_fixtures().at("resized/large/24")));
  };
  const auto [whole, full] = resized("decode(full)");
  CHECK(whole == Shape{200, 260, 3});
  CHECK(full.largest <= 2);  // as JPEG files above: libraries bring the color's resolution up differently
  CHECK(full.mean < 0.1);
  const auto [part, fast] = resized("decode");
  CHECK(part == Shape{25, 33, 3});
  MESSAGE("from Pillow, of 255: in full at most " << full.largest << ", mean " << full.mean << "; at an eighth at most "
                                                  << fast.largest << ", mean " << fast.mean);
  CHECK(fast.mean > 2);
  CHECK(fast.mean < 20);  // the picture is all grain and edges; measured 10.3
}

TEST_CASE("image file: cut anywhere, a file is an error that names it") {
  for (const std::string name : {"jpeg", "progressive", "png", "bmp", "webp"}) {
    CAPTURE(name);
    auto whole = image_file(name);
    // What need not be there: PNG's last chunk and checksums, the padding of the last row.
    whole.erase(whole.end() - (name == "png" ? 20 : name == "bmp" ? 2 : 0), whole.end());
    for (size_t length = 0; length < whole.size(); length += 1 + length / 16) {
      CAPTURE(length);
      const std::vector<uint8_t> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      if (can_decode_images()) {
        CHECK_THROWS_AS(decode_image(part, "part.img"), ImageError);
        CHECK(one_line_with(error_of([&] { decode_image(part, "part.img"); }), "part.img"));
      } else if (length < 33) {
        CHECK_THROWS_AS(image_size(part, "part.img"), ImageError);
      }
    }
  }
  CHECK(one_line_with(error_of([] { image_size({}, "zero.jpg"); }), "zero.jpg", "an empty one of 0 bytes"));
  const std::string page = "<html>404 Not Found</html>";
  const std::vector<uint8_t> html(page.begin(), page.end());
  CHECK(one_line_with(error_of([&] { image_size(html, "page.jpg"); }), "page.jpg", "JPEG, PNG", "of 26 bytes"));
}

/// A lie in a PNG header that its checksum backs.
void set_header_checksum(std::vector<uint8_t>& png) {
  const uint32_t crc = test::crc32(std::string(png.begin() + 12, png.begin() + 29));
  for (size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
}

TEST_CASE("image file: a decompression bomb is refused by its header") {
  std::vector<uint8_t> png = image_file("png"), jpeg = image_file("jpeg"), bmp = image_file("bmp");
  for (const size_t at : {16, 20}) png[at] = 0x7F;  // width and height of two thousand million
  set_header_checksum(png);
  CHECK(one_line_with(error_of([&] { image_size(png, "bomb.png"); }), "bomb.png", "134217728 pixels", "2130706"));
  for (size_t at = 2; at + 9 < jpeg.size(); ++at) {
    if (jpeg[at] != 0xFF || jpeg[at + 1] != 0xC0) continue;
    for (size_t b = 5; b < 9; ++b) jpeg[at + b] = 0xFF;
    break;
  }
  CHECK(one_line_with(error_of([&] { image_size(jpeg, "bomb.jpg"); }), "bomb.jpg", "65535 x 65535"));
  bmp[21] = bmp[25] = 0x70;
  CHECK(one_line_with(error_of([&] { image_size(bmp, "bomb.bmp"); }), "bomb.bmp", "pixels, got"));
  png[16] = png[20] = 0;
  for (size_t b = 16; b < 24; ++b) png[b] = 0;
  set_header_checksum(png);
  CHECK(one_line_with(error_of([&] { image_size(png, "none.png"); }), "none.png", "0 x 0"));
  png = image_file("png");
  png[16] = png[19] = 1, png[18] = png[22] = 0, png[23] = 1;
  set_header_checksum(png);
  CHECK(image_size(png, "wide.png") == Shape{1, 16777217, 3});
  if (can_decode_images())
    CHECK(one_line_with(error_of([&] { decode_image(png, "wide.png"); }), "wide.png", "rows of 16777217 pixels"));
  const std::string text = "P6 999999999 999999999 255\n";
  const std::vector<uint8_t> ppm(text.begin(), text.end());
  CHECK(one_line_with(error_of([&] { image_size(ppm, "bomb.ppm"); }), "999999999 x 999999999"));
}

TEST_CASE("image file: damaged bytes give an error or an image, nothing else") {
  if (without_libraries()) return;
  for (const std::string name : {"jpeg", "png", "webp", "bmp"}) {
    CAPTURE(name);
    int images = 0;
    const auto whole = image_file(name);
    for (size_t at = 0; at < whole.size(); at += 7) {
      std::vector<uint8_t> damaged = whole;
      damaged[at] ^= 0x5A;
      const std::string message = error_of([&] { images += decode_image(damaged, "damaged").numel() > 0; });
      if (!message.empty()) CHECK(one_line_with(message, "damaged"));
    }
    CHECK(images < static_cast<int>(whole.size() / 7 + 1));
  }
}

TEST_CASE("image file: what comes of damaged bytes does not depend on the image before") {
  if (without_libraries()) return;
  const std::vector<uint8_t> before[2]{image_file("webp"), image_file("grey-png")};  // of the same size
  for (const std::string name : {"png", "webp", "bmp", "ppm", "jpeg"}) {
    CAPTURE(name);
    const auto whole = image_file(name);
    for (size_t at = 0; at < whole.size(); at += at < 64 ? 1 : 23) {
      CAPTURE(at);
      std::vector<uint8_t> damaged = whole;
      damaged[at] ^= 0x11;
      std::vector<uint8_t> pixels[2];
      for (size_t i = 0; i < 2; ++i) {
        decode_image(before[i], "before");
        try {
          pixels[i] = decode_image(damaged, "damaged").to_vector<uint8_t>();
        } catch (const ImageError&) {
        }
      }
      CHECK(pixels[0] == pixels[1]);
    }
  }
}

TEST_CASE("image file: a PNG whose header fails its checksum, a BMP file of other masks") {
  std::vector<uint8_t> png = image_file("png");
  for (const size_t at : {size_t{16}, size_t{23}, size_t{24}, size_t{28}, size_t{29}, size_t{32}}) {
    std::vector<uint8_t> damaged = png;
    damaged[at] ^= 1;
    CHECK(one_line_with(error_of([&] { image_size(damaged, "x.png"); }), "x.png", "checksum of its header"));
    CHECK_THROWS_AS(image_header(damaged, "x.png"), ImageError);
  }
  std::vector<uint8_t> bmp = image_file("bmp-565");
  bmp[55] ^= 1;
  CHECK(one_line_with(error_of([&] { image_size(bmp, "x.bmp"); }), "x.bmp", "color masks"));
}

TEST_CASE("image file: a PNG written is read back as it was") {
  const test::TemporaryFolder folder;
  if (!can_decode_images()) {
    CHECK(one_line_with(error_of([&] {
                          write_png(folder.path("x.png"), Tensor::zeros({2, 2, 3}, DType::u8));
                        }),
                        "x.png", "without the libraries"));
    CHECK(one_line_with(error_of([] { decode_image(image_file("png"), "y.png"); }), "y.png", "without the libraries"));
    return test::skip("built without image libraries");
  }
  const auto again = [&](const Tensor& image, int channels) {
    write_png(folder.path("x.png"), image);
    const std::string bytes = test::slurp(folder.path("x.png"));
    return decode_image(std::vector<uint8_t>(bytes.begin(), bytes.end()), "x.png", channels);
  };
  const Tensor image = image_fixtures().at("image"), gray = decode_image(image_file("grey-png"), "x", 1);
  CHECK(difference(again(image, 3), image).largest == 0);
  CHECK(difference(again(gray, 1), gray).largest == 0);
  CHECK(one_line_with(error_of([&] {
                        write_png(folder.path("y.png"), Tensor::zeros({2, 2, 3}));
                      }),
                      "y.png", "u8", "f32"));
  CHECK(one_line_with(error_of([&] { write_png(folder.path("none/y.png"), image); }), "none/y.png", "No such file"));
}

}  // namespace
}  // namespace sked

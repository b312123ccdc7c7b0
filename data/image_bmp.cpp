// BMP files (Windows bitmaps and OS/2's first): indices of 1, 4 and 8 bits, run-length coded or not, and colors of 16,
// 24 and 32 bits, as Pillow reads them.
#include <algorithm>
#include <vector>

#include "data/codecs.h"

namespace sked {
namespace {

using Masks = std::array<int64_t, 3>;

/// Compression methods.
enum : int64_t { kPlain = 0, kRuns8 = 1, kRuns4 = 2, kMasked = 3 };

struct Bitmap {
  int64_t width = 0, height = 0, bits = 0, method = kPlain, colors = 0;
  bool top_down = false;
  size_t header = 0, data = 0;  // bytes of the second header; where the pixels begin
  size_t entry = 4;             // bytes of a palette entry
};

/// The second header says how long it is; OS/2's first one is the only one with short sizes.
std::optional<Bitmap> bitmap_of(Bytes bytes, const std::string& source) {
  if (bytes.size() < 18) return std::nullopt;
  constexpr std::array<size_t, 7> kHeaders{12, 40, 52, 56, 64, 108, 124};
  Bitmap b{.header = static_cast<size_t>(little_endian(bytes, 14, 4)),
           .data = static_cast<size_t>(little_endian(bytes, 10, 4))};
  if (std::ranges::find(kHeaders, b.header) == kHeaders.end())
    refuse_image(source, "a BMP file with a header of ", b.header, " bytes, expected 12, 40, 52, 56, 64, 108 or 124");
  if (bytes.size() < 14 + b.header) return std::nullopt;
  if (b.header == 12) {
    b.width = little_endian(bytes, 18, 2), b.height = little_endian(bytes, 20, 2);
    b.bits = little_endian(bytes, 24, 2), b.entry = 3;
  } else {
    b.width = little_endian(bytes, 18, 4), b.height = little_endian(bytes, 22, 4);
    b.top_down = bytes[25] == 0xFF;
    if (b.top_down) b.height = (int64_t{1} << 32) - b.height;
    b.bits = little_endian(bytes, 28, 2), b.method = little_endian(bytes, 30, 4);
    b.colors = little_endian(bytes, 46, 4);
  }
  constexpr std::array<int64_t, 6> kBits{1, 4, 8, 16, 24, 32};
  if (std::ranges::find(kBits, b.bits) == kBits.end())
    refuse_image(source, "a BMP file of ", b.bits, " bits a pixel, expected 1, 4, 8, 16, 24 or 32");
  if (b.method > kMasked) refuse_image(source, "a BMP file compressed by method ", b.method, ", expected 0 to 3");
  const bool runs = b.method == kRuns4 || b.method == kRuns8;
  if ((runs && b.bits > 8) || (b.method == kMasked && b.bits <= 8))
    refuse_image(source, "a BMP file compressed by method ", b.method, " with ", b.bits, " bits a pixel");
  if (b.colors == 0 && b.bits <= 8) b.colors = int64_t{1} << b.bits;
  if (b.bits <= 8 && b.colors > 65536) refuse_image(source, "a BMP file of ", b.colors, " colors, expected 1 to 65536");
  return b;
}

/// Where the palette, or the masks of a short header, begin; and the pixels, where the file does not say.
size_t behind_header(const Bitmap& b) { return 14 + b.header; }

/// Which bytes (32 bits a pixel) or bits are red, green and blue: one of the layouts that Pillow knows.
Masks masks_of(Bytes bytes, const Bitmap& b, const std::string& source) {
  constexpr Masks k555{0x7C00, 0x3E0, 0x1F}, k565{0xF800, 0x7E0, 0x1F}, k888{0xFF0000, 0xFF00, 0xFF};
  constexpr Masks kXbgr{0xFF000000, 0xFF0000, 0xFF00}, kBgxr{0xFF000000, 0xFF00, 0xFF}, kRgba{0xFF, 0xFF00, 0xFF0000};
  const Masks usual = b.bits == 16 ? k555 : k888;
  if (b.method != kMasked) return usual;
  if (bytes.size() < 66) refuse_image(source, "cut off: expected color masks");
  Masks masks;
  for (size_t c = 0; c < 3; ++c) masks[c] = little_endian(bytes, 54 + 4 * c, 4);
  if (b.bits == 32 && masks == Masks{0, 0, 0}) return usual;
  const bool known = b.bits == 16   ? masks == k555 || masks == k565
                     : b.bits == 24 ? masks == k888
                                    : masks == k888 || masks == kXbgr || masks == kBgxr || masks == kRgba;
  if (!known)
    refuse_image(source,
                 "a BMP file with unusual color masks, expected 5-5-5, 5-6-5 or 8-8-8 bits of red, green, blue");
  return masks;
}

/// Reads rows, from the file's first to its last; `place` says where in the image a row goes.
class BmpReader {
 public:
  BmpReader(Bytes bytes, const std::string& source, const Bitmap& bitmap)
      : bytes_(bytes), source_(source), b_(bitmap) {}
  Tensor read();

 private:
  uint8_t* place(int64_t row) {
    return pixels_.data<uint8_t>() + (b_.top_down ? row : b_.height - 1 - row) * b_.width * 3;
  }
  void read_palette(size_t& data);
  void read_runs(size_t at);
  void read_row(const uint8_t* row, const Masks& masks, uint8_t* out) const;

  Bytes bytes_;
  const std::string& source_;
  const Bitmap b_;
  Palette palette_{};
  Tensor pixels_;  // allocated when the file is known to be long enough
};

/// Blue, green, red and perhaps nothing. A palette of grays 0, 1, 2 … goes on behind its end, as Pillow has it.
void BmpReader::read_palette(size_t& data) {
  const size_t begin = behind_header(b_), count = static_cast<size_t>(b_.colors);
  if (bytes_.size() < begin || (bytes_.size() - begin) / b_.entry < count)
    refuse_image(source_, "cut off: expected ", count, " colors");
  bool ramp = true;
  for (size_t i = 0; i < std::min<size_t>(count, 256); ++i) {
    for (size_t c = 0; c < 3; ++c) palette_[i][c] = bytes_[begin + b_.entry * i + 2 - c];
    for (size_t c = 0; c < 3; ++c) ramp = ramp && palette_[i][c] == i;
  }
  for (size_t i = count; ramp && i < 256; ++i) palette_[i].fill(static_cast<uint8_t>(i));
  // Many files give no place, or one that forgets the palette.
  if (data == 0 || data == begin) data = begin + b_.entry * count;
}

/// Run-length coded indices. As Pillow reads them, a run that is too long for its row is cut, rows may be left early,
/// and what is skipped has index 0; fewer than all pixels are too few.
void BmpReader::read_runs(size_t at) {
  const int64_t width = b_.width, count = b_.width * b_.height;
  int64_t done = 0, x = 0;  // pixels; place in the row
  const auto put = [&](uint8_t index) {
    if (done < count) std::copy_n(palette_[index].data(), 3, place(done / width) + done % width * 3);
    ++done;
  };
  const auto nibble = [](uint8_t byte, int64_t i) { return static_cast<uint8_t>(i % 2 == 0 ? byte >> 4 : byte & 15); };
  const bool four = b_.method == kRuns4;
  while (done < count && at + 2 <= bytes_.size()) {
    const int64_t run = bytes_[at];
    const uint8_t byte = bytes_[at + 1];
    at += 2;
    if (run > 0) {
      const int64_t kept = std::clamp<int64_t>(width - x, 0, run);
      for (int64_t i = 0; i < kept; ++i) put(four ? nibble(byte, i) : byte);
      x += kept;
    } else if (byte == 0) {  // end of the row
      while (done % width != 0) put(0);
      x = 0;
    } else if (byte == 1) {  // end of the image
      break;
    } else if (byte == 2) {  // to the right and up
      if (at + 2 > bytes_.size()) break;
      const int64_t skipped = std::min(count - done, bytes_[at] + bytes_[at + 1] * width);
      at += 2;
      for (int64_t i = 0; i < skipped; ++i) put(0);
      x = done % width;
    } else {  // as they are, in whole words of the file
      const int64_t literal = std::min<int64_t>(count - done, byte);
      const auto taken = static_cast<size_t>(four ? (literal + 1) / 2 : literal);
      if (taken > bytes_.size() - at) break;
      for (int64_t i = 0; i < literal; ++i)
        put(four ? nibble(bytes_[at + static_cast<size_t>(i) / 2], i) : bytes_[at + static_cast<size_t>(i)]);
      at += taken + (at + taken) % 2;
      x += byte;
    }
  }
  if (done < count) refuse_image(source_, "cut off: expected ", count, " pixels, got ", done);
}

void BmpReader::read_row(const uint8_t* row, const Masks& masks, uint8_t* out) const {
  const auto shift_of = [](int64_t mask) { return __builtin_ctzll(static_cast<uint64_t>(mask)); };
  const int64_t bits = b_.bits, bytes = bits / 8;
  for (int64_t x = 0; x < b_.width; ++x, out += 3) {
    if (bits <= 8) {
      const int64_t at = x * bits;
      const auto index = static_cast<size_t>(row[at / 8] >> (8 - bits - at % 8) & ((1 << bits) - 1));
      std::copy_n(palette_[index].data(), 3, out);
      continue;
    }
    int64_t pixel = 0;
    for (int64_t i = bytes; i > 0; --i) pixel = pixel << 8 | row[x * bytes + i - 1];
    for (size_t c = 0; c < 3; ++c) {
      const int shift = shift_of(masks[c]);
      const int64_t white = masks[c] >> shift;
      out[c] = static_cast<uint8_t>((pixel >> shift & white) * 255 / white);
    }
  }
}

Tensor BmpReader::read() {
  size_t data = b_.data;
  Masks masks{};
  if (b_.bits <= 8) {
    read_palette(data);
  } else {
    masks = masks_of(bytes_, b_, source_);
    if (data == 0) data = behind_header(b_) + (b_.method == kMasked && b_.header == 40 ? 12 : 0);
  }
  const Shape shape{b_.height, b_.width, 3};
  if (b_.method == kRuns4 || b_.method == kRuns8) {
    pixels_ = Tensor::empty(shape, DType::u8);
    read_runs(data);
    return pixels_;
  }
  const auto used = static_cast<size_t>((b_.width * b_.bits + 7) / 8), stride = (used + 3) / 4 * 4;
  const size_t needed = stride * static_cast<size_t>(b_.height - 1) + used;  // the last row may lack its padding
  if (data > bytes_.size() || bytes_.size() - data < needed)
    refuse_image(source_, "cut off: expected ", needed, " bytes of pixels from byte ", data, " on, got ", bytes_.size(),
                 " in all");
  pixels_ = Tensor::empty(shape, DType::u8);
  for (int64_t r = 0; r < b_.height; ++r)
    read_row(bytes_.data() + data + static_cast<size_t>(r) * stride, masks, place(r));
  return pixels_;
}

}  // namespace

std::optional<ImageHeader> bmp_header(Bytes bytes, const std::string& source) {
  const std::optional<Bitmap> b = bitmap_of(bytes, source);
  if (!b) return std::nullopt;
  if (b->bits > 8) masks_of(bytes, *b, source);
  return ImageHeader{.height = b->height, .width = b->width, .channels = b->bits == 32 ? 4 : 3};
}

Tensor bmp_pixels(Bytes bytes, const std::string& source, const ImageHeader&) {
  return BmpReader(bytes, source, *bitmap_of(bytes, source)).read();
}

}  // namespace sked

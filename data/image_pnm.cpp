// PNM files: bitmaps, gray and color, as text or bytes, of any greatest sample value.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>
#include <vector>

#include "data/codecs.h"

namespace sked {
namespace {

/// Reads a file front to back; every failure names it.
class PnmReader {
 public:
  PnmReader(std::span<const uint8_t> bytes, const std::string& source) : bytes_(bytes), source_(source) {}
  Tensor read();

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    if (!ok) detail::throw_error<ImageError>("image", source_, ": ", parts..., " at byte ", at_);
  }
  bool at_end() const { return at_ >= bytes_.size(); }
  void skip_blanks();
  int64_t number();
  /// The samples as the file has them, at most `greatest`.
  int64_t sample(int64_t greatest);
  void read_bits(const Shape& shape, uint8_t* out);

  std::span<const uint8_t> bytes_;
  const std::string& source_;
  size_t at_ = 2;  // behind the magic
  bool plain_ = false;
};

/// White space, and comments from `#` to the end of their line.
void PnmReader::skip_blanks() {
  for (; !at_end() && (std::isspace(bytes_[at_]) != 0 || bytes_[at_] == '#'); ++at_) {
    if (bytes_[at_] == '#')
      while (!at_end() && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
  }
}

int64_t PnmReader::number() {
  skip_blanks();
  int64_t value = 0, digits = 0;
  for (; !at_end() && std::isdigit(bytes_[at_]) != 0; ++at_, ++digits) {
    check(digits < 9, "a number of more than 9 digits");
    value = 10 * value + (bytes_[at_] - '0');
  }
  check(digits > 0, at_end() ? "cut off: expected a number" : "expected a number");
  return value;
}

int64_t PnmReader::sample(int64_t greatest) {
  int64_t value = 0;
  if (plain_) {
    value = number();
  } else {
    for (int i = greatest > 255 ? 2 : 1; i > 0; --i) {
      check(!at_end(), "cut off: expected a sample");
      value = value << 8 | bytes_[at_++];
    }
  }
  check(value <= greatest, "a sample of ", value, ", expected 0 to ", greatest);
  return value;
}

/// P1: digits 0 and 1, with or without blanks between them; P4: rows of bits, each row in whole bytes. 1 is black.
void PnmReader::read_bits(const Shape& shape, uint8_t* out) {
  for (int64_t r = 0; r < shape[0]; ++r) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      if (plain_) skip_blanks();
      check(!at_end(), "cut off: expected a bit");
      bool black = false;
      if (plain_) {
        check(bytes_[at_] == '0' || bytes_[at_] == '1', "expected 0 or 1");
        black = bytes_[at_++] == '1';
      } else {
        black = (bytes_[at_] >> (7 - c % 8) & 1) != 0;
        if (c % 8 == 7 || c + 1 == shape[1]) ++at_;
      }
      *out++ = black ? 0 : 255;
    }
  }
}

Tensor PnmReader::read() {
  const int kind = bytes_[1] - '0';
  plain_ = kind <= 3;
  const int64_t width = number(), height = number();
  const bool bits = kind == 1 || kind == 4;
  const int64_t greatest = bits ? 1 : number();
  check(greatest >= 1 && greatest <= 65535, "a greatest sample value of ", greatest, ", expected 1 to 65535");
  if (!plain_) {
    check(!at_end() && std::isspace(bytes_[at_]) != 0, "expected white space before the samples");
    ++at_;
  }
  // The least the samples take, before anything is allocated: a bit, a byte or two, a digit.
  const Shape shape{height, width, kind == 3 || kind == 6 ? 3 : 1};
  const int64_t least = kind == 4                   ? height * ((width + 7) / 8)
                        : !plain_ && greatest > 255 ? 2 * shape.numel()
                                                    : shape.numel();
  check(static_cast<int64_t>(bytes_.size() - at_) >= least, "cut off: expected ", least, " bytes of samples");
  Tensor pixels = Tensor::empty(shape, DType::u8);
  auto* out = pixels.data<uint8_t>();
  if (bits) {
    read_bits(shape, out);
    return pixels;
  }
  if (!plain_ && greatest == 255) {
    std::copy_n(bytes_.data() + at_, pixels.numel(), out);
    return pixels;
  }
  std::vector<uint8_t> scaled;
  for (int64_t v = 0; v <= greatest; ++v) {
    scaled.push_back(
        static_cast<uint8_t>(std::nearbyint(static_cast<double>(v) / static_cast<double>(greatest) * 255)));
  }
  for (int64_t i = 0; i < pixels.numel(); ++i) out[i] = scaled[static_cast<size_t>(sample(greatest))];
  return pixels;
}

}  // namespace

Tensor pnm_pixels(Bytes bytes, const std::string& source, const ImageHeader&) {
  const Tensor pixels = PnmReader(bytes, source).read();
  if (pixels.dim(2) == 3) return pixels;
  Tensor colors = Tensor::empty({pixels.dim(0), pixels.dim(1), 3}, DType::u8);
  for (int64_t i = 0; i < pixels.numel(); ++i)
    std::fill_n(colors.data<uint8_t>() + 3 * i, 3, pixels.data<uint8_t>()[i]);
  return colors;
}

}  // namespace sked

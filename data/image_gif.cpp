// The first image of a GIF file (CompuServe, GIF 89a, 1990) on its canvas, as Pillow reads it.
#include <algorithm>
#include <vector>

#include "data/codecs.h"

namespace sked {
namespace {

/// Where the first image stands, and what is said of it before its data.
struct Frame {
  int64_t height = 0, width = 0;  // of the canvas, enlarged where the image goes beyond it
  int64_t left = 0, top = 0, columns = 0, rows = 0;
  bool interlaced = false;
  Palette palette{};
  uint8_t background = 0;  // the index behind the image: the transparent one, where there is one
  size_t data = 0;         // the first block of its codes
  int code_bits = 0;
};

/// `count` colors. Grays 0, 1, 2 … are no palette for Pillow: an index is then its own gray.
Palette palette_of(Bytes colors) {
  Palette palette{}, grays;
  for (size_t i = 0; i < grays.size(); ++i) grays[i].fill(static_cast<uint8_t>(i));
  const size_t count = colors.size() / 3;
  for (size_t i = 0; i < count; ++i) std::copy_n(colors.data() + 3 * i, 3, palette[i].data());
  return std::equal(palette.begin(), palette.begin() + static_cast<std::ptrdiff_t>(count), grays.begin()) ? grays
                                                                                                          : palette;
}

/// Reads up to the first image; nothing where the file ends before its data.
class GifReader {
 public:
  explicit GifReader(Bytes bytes) : bytes_(bytes) {}

  std::optional<Frame> first_frame() {
    Frame frame;
    if (!has(13)) return std::nullopt;
    frame.width = little_endian(bytes_, 6, 2), frame.height = little_endian(bytes_, 8, 2);
    const uint8_t flags = bytes_[10];
    at_ = 13;
    if (!read_palette(flags, frame.palette)) return std::nullopt;
    while (has(1)) {
      constexpr uint8_t kExtension = '!', kImage = ',', kEnd = ';';
      const uint8_t kind = bytes_[at_++];  // any other is passed over
      if (kind == kEnd || (kind == kExtension && !read_extension(frame))) return std::nullopt;
      if (kind == kImage) return read_descriptor(frame) ? std::optional(frame) : std::nullopt;
    }
    return std::nullopt;
  }

 private:
  bool has(size_t count) const { return bytes_.size() - at_ >= count; }

  bool read_palette(uint8_t flags, Palette& palette) {
    const size_t count = (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0;
    if (!has(count)) return false;
    if (count > 0 || at_ == 13) palette = palette_of(bytes_.subspan(at_, count));
    at_ += count;
    return true;
  }

  /// Blocks up to an empty one; of a graphic control extension, the transparent index.
  bool read_extension(Frame& frame) {
    constexpr uint8_t kGraphicControl = 0xF9;
    if (!has(1)) return false;
    const bool control = bytes_[at_++] == kGraphicControl;
    for (bool first = true; has(1); first = false) {
      const size_t length = bytes_[at_++];
      if (length == 0) return true;
      if (!has(length)) return false;
      if (control && first && length >= 4 && (bytes_[at_] & 1) != 0) frame.background = bytes_[at_ + 3];
      at_ += length;
    }
    return false;
  }

  bool read_descriptor(Frame& frame) {
    if (!has(9)) return false;
    frame.left = little_endian(bytes_, at_, 2), frame.top = little_endian(bytes_, at_ + 2, 2);
    frame.columns = little_endian(bytes_, at_ + 4, 2), frame.rows = little_endian(bytes_, at_ + 6, 2);
    frame.width = std::max(frame.width, frame.left + frame.columns);
    frame.height = std::max(frame.height, frame.top + frame.rows);
    const uint8_t flags = bytes_[at_ + 8];
    frame.interlaced = (flags & 0x40) != 0;
    at_ += 9;
    if (!read_palette(flags, frame.palette) || !has(1)) return false;
    frame.code_bits = bytes_[at_++];
    frame.data = at_;
    return true;
  }

  Bytes bytes_;
  size_t at_ = 0;
};

/// Variable-length LZW codes in blocks: each code is a chain of earlier codes that ends in an index.
class LzwReader {
 public:
  LzwReader(Bytes bytes, const Frame& frame, const std::string& source)
      : bytes_(bytes), source_(source), at_(frame.data), clear_(1 << frame.code_bits) {
    start_over();
  }

  /// The indices of one more code.
  std::span<const uint8_t> next() {
    for (;;) {
      const int code = read_code();
      if (code == clear_) {
        start_over();
        continue;
      }
      if (code == clear_ + 1) refuse_image(source_, "cut off: its codes end before its last pixel");
      if (code > (last_ < 0 ? clear_ : next_)) refuse_image(source_, "damaged: a code of ", code, " before its time");
      expand(code);
      return {indices_.data() + begin_, indices_.size() - begin_};
    }
  }

 private:
  static constexpr int kMostBits = 12, kMostCodes = 1 << kMostBits;

  void start_over() {
    next_ = clear_ + 2;
    last_ = -1;
    bits_ = __builtin_ctz(static_cast<unsigned>(clear_)) + 1;
  }

  int read_code() {
    for (; held_ < bits_; held_ += 8) {
      if (block_ == 0) {
        if (at_ >= bytes_.size() || bytes_.size() - at_ - 1 < bytes_[at_])
          refuse_image(source_, "cut off: its data end before its last pixel");
        block_ = bytes_[at_++];
        held_ -= 8;
        continue;
      }
      buffer_ |= uint32_t{bytes_[at_++]} << held_;
      --block_;
    }
    const int code = static_cast<int>(buffer_ & ((1U << bits_) - 1));
    buffer_ >>= bits_;
    held_ -= bits_;
    return code;
  }

  /// Fills `indices_` from its end; then the chain of the code before, with this one's first index, gets a code.
  void expand(int code) {
    begin_ = indices_.size();
    int c = code;
    if (last_ >= 0 && code == next_) {
      indices_[--begin_] = first_;
      c = last_;
    }
    for (; c > clear_; c = before_[static_cast<size_t>(c)]) indices_[--begin_] = index_[static_cast<size_t>(c)];
    first_ = static_cast<uint8_t>(c);
    indices_[--begin_] = first_;
    if (last_ >= 0 && next_ < kMostCodes) {
      index_[static_cast<size_t>(next_)] = first_;
      before_[static_cast<size_t>(next_)] = static_cast<int16_t>(last_);
      if (next_ == (1 << bits_) - 1 && bits_ < kMostBits) ++bits_;
      ++next_;
    }
    last_ = code;
  }

  Bytes bytes_;
  const std::string& source_;
  size_t at_, block_ = 0;  // next byte; bytes left of its block
  uint32_t buffer_ = 0;
  int held_ = 0, bits_ = 0;  // bits in the buffer; bits of a code
  int clear_, next_ = 0, last_ = -1;
  uint8_t first_ = 0;
  std::array<uint8_t, kMostCodes> index_{};
  std::array<int16_t, kMostCodes> before_{};
  std::array<uint8_t, kMostCodes + 2> indices_{};
  size_t begin_ = 0;
};

/// The row behind `row`: interlaced rows come in four passes, every 8th, the 8ths between, the 4ths, the 2nds.
struct RowOrder {
  int64_t rows, row = 0, step = 1, pass = 0;

  RowOrder(int64_t count, bool interlaced) : rows(count), step(interlaced ? 8 : 1), pass(interlaced ? 0 : 3) {}
  bool done() const { return row >= rows; }
  void advance() {
    row += step;
    for (; row >= rows && pass < 3; ++pass) {
      constexpr std::array<int64_t, 3> kFirst{4, 2, 1}, kStep{8, 4, 2};
      row = kFirst[static_cast<size_t>(pass)];
      step = kStep[static_cast<size_t>(pass)];
    }
  }
};

}  // namespace

std::optional<ImageHeader> gif_header(Bytes bytes, const std::string& source) {
  const std::optional<Frame> frame = GifReader(bytes).first_frame();
  if (!frame) return std::nullopt;
  if (frame->columns == 0 || frame->rows == 0)
    refuse_image(source, "a GIF file whose first image has ", frame->rows, " x ", frame->columns, " pixels");
  if (frame->code_bits > 12)
    refuse_image(source, "a GIF file with codes of ", frame->code_bits, " bits, expected at most 12");
  return ImageHeader{.height = frame->height, .width = frame->width, .channels = 3};
}

Tensor gif_pixels(Bytes bytes, const std::string& source, const ImageHeader&) {
  const Frame frame = *GifReader(bytes).first_frame();
  Tensor pixels = Tensor::empty({frame.height, frame.width, 3}, DType::u8);
  auto* out = pixels.data<uint8_t>();
  if (frame.columns < frame.width || frame.rows < frame.height) {
    for (int64_t i = 0; i < frame.height * frame.width; ++i)
      std::copy_n(frame.palette[frame.background].data(), 3, out + 3 * i);
  }
  LzwReader codes(bytes, frame, source);
  RowOrder order(frame.rows, frame.interlaced);
  for (int64_t x = 0; !order.done();) {
    for (const uint8_t index : codes.next()) {
      if (order.done()) break;
      std::copy_n(frame.palette[index].data(), 3, out + ((frame.top + order.row) * frame.width + frame.left + x) * 3);
      if (++x < frame.columns) continue;
      x = 0;
      order.advance();
    }
  }
  return pixels;
}

}  // namespace sked

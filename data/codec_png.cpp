// PNG by libpng. Only what makes pixels is read: texts, color profiles and the like are not even unpacked.
#include <algorithm>
#include <csetjmp>
#include <cstdio>

#include <png.h>

#include "core/build.h"
#include "data/codecs.h"

namespace sked {
namespace {

const WithLibrary library(std::string("libpng ") + png_get_libpng_ver(nullptr));

/// libpng leaves a failing call by longjmp: the members that call it have no objects that would have to be destroyed.
class PngReader {
 public:
  PngReader(Bytes bytes, const std::string& source) : bytes_(bytes), source_(source) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, give_up, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail("png", source, ": out of memory");
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  /// Reads up to the image data. Returns (H, W).
  Shape begin() {
    if (setjmp(failed_) != 0) refuse();
    start();
    return {static_cast<int64_t>(png_get_image_height(png_, info_)),
            static_cast<int64_t>(png_get_image_width(png_, info_))};
  }

  /// All rows, H·W·3 bytes. What is behind the last row is not asked for: files lack the end of their data's checksum,
  /// or the last chunk.
  void read(uint8_t* out) {
    if (setjmp(failed_) != 0) {
      if (!is_complete()) refuse();
      return;
    }
    const size_t stride = size_t{png_get_image_width(png_, info_)} * 3;
    const png_uint_32 height = png_get_image_height(png_, info_);
    for (int pass = 0; pass < passes_; ++pass) {
      for (png_uint_32 r = 0; r < height; ++r) png_read_row(png_, out + r * stride, nullptr);
    }
  }

 private:
  static void give_up(png_structp png, png_const_charp message) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(self->message_, sizeof self->message_, "damaged: %s", message);
    std::longjmp(self->failed_, 1);
  }

  [[noreturn]] void refuse() const { refuse_image(source_, message_); }

  /// A chunk of image data that says it goes beyond the end of the file ends there: what is lacking may be no more than
  /// checksums.
  void shorten_last_chunk(uint8_t* head) const {
    const size_t left = bytes_.size() - at_;
    if (begins_with({head, 8}, "IDAT", 4) && static_cast<size_t>(big_endian({head, 8}, 0, 4)) > left)
      for (size_t i = 0; i < 4; ++i) head[i] = static_cast<uint8_t>(left >> (24 - 8 * i));
  }

  bool is_complete() const {
    return passes_ > 1 ? png_get_current_pass_number(png_) >= 7
                       : png_get_current_row_number(png_) >= png_get_image_height(png_, info_);
  }

  void start() {
    png_set_read_fn(png_, this, [](png_structp png, png_bytep out, size_t count) {
      auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
      if (count > self->bytes_.size() - self->at_) give_up(png, "cut off before its last row");
      std::copy_n(self->bytes_.data() + self->at_, count, out);
      self->at_ += count;
      if (count == 8) self->shorten_last_chunk(out);
    });
    png_set_user_limits(png_, static_cast<png_uint_32>(kLargestImage), static_cast<png_uint_32>(kLargestImage));
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // every chunk that need not be known
    // Checksums before the data are checked by image_header(); those of the data Pillow leaves to zlib's own.
    png_set_crc_action(png_, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_read_info(png_, info_);
    png_set_expand(png_);  // palettes, and gray of 1, 2 and 4 bits, to 8 bits
    png_set_strip_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_strip_alpha(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != size_t{png_get_image_width(png_, info_)} * 3)
      png_error(png_, "rows of an unexpected length");
  }

  Bytes bytes_;
  const std::string& source_;
  size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
  std::jmp_buf failed_;
  char message_[256] = "";
};

/// libpng's writer into a string.
class PngWriter {
 public:
  PngWriter() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, give_up, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  /// False where libpng fails.
  bool write(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels) {
    if (info_ == nullptr || setjmp(failed_) != 0) return false;
    const auto append = [](png_structp png, png_bytep bytes, size_t count) {
      static_cast<PngWriter*>(png_get_io_ptr(png))->bytes_.append(reinterpret_cast<const char*>(bytes), count);
    };
    png_set_write_fn(png_, this, append, [](png_structp) {});
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), 8,
                 channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png_, info_);
    for (int64_t r = 0; r < height; ++r) png_write_row(png_, pixels + r * width * channels);
    png_write_end(png_, info_);
    return true;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  static void give_up(png_structp png, png_const_charp) {
    std::longjmp(static_cast<PngWriter*>(png_get_error_ptr(png))->failed_, 1);
  }

  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf failed_;
  std::string bytes_;
};

}  // namespace

Tensor png_pixels(Bytes bytes, const std::string& source, const ImageHeader& header) {
  constexpr int64_t kMostColumns = 1 << 24;  // libpng keeps two rows as they are and one as it becomes
  if (header.width > kMostColumns)
    refuse_image(source, "a PNG file with rows of ", header.width, " pixels, expected at most ", kMostColumns);
  PngReader reader(bytes, source);
  const Shape size = reader.begin(), expected{header.height, header.width};
  if (size != expected) refuse_image(source, "damaged: expected a size of ", expected, ", got ", size);
  Tensor pixels = Tensor::empty({size[0], size[1], 3}, DType::u8);
  reader.read(pixels.data<uint8_t>());
  return pixels;
}

std::string png_bytes(const Tensor& image, const std::string& source) {
  require_picture(image, source);
  PngWriter writer;
  require(writer.write(image.data<uint8_t>(), image.dim(0), image.dim(1), image.dim(2)), "image", source,
          ": libpng cannot make a file of ", image);
  return writer.bytes();
}

}  // namespace sked

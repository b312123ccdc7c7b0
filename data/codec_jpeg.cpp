// JPEG by libjpeg-turbo, called as Pillow calls it, so that both take and refuse the same files.
#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>

#include "core/build.h"
#include "data/codecs.h"

namespace sked {
namespace {

#ifdef LIBJPEG_TURBO_VERSION_NUMBER
constexpr int kTurbo = LIBJPEG_TURBO_VERSION_NUMBER;
const WithLibrary library("libjpeg-turbo " + std::to_string(kTurbo / 1000000) + "." +
                          std::to_string(kTurbo / 1000 % 1000) + "." + std::to_string(kTurbo % 1000));
#else
const WithLibrary library("libjpeg " + std::to_string(JPEG_LIB_VERSION));
#endif

/// A scan of a progressive file may cost a few bytes and touch every pixel: real files have about ten.
constexpr int kMostScans = 500;
/// … and in all no more than this many pixels are touched, so that the largest images may have 12 scans.
constexpr int64_t kMostScannedPixels = 12 * kLargestImage;
/// Before the last scan of several nothing of the image is known: all of its coefficients are kept, two bytes each.
constexpr size_t kMostCoefficientBytes = size_t{1} << 29;

/// A decompressor over bytes in memory. libjpeg leaves a failing call by longjmp: each member that calls it sets the
/// place to come back to, and has no objects that would have to be destroyed.
class Decompressor {
 public:
  Decompressor(Bytes bytes, const std::string& source) : bytes_(bytes), source_(source) {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr jpeg) {
      char message[JMSG_LENGTH_MAX];
      jpeg->err->format_message(jpeg, message);
      give_up(jpeg, message);
    };
    errors_.output_message = [](j_common_ptr) {};
    jpeg_.client_data = this;
    std::snprintf(message_, sizeof message_, "cut off: its %zu bytes end before its last pixel", bytes.size());
  }
  ~Decompressor() { jpeg_destroy_decompress(&jpeg_); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  /// Reads up to the image data, for pixels at 1/`shrink` of the size. Returns (H, W) of what will come.
  Shape begin(int shrink) {
    if (setjmp(failed_) != 0) refuse();
    if (!start(shrink)) refuse();
    return {static_cast<int64_t>(jpeg_.output_height), static_cast<int64_t>(jpeg_.output_width)};
  }

  int components() const { return jpeg_.output_components; }

  /// All rows, H·W·components() bytes.
  void read(uint8_t* out) {
    if (setjmp(failed_) != 0) refuse();
    if (!read_rows(out)) refuse();
  }

 private:
  static void give_up(j_common_ptr jpeg, const char* message) {
    auto* self = static_cast<Decompressor*>(jpeg->client_data);
    std::snprintf(self->message_, sizeof self->message_, "damaged: %s", message);
    std::longjmp(self->failed_, 1);
  }

  [[noreturn]] void refuse() const { refuse_image(source_, message_); }

  /// False where the data end too early: as in Pillow, the source cannot be filled again, and libjpeg waits.
  bool start(int shrink) {
    jpeg_create_decompress(&jpeg_);
    source_manager_.next_input_byte = bytes_.data();
    source_manager_.bytes_in_buffer = bytes_.size();
    source_manager_.init_source = [](j_decompress_ptr) {};
    source_manager_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };
    source_manager_.skip_input_data = [](j_decompress_ptr jpeg, long count) {
      const auto skipped = std::min(jpeg->src->bytes_in_buffer, static_cast<size_t>(std::max(0L, count)));
      jpeg->src->next_input_byte += skipped;
      jpeg->src->bytes_in_buffer -= skipped;
    };
    source_manager_.resync_to_restart = jpeg_resync_to_restart;
    source_manager_.term_source = [](j_decompress_ptr) {};
    jpeg_.src = &source_manager_;
    progress_.progress_monitor = [](j_common_ptr jpeg) {
      const auto* d = reinterpret_cast<j_decompress_ptr>(jpeg);
      const int64_t scans = d->input_scan_number, pixels = int64_t{d->image_height} * d->image_width;
      if (scans > kMostScans || scans * pixels > kMostScannedPixels) give_up(jpeg, "too many scans");
    };
    jpeg_.progress = &progress_;
    int read;
    do read = jpeg_read_header(&jpeg_, FALSE);
    while (read == JPEG_HEADER_TABLES_ONLY);
    if (read == JPEG_SUSPENDED) return false;
    // Each block of 8 x 8 takes a bit or more (but in arithmetic coding): memory for them is not asked for without.
    const size_t blocks = ((size_t{jpeg_.image_height} + 7) / 8) * ((size_t{jpeg_.image_width} + 7) / 8);
    if (!jpeg_.arith_code && bytes_.size() < blocks / 8) return false;
    if (const size_t bytes = coefficient_bytes(); bytes > kMostCoefficientBytes) {
      std::snprintf(message_, sizeof message_,
                    "a JPEG file of several scans that takes %zu MiB to decode, expected at most %zu",
                    (bytes + (1 << 20) - 1) >> 20, kMostCoefficientBytes >> 20);
      return false;
    }
    jpeg_.out_color_space = jpeg_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_.scale_num = 1;
    jpeg_.scale_denom = static_cast<unsigned>(shrink);
    return jpeg_start_decompress(&jpeg_) != FALSE;
  }

  size_t coefficient_bytes() {
    if (jpeg_has_multiple_scans(&jpeg_) == FALSE) return 0;
    size_t bytes = 0;
    for (int c = 0; c < jpeg_.num_components; ++c) {
      const jpeg_component_info& component = jpeg_.comp_info[c];
      bytes += size_t{component.width_in_blocks} * component.height_in_blocks * sizeof(JBLOCK);
    }
    return bytes;
  }

  bool read_rows(uint8_t* out) {
    constexpr int kRows = 16;
    const size_t stride = size_t{jpeg_.output_width} * static_cast<size_t>(jpeg_.output_components);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW rows[kRows];
      const int count = std::min<int>(kRows, static_cast<int>(jpeg_.output_height - jpeg_.output_scanline));
      for (int i = 0; i < count; ++i) rows[i] = out + (jpeg_.output_scanline + static_cast<size_t>(i)) * stride;
      if (jpeg_read_scanlines(&jpeg_, rows, static_cast<JDIMENSION>(count)) == 0) return false;
    }
    // What is behind the last row may be damaged enough to be an error, but need not be there.
    jpeg_finish_decompress(&jpeg_);
    return true;
  }

  Bytes bytes_;
  const std::string& source_;
  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_manager_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf failed_;
  char message_[JMSG_LENGTH_MAX + 16];
};

/// A compressor into memory; failing calls as in Decompressor.
class Compressor {
 public:
  Compressor() {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr jpeg) {
      std::longjmp(static_cast<Compressor*>(jpeg->client_data)->failed_, 1);
    };
    errors_.output_message = [](j_common_ptr) {};
    jpeg_.client_data = this;
  }
  ~Compressor() {
    jpeg_destroy_compress(&jpeg_);
    std::free(bytes_);
  }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  /// False where libjpeg fails.
  bool write(const uint8_t* pixels, int64_t height, int64_t width, int64_t channels) {
    constexpr int kQuality = 85;
    if (setjmp(failed_) != 0) return false;
    jpeg_create_compress(&jpeg_);
    jpeg_mem_dest(&jpeg_, &bytes_, &size_);
    jpeg_.image_height = static_cast<JDIMENSION>(height);
    jpeg_.image_width = static_cast<JDIMENSION>(width);
    jpeg_.input_components = static_cast<int>(channels);
    jpeg_.in_color_space = channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&jpeg_);
    jpeg_set_quality(&jpeg_, kQuality, TRUE);
    jpeg_start_compress(&jpeg_, TRUE);
    while (jpeg_.next_scanline < jpeg_.image_height) {
      auto* row = const_cast<JSAMPROW>(pixels + int64_t{jpeg_.next_scanline} * width * channels);
      jpeg_write_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_compress(&jpeg_);
    return true;
  }
  std::string bytes() const { return {reinterpret_cast<const char*>(bytes_), size_}; }

 private:
  jpeg_compress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  std::jmp_buf failed_;
  unsigned char* bytes_ = nullptr;
  unsigned long size_ = 0;
};

}  // namespace

bool can_decode_images() { return true; }

Tensor jpeg_pixels(Bytes bytes, const std::string& source, const ImageHeader& header, int shrink) {
  Decompressor decompressor(bytes, source);
  const Shape size = decompressor.begin(shrink);
  const Shape expected{(header.height + shrink - 1) / shrink, (header.width + shrink - 1) / shrink};
  if (size != expected) refuse_image(source, "damaged: expected a size of ", expected, ", got ", size);
  Tensor pixels = Tensor::empty({size[0], size[1], 3}, DType::u8);
  if (decompressor.components() == 3) {
    decompressor.read(pixels.data<uint8_t>());
    return pixels;
  }
  // CMYK, which Adobe stores inverted; everybody takes it so.
  Tensor inks = Tensor::empty({size[0], size[1], 4}, DType::u8);
  auto* ink = inks.data<uint8_t>();
  decompressor.read(ink);
  for (int64_t i = 0; i < inks.numel(); ++i) ink[i] = static_cast<uint8_t>(255 - ink[i]);
  for (int64_t i = 0; i < inks.numel() / 4; ++i) cmyk_to_rgb(ink + 4 * i, pixels.data<uint8_t>() + 3 * i);
  return pixels;
}

std::string jpeg_bytes(const Tensor& image, const std::string& source) {
  require_picture(image, source);
  Compressor compressor;
  require(compressor.write(image.data<uint8_t>(), image.dim(0), image.dim(1), image.dim(2)), "image", source,
          ": libjpeg cannot make a file of ", image);
  return compressor.bytes();
}

}  // namespace sked

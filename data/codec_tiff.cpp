// TIFF by libtiff: the first page, in strips or tiles.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include <tiffio.h>

#include "core/build.h"
#include "data/codecs.h"

namespace sked {
namespace {

const WithLibrary library("libtiff");

/// The file as libtiff sees it: bytes in memory, and its first complaint.
struct MemoryFile {
  Bytes bytes;
  uint64_t at = 0;
  char complaint[256] = "";
};

MemoryFile& file_of(thandle_t handle) { return *static_cast<MemoryFile*>(handle); }

tmsize_t read_bytes(thandle_t handle, void* out, tmsize_t count) {
  MemoryFile& file = file_of(handle);
  const uint64_t left = file.bytes.size() - std::min<uint64_t>(file.at, file.bytes.size());
  const auto n = std::min<uint64_t>(left, count < 0 ? 0 : static_cast<uint64_t>(count));
  if (n > 0) std::copy_n(file.bytes.data() + file.at, n, static_cast<uint8_t*>(out));
  file.at += n;
  return static_cast<tmsize_t>(n);
}

toff_t seek(thandle_t handle, toff_t offset, int whence) {
  MemoryFile& file = file_of(handle);
  file.at = offset + (whence == SEEK_CUR ? file.at : whence == SEEK_END ? file.bytes.size() : 0);
  return file.at;
}

/// Errors are kept with the file they belong to; libtiff's handlers are one for all threads.
void keep_complaint(thandle_t handle, const char*, const char* format, va_list words) {
  if (handle == nullptr) return;
  MemoryFile& file = file_of(handle);
  if (file.complaint[0] == '\0') std::vsnprintf(file.complaint, sizeof file.complaint, format, words);
}

void set_handlers() {
  static const bool once = [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetErrorHandlerExt(keep_complaint);
    TIFFSetWarningHandler(nullptr);
    TIFFSetWarningHandlerExt(nullptr);
    return true;
  }();
  static_cast<void>(once);
}

/// Zeros, since libtiff may leave the end of a damaged strip unwritten and say nothing; by calloc, so that a file that
/// announces much and has little does not get the memory.
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Zeros = std::unique_ptr<T[], Free>;
template <class T>
Zeros<T> zeros(size_t count) {
  Zeros<T> memory(static_cast<T*>(std::calloc(count, sizeof(T))));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

template <class T>
T field(TIFF* tiff, uint32_t tag, T otherwise) {
  T value = otherwise;
  return TIFFGetFieldDefaulted(tiff, tag, &value) == 1 ? value : otherwise;
}

class TiffReader {
 public:
  TiffReader(Bytes bytes, const std::string& source) : source_(source), file_{.bytes = bytes} {
    set_handlers();
    // "r" without "m"apping: there are no pages to map.
    const auto no_write = [](thandle_t, void*, tmsize_t) -> tmsize_t { return 0; };
    const auto close = [](thandle_t) { return 0; };
    const auto size = [](thandle_t handle) -> toff_t { return file_of(handle).bytes.size(); };
    const auto no_map = [](thandle_t, void**, toff_t*) { return 0; };
    const auto no_unmap = [](thandle_t, void*, toff_t) {};
    tiff_.reset(TIFFClientOpen("image", "rm", &file_, read_bytes, no_write, seek, close, size, no_map, no_unmap));
    if (tiff_ == nullptr) refuse_file();
  }

  Tensor read(const ImageHeader& header);

 private:
  [[noreturn]] void refuse_file() const {
    refuse_image(source_, "damaged or cut off: ",
                 file_.complaint[0] != '\0' ? file_.complaint : "its data end before its last pixel");
  }
  void read_layout(const ImageHeader& header);
  void check_layout() const;
  Shape area() const;
  void read_areas(Tensor& pixels);
  void read_area(int64_t top, int64_t left, int64_t rows, int64_t columns, uint8_t* out, int64_t out_stride);
  void read_segment(uint32_t segment, uint8_t* buffer, int64_t least);
  void samples_of_row(const uint8_t* row, int64_t columns, int64_t interleaved, int64_t first, uint8_t* samples) const;
  void convert_row(const uint8_t* samples, int64_t columns, uint8_t* rgb) const;
  void read_by_library(Tensor& pixels);

  const std::string& source_;
  MemoryFile file_;
  struct Close {
    void operator()(TIFF* tiff) const { TIFFClose(tiff); }
  };
  std::unique_ptr<TIFF, Close> tiff_;
  int64_t height_ = 0, width_ = 0;
  uint16_t bits_ = 1, samples_ = 1, compression_ = COMPRESSION_NONE, photometric_ = 0;
  uint16_t planar_ = PLANARCONFIG_CONTIG, format_ = SAMPLEFORMAT_UINT;
  int64_t used_ = 1;            // samples that make the color
  bool premultiplied_ = false;  // the next one is an alpha that they are multiplied by
  bool by_library_ = false;     // colors that libtiff converts
  Palette palette_{};
  size_t segment_bytes_ = 0;
  std::vector<Zeros<uint8_t>> segments_;  // of one area: one, or one for each sample
};

void TiffReader::read_layout(const ImageHeader& header) {
  TIFF* tiff = tiff_.get();
  height_ = field<uint32_t>(tiff, TIFFTAG_IMAGELENGTH, 0), width_ = field<uint32_t>(tiff, TIFFTAG_IMAGEWIDTH, 0);
  if (height_ != header.height || width_ != header.width)
    refuse_image(source_, "damaged: expected ", header.height, " x ", header.width, " pixels, got ", height_, " x ",
                 width_);
  bits_ = field<uint16_t>(tiff, TIFFTAG_BITSPERSAMPLE, 1);
  samples_ = field<uint16_t>(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
  compression_ = field<uint16_t>(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
  photometric_ = field<uint16_t>(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISWHITE);
  planar_ = field<uint16_t>(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  format_ = field<uint16_t>(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
  const bool colors = photometric_ == PHOTOMETRIC_RGB || photometric_ == PHOTOMETRIC_YCBCR;
  used_ = colors ? 3 : photometric_ == PHOTOMETRIC_SEPARATED ? 4 : 1;
  uint16_t extra = 0, *kinds = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &extra, &kinds) == 1 && extra > 0)
    premultiplied_ = kinds[0] == EXTRASAMPLE_ASSOCALPHA && samples_ > used_ && used_ < 4;
  if (photometric_ == PHOTOMETRIC_PALETTE && bits_ <= 8) {
    uint16_t* colors[3] = {};
    if (TIFFGetField(tiff, TIFFTAG_COLORMAP, &colors[0], &colors[1], &colors[2]) != 1)
      refuse_image(source_, "a TIFF file without the palette it needs");
    for (size_t i = 0; i < size_t{1} << bits_; ++i)
      for (size_t c = 0; c < 3; ++c) palette_[i][c] = static_cast<uint8_t>(colors[c][i] >> 8);
  }
}

void TiffReader::check_layout() const {
  constexpr std::array<uint16_t, 11> kCompressions{
      COMPRESSION_NONE,     COMPRESSION_CCITTRLE, COMPRESSION_CCITTFAX3,     COMPRESSION_CCITTFAX4,
      COMPRESSION_LZW,      COMPRESSION_JPEG,     COMPRESSION_ADOBE_DEFLATE, COMPRESSION_DEFLATE,
      COMPRESSION_PACKBITS, COMPRESSION_LZMA,     COMPRESSION_ZSTD};
  if (std::ranges::find(kCompressions, compression_) == kCompressions.end() || !TIFFIsCODECConfigured(compression_))
    refuse_image(source_, "a TIFF file compressed by method ", compression_,
                 ", expected none, CCITT, LZW, JPEG, deflate, PackBits, LZMA or zstd");
  constexpr std::array<uint16_t, 6> kPhotometrics{PHOTOMETRIC_MINISWHITE, PHOTOMETRIC_MINISBLACK, PHOTOMETRIC_RGB,
                                                  PHOTOMETRIC_PALETTE,    PHOTOMETRIC_SEPARATED,  PHOTOMETRIC_YCBCR};
  if (std::ranges::find(kPhotometrics, photometric_) == kPhotometrics.end())
    refuse_image(source_, "a TIFF file of photometric interpretation ", photometric_,
                 ", expected gray, RGB, a palette, CMYK or YCbCr");
  const bool whole = format_ == SAMPLEFORMAT_UINT || format_ == SAMPLEFORMAT_VOID;
  const bool few = bits_ == 1 || bits_ == 2 || bits_ == 4;
  if (!whole || !(bits_ == 8 || (few && used_ == 1) || (bits_ == 16 && photometric_ != PHOTOMETRIC_PALETTE)))
    refuse_image(source_, "a TIFF file of ", bits_, "-bit samples",
                 format_ == SAMPLEFORMAT_IEEEFP ? " in floating point"
                 : whole                        ? ""
                                                : " with a sign",
                 ", expected 1, 2, 4, 8 or 16 bits without a sign");
  constexpr int64_t kMostSamples = 8;
  if (samples_ < used_ || samples_ > kMostSamples)
    refuse_image(source_, "a TIFF file of ", samples_, " samples a pixel, expected ", used_, " to ", kMostSamples);
}

/// One strip or tile, of at least `least` bytes where it is needed.
void TiffReader::read_segment(uint32_t segment, uint8_t* buffer, int64_t least) {
  TIFF* tiff = tiff_.get();
  // Where the directory names too few of them, libtiff would read the rest from the file's first bytes.
  if (TIFFGetStrileOffset(tiff, segment) == 0) refuse_image(source_, "cut off: it lacks strip or tile ", segment);
  const auto size = static_cast<tmsize_t>(segment_bytes_);
  const bool tiled = TIFFIsTiled(tiff) != 0;
  uint8_t& last = buffer[(tiled ? size : least) - 1];
  const auto read = [&](uint8_t before) {
    last = before;
    const tmsize_t got =
        tiled ? TIFFReadEncodedTile(tiff, segment, buffer, size) : TIFFReadEncodedStrip(tiff, segment, buffer, size);
    if (got < least) refuse_file();
    return last != before;
  };
  // Of deflate data for more rows than there are libtiff may leave out the last run, and say nothing.
  const bool deflate = compression_ == COMPRESSION_ADOBE_DEFLATE || compression_ == COMPRESSION_DEFLATE;
  if (!read(0) && deflate && !read(255))
    refuse_image(source_, "damaged: strip or tile ", segment, " holds more than its rows");
}

/// The samples first, first + 1 … of each pixel, 8 bits each: of 16 bits the high byte, fewer bits as they are.
void TiffReader::samples_of_row(const uint8_t* row, int64_t columns, int64_t interleaved, int64_t first,
                                uint8_t* samples) const {
  const int64_t wanted = planar_ == PLANARCONFIG_SEPARATE ? 1 : std::min<int64_t>(interleaved, used_ + premultiplied_);
  const int64_t step = used_ + premultiplied_;
  for (int64_t x = 0; x < columns; ++x) {
    for (int64_t s = 0; s < wanted; ++s) {
      const int64_t i = x * interleaved + s;
      uint8_t value;
      if (bits_ == 8) {
        value = row[i];
      } else if (bits_ == 16) {  // in this machine's order, little-endian
        value = row[2 * i + 1];
      } else {
        value = static_cast<uint8_t>(row[i * bits_ / 8] >> (8 - bits_ - i * bits_ % 8) & ((1 << bits_) - 1));
      }
      samples[x * step + first + s] = value;
    }
  }
}

void TiffReader::convert_row(const uint8_t* samples, int64_t columns, uint8_t* rgb) const {
  const int64_t step = used_ + premultiplied_;
  const int white = bits_ < 8 ? (1 << bits_) - 1 : 255;
  for (int64_t x = 0; x < columns; ++x, samples += step, rgb += 3) {
    if (photometric_ == PHOTOMETRIC_SEPARATED) {
      cmyk_to_rgb(samples, rgb);
    } else if (photometric_ == PHOTOMETRIC_PALETTE) {
      std::copy_n(palette_[samples[0]].data(), 3, rgb);
    } else {
      for (int64_t c = 0; c < 3; ++c) {
        int value = samples[used_ == 3 ? c : 0] * 255 / white;
        if (photometric_ == PHOTOMETRIC_MINISWHITE) value = 255 - value;
        const int alpha = premultiplied_ ? samples[used_] : 255;
        if (alpha > 0) value = std::min(255, value * 255 / alpha);
        rgb[c] = static_cast<uint8_t>(alpha > 0 ? value : 0);
      }
    }
  }
}

/// The pixels of one strip or tile, or of the part of it that is inside the image.
void TiffReader::read_area(int64_t top, int64_t left, int64_t rows, int64_t columns, uint8_t* out, int64_t out_stride) {
  TIFF* tiff = tiff_.get();
  const bool tiled = TIFFIsTiled(tiff) != 0, separate = planar_ == PLANARCONFIG_SEPARATE;
  const auto stride = static_cast<int64_t>(tiled ? TIFFTileRowSize64(tiff) : TIFFScanlineSize64(tiff));
  const auto x = static_cast<uint32_t>(left), y = static_cast<uint32_t>(top);
  for (size_t s = 0; s < segments_.size(); ++s) {
    const auto plane = static_cast<uint16_t>(s);
    const uint32_t segment = tiled ? TIFFComputeTile(tiff, x, y, 0, plane) : TIFFComputeStrip(tiff, y, plane);
    read_segment(segment, segments_[s].get(), rows * stride);
  }
  std::vector<uint8_t> samples(static_cast<size_t>(columns * (used_ + premultiplied_)));
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t s = 0; s < segments_.size(); ++s) {
      samples_of_row(segments_[s].get() + r * stride, columns, separate ? 1 : samples_, static_cast<int64_t>(s),
                     samples.data());
    }
    convert_row(samples.data(), columns, out + r * out_stride);
  }
}

/// (rows, columns) of a strip or tile, and that its size in bytes is what they make. A tile may be larger than the
/// image, but not without bounds.
Shape TiffReader::area() const {
  TIFF* tiff = tiff_.get();
  const bool tiled = TIFFIsTiled(tiff) != 0;
  const int64_t rows = tiled ? field<uint32_t>(tiff, TIFFTAG_TILELENGTH, 0)
                             : std::min<int64_t>(height_, field<uint32_t>(tiff, TIFFTAG_ROWSPERSTRIP, 0));
  const int64_t columns = tiled ? field<uint32_t>(tiff, TIFFTAG_TILEWIDTH, 0) : width_;
  constexpr int64_t kSmall = 1 << 24;
  if (rows < 1 || columns < 1 || rows > std::max(kSmall, height_ * width_) / columns)
    refuse_image(source_, "damaged: strips or tiles of ", rows, " x ", columns, " pixels");
  const int64_t interleaved = planar_ == PLANARCONFIG_SEPARATE ? 1 : samples_,
                row = (columns * interleaved * bits_ + 7) / 8;
  const auto size = static_cast<int64_t>(tiled ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff));
  const auto stride = static_cast<int64_t>(tiled ? TIFFTileRowSize64(tiff) : TIFFScanlineSize64(tiff));
  const bool short_rows = !by_library_ && (stride < row || size / rows < stride);
  if (size < 1 || size > 2 * (row + 16) * (rows + 4) || short_rows)
    refuse_image(source_, "damaged: strips or tiles of ", size, " bytes for ", rows, " x ", columns, " pixels");
  return {rows, columns};
}

void TiffReader::read_areas(Tensor& pixels) {
  TIFF* tiff = tiff_.get();
  const Shape shape = area();
  const int64_t rows = shape[0], columns = shape[1];
  segment_bytes_ = static_cast<size_t>(TIFFIsTiled(tiff) ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff));
  segments_.resize(planar_ == PLANARCONFIG_SEPARATE ? static_cast<size_t>(used_ + premultiplied_) : 1);
  constexpr size_t kMostBytes = size_t{1} << 29;  // beside the pixels: a small file may fill all of them
  if (segment_bytes_ > kMostBytes / segments_.size())
    refuse_image(source_, "a TIFF file in strips or tiles of ", segments_.size() * segment_bytes_,
                 " bytes, expected at most ", kMostBytes);
  for (auto& segment : segments_) segment = zeros<uint8_t>(segment_bytes_);
  for (int64_t top = 0; top < height_; top += rows) {
    for (int64_t left = 0; left < width_; left += columns) {
      read_area(top, left, std::min(rows, height_ - top), std::min(columns, width_ - left),
                pixels.data<uint8_t>() + (top * width_ + left) * 3, width_ * 3);
    }
  }
}

Tensor TiffReader::read(const ImageHeader& header) {
  read_layout(header);
  check_layout();
  if (photometric_ == PHOTOMETRIC_YCBCR) {  // subsampled, perhaps: the JPEG codec converts it, or else libtiff does
    by_library_ = compression_ != COMPRESSION_JPEG || planar_ != PLANARCONFIG_CONTIG;
    if (!by_library_) TIFFSetField(tiff_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  }
  area();
  Tensor pixels = Tensor::empty({height_, width_, 3}, DType::u8);
  if (by_library_) {
    read_by_library(pixels);
  } else {
    read_areas(pixels);
  }
  return pixels;
}

void TiffReader::read_by_library(Tensor& pixels) {
  const size_t count = static_cast<size_t>(height_ * width_);
  const Zeros<uint32_t> raster = zeros<uint32_t>(count);
  const auto height = static_cast<uint32_t>(height_), width = static_cast<uint32_t>(width_);
  const uint16_t stored = field<uint16_t>(tiff_.get(), TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
  if (TIFFReadRGBAImageOriented(tiff_.get(), width, height, raster.get(), stored, 1) != 1) refuse_file();
  auto* out = pixels.data<uint8_t>();
  for (const uint32_t pixel : std::span(raster.get(), count)) {
    *out++ = static_cast<uint8_t>(TIFFGetR(pixel));
    *out++ = static_cast<uint8_t>(TIFFGetG(pixel));
    *out++ = static_cast<uint8_t>(TIFFGetB(pixel));
  }
}

}  // namespace

Tensor tiff_pixels(Bytes bytes, const std::string& source, const ImageHeader& header) {
  return TiffReader(bytes, source).read(header);
}

}  // namespace sked

// What the loader is held against: libjpeg and a resize, nothing around them.
#include <cstdio>
#include <vector>

#include <jpeglib.h>

#include "apps/bench/bare.h"
#include "data/image_resample.h"

namespace sked::bench {

void bare_decode(const EncodedImage& file, int64_t size, uint8_t* out) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);  // a file that is none ends the program
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, file.bytes.data(), file.bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  const size_t stride = size_t{3} * jpeg.output_width;
  std::vector<uint8_t> image(stride * jpeg.output_height);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = image.data() + jpeg.output_scanline * stride;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  const int64_t height = jpeg.output_height, width = jpeg.output_width;
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  resample(image.data(), {height, width, 3}, {0, 0, height, width}, size, size, out);
}

}  // namespace sked::bench

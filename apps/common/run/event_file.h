#pragma once
// Event files of TensorBoard: records of TFRecord (tensorflow/core/lib/io/record_writer.h), each an Event
// (tensorflow/core/util/event.proto) in the wire format of protocol buffers, of which this is all that is needed.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sked {

/// What one moment says: `tag`, as in `train/loss`, and its value.
using Scalars = std::vector<std::pair<std::string, double>>;

/// An image of a moment, as the bytes of a PNG file.
struct EventImage {
  std::string tag;
  int64_t height = 0, width = 0, channels = 3;
  std::string png;
};

/// The first record of every event file: its version.
std::string event_version(double wall_time);
/// A start at `step`: what earlier files of the folder say of this and later steps counts no more.
std::string event_start(double wall_time, int64_t step);
/// `wall_time` in seconds since 1970. Numbers are kept in f32, as TensorBoard has them.
std::string event_scalars(double wall_time, int64_t step, const Scalars& scalars);
std::string event_image(double wall_time, int64_t step, const EventImage& image);

/// CRC-32C (RFC 3720, Castagnoli's polynomial), which TFRecord sums its records with.
uint32_t crc32c(std::string_view bytes);

}  // namespace sked

#include "apps/common/run/event_file.h"

#include <array>
#include <bit>

namespace sked {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
  return table;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> 8 * i & 0xff);
  return bytes;
}

/// A message of protocol buffers: fields, each behind its number and the kind of its bytes.
class Message {
 public:
  Message& integer(int field, int64_t value) {
    key(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& real(int field, double value) {
    key(field, 1);
    bytes_ += little_endian(std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& real(int field, float value) {
    key(field, 5);
    bytes_ += little_endian(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& text(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_.append(value);
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, int kind) { varint(static_cast<uint64_t>(field << 3 | kind)); }
  void varint(uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>(value | 128);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Numbers of the fields in event.proto and summary.proto.
enum EventField { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum SummaryField { kValue = 1, kTag = 1, kSimpleValue = 2, kImage = 4 };
enum ImageField { kHeight = 1, kWidth = 2, kColorspace = 3, kEncoded = 4 };

/// A record of TFRecord: length, its checksum, the bytes, their checksum.
std::string record(const Message& event) {
  const auto sum = [](std::string_view bytes) {  // masked: a checksum of bytes that hold checksums is weak
    const uint32_t crc = crc32c(bytes);
    return little_endian((crc >> 15 | crc << 17) + 0xa282ead8u);
  };
  const std::string length = little_endian(uint64_t{event.bytes().size()});
  return length + sum(length) + event.bytes() + sum(event.bytes());
}

Message event(double wall_time, int64_t step) {
  Message e;
  e.real(kWallTime, wall_time);
  if (step != 0) e.integer(kStep, step);
  return e;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

std::string event_version(double wall_time) { return record(event(wall_time, 0).text(kFileVersion, "brain.Event:2")); }

std::string event_start(double wall_time, int64_t step) {
  constexpr int kStatus = 1, kStart = 1;
  return record(event(wall_time, step).message(kSessionLog, Message().integer(kStatus, kStart)));
}

std::string event_scalars(double wall_time, int64_t step, const Scalars& scalars) {
  Message summary;
  for (const auto& [tag, value] : scalars)
    summary.message(kValue, Message().text(kTag, tag).real(kSimpleValue, static_cast<float>(value)));
  return record(event(wall_time, step).message(kSummary, summary));
}

std::string event_image(double wall_time, int64_t step, const EventImage& image) {
  Message picture;
  picture.integer(kHeight, image.height).integer(kWidth, image.width).integer(kColorspace, image.channels);
  picture.text(kEncoded, image.png);
  const Message value = Message().text(kTag, image.tag).message(kImage, picture);
  return record(event(wall_time, step).message(kSummary, Message().message(kValue, value)));
}

}  // namespace sked

// EXIF's orientation, read without trust (CIPA DC-008; the TIFF 6.0 structure it stands in).
#include <cstring>
#include <string_view>

#include "data/image_file.h"

namespace sked {

int exif_orientation(std::span<const uint8_t> exif) {
  using namespace std::string_view_literals;
  const auto begins_with = [&](std::string_view magic) {
    return exif.size() >= magic.size() && std::memcmp(exif.data(), magic.data(), magic.size()) == 0;
  };
  if (begins_with("Exif\0\0"sv)) exif = exif.subspan(6);
  const bool little = begins_with("II*\0"sv);
  if (!little && !begins_with("MM\0*"sv)) return 1;
  // `count` bytes at `at` in the order of the file; 0 where they are not there.
  const auto number = [&](size_t at, size_t count) {
    uint64_t value = 0;
    if (at > exif.size() || count > exif.size() - at) return value;
    for (size_t i = 0; i < count; ++i) value = value << 8 | exif[at + (little ? count - 1 - i : i)];
    return value;
  };
  constexpr size_t kEntry = 12;
  constexpr uint64_t kOrientation = 0x0112, kShort = 3, kLong = 4;
  const size_t directory = number(4, 4);
  uint64_t orientation = 1;
  for (size_t i = 0, at = directory + 2; i < number(directory, 2) && at + kEntry <= exif.size(); ++i, at += kEntry) {
    const uint64_t type = number(at + 2, 2);
    if (number(at, 2) != kOrientation || number(at + 4, 4) != 1) continue;
    if (type == kShort || type == kLong) orientation = number(at + 8, type == kShort ? 2 : 4);
  }
  return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
}

}  // namespace sked

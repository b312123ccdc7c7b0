// TIFF directories, read without trust (TIFF 6.0, BigTIFF): the header of TIFF files, and the orientation in EXIF (CIPA
// DC-008), which is such a directory. And the orientation in XMP, which is text.
#include "data/codecs.h"

namespace sked {
namespace {

using namespace std::string_view_literals;

/// The first directory of a TIFF structure; believes no offset and no count.
class TiffDirectory {
 public:
  explicit TiffDirectory(Bytes bytes) : bytes_(bytes) {
    little_ = begins_with(bytes, "II*\0"sv) || begins_with(bytes, "II+\0"sv);
    big_ = begins_with(bytes, "II+\0"sv) || begins_with(bytes, "MM\0+"sv);
    if (!little_ && !big_ && !begins_with(bytes, "MM\0*"sv)) return;
    const uint64_t at = big_ ? number(8, 8) : number(4, 4);
    entries_ = at + (big_ ? 8 : 2);
    count_ = number(at, big_ ? 8 : 2);
  }

  uint64_t entries() const { return count_; }

  /// The bytes that the values of all entries take together; all there can be where one entry alone has more than the
  /// file.
  uint64_t bytes_named() const {
    constexpr std::array<uint64_t, 19> kSizes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8};  // by type
    uint64_t sum = 0;
    for_each_entry([&](uint64_t, uint64_t type, uint64_t values, uint64_t) {
      const uint64_t each = type < kSizes.size() ? kSizes[type] : 0;
      const bool fits = each == 0 || values <= bytes_.size() / each;
      sum = fits && sum != kEndless ? sum + values * each : kEndless;
    });
    return sum;
  }

  /// The whole number that entry `tag` holds, in the entry itself: as Pillow and libtiff have it, of several entries
  /// the first, of several numbers the first. Nothing where there is none.
  std::optional<int64_t> operator[](uint64_t tag) const {
    std::optional<int64_t> found;
    for_each_entry([&](uint64_t name, uint64_t type, uint64_t values, uint64_t value_at) {
      constexpr uint64_t kShort = 3, kLong = 4, kSigned = 5;  // SSHORT is 8, SLONG 9
      const uint64_t unsigned_type = type > kSigned ? type - kSigned : type;
      const uint64_t size = unsigned_type == kShort ? 2 : unsigned_type == kLong ? 4 : 0;
      if (found || name != tag || size == 0 || values == 0 || values > (big_ ? 8 : 4) / size) return;
      found = static_cast<int64_t>(number(value_at, size));
    });
    return found;
  }

 private:
  static constexpr uint64_t kEndless = ~uint64_t{0};

  /// f(tag, type, number of values, place of the values or of their offset) of each entry that is there.
  template <class F>
  void for_each_entry(F f) const {
    const uint64_t size = big_ ? 20 : 12;
    for (uint64_t i = 0, at = entries_; i < count_ && at < bytes_.size() && bytes_.size() - at >= size;
         ++i, at += size) {
      f(number(at, 2), number(at + 2, 2), number(at + 4, big_ ? 8 : 4), at + (big_ ? 12 : 8));
    }
  }

  /// `count` bytes at `at` in the order of the file; 0 where they are not there.
  uint64_t number(uint64_t at, uint64_t count) const {
    uint64_t value = 0;
    if (at > bytes_.size() || count > bytes_.size() - at) return value;
    for (uint64_t i = 0; i < count; ++i) value = value << 8 | bytes_[at + (little_ ? count - 1 - i : i)];
    return value;
  }

  Bytes bytes_;
  bool little_ = false, big_ = false;
  uint64_t entries_ = 0, count_ = 0;
};

constexpr uint64_t kWidth = 256, kHeight = 257, kOrientation = 274, kSamples = 277;

}  // namespace

std::optional<int64_t> orientation_tag(Bytes exif) {
  if (begins_with(exif, "Exif\0\0"sv)) exif = exif.subspan(6);
  return TiffDirectory(exif)[kOrientation];
}

int valid_orientation(std::optional<int64_t> orientation) {
  return orientation && *orientation >= 1 && *orientation <= 8 ? static_cast<int>(*orientation) : 1;
}

int exif_orientation(std::span<const uint8_t> exif) { return valid_orientation(orientation_tag(exif)); }

std::optional<int64_t> xmp_orientation(Bytes xmp) {
  constexpr auto kName = "tiff:Orientation"sv;
  const std::string_view text(reinterpret_cast<const char*>(xmp.data()), xmp.size());
  for (size_t at = text.find(kName); at != std::string_view::npos; at = text.find(kName, at + 1)) {
    std::string_view rest = text.substr(at + kName.size());
    const size_t quote = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
    rest.remove_prefix(quote);
    if (quote > 0 && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

std::optional<ImageHeader> tiff_header(Bytes bytes, const std::string& source) {
  const TiffDirectory directory(bytes);
  // libtiff reads the values of every entry, known or not: many that name the same bytes cost memory without bounds.
  constexpr uint64_t kMostEntries = 1000;
  if (directory.entries() > kMostEntries)
    refuse_image(source, "a TIFF directory of ", directory.entries(), " entries, expected at most ", kMostEntries);
  if (directory.bytes_named() > 2 * bytes.size())
    refuse_image(source, "damaged: a TIFF directory whose values take more bytes than the file has");
  const auto width = directory[kWidth], height = directory[kHeight];
  if (!width || !height) return std::nullopt;
  return ImageHeader{*height, *width, directory[kSamples].value_or(1), valid_orientation(directory[kOrientation])};
}

}  // namespace sked

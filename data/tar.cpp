#include "data/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kLongestExtension = 1 << 20;  // of a pax header or a GNU long name

/// A header block: https://www.gnu.org/software/tar/manual/html_node/Standard.html
using Block = std::array<char, kBlock>;

/// A field as text: up to its first NUL.
std::string_view text(const Block& block, size_t at, size_t count) {
  const std::string_view field(block.data() + at, count);
  return field.substr(0, field.find('\0'));
}

/// Octal digits with spaces around them, or GNU's base 256 (first bit set); nothing when it is neither or too large.
std::optional<int64_t> number(const Block& block, size_t at, size_t count) {
  int64_t value = 0;
  if ((block[at] & 0x80) != 0) {
    for (size_t i = 0; i < count; ++i) {
      const int byte = static_cast<unsigned char>(block[at + i]) & (i == 0 ? 0x7F : 0xFF);
      if (value > (INT64_MAX >> 8)) return std::nullopt;
      value = value << 8 | byte;
    }
    return value;
  }
  std::string_view field = text(block, at, count);
  while (field.starts_with(' ')) field.remove_prefix(1);
  while (field.ends_with(' ')) field.remove_suffix(1);
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (error != std::errc{} || end != field.data() + field.size() || value < 0) return std::nullopt;
  return value;
}

/// The sum of the block's bytes, its own field counted as spaces; old writers summed signed bytes.
bool checksum_fits(const Block& block) {
  constexpr size_t kField = 148, kLength = 8;
  int64_t plain = 0, with_sign = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const char byte = i >= kField && i < kField + kLength ? ' ' : block[i];
    plain += static_cast<unsigned char>(byte);
    with_sign += static_cast<signed char>(byte);
  }
  const std::optional<int64_t> stored = number(block, kField, kLength);
  return stored && (*stored == plain || *stored == with_sign);
}

class TarReader {
 public:
  TarReader(const std::string& path, int64_t largest) : file_(path), largest_(largest) {
    require(file_.size().has_value(), "tar", path, ": expected a regular file");
    size_ = static_cast<int64_t>(*file_.size());
  }

  std::vector<TarMember> list();

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, "tar", file_.path(), " at offset ", at_, ": ", parts...);
  }
  Block block_at(int64_t offset) const;
  bool ended(const Block& block) const;
  /// The size of the data behind a header, checked against the file.
  int64_t data_size(const Block& block) const;
  std::string extension(int64_t size) const;
  void read_pax(std::string_view records);
  void add_member(const Block& block, int64_t size);

  InputFile file_;
  int64_t largest_, size_ = 0;
  int64_t at_ = 0;  // of the header at hand
  std::optional<std::string> next_name_;
  std::optional<int64_t> next_size_;
  std::vector<TarMember> members_;
};

Block TarReader::block_at(int64_t offset) const {
  Block block{};
  const size_t got = file_.read_at(static_cast<uint64_t>(offset), block.data(), block.size());
  check(got == block.size(), "cut off: expected a header or the end marker, the file ends after ", size_, " bytes");
  return block;
}

bool TarReader::ended(const Block& block) const {
  const auto zero = [](const Block& b) { return std::ranges::all_of(b, [](char c) { return c == 0; }); };
  if (!zero(block)) return false;
  // Some writers end the file after one: what a member would have followed is not there to be lost.
  check(at_ + kBlock == size_ || zero(block_at(at_ + kBlock)), "a lone block of zeros: expected two as the end marker");
  return true;
}

int64_t TarReader::data_size(const Block& block) const {
  std::optional<int64_t> size = number(block, 124, 12);
  check(size.has_value(), "the size of ", excerpt(text(block, 0, 100)), " is not a number");
  // A pax size is that of the file it announces, not of a further extension between them.
  if (next_size_ && (block[156] == '0' || block[156] == '\0' || block[156] == '7')) size = next_size_;
  check(*size <= largest_, excerpt(text(block, 0, 100)), " has ", *size, " bytes, expected at most ", largest_);
  check(*size <= size_ - at_ - kBlock, "cut off: ", excerpt(text(block, 0, 100)), " has ", *size,
        " bytes, the file ends after ", size_);
  return *size;
}

std::string TarReader::extension(int64_t size) const {
  check(size <= kLongestExtension, "an extended header of ", size, " bytes, expected at most ", kLongestExtension);
  std::string bytes(static_cast<size_t>(size), '\0');
  file_.read_at(static_cast<uint64_t>(at_ + kBlock), bytes.data(), bytes.size());
  return bytes;
}

/// Records `<length> <key>=<value>\n`, of which `path` and `size` matter here.
void TarReader::read_pax(std::string_view records) {
  while (!records.empty()) {
    size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<size_t>(end - records.data());
    const bool whole = error == std::errc{} && length >= digits + 3 && length <= records.size() &&
                       records[digits] == ' ' && records[length - 1] == '\n';
    check(whole, "a pax header with the record ", excerpt(records));
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    check(equals != std::string_view::npos, "a pax header with the record ", excerpt(record));
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") next_name_ = std::string(value);
    if (key == "size") {
      int64_t size = -1;
      const auto [stop, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
      check(wrong == std::errc{} && stop == value.data() + value.size() && size >= 0, "a pax size of ", excerpt(value));
      next_size_ = size;
    }
    check(!key.starts_with("GNU.sparse"), "a sparse file: expected a plain one");
    records.remove_prefix(length);
  }
}

void TarReader::add_member(const Block& block, int64_t size) {
  std::string name(text(block, 0, 100));
  // Only ustar has a prefix there; GNU's magic is "ustar  ".
  const std::string_view prefix = text(block, 345, 155);
  if (std::string_view(block.data() + 257, 6) == std::string_view("ustar\0", 6) && !prefix.empty()) {
    name = std::string(prefix) + "/" + name;
  }
  if (next_name_) name = *next_name_;
  while (name.starts_with("./")) name.erase(0, 2);
  check(stays_below(name), "expected a relative name without `..`, got \"", excerpt(name), "\"");
  members_.push_back({std::move(name), at_ + kBlock, size});
}

std::vector<TarMember> TarReader::list() {
  check(size_ > 0, "an empty file, expected a tar archive");
  for (;;) {
    const Block block = block_at(at_);
    if (ended(block)) return std::move(members_);
    const bool gzipped = at_ == 0 && block[0] == '\x1f' && block[1] == '\x8b';
    check(checksum_fits(block), gzipped ? "a gzip file, expected a plain tar archive (gunzip it)"
                                        : "not a tar header: its checksum is wrong");
    const char type = block[156];
    check(type != '1' && type != '2', excerpt(text(block, 0, 100)), " is a link, expected a file");
    const int64_t size = type == '5' ? 0 : data_size(block);
    switch (type) {
      case '0':
      case '\0':
      case '7':
        add_member(block, size);
        [[fallthrough]];
      case '5':
        next_name_.reset();
        next_size_.reset();
        break;
      case 'x':
        read_pax(extension(size));
        break;
      case 'L': {
        const std::string name = extension(size);
        next_name_ = name.substr(0, name.find('\0'));
        break;
      }
      case 'K':
      case 'g':
        break;
      default:
        check(false, excerpt(text(block, 0, 100)), " is of type `", excerpt({&type, 1}), "`, expected a file");
    }
    at_ += kBlock + (size + kBlock - 1) / kBlock * kBlock;
  }
}

}  // namespace

std::vector<TarMember> list_tar(const std::string& path, int64_t largest) { return TarReader(path, largest).list(); }

std::vector<uint8_t> read_member(const std::string& path, const TarMember& member) {
  const InputFile file(path);
  std::vector<uint8_t> bytes(static_cast<size_t>(member.size));
  const size_t got = file.read_at(static_cast<uint64_t>(member.offset), bytes.data(), bytes.size());
  require(got == bytes.size(), "tar", path, ": ", excerpt(member.name), " at offset ", member.offset,
          " is cut off: expected ", member.size, " bytes, got ", got);
  return bytes;
}

}  // namespace sked

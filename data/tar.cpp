#include "data/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/gzip.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kLongestExtension = 1 << 20;  // of a pax header or a GNU long name
constexpr int64_t kSearched = 1 << 26;          // bytes behind an archive's end that are searched for headers

/// A header block: https://www.gnu.org/software/tar/manual/html_node/Standard.html
using Block = std::array<char, kBlock>;

/// A field as text: up to its first NUL.
std::string_view text(const Block& block, size_t at, size_t count) {
  const std::string_view field(block.data() + at, count);
  return field.substr(0, field.find('\0'));
}

/// Octal digits with spaces around them (none: 0), or GNU's base 256 (first bit set); nothing when it is neither or too
/// large.
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
  const std::string_view field = trimmed(text(block, at, count));
  if (field.empty()) return 0;
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

bool all_zero(const Block& block) {
  return std::ranges::all_of(block, [](char c) { return c == 0; });
}

/// What a file that is no archive is, by its first bytes, and what to do about it; empty where that is not known.
std::string what_it_is(std::string_view bytes) {
  struct Kind {
    std::string_view magic;
    const char* what;
  };
  constexpr std::array kKinds{
      Kind{"\x28\xB5\x2F\xFD", "a zstd file, expected a tar archive (unzstd unpacks it)"},
      Kind{std::string_view("\xFD\x37zXZ\0", 6), "an xz file, expected a tar archive (unxz unpacks it)"},
      Kind{"BZh", "a bzip2 file, expected a tar archive (bunzip2 unpacks it)"},
      Kind{"\x04\x22\x4D\x18", "an lz4 file, expected a tar archive (lz4 -d unpacks it)"},
      Kind{"\x1f\x8b", "gzipped twice, expected a tar archive in it (gunzip unpacks it once)"},
      Kind{"PK\x03\x04", "a zip file, expected a tar archive (unzip it, then tar -cf)"},
      Kind{"Rar!", "a RAR file, expected a tar archive (unrar it, then tar -cf)"},
      Kind{"7z\xBC\xAF", "a 7z file, expected a tar archive (7z x, then tar -cf)"},
      Kind{"version https://git-lfs", "a pointer of Git LFS, expected the file itself (git lfs pull)"},
      Kind{"<", "a page of HTML or XML, expected a tar archive (what a failed download leaves)"}};
  for (const Kind& kind : kKinds)
    if (bytes.starts_with(kind.magic)) return kind.what;
  return "";
}

/// The bytes of an archive.
class Bytes {
 public:
  virtual ~Bytes() = default;
  /// Are there as many?
  virtual bool reach(int64_t end) = 0;
  /// Up to `count` bytes from `offset` on.
  virtual size_t read_at(int64_t offset, void* bytes, size_t count) = 0;
  /// All there are, or have been seen so far.
  virtual int64_t size() const = 0;
};

class PlainBytes final : public Bytes {
 public:
  explicit PlainBytes(const InputFile& file) : file_(file) {}
  bool reach(int64_t end) override { return end <= size(); }
  size_t read_at(int64_t offset, void* bytes, size_t count) override {
    return file_.read_at(static_cast<uint64_t>(offset), bytes, count);
  }
  int64_t size() const override { return static_cast<int64_t>(*file_.size()); }

 private:
  const InputFile& file_;
};

/// Unpacked as far as they are asked for.
class UnpackedBytes final : public Bytes {
 public:
  UnpackedBytes(const std::string& path, ScratchFile& scratch)
      : reader_(path), path_(path), scratch_(scratch), begin_(scratch.size()) {}
  bool reach(int64_t end) override {
    while (size() < end && more()) {
    }
    return size() >= end;
  }
  size_t read_at(int64_t offset, void* bytes, size_t count) override {
    reach(offset + static_cast<int64_t>(count));
    return scratch_.read_at(begin_ + static_cast<uint64_t>(offset), bytes, count);
  }
  int64_t size() const override { return static_cast<int64_t>(scratch_.size() - begin_); }

 private:
  bool more() {
    // Images hardly compress, labels and padding do. Beyond this it is a bomb.
    constexpr int64_t kAlways = int64_t{1} << 24, kTimes = 100;
    const size_t got = reader_.read(buffer_.data(), buffer_.size());
    const auto taken = static_cast<int64_t>(reader_.taken());
    require((size() + static_cast<int64_t>(got) - kAlways) / kTimes <= taken, "tar", path_, ": its first ", taken,
            " bytes unpack to more than ", kTimes, " times as many: expected a shard of images");
    scratch_.append(buffer_.data(), got, path_);
    return got > 0;
  }

  GzipReader reader_;
  std::string path_;
  ScratchFile& scratch_;
  uint64_t begin_;
  std::vector<char> buffer_ = std::vector<char>(size_t{1} << 20);
};

class TarReader {
 public:
  TarReader(const std::string& path, Bytes& bytes, int64_t largest) : path_(path), bytes_(bytes), largest_(largest) {}

  /// The members, and how the archive ends where that is worth a note.
  std::pair<std::vector<TarMember>, std::string> list();

 private:
  template <class... Parts>
  void check(bool ok, const Parts&... parts) const {
    require(ok, "tar", path_, " at offset ", at_, ": ", parts...);
  }
  /// The header at hand; nothing at the archive's end.
  std::optional<Block> header();
  bool ended(const Block& block);
  /// The offset of the first header in [begin, begin + kSearched); nothing where there is none.
  std::optional<int64_t> header_from(int64_t begin) const;
  /// The size of the data behind a header, checked against the file.
  int64_t data_size(const Block& block) const;
  void read_member(const Block& block);
  std::string extension(int64_t size) const;
  void read_pax(std::string_view records);
  void add_member(const Block& block, char type, int64_t size);

  const std::string& path_;
  Bytes& bytes_;
  int64_t largest_;
  int64_t at_ = 0;  // of the header at hand
  std::optional<std::string> next_name_;
  std::optional<int64_t> next_size_;
  bool next_sparse_ = false;
  std::vector<TarMember> members_;
  std::string note_;
};

std::optional<int64_t> TarReader::header_from(int64_t begin) const {
  Block block{};
  for (int64_t at = begin; at < begin + kSearched && bytes_.reach(at + kBlock); at += kBlock) {
    bytes_.read_at(at, block.data(), block.size());
    if (!all_zero(block) && checksum_fits(block)) return at;
  }
  return std::nullopt;
}

bool TarReader::ended(const Block& block) {
  if (!all_zero(block)) return false;
  Block second{};
  const bool whole = bytes_.read_at(at_ + kBlock, second.data(), second.size()) == second.size();
  check(!whole || all_zero(second) || !checksum_fits(second),
        "a lone block of zeros, and a member behind it: expected ", "two blocks as the end marker");
  return true;
}

std::optional<Block> TarReader::header() {
  Block block{};
  const size_t got = bytes_.read_at(at_, block.data(), block.size());
  const auto end = [&](const std::string& how) {
    check(!next_name_ && !next_size_, "cut off: an extended header, and nothing behind it");
    note_ = path_ + " at offset " + std::to_string(at_) + ": " + how;
    return std::nullopt;
  };
  if (got < block.size()) {
    const std::string other = at_ > 0 ? "" : what_it_is({block.data(), got});
    check(other.empty(), other);
    check(at_ > 0, "cut off: expected a header of ", kBlock, " bytes, the file ends after ", got);
    if (got > 0 && all_zero(block)) return std::nullopt;
    return end("the file ends without the end marker of an archive: is it whole?");
  }
  if (ended(block)) return std::nullopt;
  if (checksum_fits(block)) return block;
  const std::string other = at_ > 0 ? "" : what_it_is({block.data(), block.size()});
  check(other.empty(), other);
  const std::optional<int64_t> next = header_from(at_ + kBlock);
  check(!next, "not a tar header: its checksum is wrong, and a member follows at offset ", next.value_or(0));
  check(at_ > 0, "not a tar header: its checksum is wrong");
  return end("no tar header and no end marker: read up to there");
}

int64_t TarReader::data_size(const Block& block) const {
  std::optional<int64_t> size = number(block, 124, 12);
  check(size.has_value(), "the size of ", excerpt(text(block, 0, 100)), " is not a number");
  // A pax size is that of the file it announces, not of a further extension between them.
  if (next_size_ && std::string_view("07S\0", 4).find(block[156]) != std::string_view::npos) size = next_size_;
  check(*size <= largest_, excerpt(text(block, 0, 100)), " has ", *size, " bytes, expected at most ", largest_);
  check(bytes_.reach(at_ + kBlock + *size), "cut off: ", excerpt(text(block, 0, 100)), " has ", *size,
        " bytes, the file ends after ", bytes_.size());
  return *size;
}

std::string TarReader::extension(int64_t size) const {
  check(size <= kLongestExtension, "an extended header of ", size, " bytes, expected at most ", kLongestExtension);
  std::string bytes(static_cast<size_t>(size), '\0');
  bytes_.read_at(at_ + kBlock, bytes.data(), bytes.size());
  return bytes;
}

/// Records `<length> <key>=<value>\n`, of which `path` and `size` matter here, and the name of a sparse file, whose
/// `path` is made up.
void TarReader::read_pax(std::string_view records) {
  std::optional<std::string> sparse_name;
  while (!records.empty() && records.front() != '\0') {
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
    if (key == "path") next_name_ = std::string(value.substr(0, value.find('\0')));
    if (key == "GNU.sparse.name") sparse_name = std::string(value.substr(0, value.find('\0')));
    if (key == "size") {
      int64_t size = -1;
      const auto [stop, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
      check(wrong == std::errc{} && stop == value.data() + value.size() && size >= 0, "a pax size of ", excerpt(value));
      next_size_ = size;
    }
    next_sparse_ = next_sparse_ || key.starts_with("GNU.sparse");
    records.remove_prefix(length);
  }
  if (sparse_name) next_name_ = sparse_name;
}

void TarReader::add_member(const Block& block, char type, int64_t size) {
  std::string name(text(block, 0, 100));
  // Only ustar has a prefix there; GNU's magic is "ustar  ".
  const std::string_view prefix = text(block, 345, 155);
  if (std::string_view(block.data() + 257, 6) == std::string_view("ustar\0", 6) && !prefix.empty()) {
    name = std::string(prefix) + "/" + name;
  }
  if (next_name_) name = *next_name_;
  size_t begin = 0;
  while (name.compare(begin, 2, "./") == 0) begin += 2;
  name.erase(0, begin);
  // Before POSIX a folder was a file with a slash at its end.
  const bool is_folder = type == '5' || (block[156] == '\0' && name.ends_with('/'));
  if (!is_folder) members_.push_back({std::move(name), at_ + kBlock, size, next_sparse_ ? 'S' : type});
  next_name_.reset();
  next_size_.reset();
  next_sparse_ = false;
}

void TarReader::read_member(const Block& block) {
  const char type = block[156];
  const bool bare = type >= '1' && type <= '6';  // links, devices, folders, pipes: no data, whatever the size says
  const int64_t size = bare ? 0 : data_size(block);
  switch (type) {
    case 'x':
    case 'X':
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
      add_member(block, type == '\0' || type == '7' ? '0' : type, size);
  }
  // An old GNU sparse file has more of its map in blocks between header and data.
  for (char more = type == 'S' ? block[482] : '\0'; more != '\0';) {
    Block map{};
    at_ += kBlock;
    check(bytes_.read_at(at_, map.data(), map.size()) == map.size(), "cut off in the map of a sparse file");
    more = map[504];
  }
  at_ += kBlock + (size + kBlock - 1) / kBlock * kBlock;
}

std::pair<std::vector<TarMember>, std::string> TarReader::list() {
  check(bytes_.reach(1), "an empty file, expected a tar archive");
  while (const std::optional<Block> block = header()) read_member(*block);
  // Of a gzipped archive that unpacks the padding, too, with the checksum behind it.
  if (const std::optional<int64_t> next = note_.empty() ? header_from(at_ + kBlock) : std::nullopt)
    note_ = path_ + " at offset " + std::to_string(*next) +
            ": another archive behind the end marker of the first is not read";
  return {std::move(members_), std::move(note_)};
}

}  // namespace

std::string TarMember::kind() const {
  switch (type) {
    case '0':
      return "a file";
    case '1':
      return "a hard link";
    case '2':
      return "a symbolic link";
    case 'S':
      return "a sparse file";
    default:
      return "a member of type `" + excerpt({&type, 1}) + "`";
  }
}

TarList list_tar(const std::string& path, std::shared_ptr<ScratchFile>& scratch, int64_t largest) {
  const InputFile file(path);
  require(file.size().has_value(), "tar", path, ": expected a regular file");
  char magic[2] = {};
  TarList list{.members = {}, .archive = {.path = path}, .note = {}};
  if (is_gzip({magic, file.read_at(0, magic, sizeof magic)})) {
    if (scratch == nullptr) scratch = std::make_shared<ScratchFile>();
    list.archive.begin = scratch->size();
    list.archive.unpacked = scratch;
    UnpackedBytes bytes(path, *scratch);
    std::tie(list.members, list.note) = TarReader(path, bytes, largest).list();
  } else {
    PlainBytes bytes(file);
    std::tie(list.members, list.note) = TarReader(path, bytes, largest).list();
  }
  return list;
}

std::vector<uint8_t> read_member(const Archive& archive, const TarMember& member) {
  std::vector<uint8_t> bytes(static_cast<size_t>(member.size));
  const auto offset = static_cast<uint64_t>(member.offset);
  const size_t got = archive.unpacked != nullptr
                         ? archive.unpacked->read_at(archive.begin + offset, bytes.data(), bytes.size())
                         : InputFile(archive.path).read_at(offset, bytes.data(), bytes.size());
  require(got == bytes.size(), "tar", archive.path, ": ", excerpt(member.name), " at offset ", member.offset,
          " is cut off: expected ", member.size, " bytes, got ", got);
  return bytes;
}

}  // namespace sked

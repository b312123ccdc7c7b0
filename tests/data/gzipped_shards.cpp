// Shards in gzip: unpacked once, found by offset, bounded.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <optional>

#include "core/gzip.h"
#include "data/catalog.h"
#include "data/image_collection.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"

namespace sked {
namespace {

using test::error_of;
using test::gzipped;
using test::one_line_with;
using test::tar_end;
using test::tar_member;
using test::TemporaryFolder;

bool built_without_zlib() {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.tar.gz", gzipped(tar_end()));
  const std::string message = error_of([&] { load_shards("mine", {path}, {}); });
  if (message.find("built without zlib") == std::string::npos) return false;
  CHECK(one_line_with(message, "a.tar.gz", "gunzip"));
  test::skip("built without zlib");
  return true;
}

/// $TMPDIR as long as one lives.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& path) {
    if (const char* set = std::getenv("TMPDIR")) before_ = set;
    ::setenv("TMPDIR", path.c_str(), 1);
  }
  ~TemporaryDirectory() {
    if (before_)
      ::setenv("TMPDIR", before_->c_str(), 1);
    else
      ::unsetenv("TMPDIR");
  }

 private:
  std::optional<std::string> before_;
};

std::string sample(const std::string& key, const std::string& label) {
  return tar_member(key + ".jpg", "image " + key) + tar_member(key + ".cls", label);
}

std::string text_of(const EncodedImage& image) { return {image.bytes.begin(), image.bytes.end()}; }

/// `count` bytes of zeros as the deflate stream of a gzip file, 258 of them in 13 bits (RFC 1951, section 3.2.6); cut
/// off behind them.
std::string zeros_in_gzip(int64_t count) {
  std::string bytes("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  uint32_t waiting = 0;
  int bits = 0;
  const auto put = [&](uint32_t code, int length) {
    waiting |= code << bits;
    for (bits += length; bits >= 8; bits -= 8, waiting >>= 8) bytes += static_cast<char>(waiting);
  };
  put(0b011, 3);       // the last block, with the fixed codes
  put(0b00001100, 8);  // the literal 0: 00110000, its first bit first
  for (int64_t at = 1; at < count; at += 258) put(0b00000'10100011, 13);  // length 258: 11000101; distance 1: 00000
  return bytes;
}

TEST_CASE("gzipped shards: read like plain ones, whatever their names, and noted once") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder, room;
  const TemporaryDirectory temporary(room.path());
  const std::string plain = sample("a", "0") + tar_end(), second = sample("b", "1") + sample("c", "0") + tar_end(),
                    third = sample("d", "2") + tar_end();
  const std::vector<std::string> paths{
      folder.write("0.tar", plain), folder.write("1.tar.gz", gzipped(second)),
      // several members, and what is no gzip behind the end of the archive
      folder.write("2.tar", gzipped(third.substr(0, 700)) + gzipped(third.substr(700)) + "no gzip")};
  const auto data = load_shards("mine", paths, {});
  REQUIRE(data->size() == 4);
  CHECK(data->source(2) == paths[1] + ":c.jpg");
  for (int64_t i = 0; i < 4; ++i) CHECK(text_of(data->file(i)) == std::string("image ") + "abcd"[i]);
  CHECK(data->label(3) == 2);
  REQUIRE(data->notes().size() == 1);
  CHECK(one_line_with(data->notes()[0], "2 gzipped, the first " + paths[1], "unpacked in " + room.path(), "1 MiB",
                      "TMPDIR"));
  CHECK(room.count() == 0);  // the file has no name
  // the file at hand tells images apart, not what was unpacked
  const std::string before = image_fingerprint(*data);
  CHECK(image_fingerprint(*load_shards("mine", paths, {})) == before);
  folder.write("1.tar.gz", gzipped(second) + " ");
  CHECK(image_fingerprint(*load_shards("mine", paths, {})) != before);
  CHECK(text_of(data->file(1)) == "image b");
}

TEST_CASE("gzipped shards: a further archive behind the first is noted as in plain ones") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder;
  const std::string one = sample("a", "0") + tar_end() + std::string(8192, '\0'), two = sample("b", "0") + tar_end();
  const std::string behind = folder.path("x.tar.gz") + " at offset " + std::to_string(one.size());
  for (const std::string& bytes : {gzipped(one) + gzipped(two), gzipped(one + two)}) {
    const auto data = load_shards("mine", {folder.write("x.tar.gz", bytes)}, {});
    CHECK(data->size() == 1);
    REQUIRE(data->notes().size() == 2);
    CHECK(one_line_with(data->notes()[0], behind + ": another archive behind the end marker"));
  }
}

TEST_CASE("gzipped shards: in a catalog beside plain ones, each shard once") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder;
  folder.write("train-0.tar.gz", gzipped(sample("a", "0") + tar_end()));
  folder.write("train-1.tgz", gzipped(sample("b", "0") + tar_end()));
  folder.write("train-2.tar", sample("c", "0") + tar_end());
  folder.write("train-2.tar.gz", "not looked at");
  folder.write("val.tar.gz", gzipped(sample("d", "0") + tar_end()));
  const Splits splits = load_splits({.name = "shards", .path = folder.path()}, 0);
  CHECK(splits.train->size() == 3);
  CHECK(splits.test->size() == 1);
  CHECK(splits.notes.size() == 2);
}

TEST_CASE("gzipped shards: damaged ones and those that do not fit are one line") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& bytes) {
    return error_of([&] { load_shards("mine", {folder.write("x.tar.gz", bytes)}, {}); });
  };
  const std::string archive = sample("a", "0") + tar_end(), whole = gzipped(archive);
  CHECK(loading(whole).empty());
  CHECK(one_line_with(loading(whole.substr(0, 1000)), "x.tar.gz is cut short"));
  CHECK(one_line_with(loading(whole.substr(0, whole.size() - 3)), "x.tar.gz is cut short"));
  std::string damaged = whole;
  damaged[whole.size() - 8] = static_cast<char>(damaged[whole.size() - 8] ^ 1);
  CHECK(one_line_with(loading(damaged), "x.tar.gz is damaged", "data check"));
  CHECK(one_line_with(loading(gzipped("text")), "x.tar.gz at offset 0", "cut off"));
  CHECK(one_line_with(loading(gzipped("")), "x.tar.gz at offset 0", "an empty file"));
  CHECK(one_line_with(loading(gzipped(gzipped(archive))), "x.tar.gz at offset 0", "gzipped twice"));
  {
    const TemporaryDirectory nowhere(folder.path("none"));
    CHECK(one_line_with(loading(whole), "cannot make a file in " + folder.path("none"), "No such file", "TMPDIR"));
  }
}

TEST_CASE("gzipped shards: what is made to burst ends in bounded time and memory") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& bytes) {
    return error_of([&] { load_shards("mine", {folder.write("x.tar.gz", bytes)}, {}); });
  };
  const auto start = std::chrono::steady_clock::now();
  // the header of a large member, and zeros without end
  const std::string header = gzipped(test::tar_header("a.jpg", 1 << 29));
  CHECK(one_line_with(loading(header + zeros_in_gzip(int64_t{1} << 27)), "x.tar.gz: its first ",
                      "unpack to more than 100 times as many"));
  std::string empty;
  for (int i = 0; i < 500'000; ++i) empty += std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0", 20);
  CHECK(one_line_with(loading(empty), "x.tar.gz at offset 0", "an empty file"));
  CHECK(gunzip(empty, "empty.gz", 10).empty());
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 30);
}

}  // namespace
}  // namespace sked

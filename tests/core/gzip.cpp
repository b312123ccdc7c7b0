#include "core/gzip.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

using namespace std::string_literals;

// printf 'hello, hello, hello\n' | gzip -n
const std::string kText = "hello, hello, hello\n";
const std::string kZipped =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"s          // header
    "\xcb\x48\xcd\xc9\xc9\xd7\x51\xc8\x40\xa2\xb8\x00"s  // data
    "\xe7\x42\x6e\x52\x14\x00\x00\x00"s;                 // checksum, length

/// Without zlib there is one clear line; the cases below then have nothing to test.
bool built_without_zlib() {
  const std::string message = error_of([] { gunzip(kZipped, "f.gz", 1000); });
  if (message.find("built without zlib") == std::string::npos) return false;
  CHECK(one_line_with(message, "gunzip f.gz first"));
  test::skip("built without zlib");
  return true;
}

TEST_CASE("a gzip file of one or several members is decompressed") {
  if (built_without_zlib()) return;
  CHECK(gunzip(kZipped, "f.gz", kText.size()) == kText);
  CHECK(gunzip(kZipped + kZipped, "f.gz", 1000) == kText + kText);
}

TEST_CASE("a plain file is read as it is") {
  const TemporaryFolder folder;
  CHECK(read_maybe_gzip(folder.write("plain", kText), 1000) == kText);
  CHECK(read_maybe_gzip(folder.write("empty", ""), 1000).empty());
  CHECK(read_maybe_gzip(folder.write("one", "\x1f"), 1000) == "\x1f");
}

TEST_CASE("the first two bytes decide, not the name") {
  if (built_without_zlib()) return;
  const TemporaryFolder folder;
  CHECK(read_maybe_gzip(folder.write("file", kZipped), 1000) == kText);
}

TEST_CASE("damaged gzip files are errors, wherever they are cut or changed") {
  if (built_without_zlib()) return;
  for (size_t length = 0; length < kZipped.size(); ++length) {
    CAPTURE(length);
    const std::string message = error_of([&] { gunzip(kZipped.substr(0, length), "f.gz", 1000); });
    CHECK(one_line_with(message, "f.gz"));
  }
  for (const size_t checksum : {kZipped.size() - 8, kZipped.size() - 1}) {
    std::string damaged = kZipped;
    damaged[checksum] = static_cast<char>(damaged[checksum] ^ 1);
    CHECK(one_line_with(error_of([&] { gunzip(damaged, "f.gz", 1000); }), "f.gz is damaged"));
  }
  CHECK(one_line_with(error_of([&] { gunzip(kZipped + "x", "f.gz", 1000); }), "f.gz has bytes after"));
  CHECK(one_line_with(error_of([&] { gunzip("\x1f\x8b rubbish", "f.gz", 1000); }), "f.gz is damaged"));
}

TEST_CASE("a zlib stream is decompressed whole or not at all") {
  const std::string stream = "\x78\x9c\xcb\x48\xcd\xc9\xc9\xd7\x51\xc8\x40\xa2\xb8\x00\x4b\x07\x06\xdf"s;
  if (built_without_zlib()) {
    CHECK_FALSE(inflated(stream, 1000));
    return;
  }
  CHECK(inflated(stream, kText.size()) == kText);
  CHECK_FALSE(inflated(stream, kText.size() - 1));
  for (size_t length = 0; length < stream.size(); ++length) CHECK_FALSE(inflated(stream.substr(0, length), 1000));
  CHECK_FALSE(inflated(kZipped, 1000));
}

TEST_CASE("decompression stops at the limit") {
  if (built_without_zlib()) return;
  const std::string message = error_of([] { gunzip(kZipped, "f.gz", kText.size() - 1); });
  CHECK(one_line_with(message, "f.gz decompresses to more than 19 bytes"));
}

}  // namespace
}  // namespace sked

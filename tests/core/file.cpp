#include "core/file.h"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::slurp;
using test::TemporaryFolder;

TEST_CASE("read_file gives back every byte, up to the limit") {
  const TemporaryFolder folder;
  std::string bytes(3'000'001, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31);
  const std::string path = folder.write("data", bytes);
  CHECK(read_file(path, bytes.size()) == bytes);
  CHECK(one_line_with(error_of([&] { read_file(path, bytes.size() - 1); }), path, "3000001", "3000000"));
  CHECK(read_file(folder.write("empty", ""), 0).empty());
}

TEST_CASE("read_file reads pipes and files without a size") {
  CHECK(read_file("/proc/self/status", 1 << 20).find("Name:") != std::string::npos);
  CHECK(one_line_with(error_of([] { read_file("/proc/self/status", 10); }), "/proc/self/status", "too long"));

  const TemporaryFolder folder;
  const std::string path = folder.path("pipe");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  std::thread writer([&] { folder.write("pipe", "through a pipe"); });
  CHECK(read_file(path, 100) == "through a pipe");
  writer.join();
}

TEST_CASE("read_file names the file and the reason") {
  const TemporaryFolder folder;
  CHECK(one_line_with(error_of([&] { read_file(folder.path("none"), 10); }), folder.path("none"), "No such file"));
  CHECK(one_line_with(error_of([&] { read_file(folder.path(), 10); }), folder.path(), "Is a directory"));
}

TEST_CASE("InputFile says where a file ends early") {
  const TemporaryFolder folder;
  InputFile file(folder.write("short", "1234567"));
  CHECK(file.size() == 7);
  std::array<char, 8> bytes{};
  file.read(bytes.data(), 4);
  CHECK(std::string_view(bytes.data(), 4) == "1234");
  CHECK(one_line_with(error_of([&] { file.read(bytes.data(), 8); }), "expected 8", "got 3"));
  CHECK(file.read_some(bytes.data(), 8) == 0);
}

TEST_CASE("a file written replaces the old one, and leaves nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  write_file(path, "new");
  CHECK(slurp(path) == "new");
  write_file(path, "");
  CHECK(slurp(path).empty());
  CHECK(folder.count() == 1);

  const mode_t mask = ::umask(022);
  write_file(path, "readable");
  ::umask(mask);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0644);
}

TEST_CASE("a bare file name is written to the current folder") {
  const std::string name = "skedastic-test-" + std::to_string(::getpid());
  write_file(name, "here");
  CHECK(slurp(name) == "here");
  CHECK(std::filesystem::remove(name));
}

TEST_CASE("an uncommitted file leaves the old one as it was") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  {
    AtomicFile file(path);
    file.write("half of the new");
    CHECK(folder.count() == 2);
  }
  CHECK(slurp(path) == "old");
  CHECK(folder.count() == 1);

  AtomicFile file(path);
  file.commit();
  CHECK(one_line_with(error_of([&] { file.write("more"); }), path, "committed"));
  CHECK(one_line_with(error_of([&] { file.commit(); }), path, "committed"));
}

TEST_CASE("writers of one path do not mix their bytes") {
  const TemporaryFolder folder;
  const std::string path = folder.path("file");
  std::vector<std::thread> writers;
  for (char c = 'a'; c < 'e'; ++c) writers.emplace_back([&path, c] { write_file(path, std::string(100'000, c)); });
  for (std::thread& writer : writers) writer.join();
  const std::string bytes = slurp(path);
  CHECK(bytes == std::string(100'000, bytes.at(0)));
  CHECK(folder.count() == 1);
}

TEST_CASE("what is not a regular file is not replaced") {
  const TemporaryFolder folder;
  CHECK(one_line_with(error_of([] { write_file("/dev/null", "x"); }), "/dev/null", "not a regular file"));
  CHECK(one_line_with(error_of([&] { write_file(folder.path(), "x"); }), folder.path(), "Is a directory"));
  CHECK(one_line_with(error_of([&] { write_file(folder.path("no/file"), "x"); }), "no/file", "No such file"));
}

TEST_CASE("the system's size limit is an error, and the old file stays") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit small{1000, limit.rlim_max};
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = error_of([&] { write_file(path, std::string(5000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  CHECK(one_line_with(message, path, "File too large"));
  CHECK(slurp(path) == "old");
  CHECK(folder.count() == 1);
}

/// A file system of 64 KiB on a folder, where this process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(std::string folder)
      : folder_(std::move(folder)), there_(::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=64k") == 0) {}
  ~SmallDisk() {
    if (there_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool there() const { return there_; }
  bool make_read_only() const {
    return ::mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  std::string folder_;
  bool there_;
};

TEST_CASE("a full disk and a read-only one are errors, and the old file stays") {
  const TemporaryFolder folder;
  const SmallDisk disk(folder.path());
  if (!disk.there()) return test::skip("no permission to mount a small disk");
  const std::string path = folder.write("file", "old");
  CHECK(one_line_with(error_of([&] { write_file(path, std::string(200'000, 'x')); }), path, "No space left"));
  CHECK(slurp(path) == "old");
  CHECK(folder.count() == 1);

  REQUIRE(disk.make_read_only());
  CHECK(one_line_with(error_of([&] { write_file(path, "x"); }), path, "Read-only file system"));
  CHECK(slurp(path) == "old");
}

TEST_CASE("a folder without permission is an error") {
  if (::geteuid() == 0) return test::skip("root may write anywhere");
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  REQUIRE(::chmod(folder.path().c_str(), 0555) == 0);
  CHECK(one_line_with(error_of([&] { write_file(path, "x"); }), path, "Permission denied"));
  CHECK(slurp(path) == "old");
  ::chmod(folder.path().c_str(), 0755);
}

TEST_CASE("stays_below refuses what leads out of a folder") {
  for (const char* path : {"a", "a/b.jpg", "a..b", "..a/b", "./a", "a//b"}) CHECK(stays_below(path));
  for (const char* path : {"", "/a", "..", "../a", "a/..", "a/../b"}) CHECK_FALSE(stays_below(path));
  CHECK_FALSE(stays_below(std::string_view("a\0b", 3)));
}

TEST_CASE("checked_product notices what does not fit") {
  const auto product = [](std::vector<uint64_t> factors) { return checked_product(factors); };
  CHECK(product({}) == 1);
  CHECK(product({3, 4, 5}) == 60);
  CHECK(product({uint64_t{1} << 31, uint64_t{1} << 31}) == uint64_t{1} << 62);
  CHECK_FALSE(product({uint64_t{1} << 32, uint64_t{1} << 31}).has_value());
  CHECK_FALSE(product({~uint64_t{0}}).has_value());
  CHECK(product({0, 7}) == 0);
  // the other extents of an empty tensor must fit too: that is Shape's rule
  CHECK_FALSE(product({0, uint64_t{1} << 32, uint64_t{1} << 32}).has_value());
}

TEST_CASE("write_file: a device's folder is no place for files, but a file system below it is") {
  const TemporaryFolder folder;
  CHECK(one_line_with(error_of([] { write_file("/dev/skedastic-test", "x"); }), "/dev/skedastic-test", "got a device"));
  std::filesystem::create_symlink("/dev", folder.path("link"));
  CHECK(one_line_with(error_of([&] { write_file(folder.path("link/skedastic-test"), "x"); }), "got a device"));
  CHECK_FALSE(std::filesystem::exists("/dev/skedastic-test"));
  if (!std::filesystem::is_directory("/dev/shm")) return test::skip("no /dev/shm");
  const std::string path = "/dev/shm/skedastic-test-" + std::to_string(::getpid());
  write_file(path, "x");
  CHECK(slurp(path) == "x");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sked

// Tar archives: those of three formats, and hostile ones.
#include "data/tar.h"

#include <doctest/doctest.h>

#include "tests/common/files.h"
#include "tests/data/archives.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::tar_end;
using test::tar_header;
using test::tar_member;
using test::TemporaryFolder;

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

TEST_CASE("tar: members with their offsets, folders skipped, contents read in place") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.tar", tar_header("dir/", 0, '5') + tar_member("dir/a.txt", "hello") +
                                                     tar_member("./b.bin", std::string(600, 'x')) +
                                                     tar_member("empty", "") + tar_end() + "what follows");
  const auto members = list_tar(path);
  REQUIRE(members.size() == 3);
  CHECK(members[0].name == "dir/a.txt");
  CHECK(members[0].offset == 1024);
  CHECK(members[0].size == 5);
  CHECK(members[1].name == "b.bin");
  CHECK(members[2].name == "empty");
  CHECK(text_of(read_member(path, members[0])) == "hello");
  CHECK(text_of(read_member(path, members[1])) == std::string(600, 'x'));
  CHECK(read_member(path, members[2]).empty());
  CHECK(list_tar(folder.write("none.tar", tar_end())).empty());
}

TEST_CASE("tar: long names of ustar, pax and GNU, and their sizes") {
  const TemporaryFolder folder;
  const std::string longest(180, 'n'), record = "path=" + longest + "\n";
  std::string ustar = tar_header("file.jpg", 2, '0', "some/folder");
  const std::string pax = std::to_string(record.size() + 4) + " " + record, sized = "9 size=3\n";
  const auto members = list_tar(
      folder.write("a.tar", ustar + test::tar_padded("hi") + tar_member("PaxHeaders/x", pax + sized, 'x') +
                                tar_header("short", 9) + test::tar_padded("abc") +
                                tar_member("././@LongLink", longest + "g" + '\0', 'L') + tar_member("short", "z") +
                                tar_member("pax_global", "11 a=bcdef\n", 'g') + tar_member("last", "q") + tar_end()));
  REQUIRE(members.size() == 4);
  CHECK(members[0].name == "some/folder/file.jpg");
  CHECK(members[1].name == longest);
  CHECK(members[1].size == 3);
  CHECK(members[2].name == longest + "g");
  CHECK(members[3].name == "last");
}

TEST_CASE("tar: hostile archives are errors that name file and offset") {
  const TemporaryFolder folder;
  const auto listing = [&](const std::string& bytes, int64_t largest = 1000) {
    return error_of([&] { list_tar(folder.write("bad.tar", bytes), largest); });
  };
  const std::string good = tar_member("good", "1234");
  CHECK(one_line_with(listing(""), "bad.tar at offset 0", "empty"));
  for (const std::string name : {"/etc/passwd", "../up", "a/../../b", "a/..", ""}) {
    CHECK(one_line_with(listing(good + tar_member(name, "x") + tar_end()), "bad.tar at offset 1024", "relative name",
                        name));
  }
  CHECK(listing(good + tar_member("a..b/..c", "x") + tar_end()).empty());
  CHECK(one_line_with(listing(good + tar_member("big", std::string(1001, 'x')) + tar_end()), "offset 1024",
                      "big has 1001 bytes, expected at most 1000"));
  CHECK(one_line_with(listing(tar_header("huge", int64_t{1} << 32) + tar_end(), int64_t{1} << 40),
                      "huge has 4294967296", "cut off"));
  CHECK(one_line_with(listing(tar_header("link", 0, '2') + tar_end()), "link is a link"));
  CHECK(one_line_with(listing(tar_header("hard", 0, '1') + tar_end()), "hard is a link"));
  CHECK(one_line_with(listing(tar_header("device", 0, '3') + tar_end()), "device is of type `3`"));
  CHECK(one_line_with(listing(tar_header("sparse", 0, 'S') + tar_end()), "sparse is of type `S`"));
  CHECK(one_line_with(listing(good), "bad.tar at offset 1024", "cut off", "1024 bytes"));
  CHECK(listing(good + std::string(512, '\0')).empty());  // nothing is lost behind it
  CHECK(one_line_with(listing(good + std::string(600, '\0')), "cut off"));
  CHECK(one_line_with(listing(good + std::string(512, '\0') + good), "lone block of zeros"));
  CHECK(one_line_with(listing("\x1f\x8b" + std::string(600, 'x')), "a gzip file", "gunzip"));
  CHECK(one_line_with(listing(good + std::string(512, 'x') + tar_end()), "offset 1024", "checksum"));
  CHECK(one_line_with(listing(std::string(100, 'x')), "cut off"));
  std::string wrong = good + tar_end();
  wrong[0] = 'h';
  CHECK(one_line_with(listing(wrong), "offset 0", "checksum"));
  const auto pax = [&](const std::string& records) {
    return listing(tar_member("x", records, 'x') + tar_member("a", "b") + tar_end());
  };
  CHECK(one_line_with(pax("14 path=../x\n"), "pax header"));
  CHECK(one_line_with(pax("13 path=../x\n"), "relative name", "../x"));
  CHECK(one_line_with(pax("99999999999999999999 path=x\n"), "pax header"));
  CHECK(one_line_with(pax("8 nothing"), "pax header"));
  CHECK(one_line_with(pax("11 size=-1\n"), "pax size of -1"));
  CHECK(one_line_with(pax("24 size=99999999999999\n"), "pax header"));
  CHECK(one_line_with(pax("23 size=99999999999999\n"), "99999999999999 bytes"));
  CHECK(one_line_with(listing(tar_member("L", std::string(1 << 21, 'n'), 'L'), 1 << 22), "extended header of 2097152"));
  CHECK(one_line_with(error_of([&] { list_tar(folder.path()); }), "Is a directory"));
}

TEST_CASE("tar: cut anywhere, an archive is an error") {
  const TemporaryFolder folder;
  const std::string whole = tar_member("a.jpg", std::string(700, 'j')) + tar_member("a.cls", "3") + tar_end();
  for (size_t length = 0; length < whole.size(); length += 97) {
    CAPTURE(length);
    CHECK(one_line_with(error_of([&] { list_tar(folder.write("cut.tar", whole.substr(0, length))); }), "cut.tar"));
  }
  const auto members = list_tar(folder.write("cut.tar", whole));
  folder.write("cut.tar", whole.substr(0, 900));  // it shrank after it was listed
  CHECK(one_line_with(error_of([&] { read_member(folder.path("cut.tar"), members[0]); }), "cut.tar", "a.jpg",
                      "offset 512", "expected 700 bytes, got 388"));
}

TEST_CASE("tar: the real shards of Tiny ImageNet") {
  const auto root = test::data_root_with("tiny-imagenet-200/dev-000000.tar");
  if (!root) return;
  const auto members = list_tar(*root + "/tiny-imagenet-200/dev-000000.tar");
  CHECK(members.size() == 6000);
  CHECK(members[0].name.ends_with(".jpg"));
  CHECK(members[1].name.ends_with(".cls"));
}

}  // namespace
}  // namespace sked

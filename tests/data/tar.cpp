// Tar archives: those of three formats, and hostile ones.
#include "data/tar.h"

#include <doctest/doctest.h>

#include <chrono>

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

TarList list(const std::string& path, int64_t largest = 1 << 20) {
  std::shared_ptr<ScratchFile> scratch;
  return list_tar(path, scratch, largest);
}

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

TEST_CASE("tar: members with their offsets, folders skipped, contents read in place") {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.tar", tar_header("dir/", 0, '5') + tar_member("dir/a.txt", "hello") +
                                                     tar_member("./b.bin", std::string(600, 'x')) +
                                                     tar_member("empty", "") + tar_end() + "what follows");
  const auto members = list(path).members;
  const Archive archive = list(path).archive;
  CHECK(list(path).note.empty());
  REQUIRE(members.size() == 3);
  CHECK(members[0].name == "dir/a.txt");
  CHECK(members[0].offset == 1024);
  CHECK(members[0].size == 5);
  CHECK(members[1].name == "b.bin");
  CHECK(members[2].name == "empty");
  CHECK(text_of(read_member(archive, members[0])) == "hello");
  CHECK(text_of(read_member(archive, members[1])) == std::string(600, 'x'));
  CHECK(read_member(archive, members[2]).empty());
  CHECK(list(folder.write("none.tar", tar_end())).members.empty());
}

TEST_CASE("tar: long names of ustar, pax and GNU, and their sizes") {
  const TemporaryFolder folder;
  const std::string longest(180, 'n'), record = "path=" + longest + "\n";
  std::string ustar = tar_header("file.jpg", 2, '0', "some/folder");
  const std::string pax = std::to_string(record.size() + 4) + " " + record, sized = "9 size=3\n";
  const TarList found = list(
      folder.write("a.tar", ustar + test::tar_padded("hi") + tar_member("PaxHeaders/x", pax + sized, 'x') +
                                tar_header("short", 9) + test::tar_padded("abc") +
                                tar_member("././@LongLink", longest + "g" + '\0', 'L') + tar_member("short", "z") +
                                tar_member("pax_global", "11 a=bcdef\n", 'g') + tar_member("last", "q") + tar_end()));
  const auto& members = found.members;
  REQUIRE(members.size() == 4);
  CHECK(members[0].name == "some/folder/file.jpg");
  CHECK(members[1].name == longest);
  CHECK(members[1].size == 3);
  CHECK(members[2].name == longest + "g");
  CHECK(members[3].name == "last");
}

TEST_CASE("tar: what is no file is listed as what it is, and takes no data but its own") {
  const TemporaryFolder folder;
  std::string sparse = tar_header("sparse", 5, 'S');
  sparse[482] = 1;  // one more block of its map
  sparse = test::tar_checked(sparse) + std::string(512, '\0') + test::tar_padded("12345");
  // a link has no data, whatever its size says; a folder of before POSIX is a file with a slash at its end
  const TarList found = list(folder.write(
      "a.tar", tar_header("hard.jpg", 100, '1') + tar_header("soft", 0, '2') + tar_header("device", 0, '3') + sparse +
                   tar_member("volume", "x", 'V') + tar_header("old/", 0, '\0') + tar_header("old/a", 0, '\0') +
                   tar_member("PaxHeaders/x", "28 GNU.sparse.name=sparse.b\n" + std::string(484, '\0'), 'x') +
                   tar_member("b", "map") + tar_member("last", "q") + tar_end()));
  std::string kinds;
  for (const TarMember& member : found.members) kinds += member.name + ": " + member.kind() + ", ";
  CHECK(kinds ==
        "hard.jpg: a hard link, soft: a symbolic link, device: a member of type `3`, sparse: a sparse file, volume: a "
        "member of type `V`, old/a: a file, sparse.b: a sparse file, last: a file, ");
  CHECK(text_of(read_member(found.archive, found.members.back())) == "q");
}

TEST_CASE("tar: an archive ends where Python's tarfile says so; anything but an end marker is noted") {
  const TemporaryFolder folder;
  const auto ending = [&](const std::string& bytes) {
    const TarList found =
        list(folder.write("a.tar", tar_member("1", "one") + tar_member("2", std::string(600, '2')) + bytes));
    CHECK(found.members.size() == 2);
    return found.note;
  };
  const std::string zeros(512, '\0'), garbage(700, 'g');
  CHECK(ending(zeros + zeros).empty());
  CHECK(ending(zeros).empty());
  CHECK(ending(zeros.substr(100)).empty());
  CHECK(ending(zeros + zeros.substr(100)).empty());
  CHECK(ending(tar_end() + garbage).empty());
  CHECK(ending(zeros + garbage).empty());
  CHECK(one_line_with(ending(""), "a.tar at offset 2560", "without the end marker", "is it whole"));
  CHECK(one_line_with(ending(garbage.substr(600)), "a.tar at offset 2560", "without the end marker"));
  CHECK(one_line_with(ending(garbage), "a.tar at offset 2560", "no tar header and no end marker"));
  CHECK(one_line_with(ending(tar_end() + zeros + tar_member("3", "x")), "a.tar at offset 4096", "another archive"));
  // the padding of the last member is missing
  const std::string whole = tar_member("1", "one");
  CHECK(list(folder.write("b.tar", whole.substr(0, 515))).members.size() == 1);
}

TEST_CASE("tar: names are the archive's, they make no path") {
  const TemporaryFolder folder;
  for (const std::string name : {"/data/a.jpg", "../up.jpg", "caf\xE9.jpg", "a\nb", " "})
    CHECK(list(folder.write("a.tar", tar_member(name, "x") + tar_end())).members[0].name == name);
  CHECK(list(folder.write("a.tar", tar_member("", "x") + tar_end())).members[0].name.empty());
}

TEST_CASE("tar: hostile archives are errors that name file and offset") {
  const TemporaryFolder folder;
  const auto listing = [&](const std::string& bytes, int64_t largest = 1000) {
    return error_of([&] { list(folder.write("bad.tar", bytes), largest); });
  };
  const std::string good = tar_member("good", "1234");
  CHECK(one_line_with(listing(""), "bad.tar at offset 0", "empty"));
  CHECK(one_line_with(listing(good + tar_member("big", std::string(1001, 'x')) + tar_end()), "offset 1024",
                      "big has 1001 bytes, expected at most 1000"));
  CHECK(one_line_with(listing(tar_header("huge", int64_t{1} << 32) + tar_end(), int64_t{1} << 40),
                      "huge has 4294967296", "cut off"));
  CHECK(one_line_with(listing(good + std::string(512, '\0') + good), "lone block of zeros"));
  CHECK(one_line_with(listing(good + std::string(512, 'x') + good + tar_end()), "offset 1024", "checksum",
                      "a member follows at offset 1536"));
  CHECK(one_line_with(listing(std::string(100, 'x')), "cut off", "after 100"));
  std::string wrong = good + tar_end();
  wrong[0] = 'h';
  CHECK(one_line_with(listing(wrong), "offset 0", "checksum"));
  std::string letters = tar_header("letters", 0);
  letters.replace(124, 11, "0000000000x");
  CHECK(one_line_with(listing(test::tar_checked(letters)), "the size of letters is not a number"));
  const auto pax = [&](const std::string& records) {
    return listing(tar_member("x", records, 'x') + tar_member("a", "b") + tar_end());
  };
  CHECK(one_line_with(pax("14 path=../x\n"), "pax header"));
  CHECK(pax("13 path=../x\n").empty());
  CHECK(one_line_with(pax("99999999999999999999 path=x\n"), "pax header"));
  CHECK(one_line_with(pax("8 nothing"), "pax header"));
  CHECK(one_line_with(pax("11 size=-1\n"), "pax size of -1"));
  CHECK(one_line_with(pax("24 size=99999999999999\n"), "pax header"));
  CHECK(one_line_with(pax("23 size=99999999999999\n"), "99999999999999 bytes"));
  CHECK(one_line_with(listing(good + tar_member("x", "9 path=b\n", 'x')), "an extended header, and nothing behind it"));
  CHECK(one_line_with(listing(tar_member("L", std::string(1 << 21, 'n'), 'L'), 1 << 22), "extended header of 2097152"));
  CHECK(one_line_with(error_of([&] { list(folder.path()); }), "Is a directory"));
}

TEST_CASE("tar: what is no archive is said to be what it is") {
  const TemporaryFolder folder;
  const std::pair<std::string, const char*> kinds[] = {
      {"\x28\xB5\x2F\xFD", "a zstd file"},  {std::string("\xFD\x37zXZ\0", 6), "an xz file"},
      {"BZh91AY&SY", "a bzip2 file"},       {"PK\x03\x04", "a zip file"},
      {"Rar!\x1A\x07", "a RAR file"},       {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
      {"<!DOCTYPE html>", "a page of HTML"}};
  for (const auto& [magic, what] : kinds)
    for (const size_t more : {50, 5000})
      CHECK(one_line_with(error_of([&] { list(folder.write("x.tar", magic + std::string(more, 'x'))); }),
                          "x.tar at offset 0", what));
}

TEST_CASE("tar: cut inside of a header or a member, an archive is an error or said to be cut") {
  const TemporaryFolder folder;
  const std::string whole = tar_member("a.jpg", std::string(700, 'j')) + tar_member("a.cls", "3") + tar_end();
  for (size_t length = 0; length < whole.size(); length += 97) {
    CAPTURE(length);
    TarList found;
    const std::string error = error_of([&] { found = list(folder.write("cut.tar", whole.substr(0, length))); });
    if (length < 512 + 700) CHECK(one_line_with(error, "cut.tar"));
    if (length >= 512 + 700) CHECK(found.members.size() == (length > 2048 ? 2 : 1));
    if (length >= 512 + 700 && length < 2560) CHECK(one_line_with(found.note, "cut.tar", "is it whole"));
    if (length >= 2560) CHECK(found.note.empty());
  }
  const TarList found = list(folder.write("cut.tar", whole));
  folder.write("cut.tar", whole.substr(0, 900));  // it shrank after it was listed
  CHECK(one_line_with(error_of([&] { read_member(found.archive, found.members[0]); }), "cut.tar", "a.jpg", "offset 512",
                      "expected 700 bytes, got 388"));
}

TEST_CASE("tar: time is linear in the number of members") {
  const TemporaryFolder folder;
  const auto seconds = [&](int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i) bytes += tar_member(std::to_string(i) + ".cls", "1");
    const std::string path = folder.write("a.tar", bytes + tar_end());
    const auto start = std::chrono::steady_clock::now();
    CHECK(list(path).members.size() == static_cast<size_t>(count));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double small = seconds(2'000);
  CHECK(seconds(40'000) < 20 * 10 * small + 2);
}

TEST_CASE("tar: a name of many ./ is read in linear time") {
  const TemporaryFolder folder;
  const auto seconds = [&](size_t folders) {
    std::string name;
    while (name.size() < 2 * folders) name += "./";
    std::string bytes;
    for (int i = 0; i < 20; ++i) bytes += tar_member("L", name + ".a/x", 'L') + tar_member("short", "x");
    const std::string path = folder.write("a.tar", bytes + tar_end());
    const auto start = std::chrono::steady_clock::now();
    CHECK(list(path).members.back().name == ".a/x");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double small = seconds(25'000);
  CHECK(seconds(500'000) < 20 * 5 * small + 1);
}

TEST_CASE("tar: the real shards of Tiny ImageNet") {
  const auto root = test::data_root_with("tiny-imagenet-200/dev-000000.tar");
  if (!root) return;
  const auto members = list(*root + "/tiny-imagenet-200/dev-000000.tar").members;
  CHECK(members.size() == 6000);
  CHECK(members[0].name.ends_with(".jpg"));
  CHECK(members[1].name.ends_with(".cls"));
}

}  // namespace
}  // namespace sked

// Which image files somebody means.

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "data/image_paths.h"
#include "tests/common/files.h"

namespace sked {
namespace {

TEST_CASE("image paths: names in the order of people") {
  const std::vector<std::string> sorted{"10/a",      "a/b/1.png",  "a/b10/1.png", "a/c.png",
                                        "a-b/c.png", "img1.png",   "img01.png",   "img2.png",
                                        "img10.png", "img10a.png", "img010b.png", "z"};
  std::vector<std::string> names{sorted.rbegin(), sorted.rend()};
  std::ranges::sort(names, natural_less);
  std::vector<std::string> want = sorted;
  std::ranges::swap(want[5], want[6]);  // the same number: zeros in front first
  CHECK(names == want);
  for (const std::string& a : sorted)
    for (const std::string& b : sorted) CHECK((natural_less(a, b) && natural_less(b, a)) == false);
  CHECK(natural_less("99999999999999999999998", "99999999999999999999999"));  // more digits than an integer has
  CHECK_FALSE(natural_less("a", "a"));
}

TEST_CASE("image paths: below a folder, each folder once, what is no image counted") {
  const test::TemporaryFolder folder;
  for (const char* name : {"f/10.JPG", "f/9.png", "f/in/x.webp", "f/.hidden/y.png", "f/.z.png", "f/._9.png",
                           "f/note.txt", "f/__MACOSX/9.png", "other/k.png", "lone.data"})
    folder.write(name, "x");
  namespace fs = std::filesystem;
  fs::create_directory_symlink("..", folder.path("f/in/circle"));  // to f itself
  fs::create_directory_symlink(".", folder.path("f/self"));
  fs::create_directory_symlink("../other", folder.path("f/linked"));
  fs::create_symlink("nothing.png", folder.path("f/broken.png"));
  fs::create_directory(folder.path("empty"));
  REQUIRE(mkfifo(folder.path("f/pipe.png").c_str(), 0600) == 0);
  const auto below = [&](const std::string& name) { return folder.path(name); };
  const ImagePaths found = image_paths({below("lone.data"), below("f"), below("none.png")});
  CHECK(found.paths == std::vector<std::string>{below("lone.data"), below("f/9.png"), below("f/10.JPG"),
                                                below("f/broken.png"), below("f/in/x.webp"), below("f/linked/k.png"),
                                                below("none.png")});
  CHECK(found.refused.empty());
  CHECK(found.others == 2);  // the note and the pipe
  const ImagePaths none = image_paths({below("empty"), below("f/pipe.png"), "/dev/null"});
  CHECK(none.paths.empty());
  REQUIRE(none.refused.size() == 3);
  CHECK(none.refused[0].ends_with("empty: expected images, got a folder without one"));
  CHECK(none.refused[1].find("f/pipe.png: expected an image file or a folder") != std::string::npos);
  CHECK(image_paths({below("f/")}).paths.front() == below("f/9.png"));
  if (geteuid() == 0) return;  // reads everything
  fs::permissions(below("f/in"), fs::perms::none);
  const ImagePaths closed = image_paths({below("f")});
  fs::permissions(below("f/in"), fs::perms::owner_all);
  CHECK(closed.paths.size() == 4);
  REQUIRE(closed.refused.size() == 1);
  CHECK(closed.refused[0].find("f/in: Permission denied") != std::string::npos);
}

TEST_CASE("image paths: lists") {
  const test::TemporaryFolder folder;
  const auto listed = [&](const std::string& text) { return listed_paths(folder.write("list", text)); };
  using Paths = std::vector<std::string>;
  CHECK(listed("a b.png\r\n\n\u00fc.png\n") == Paths{"a b.png", "\u00fc.png"});
  CHECK(listed("\xEF\xBB\xBF"
               "a.png") == Paths{"a.png"});
  CHECK(listed(std::string("two\nlines.png\0b.png\0", 20)) == Paths{"two\nlines.png", "b.png"});
  CHECK(test::one_line_with(test::error_of([&] { listed("\n\n"); }), "list", "got none"));
  CHECK(test::one_line_with(test::error_of([&] { listed(std::string("a\0.\0p\0", 6)); }), "list", "UTF-16"));
  CHECK(test::one_line_with(test::error_of([&] { listed_paths(folder.path("none")); }), "none", "No such file"));
}

}  // namespace
}  // namespace sked

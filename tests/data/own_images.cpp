// Own photos: classes without parts, a share of them held out, labels from a table.

#include <doctest/doctest.h>

#include <filesystem>

#include "data/catalog.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

TEST_CASE("catalog: own photos without parts, a share of each class held out") {
  const TemporaryFolder folder;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "/Bild " + std::to_string(100 + i) + ".png";
    folder.write("p/Käfer im Gras" + name, "x");
    if (i < 10) folder.write("p/train" + name, "x");  // a class of that name
    if (i < 1) folder.write("p/rare" + name, "x");
  }
  const DataSpec spec{.name = "image-folder", .path = folder.path("p")};
  const Splits splits = load_splits(spec, 0.2);
  CHECK(splits.train->class_names() == std::vector<std::string>{"Käfer im Gras", "rare", "train"});
  CHECK(splits.without_test);
  CHECK(splits.test == splits.validation);
  std::vector<int64_t> counts(3, 0);
  for (int64_t i = 0; i < splits.validation->size(); ++i) ++counts[static_cast<size_t>(splits.validation->label(i))];
  CHECK(counts == std::vector<int64_t>{8, 0, 2});  // never the last image of a class
  CHECK(splits.train->size() == 41);
  const Splits again = load_splits(spec, 0.2);
  CHECK(identity_fingerprint(*again.validation) == identity_fingerprint(*splits.validation));
  CHECK(one_line_with(error_of([&] { load_splits(spec, 0); }), "no test images"));
  CHECK(one_line_with(error_of([&] { load_splits(spec, 1.5); }), "data.validation: expected a number of images"));
  folder.write("p/classes.txt", "train\nrare\nKäfer im Gras\n");
  CHECK(load_splits(spec, 0.2).train->class_names()[0] == "train");
  folder.write("p/classes.txt", "train\nrare\n");
  CHECK(one_line_with(error_of([&] { load_splits(spec, 0.2); }), "unknown class folder"));
}

TEST_CASE("catalog: validation images of a collection's own") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& part, int count) {
    for (int i = 0; i < count; ++i)
      for (const char* c : {"a/", "b/"}) folder.write(part + "/" + c + std::to_string(i) + ".png", "x");
  };
  const auto sizes = [](const Splits& s) {
    return std::vector<int64_t>{s.train->size(), s.validation ? s.validation->size() : 0, s.test ? s.test->size() : 0};
  };
  using Sizes = std::vector<int64_t>;
  for (const auto& [test, own] : std::initializer_list<std::pair<std::string, std::string>>{
           {"test", "val"}, {"testing", "Validation"}, {"val", "dev"}, {"test", "valid"}}) {
    const std::string root = test + own;
    CAPTURE(root);
    write(root + "/train", 5), write(root + "/" + test, 3), write(root + "/" + own, 2);
    const DataSpec spec{.name = "image-folder", .path = folder.path(root)};
    const Splits splits = load_splits(spec, 0);
    CHECK(sizes(splits) == Sizes{10, 4, 6});
    CHECK(splits.notes.empty());
    CHECK(sizes(load_parts(spec)) == Sizes{10, 4, 6});
    const Splits held = load_splits(spec, 0.2);  // asked for
    CHECK(sizes(held) == Sizes{8, 2, 6});
    REQUIRE(held.notes.size() == 1);
    CHECK(one_line_with(held.notes[0], folder.path(root), "not used", "data.validation"));
  }
  write("alone/train", 5), write("alone/val", 2);
  const DataSpec alone{.name = "image-folder", .path = folder.path("alone")};
  CHECK(sizes(load_splits(alone, 0)) == Sizes{10, 0, 4});
  std::filesystem::remove_all(folder.path("alone/val"));
  CHECK(sizes(load_parts(alone)) == Sizes{10, 0, 0});
  // One that is no sample of the classes is said, or refused.
  write("other/train", 5), write("other/test", 2);
  folder.write("other/val/1.png", "x");
  const DataSpec other{.name = "image-folder", .path = folder.path("other")};
  CHECK(one_line_with(load_splits(other, 0).notes.at(0), "other/val has no folder of a class"));
  folder.write("other/val/a/1.png", "x");
  CHECK(one_line_with(error_of([&] { load_splits(other, 0); }), "other/val", "class folder b is missing"));

  for (const char* part : {"train", "test", "val"})
    folder.write("t/" + std::string(part) + ".csv", std::string(part) + "/a/0.png,x\n" + part + "/b/0.png,y\n" +
                                                        (part == std::string("train") ? "train/a/1.png,x\n" : ""));
  write("t/train", 2), write("t/test", 1), write("t/val", 1);
  const DataSpec tables{.name = "image-csv", .path = folder.path("t")};
  CHECK(sizes(load_splits(tables, 0)) == Sizes{3, 2, 2});
  // What is trained on is not tested.
  folder.write("t/val.csv", "val/a/0.png,x\ntrain/a/1.png,y\n");
  CHECK(one_line_with(error_of([&] { load_splits(tables, 0); }), "train/a/1.png is an image of two tables"));
  write("link/train", 3);
  std::filesystem::create_directory_symlink("train", folder.path("link/test"));
  CHECK(one_line_with(error_of([&] { load_parts({.name = "image-folder", .path = folder.path("link")}); }), "link/test",
                      "the same folder as"));
}

TEST_CASE("catalog: labels from a CSV") {
  const TemporaryFolder folder;
  for (const char* name : {"t/a b/1.png", "t/ü, 2.png", "t/3.png"}) folder.write(name, "x");
  const DataSpec spec{.name = "image-csv", .path = folder.path("t/labels.csv")};
  const auto read = [&](const std::string& text) {
    folder.write("t/labels.csv", text);
    return load_splits(spec, 0.4).train->class_names();
  };
  const auto wrong = [&](const std::string& text) { return error_of([&] { read(text); }); };
  using Names = std::vector<std::string>;
  CHECK(read("a b/1.png,Käfer\n\"ü, 2.png\",\"say \"\"x\"\"\"\r\n3.png,Käfer\n") == Names{"Käfer", "say \"x\""});
  CHECK(read("\xEF\xBB\xBFid;label;filename\n1;10;a b/1.png\n2;9;3.png\n7;9;\"ü, 2.png\"") == Names{"9", "10"});
  CHECK(one_line_with(wrong("a b/1.png,x\nnone.png,y\n"), "labels.csv:2", "no file", "none.png"));
  CHECK(one_line_with(wrong("3.png,x\n./3.png,y\n"), "labels.csv:2", "is in line 1 as well"));
  CHECK(one_line_with(wrong("../t/3.png,x\n"), "labels.csv:1", "below the table's folder"));
  CHECK(one_line_with(wrong("3.png,\"x\n"), "labels.csv:1", "not closed"));
  CHECK(one_line_with(wrong("3.png,\"x\"y\n"), "labels.csv:1", "expected the end of a field"));
  CHECK(one_line_with(wrong("3.png,K\xE4"
                            "fer\n"),
                      "labels.csv:1", "not UTF-8"));
  CHECK(one_line_with(wrong("3.png,x,1\n"), "labels.csv:1", "expected path,label"));
  CHECK(one_line_with(wrong("3.png,\n"), "labels.csv:1", "no label"));
  CHECK(one_line_with(wrong("path,label\n"), "no image"));
}

}  // namespace
}  // namespace sked

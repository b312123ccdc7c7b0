// What the members beside the images of shards say: labels in the forms that people and their programs write.
#include <doctest/doctest.h>

#include "data/catalog.h"
#include "data/image_collection.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::tar_end;
using test::tar_member;
using test::TemporaryFolder;

using Label = std::pair<std::string, std::string>;  // ending and text

std::string shard(const std::vector<Label>& labels) {
  std::string bytes;
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::string key = std::to_string(i);
    bytes += tar_member(key + ".jpg", "x") + tar_member(key + "." + labels[i].first, labels[i].second);
  }
  return bytes + tar_end();
}

TEST_CASE("shard labels: without a class list a text may be an index, in training and in test") {
  const TemporaryFolder folder;
  folder.write("train-0.tar", shard({{"txt", "2\r\n"}, {"txt", "0"}, {"txt", "1"}}));
  folder.write("test-0.tar", shard({{"txt", "1"}, {"json", "\"2\""}, {"cls", "0"}}));
  const DataSpec spec{.name = "shards", .path = folder.path()};
  const Splits splits = load_splits(spec, 0);
  CHECK(splits.train->classes() == 3);
  for (const auto& [data, labels] :
       {std::pair(splits.train, std::vector<int64_t>{2, 0, 1}), std::pair(splits.test, std::vector<int64_t>{1, 2, 0})})
    for (int64_t i = 0; i < 3; ++i) CHECK(data->label(i) == labels[static_cast<size_t>(i)]);
  folder.write("test-0.tar", shard({{"txt", "3"}}));
  CHECK(one_line_with(error_of([&] { load_splits(spec, 0); }), "test-0.tar:0.txt", "unknown class \"3\""));
  folder.write("train-0.tar", shard({{"txt", "a cat"}}));
  CHECK(one_line_with(error_of([&] { load_splits(spec, 0); }), "unknown class \"a cat\"", "expected an index"));
  // With a list its ids are meant, whatever they look like.
  folder.write("classes.tsv", "0\t10\tcat\n1\t0\tdog\n");
  folder.write("train-0.tar", shard({{"txt", "0"}, {"txt", "10"}}));
  folder.write("test-0.tar", shard({{"txt", "cat"}}));
  CHECK(load_splits(spec, 0).train->label(0) == 1);
  folder.write("train-0.tar", shard({{"txt", "1"}}));
  CHECK(one_line_with(error_of([&] { load_splits(spec, 0); }), "unknown class \"1\"", "an id or a name"));
}

TEST_CASE("shard labels: of two classes a list of both may be a share for each") {
  const TemporaryFolder folder;
  const auto loading = [&](const std::vector<Label>& labels, const ClassList& classes = {}) {
    return error_of([&] { load_shards("mine", {folder.write("x.tar", shard(labels))}, classes); });
  };
  CHECK(one_line_with(loading({{"json", "0"}, {"json", "[1, 0]"}}), "x.tar:1.json: [1,0] may be a share for each"));
  CHECK(one_line_with(loading({{"json", "{\"label\": [0, 1]}"}}), "x.tar:0.json: [0,1] may be a share for each"));
  const ClassList two{{"cat", "dog"}, {"n0", "n1"}}, three{{"cat", "dog", "cow"}, {"n0", "n1", "n2"}};
  CHECK(one_line_with(loading({{"json", "[0, 1]"}}, two), "x.tar:0.json: [0,1] may be a share"));
  CHECK(loading({{"json", "[0, 1]"}}, three).empty());
  CHECK(loading({{"json", "[0, 1]"}, {"cls", "2"}}).empty());
  CHECK(loading({{"json", "[\"cat\", \"dog\"]"}, {"json", "{\"0\": 1, \"1\": 1}"}, {"json", "[1]"}}, two).empty());
}

TEST_CASE("shard labels: what is no label is said to be none, with what is there") {
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& bytes) {
    return error_of([&] { load_shards("mine", {folder.write("x.tar", bytes + tar_end())}, {}); });
  };
  for (const char* object : {R"({"file": "x.jpg", "y": 3})", R"({"Label": 3})", R"({"annotation": {"label": 3}})"})
    CHECK(one_line_with(loading(shard({{"json", object}})), "x.tar:0.json: neither a label nor shares",
                        "the keys label,", "category", "got {\""));
  CHECK(one_line_with(loading(tar_member("a.jpg", "x") + tar_member("a.pyd", "x") + tar_member("a.cls.gz", "x")),
                      "x.tar:a: no label, expected .cls, .json or .txt, got .pyd, .cls.gz (the members"));
  CHECK(one_line_with(loading(tar_member("a.cls", "0") + tar_member("a.jpg.gz", "x")), "x.tar:a: no image",
                      ", got .jpg.gz (the members"));
  std::string many = tar_member("a.jpg", "x");
  for (int i = 0; i < 100; ++i) many += tar_member("a.x" + std::to_string(i), "x");
  CHECK(one_line_with(loading(many), "got .x0, .x1", "... (the members"));
  CHECK(loading(many).size() < 400);
  // The name of a sparse file is not the one that its header makes up.
  const std::string records = "30 GNU.sparse.name=000000.cls\n18 GNU.sparse.a=1\n";
  CHECK(one_line_with(loading(tar_member("000000.jpg", "x") + tar_member("pax", records, 'x') +
                              tar_member("GNUSparseFile.7/000000.cls", "x")),
                      "x.tar:000000.cls: a sparse file, expected a file"));
}

TEST_CASE("shards: classes without an image, and downloads that have not ended, are noted") {
  const TemporaryFolder folder;
  const DataSpec spec{.name = "shards", .path = folder.path()};
  folder.write("train-0.tar", shard({{"cls", "0"}, {"cls", "1"}}));
  folder.write("test-0.tar", shard({{"cls", "0"}, {"json", "[0, 1]"}}));
  folder.write("classes.tsv", "0\tn0\tcat\n1\tn1\tdog\n2\tn2\tcow\n3\tn3\tfox\n");
  const std::vector<std::string> classes = load_splits(spec, 0).notes;
  REQUIRE(classes.size() == 2);
  CHECK(classes[0] == "training images: none of 2 of 4 classes, the first 2, cow");
  CHECK(classes[1] == "test images: none of 2 of 4 classes, the first 2, cow");
  folder.write("classes.tsv", "0\tn0\tcat\n1\tn1\tdog\n");
  folder.write("test-0.tar", shard({{"cls", "0"}, {"json", "{\"cat\": 0, \"dog\": 1}"}}));
  CHECK(load_splits(spec, 0).notes.empty());
  for (const char* name : {"train-1.tar.md5", "train-0.tar.idx", "notes.part", ".train-3.tar.part"})
    folder.write(name, "x");
  CHECK(load_splits(spec, 0).notes.empty());
  for (const char* name : {"train-2.TAR.crdownload", "train-1.tar.gz.part", "test-1.tgz.aria2"})
    folder.write(name, "x");
  const std::vector<std::string> unfinished = load_splits(spec, 0).notes;
  REQUIRE(unfinished.size() == 1);
  CHECK(unfinished[0] == "3 unfinished downloads, not read, the first " + folder.path("test-1.tgz.aria2"));
}

}  // namespace
}  // namespace sked

// Image-text pairs in tables and shards, and what the loader makes of captions.
#include <doctest/doctest.h>

#include <chrono>
#include <set>

#include "data/captions.h"
#include "data/image_collection.h"
#include "data/image_file.h"
#include "data/loader.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"
#include "tests/data/images.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::error_of;
using test::image_text;
using test::one_line_with;
using test::tar_end;
using test::tar_header;
using test::tar_member;
using test::TemporaryFolder;

std::string pair(const std::string& key, const std::string& caption) {
  return tar_member(key + ".jpg", image_text("444")) + tar_member(key + ".txt", caption);
}

std::vector<Batch> epoch(const std::shared_ptr<const Dataset>& data, const std::string& pipeline, LoaderOptions options,
                         int64_t number = 0, int64_t first = 0) {
  Loader loader(data, Pipeline::parse(pipeline), options);
  loader.start(number, first);
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(*batch);
  return batches;
}

TEST_CASE("caption table: a pair per line, an image on several") {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", "x");
  folder.write("2.jpg", "y");
  const auto data = load_caption_table(
      "mine", folder.write("t.tsv", "a/1.jpg\tA cat. \r\n2.jpg\tein Zug, grün\na/1.jpg\tthe same \u732b\n"));
  REQUIRE(data->size() == 3);
  CHECK(data->has_captions());
  CHECK(data->classes() == 0);
  CHECK(data->label(1) == 0);
  CHECK(data->encoded());
  CHECK(captions_of(*data, 0) == std::vector<std::string>{"A cat.", "ein Zug, grün", "the same \u732b"});
  CHECK(data->source(2) == folder.path("a/1.jpg"));
  CHECK(data->file(1).bytes == std::vector<uint8_t>{'y'});
  Rng rng({0, 0, 0});
  CHECK(one_line_with(error_of([&] { data->caption(3, rng); }), "mine", "0 to 2"));
}

TEST_CASE("caption table: what breaks the rules is named with its line") {
  const TemporaryFolder folder;
  folder.write("1.jpg", "x");
  const auto reading = [&](const std::string& text) {
    return error_of([&] { load_caption_table("mine", folder.write("t.tsv", text)); });
  };
  REQUIRE(reading("1.jpg\ta cat\n").empty());
  CHECK(one_line_with(reading(""), "t.tsv: no pair"));
  CHECK(one_line_with(reading("1.jpg\ta cat\n1.jpg a dog\n"), "t.tsv:2", "path<TAB>caption, got \"1.jpg a dog\""));
  CHECK(one_line_with(reading("1.jpg\ta\tcat\n"), "t.tsv:1", "path<TAB>caption, got 2 tabs"));
  CHECK(one_line_with(reading("1.jpg\t\n"), "t.tsv: no pair; 1 left out", "t.tsv:1: an empty caption"));
  CHECK(one_line_with(reading("1.jpg\tcaf\xE9\n"), "t.tsv:1", "not UTF-8 at byte 3"));
  CHECK(one_line_with(reading(std::string("1.jpg\ta\0b\n", 10)), "t.tsv:1", "NUL at byte 1"));
  CHECK(one_line_with(reading("1.jpg\t" + std::string(70000, 'a')), "t.tsv:1", "70000 bytes"));
  CHECK(one_line_with(reading("2.jpg\ta\n"), "t.tsv: no pair; 1 left out", "t.tsv:1: no file \"2.jpg\""));
  CHECK(one_line_with(reading("1.jpg \ta\n"), "no file \"1.jpg \""));
  CHECK(one_line_with(reading("\"1.jpg\ta\n"), "no file \"\"1.jpg\"", "where they enclose the path"));
  CHECK(one_line_with(reading("img\\1.jpg\ta\n"), "no file \"img\\1.jpg\"", "expected / between folders"));
  CHECK(one_line_with(reading("\"../1.jpg\"\ta\n"), "t.tsv:1", "below the table's folder"));
  CHECK(one_line_with(reading("1.jpg\ta\r1.jpg\tb\r"), "t.tsv: lines that end in \\r alone"));
  for (const auto& wide : {std::string("\xFF\xFE"
                                       "1\0",
                                       4),
                           std::string("1\0.\0", 4),
                           std::string("\0"
                                       "1\0.",
                                       4)})
    CHECK(one_line_with(reading(wide), "t.tsv: text in UTF-16"));
  CHECK(one_line_with(reading("\x1F\x8B\x08\r"), "t.tsv: a gzipped file, expected text"));
  CHECK(one_line_with(reading(folder.path("1.jpg") + "\ta\n"), "t.tsv:1", "below the table's folder"));
  CHECK(one_line_with(reading("../1.jpg\ta\n"), "t.tsv:1", "below the table's folder", "../1.jpg"));
  CHECK(one_line_with(reading("\ta\n"), "t.tsv:1", "got \"\""));
  CHECK(one_line_with(reading(".\ta\n"), "t.tsv:1: no file \".\""));
  CHECK(one_line_with(reading("1.jpg\tx\n\n1.jpg\n"), "t.tsv:3: expected path<TAB>caption"));
  CHECK(one_line_with(error_of([&] { load_caption_table("mine", folder.path("none.tsv")); }), "none.tsv",
                      "No such file"));
}

TEST_CASE("caption table: as editors and other programs write it") {
  const TemporaryFolder folder;
  folder.write("1.jpg", "x");
  folder.write("caf\xE9.jpg", "y");
  const auto reading = [&](const std::string& text) { return load_caption_table("mine", folder.write("t.tsv", text)); };
  const auto marked = reading(
      "\xEF\xBB\xBF"
      "1.jpg\tone\r\n\r\n1.jpg\ttwo\r\n\r\n \n");
  CHECK(captions_of(*marked, 0) == std::vector<std::string>{"one", "two"});
  CHECK(marked->caption_source(1) == folder.path("t.tsv") + ":3");
  CHECK(Subset(marked, {1}).caption_source(0) == folder.path("t.tsv") + ":3");
  CHECK(marked->notes().empty());
  for (const char* header : {"filepath\ttitle\n", "image\tcaption\r\n", "Path\tText\n", "image_name\tcomment\n",
                             "\xEF\xBB\xBF"
                             "file_name\ttext\n"}) {
    const auto data = reading(std::string(header) + "1.jpg\tone\n");
    CHECK(data->size() == 1);
    CHECK(data->caption_source(0) == folder.path("t.tsv") + ":2");
    REQUIRE(data->notes().size() == 1);
    CHECK(one_line_with(data->notes()[0], "t.tsv:1: the names of columns"));
  }
  folder.write("image", "an image of that name");
  CHECK(reading("image\tcaption\n1.jpg\tone\n")->size() == 2);
  // a path of any bytes; messages have it in UTF-8
  const auto latin = reading("caf\xE9.jpg\tcaf\u00e9\n");
  CHECK(latin->file(0).bytes == std::vector<uint8_t>{'y'});
  CHECK(latin->source(0) == folder.path("caf\\xE9.jpg"));
}

TEST_CASE("caption table: fields in quotes are read as CSV has them, other quotes are text") {
  const TemporaryFolder folder;
  folder.write("1.jpg", "x");
  folder.write("\"2.jpg\"", "y");
  const auto data = load_caption_table(
      "mine",
      folder.write("t.tsv",
                   "\"filepath\"\t\"title\"\r\n1.jpg\t\"a \"\"small\"\" cat\"\r\n\"1.jpg\"\tb\n1.jpg\t\"c\td\" \n"
                   "1.jpg\t\"Hello\" and \"bye\"\n1.jpg\t\"open\n1.jpg\t2\"\n1.jpg\t\"\n1.jpg\t\"\"\"\"\n1.jpg\t\" \"\n"
                   "\"2.jpg\"\tz\n"));
  CHECK(captions_of(*data, 0) == std::vector<std::string>{"a \"small\" cat", "b", "c\td", "\"Hello\" and \"bye\"",
                                                          "\"open", "2\"", "\"", "\"", "z"});
  CHECK(data->file(8).bytes == std::vector<uint8_t>{'y'});
  CHECK(data->left_out().text("left out") == "1 left out, the first " + folder.path("t.tsv") + ":10: an empty caption");
  REQUIRE(data->notes().size() == 2);
  CHECK(one_line_with(data->notes()[0], "t.tsv:1: the names of columns"));
  CHECK(one_line_with(data->notes()[1], "5 in quotes, read without them, the first", "t.tsv:2"));
}

TEST_CASE("pairs: halves are left out, counted, and the first is named") {
  const TemporaryFolder folder;
  folder.write("1.jpg", "x");
  const auto table = load_caption_table(
      "mine", folder.write("t.tsv", "1.jpg\tone\n1.jpg\t \u3000\n2.jpg\ttwo\n1.jpg\tthree\n1.jpg\t\n"));
  CHECK(table->size() == 2);
  CHECK(table->left_out().text("left out") == "3 left out, the first " + folder.path("t.tsv") + ":2: an empty caption");

  const auto loaded = [&](const std::string& bytes) {
    return load_caption_shards("mine",
                               {folder.write("x.tar", pair("0", "zero") + bytes + pair("9", "nine") + tar_end())});
  };
  const std::pair<std::string, std::string> halves[] = {
      {tar_member("4.jpg", "x") + tar_member("4.json", "{}"), "x.tar:4.jpg: no caption (.txt)"},
      {tar_member("4.txt", "x") + tar_member("4.json", "{}"), "x.tar:4.txt: no image"},
      {pair("4", ""), "x.tar:4.txt: an empty caption"},
      {pair("4", " \n\u3000"), "x.tar:4.txt: an empty caption"},
      {pair("4", "\xEF\xBB\xBF"), "x.tar:4.txt: an empty caption"},
      {pair("4", "caf\xE9"), "x.tar:4.txt: a caption that is not UTF-8 at byte 3"},
      {pair("4", std::string("a\0b", 3)), "x.tar:4.txt: a caption with a NUL at byte 1"},
      {pair("4", std::string("\xFF\xFE"
                             "a\0",
                             4)),
       "x.tar:4.txt: a caption in UTF-16"}};
  for (const auto& [bytes, why] : halves) {
    const auto data = loaded(bytes);
    CHECK(captions_of(*data, 0) == std::vector<std::string>{"zero", "nine"});
    CHECK(data->left_out().count == 1);
    CHECK(one_line_with(data->left_out().text("left out"), why));
    CHECK(data->passed_over().count == 0);
  }
  CHECK(loaded("")->left_out().count == 0);
  CHECK(loaded("")->caption_source(1) == folder.path("x.tar") + ":9.txt");
  CHECK(captions_of(*loaded(pair("4",
                                 "\xEF\xBB\xBF"
                                 "marked")),
                    0)[1] == "marked");
}

TEST_CASE("catalog: how many halves of pairs may be left out") {
  const TemporaryFolder folder;
  for (const char* name : {"1.jpg", "2.jpg"}) folder.write(name, "x");
  const auto halves = [&](int train, int test) {
    std::string rows = "1.jpg\tone\n2.jpg\ttwo\n", more;
    for (int i = 0; i < train; ++i) more += "1.jpg\t\n";
    folder.write("train.tsv", rows + more);
    more.clear();
    for (int i = 0; i < test; ++i) more += "3.jpg\tthree\n";
    folder.write("test.tsv", rows + more);
  };
  const auto loaded = [&](int64_t limit) {
    return load_splits({.name = "caption-tsv", .path = folder.path(), .skip_limit = limit}, 0);
  };
  const auto loading = [&](int64_t limit) { return error_of([&] { loaded(limit); }); };
  halves(0, 0);
  CHECK(loaded(-1).notes.empty());
  CHECK(loaded(0).left_out.train == 0);
  halves(1, 0);
  const Splits splits = loaded(-1);
  CHECK(splits.left_out.train == 1);
  CHECK(splits.left_out.test == 0);
  REQUIRE(splits.notes.size() == 1);
  CHECK(one_line_with(splits.notes[0], "training pairs: 1 left out, the first", "train.tsv:3: an empty caption"));
  CHECK(one_line_with(loading(0), "training pairs: 1 left out", "train.tsv:3", "data.skip_limit is 0"));
  CHECK(loading(1).empty());
  halves(0, 2);
  CHECK(one_line_with(loading(-1), "test pairs: 2 left out", "test.tsv:3: no file \"3.jpg\"", "only 2 stay"));
  CHECK(one_line_with(loading(1), "test pairs: 2 left out", "data.skip_limit is 1"));
  CHECK(loaded(2).left_out.test == 2);
  CHECK(DataSpec{.skip_limit = -1}.corrupt_limit() == 0);
  CHECK(DataSpec{.skip_limit = 3}.corrupt_limit() == 3);
}

TEST_CASE("caption table: time is linear in the number of lines") {
  const TemporaryFolder folder;
  folder.write("1.jpg", "x");
  const auto seconds = [&](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "1.jpg\tcaption " + std::to_string(i) + "\n";
    const std::string path = folder.write("t.tsv", text);
    const auto start = std::chrono::steady_clock::now();
    CHECK(load_caption_table("mine", path)->size() == count);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double small = seconds(2'000);
  CHECK(seconds(40'000) < 20 * 10 * small + 2);
}

TEST_CASE("caption shards: keys with an image and a text") {
  const TemporaryFolder folder;
  const std::string shard = folder.write("0.tar", pair("d.1/a", " a cat\n") + tar_member("d.1/a.cls", "no number") +
                                                      tar_member("x.yaml", "x") + pair("b", "ein Zug") + tar_end());
  const auto data = load_caption_shards("mine", {shard, folder.write("1.tar", pair("c", "third") + tar_end())});
  REQUIRE(data->size() == 3);
  CHECK(data->has_captions());
  CHECK(data->classes() == 0);
  CHECK_FALSE(data->has_targets());
  CHECK(captions_of(*data, 0) == std::vector<std::string>{"a cat", "ein Zug", "third"});
  CHECK(data->file(2).bytes == test::image_file("444"));
  CHECK_FALSE(load_shards("labeled",
                          {folder.write("2.tar", tar_member("a.jpg", "x") + tar_member("a.cls", "0") + tar_end())}, {})
                  ->has_captions());

  const auto loading = [&](const std::string& bytes) {
    return error_of([&] { load_caption_shards("mine", {folder.write("x.tar", bytes + tar_end())}); });
  };
  CHECK(one_line_with(loading(""), "x.tar: no pair"));
  CHECK(one_line_with(loading(tar_member("a.jpg", "x") + tar_member("b.jpg", "x") + tar_member("a.txt", "x")),
                      "x.tar: no pair; 3 left out", "x.tar:a.jpg: no caption (.txt)", "must follow each other"));
  CHECK(one_line_with(loading(tar_member("a.json", "{}")), "no pair", "1 passed over", "x.tar:a.json"));
  CHECK(one_line_with(loading(tar_member("a.1.jpg", "x") + tar_member("a.1.txt", "x")), "x.tar:a.1.jpg", "key is a"));
  CHECK(one_line_with(loading(pair("a", "caf\xE9")), "x.tar:a.txt", "not UTF-8 at byte 3"));
  CHECK(one_line_with(loading(pair("a", std::string(70000, 'a'))), "x.tar:a.txt", "70000 bytes"));
  CHECK(one_line_with(loading(pair("a", std::string(5 << 20, 'a'))), "x.tar:a.txt", "bytes of text"));
  CHECK(one_line_with(loading(pair("a", "x") + tar_header("b.jpg", 0, '2') + tar_member("b.txt", "x")), "x.tar:b.jpg",
                      "a symbolic link", "tar --dereference"));
}

TEST_CASE("catalog: image-text pairs by path") {
  const TemporaryFolder folder;
  for (const char* name : {"t/1.jpg", "t/2.jpg"}) folder.write(name, image_text("444"));
  folder.write("t/train.tsv", "1.jpg\ta cat\n2.jpg\ta dog\n1.jpg\tone more\n");
  const DataSpec table{.name = "caption-tsv", .path = folder.path("t")};
  const auto loading = [&](const DataSpec& spec) { return error_of([&] { load_splits(spec, 1); }); };
  CHECK(one_line_with(loading(table), "no table", "t/test.tsv, val.tsv or dev.tsv"));
  folder.write("t/dev.tsv", "2.jpg\tthe dog\n");
  // One row fits, and 2.jpg is the only image that has one.
  const Splits splits = load_splits(table, 1);
  CHECK(captions_of(*splits.train, 0) == std::vector<std::string>{"a cat", "one more"});
  CHECK(captions_of(*splits.validation, 0) == std::vector<std::string>{"a dog"});
  CHECK(captions_of(*splits.test, 0) == std::vector<std::string>{"the dog"});
  CHECK(splits.train->classes() == 0);
  CHECK(class_names_of(table).empty());
  CHECK(with_captions(splits, {}).train == splits.train);
  std::filesystem::remove(folder.path("t/train.tsv"));
  CHECK(one_line_with(loading(table), "train.tsv", "No such file"));
  CHECK(one_line_with(loading({.name = "caption-tsv"}), "data.path: expected the folder of caption-tsv"));

  folder.write("s/train-0.tar", pair("a", "a cat") + pair("b", "a dog") + tar_end());
  const DataSpec shards{.name = "caption-shards", .path = folder.path("s")};
  CHECK(one_line_with(loading(shards), "no shards", "s/test*.tar"));
  folder.write("s/val-0.tar", pair("a", "the cat") + tar_end());
  CHECK(load_splits(shards, 1).train->size() == 1);
  CHECK(captions_of(*load_splits(shards, 0).test, 0) == std::vector<std::string>{"the cat"});
}

TEST_CASE("catalog: the captions of an image are all held out or none is") {
  const TemporaryFolder folder;
  std::string table;
  for (int row = 0; row < 100; ++row) {  // of image i there are 1 + i % 3 rows, here and there
    const int image = row % 50;
    if (row >= 50 && image % 3 == 0) continue;
    const std::string name = std::to_string(image) + ".jpg";
    folder.write("t/" + name, "x");
    table += (row < 50 ? name : "./" + name) + "\tcaption " + std::to_string(row) + "\n";
    if (image % 3 == 2 && row >= 50) table += name + "\tone more " + std::to_string(row) + "\n";
  }
  folder.write("t/train.tsv", table);
  folder.write("t/test.tsv", "0.jpg\tx\n");
  const DataSpec spec{.name = "caption-tsv", .path = folder.path("t")};
  const auto all = load_splits(spec, 0).train;
  for (const int64_t size : {1, 2, 3, 7, 30, 60}) {
    CAPTURE(size);
    const Splits splits = load_splits(spec, size);
    CHECK(splits.validation->size() == size);  // small ones are always left to fill it up
    CHECK(splits.train->size() == all->size() - size);
    std::set<std::string> held, trained;
    for (int64_t i = 0; i < size; ++i) held.insert(splits.validation->source(i));
    for (int64_t i = 0; i < splits.train->size(); ++i) trained.insert(splits.train->source(i));
    CHECK(held.size() + trained.size() == 50);
    for (const std::string& image : held) CHECK_FALSE(trained.contains(image));
  }
  CHECK(load_splits(spec, 10, 5).train->size() == 5);
  folder.write("t/train.tsv", "0.jpg\ta\n0.jpg\tb\n1.jpg\tc\n1.jpg\td\n");
  CHECK(load_splits(spec, 3).validation->size() == 2);  // at most what was asked for
  CHECK(one_line_with(error_of([&] { load_splits(spec, 1); }), "the captions of one image", "got 1"));
}

TEST_CASE("loader: the same captions for 1, 2 and 8 workers, and from the middle of an epoch") {
  const auto data = std::make_shared<CaptionedDataset>(test::counted_dataset(53), caption_templates("photo"),
                                                       Synonyms{{"cat", "kitty"}, {"dog"}, {"bus", "coach", "van"}},
                                                       CaptionNoise{.rate = 0.2, .seed = 1});
  const std::string pipeline = "random_crop(4,2)|flip|value_range(0,1)";
  const auto expected = epoch(data, pipeline, {.batch_size = 5, .seed = 3, .threads = 0}, 2);
  REQUIRE(expected.size() == 11);
  for (const Batch& batch : expected) {
    REQUIRE(static_cast<int64_t>(batch.captions.size()) == batch.images.dim(0));
    for (size_t b = 0; b < batch.captions.size(); ++b)
      CHECK(batch.captions[b] == epoch_caption(*data, 3, 2, batch.indices.data<int64_t>()[b]));
  }
  for (const int threads : {1, 2, 8}) {
    for (const int64_t first : {0, 4}) {
      CAPTURE(threads);
      const auto got = epoch(data, pipeline, {.batch_size = 5, .seed = 3, .threads = threads}, 2, first);
      REQUIRE(got.size() == expected.size() - static_cast<size_t>(first));
      for (size_t i = 0; i < got.size(); ++i) {
        CHECK(got[i].captions == expected[i + static_cast<size_t>(first)].captions);
        CHECK(got[i].images.to_vector<float>() == expected[i + static_cast<size_t>(first)].images.to_vector<float>());
      }
    }
  }
  CHECK(epoch(data, pipeline, {.batch_size = 53, .seed = 3, .shuffle = false}, 1)[0].captions !=
        epoch(data, pipeline, {.batch_size = 53, .seed = 3, .shuffle = false}, 2)[0].captions);
}

TEST_CASE("loader: captions do not disturb the images, and mixing is refused") {
  const auto bare = test::counted_dataset(20);
  const auto data = std::make_shared<CaptionedDataset>(bare, caption_templates("photo"), Synonyms{{"a"}, {"b"}, {"c"}});
  const std::string pipeline = "random_crop(4,2)|flip|value_range(0,1)";
  const auto with = epoch(data, pipeline, {.batch_size = 20, .seed = 9}),
             without = epoch(bare, pipeline, {.batch_size = 20, .seed = 9});
  CHECK(with[0].images.to_vector<float>() == without[0].images.to_vector<float>());
  CHECK(with[0].labels.to_vector<int64_t>() == without[0].labels.to_vector<int64_t>());
  CHECK(without[0].captions.empty());
  for (const char* mixing : {"value_range(0,1)|mixup(1)", "value_range(0,1)|cutmix(1)"})
    CHECK(one_line_with(error_of([&] { Loader(data, Pipeline::parse(mixing), {}); }), "counted has captions",
                        "without mixup"));
}

TEST_CASE("loader: an image left out takes its caption with it") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const TemporaryFolder folder;
  std::string shard;
  for (int i = 0; i < 8; ++i) {
    const std::string key = "k" + std::to_string(i),
                      image = image_text("444").substr(0, i == 2 || i == 3 ? 300 : 1 << 20);
    shard += tar_member(key + ".jpg", image) + tar_member(key + ".txt", "caption " + std::to_string(i));
  }
  const auto data = load_caption_shards("mine", {folder.write("x.tar", shard + tar_end())});
  for (const int threads : {0, 1, 8}) {
    const auto batches = epoch(data, "decode|resize(8)|value_range(0,1)",
                               {.batch_size = 5, .shuffle = false, .threads = threads, .skip_limit = 2});
    REQUIRE(batches.size() == 2);
    CHECK(batches[0].captions == std::vector<std::string>{"caption 0", "caption 1", "caption 4"});
    CHECK(batches[0].indices.to_vector<int64_t>() == std::vector<int64_t>{0, 1, 4});
    CHECK(batches[0].labels.to_vector<int64_t>() == std::vector<int64_t>{0, 0, 0});
    CHECK(batches[1].captions == std::vector<std::string>{"caption 5", "caption 6", "caption 7"});
    CHECK_FALSE(batches[0].targets.defined());
  }
}

}  // namespace
}  // namespace sked

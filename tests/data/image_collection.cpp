// Folders and shards of images: torchvision's and WebDataset's rules, and collections that break them.
#include "data/image_collection.h"

#include <doctest/doctest.h>

#include <ctime>

#include "data/catalog.h"
#include "data/image_file.h"
#include "data/loader.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"
#include "tests/data/images.h"

namespace sked {
namespace {

using test::error_of;
using test::image_text;
using test::one_line_with;
using test::tar_end;
using test::tar_member;
using test::TemporaryFolder;

std::string sample(const std::string& key, const std::string& label, const std::string& ending = "cls") {
  return tar_member(key + ".jpg", image_text("444")) + tar_member(key + "." + ending, label);
}

std::string names_of(const ImageCollection& data) {
  std::string names;
  for (int64_t i = 0; i < data.size(); ++i)
    names += data.source(i).substr(data.source(i).rfind(':') + 1) + "=" + std::to_string(data.label(i)) + " ";
  return names;
}

TEST_CASE("image folder: torchvision's rules") {
  const TemporaryFolder folder;
  for (const char* file :
       {"b/2.JPG", "b/10.png", "b/notes.txt", "a/z/1.jpeg", "a/y.webp", "a/x.bmp", "B/1.tiff", "stray.jpg"})
    folder.write(file, "x");
  const auto data = load_image_folder("mine", folder.path());
  CHECK(data->class_names() == std::vector<std::string>{"B", "a", "b"});
  std::string names;
  for (int64_t i = 0; i < data->size(); ++i)
    names += data->source(i).substr(folder.path().size() + 1) + "=" + std::to_string(data->label(i)) + " ";
  CHECK(names == "B/1.tiff=0 a/x.bmp=1 a/y.webp=1 a/z/1.jpeg=1 b/10.png=2 b/2.JPG=2 ");
  CHECK(data->encoded());
  CHECK(data->image_shape() == Shape{0, 0, 3});
  CHECK(data->file(0).bytes == std::vector<uint8_t>{'x'});
  CHECK_FALSE(data->has_targets());

  const auto loading = [&](const std::vector<std::string>& classes) {
    return error_of([&] { load_image_folder("mine", folder.path(), classes); });
  };
  CHECK(loading({"B", "a", "b"}).empty());
  CHECK(one_line_with(loading({"B", "a", "b", "c"}), "the class folder c is missing"));
  CHECK(one_line_with(loading({"a", "b"}), "unknown class folder B"));
  folder.write("empty/readme.md", "");
  CHECK(one_line_with(loading({}), folder.path() + "/empty", "no image"));
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", folder.path("none")); }), "none", "No such file"));
  const TemporaryFolder bare;
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", bare.path()); }), "a folder per class"));
}

TEST_CASE("image folder: what is passed over is counted, what is surely lost is an error") {
  const TemporaryFolder folder;
  for (const char* file : {"a/1.jpg", "b/1.png", "b/._1.png", "b/.DS_Store", "b/Thumbs.db", "notes.txt"})
    folder.write(file, "x");
  CHECK(load_image_folder("mine", folder.path())->passed_over().count == 0);
  CHECK(load_image_folder("mine", folder.path())->size() == 2);
  for (const char* file : {"b/3.heic", "b/2.svg", "a/4.JPG_", "a/c/5.jpg_large", "6.jpg"}) folder.write(file, "x");
  const PassedOver passed = load_image_folder("mine", folder.path())->passed_over();
  CHECK(passed.count == 5);
  CHECK(passed.text() == "5 passed over, the first " + folder.path("6.jpg") + ": an image in no class's folder");
  std::filesystem::remove(folder.path("6.jpg"));
  CHECK(load_image_folder("mine", folder.path())->passed_over().first == folder.path("a/4.JPG_"));
  folder.write("heics/1.heic", "x");
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", folder.path()); }), "/heics", "no image", "/1.heic"));
  std::filesystem::remove_all(folder.path("heics"));
  std::filesystem::create_symlink("nowhere", folder.path("a/7.jpg"));
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", folder.path()); }), "a/7.jpg", "a link to nothing"));
  std::filesystem::remove(folder.path("a/7.jpg"));
  std::filesystem::create_symlink("nowhere", folder.path("c"));
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", folder.path()); }), "/c: a link to nothing"));
}

TEST_CASE("image folder: folders that no user made are no classes") {
  const TemporaryFolder folder;
  for (const char* file : {"a/1.GIF", "a/2.tif", "a/3.jfif", "a/4.jpe", "b/1.pnm", "b/2.pbm",
                           ".ipynb_checkpoints/1.jpg", "__MACOSX/._1.jpg", "PaxHeaders.123/1.jpg",
                           "a/@eaDir/1.GIF/SYNOPHOTO_THUMB_M.jpg", "@eaDir/a/SYNOPHOTO_THUMB_M.jpg"})
    folder.write(file, "x");
  const auto data = load_image_folder("mine", folder.path(), {"a", "b"});
  CHECK(data->class_names() == std::vector<std::string>{"a", "b"});
  CHECK(data->size() == 6);
  CHECK(data->passed_over().text() ==
        "4 passed over, the first " + folder.path(".ipynb_checkpoints") + ": a hidden folder, no class");
}

TEST_CASE("image folder: a link to a folder above ends") {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", "x");
  std::filesystem::create_directory_symlink("..", folder.path("a/up"));
  CHECK(one_line_with(error_of([&] { load_image_folder("mine", folder.path()); }), folder.path("a"),
                      "more than 64 folders deep", "a link to a folder above"));
}

TEST_CASE("class lists: time is linear in the number of classes, in lists and in folders") {
  const TemporaryFolder folder;
  const auto seconds = [](const auto& work) {  // of the processor: a busy disk is not ours
    const std::clock_t start = std::clock();
    work();
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  const auto of_list = [&](int count) {
    std::string text;
    for (int k = 0; k < count; ++k) text += std::to_string(k) + "\tn" + std::to_string(k) + "\tname\n";
    const std::string path = folder.write("classes.tsv", text);
    return seconds([&] { CHECK(distinct_names(load_class_list(path)).size() == static_cast<size_t>(count)); });
  };
  const auto of_folders = [&](int count) {
    const std::string root = "f" + std::to_string(count);
    std::vector<std::string> names;
    for (int k = 0; k < count; ++k) {
      names.push_back(std::to_string(k));
      folder.write(root + "/" + names.back() + "/1.jpg", "x");
    }
    return seconds([&] { CHECK(load_image_folder("mine", folder.path(root), names)->size() == count); });
  };
  const double list = of_list(5'000), folders = of_folders(200);
  CHECK(of_list(100'000) < 20 * 10 * list + 2);
  CHECK(of_folders(4'000) < 20 * 10 * folders + 2);
}

TEST_CASE("image folder: names of any bytes, read as they are and shown as UTF-8") {
  const TemporaryFolder folder;
  folder.write(
      "caf\xE9/\xFC"
      "ber.jpg",
      "right");
  const auto data = load_image_folder("mine", folder.path(), {"caf\\xE9"});
  CHECK(data->source(0) == folder.path("caf\\xE9/\\xFCber.jpg"));
  CHECK(data->file(0).bytes == std::vector<uint8_t>{'r', 'i', 'g', 'h', 't'});
  CHECK(image_fingerprint(*data).size() == 16);
}

TEST_CASE("image folder: paths are the system's, through links and ..") {
  const TemporaryFolder folder;
  folder.write("there/data/a/1.jpg", "right");
  folder.write("data/a/1.jpg", "wrong");
  std::filesystem::create_directories(folder.path("there/below"));
  std::filesystem::create_directory_symlink(folder.path("there/below"), folder.path("link"));
  for (const char* root : {"link/../data", "link/../data/", "link/.././data"}) {
    const auto data = load_image_folder("mine", folder.path(root));
    CHECK(data->size() == 1);
    CHECK(data->file(0).bytes == std::vector<uint8_t>{'r', 'i', 'g', 'h', 't'});
  }
}

TEST_CASE("shards: keys, labels of every kind, archives in order") {
  const TemporaryFolder folder;
  const ClassList classes{{"Egyptian cat", "reel", "volleyball"}, {"n1", "n2", "n3"}};
  const std::string first = folder.write(
      "0.tar", sample("d.1/a", "2\n") + tar_member("d.1/a.txt", "a caption") + sample("d.1/b", "n2", "txt") +
                   sample("c", "Egyptian cat", "txt") + tar_member("meta.yaml", "x") + tar_end());
  const std::string second = folder.write("1.tar", sample("a", "[2, \"n1\"]", "json") + sample("b", "1", "json") +
                                                       sample("s", R"({"n1": 0.25, "2": 0.75})", "json") + tar_end());
  const auto data = load_shards("mine", {first, second}, classes);
  CHECK(names_of(*data) == "d.1/a.jpg=2 d.1/b.jpg=1 c.jpg=0 a.jpg=2 b.jpg=1 s.jpg=2 ");
  CHECK(data->source(3) == second + ":a.jpg");
  CHECK(data->caption_source(3) == data->source(3));  // it has no captions of its own
  CHECK(data->file(4).bytes == test::image_file("444"));
  REQUIRE(data->has_targets());
  CHECK(data->target(3).to_vector<float>() == std::vector<float>{1, 0, 1});
  CHECK(data->target(4).to_vector<float>() == std::vector<float>{0, 1, 0});
  CHECK(data->target(5).to_vector<float>() == std::vector<float>{0.25f, 0, 0.75f});
  // What tells images apart is known from the opening on: an archive is looked at once, not for each of its members.
  const std::string before = image_fingerprint(*data);
  std::filesystem::rename(second, second + ".away");
  CHECK(image_fingerprint(*data) == before);
  std::filesystem::rename(second + ".away", second);
  const auto nameless = load_shards("mine", {folder.write("2.tar", sample("a", "4") + tar_end())}, {});
  CHECK(nameless->classes() == 5);
  if (can_decode_images()) CHECK(data->image(0).shape() == Shape{18, 22, 3});
}

TEST_CASE("shards: what breaks the rules is named with its shard") {
  const TemporaryFolder folder;
  const ClassList classes{{"cat", "reel", "ball"}, {"n1", "n2", "n3"}};
  const auto loading = [&](const std::string& bytes) {
    return error_of([&] { load_shards("mine", {folder.write("x.tar", bytes + tar_end())}, classes); });
  };
  const std::string image = image_text("444");
  CHECK(one_line_with(loading(sample("a", "3")), "x.tar:a.cls", "label 3, expected 0 to 2"));
  CHECK(one_line_with(loading(sample("a", "-1")), "x.tar:a.cls", "label -1"));
  CHECK(one_line_with(loading(sample("a", "two")), "x.tar:a.cls", "class index, got \"two\""));
  CHECK(one_line_with(loading(sample("a", "")), "x.tar:a.cls", "got \"\""));
  CHECK(one_line_with(loading(sample("a", "n9", "txt")), "x.tar:a.txt", "unknown class \"n9\""));
  CHECK(one_line_with(loading(sample("a", "[1", "json")), "x.tar:a.json", "not JSON"));
  CHECK(one_line_with(loading(sample("a", "[]", "json")), "at least one class"));
  CHECK(one_line_with(loading(sample("a", "[1, 7]", "json")), "x.tar:a.json", "label 7"));
  for (const char* large : {"9223372036854775808", "18446744073709551615"})
    CHECK(one_line_with(loading(sample("a", large, "json")), "x.tar:a.json", std::string("got ") + large));
  CHECK(one_line_with(loading(sample("a", "[0, 1, 0]", "json")), "x.tar:a.json", "[0,1,0] may be a share"));
  CHECK(loading(sample("a", "[2, 0, 0]", "json") + sample("b", R"(["cat", "cat"])", "json")).empty());
  CHECK(one_line_with(loading(sample("a", "[1.5]", "json")), "index or id, got 1.5"));
  CHECK(one_line_with(loading(sample("a", "true", "json")), "an index, a class, a list or an object, got true"));
  CHECK(one_line_with(loading(sample("a", std::string(500'000, '[') + "1" + std::string(500'000, ']'), "json")),
                      "x.tar:a.json", "levels of nesting"));
  CHECK(one_line_with(loading(sample("a", "{\"n1\": 0, \"n1\": 1}", "json")), "x.tar:a.json", "twice"));
  CHECK(one_line_with(loading(sample("a", "{\"n1\": 1.5}", "json")), "share of 1.5"));
  CHECK(one_line_with(loading(sample("a", "{\"n1\": \"x\"}", "json")), "share of class n1"));
  CHECK(one_line_with(loading(tar_member("a.jpg", image)), "x.tar:a", "no label"));
  CHECK(one_line_with(loading(tar_member("a.cls", "1")), "x.tar:a", "no image"));
  CHECK(one_line_with(loading(tar_member("a.jpg", image) + sample("b", "1") + tar_member("a.cls", "1")), "x.tar:a",
                      "no label"));
  CHECK(one_line_with(loading(tar_member("a.jpg", image) + sample("a", "1")), "x.tar:a.jpg",
                      "a second image of its key"));
  CHECK(one_line_with(loading(sample("a", "1") + tar_member("a.CLS", "1")), "x.tar:a.CLS", "the first is a.cls"));
  CHECK(one_line_with(loading(tar_member("a.jpg", image) + test::tar_header("a.cls", 0, '1')), "x.tar:a.cls",
                      "a hard link, expected a file", "--hard-dereference"));
  const std::string whole = sample("a", "1") + sample("b", "2");
  CHECK(one_line_with(error_of([&] {
                        load_shards("m", {folder.write("cut.tar", whole.substr(0, sample("a", "1").size() + 600))},
                                    classes);
                      }),
                      "cut.tar", "at offset", "cut off"));
  CHECK(one_line_with(loading(sample("a", std::string(5 << 20, ' '))), "x.tar:a.cls", "bytes of text"));
}

TEST_CASE("shards: what is passed over is counted, what is surely lost is an error") {
  const TemporaryFolder folder;
  const std::string image = image_text("444");
  const auto loaded = [&](const std::string& bytes) {
    return load_shards("mine", {folder.write("x.tar", bytes + tar_end())}, {});
  };
  CHECK(loaded(sample("a", "0") + tar_member("a.seg.png", "x") + tar_member("a.yaml", "x"))->passed_over().count == 0);
  const auto data = loaded(tar_member("README", "x") + tar_member("__info__", "x") + tar_member("__m__/0.jpg", "x") +
                           tar_member("meta.json", "{}") + sample("d/0", "0") + test::tar_header("link", 0, '2') +
                           tar_member("z.npy", "x") + tar_member("z.txt", "x"));
  CHECK(data->size() == 1);
  CHECK(data->passed_over().count == 6);
  // What archivers leave behind is not worth counting, and parts no sample in two.
  const auto mac = loaded(tar_member("._0.jpg", "x") + tar_member("d/0.jpg", image) + tar_member("d/._0.cls", "x") +
                          tar_member("d/0.cls", "0") + tar_member("__MACOSX/d/._0.jpg", "x") +
                          tar_member("PaxHeader/0.jpg", "x") + tar_member("d/.DS_Store", "x"));
  CHECK(mac->size() == 1);
  CHECK(mac->passed_over().count == 0);
  CHECK(data->passed_over().first == folder.path("x.tar") + ":README");
  CHECK(data->passed_over().why.find("no ending") != std::string::npos);
  CHECK(loaded(tar_member("m.json", "{}") + sample("0", "0"))->passed_over().why == "its key has no image");

  const auto loading = [&](const std::string& bytes) { return error_of([&] { loaded(sample("0", "0") + bytes); }); };
  CHECK(one_line_with(loading(tar_member("3.v2.cls", "0") + tar_member("3.v2.jpg", image)), "x.tar:3.v2.jpg",
                      "its key is 3, its ending v2.jpg", "with 1 image of this shard", "as in 3_v2.jpg"));
  CHECK(one_line_with(loading(tar_member("i.1.jpg", image) + tar_member("i.1.cls", "0") + tar_member("i.2.GIF", image) +
                              tar_member("j.1.jpg", image)),
                      "x.tar:i.1.jpg", "its key is i", "with 3 images of this shard"));
  CHECK(loading(tar_member("3.seg.png", "x") + sample("3", "0")).empty());
  for (const std::string ending : {"heic", "AVIF", "v2.jxl"})
    CHECK(one_line_with(loading(tar_member("3." + ending, image) + tar_member("3.cls", "0")), "x.tar:3." + ending,
                        "an ending that is not read"));
  CHECK(one_line_with(loading(tar_member("3.jpg", image) + tar_member("3.v2.cls", "0")), "x.tar:3", "no label"));
  CHECK(one_line_with(error_of([&] { loaded(tar_member("README", "x")); }), "no image; 1 passed over", "README"));
  // WebDataset compares neighbors alone: a key that comes again is a sample of its own.
  CHECK(loaded(sample("0", "0") + sample("1", "1") + sample("0", "2"))->size() == 3);
  const std::string shard = folder.path("x.tar"), other = folder.write("y.tar", sample("0", "0") + tar_end());
  CHECK(loading("").empty());
  CHECK(load_shards("mine", {shard, other}, {})->size() == 2);
}

TEST_CASE("shards: how archives end is noted once, and explains what is missing") {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.tar", sample("0", "0")), b = folder.write("b.tar", sample("0", "0"));
  CHECK(load_shards("mine", {folder.write("c.tar", sample("0", "0") + tar_end())}, {})->notes().empty());
  const auto one = load_shards("mine", {a}, {}), two = load_shards("mine", {a, b}, {});
  REQUIRE(one->notes().size() == 1);
  REQUIRE(two->notes().size() == 1);
  CHECK(one_line_with(one->notes()[0], a + " at offset", "without the end marker of an archive"));
  CHECK(two->notes()[0] == one->notes()[0] + " (and 1 more of such shards)");
  const std::string cut = folder.write("d.tar", sample("0", "0") + tar_member("1.jpg", image_text("444")));
  CHECK(one_line_with(error_of([&] { load_shards("mine", {cut}, {}); }), "d.tar:1: no label", "is it whole"));
}

TEST_CASE("shards: a word that means two classes is refused where it is used") {
  const TemporaryFolder folder;
  const ClassList classes{{"crane", "dog", "crane", "n1"}, {"n1", "7", "n3", "2"}};
  const auto loaded = [&](const std::string& label, const std::string& ending) {
    return load_shards("mine", {folder.write("x.tar", sample("a", label, ending) + tar_end())}, classes);
  };
  const auto loading = [&](const std::string& label, const std::string& ending) {
    return error_of([&] { loaded(label, ending); });
  };
  CHECK(one_line_with(loading("crane", "txt"), "x.tar:a.txt", "\"crane\" may be class 0 (n1) or 2 (n3)"));
  CHECK(one_line_with(loading("[\"crane\"]", "json"), "x.tar:a.json", "0 (n1) or 2 (n3)"));
  CHECK(one_line_with(loading("{\"crane\": 1}", "json"), "x.tar:a.json", "0 (n1) or 2 (n3)"));
  CHECK(one_line_with(loading("n1", "txt"), "\"n1\" may be class 0 (n1) or 3 (2)"));
  CHECK(one_line_with(loading("{\"2\": 1}", "json"), "\"2\" may be class 2 or 3"));
  CHECK(loaded("n3", "txt")->label(0) == 2);
  CHECK(loaded("2", "cls")->label(0) == 2);
  CHECK(loaded("dog", "txt")->label(0) == 1);
  CHECK(loaded("{\"0\": 1}", "json")->label(0) == 0);
}

TEST_CASE("shards: an object's shares are soft labels that sum to 1, or several labels") {
  const TemporaryFolder folder;
  const ClassList classes{{"a", "b", "c"}, {"n0", "n1", "n2"}};
  const auto target = [&](const std::string& label) {
    const auto data = load_shards("m", {folder.write("x.tar", sample("k", label, "json") + tar_end())}, classes);
    return data->target(0).to_vector<float>();
  };
  const auto loading = [&](const std::string& label) { return error_of([&] { target(label); }); };
  CHECK(target(R"({"n0": 1, "n2": 1.0, "n1": 0})") == std::vector<float>{1, 0, 1});
  CHECK(target(R"({"n1": 1})") == std::vector<float>{0, 1, 0});
  const std::vector<float> thirds = target(R"({"n0": 0.333, "n1": 0.333, "n2": 0.333})");
  for (const float share : thirds) CHECK(share == doctest::Approx(1.0 / 3).epsilon(1e-7));
  CHECK(target(R"({"n0": 0.25, "n1": 0.75})") == std::vector<float>{0.25f, 0.75f, 0});
  CHECK(one_line_with(loading(R"({"n0": 0.5, "n1": 0.4})"), "x.tar:k.json", "sum to 0.9", "expected 1"));
  CHECK(one_line_with(loading(R"({"n0": 0.9, "n1": 0.9})"), "sum to 1.8"));
  CHECK(one_line_with(loading(R"({"n0": 1, "n1": 0.1})"), "sum to 1.1"));
  CHECK(one_line_with(loading(R"({"n0": 0, "n1": 0})"), "a share above 0"));
  CHECK(one_line_with(loading(R"({"n0": 1.2, "n1": -0.2})"), "share of 1.2 for class 0"));
  CHECK(one_line_with(loading(R"({"n0": 0.5, "0": 0.5})"), "there twice"));
  CHECK(one_line_with(loading(R"({"n0": 0.5, "n7": 0.5})"), "unknown class \"n7\"", "expected an id or a name"));
}

TEST_CASE("shards: an object may say its label under a name of its own") {
  const TemporaryFolder folder;
  const ClassList classes{{"cat", "dog", "crane"}, {"n0", "n1", "n2"}};
  const auto loaded = [&](const std::string& label, const ClassList& list) {
    return load_shards("m", {folder.write("x.tar", sample("k", label, "json") + tar_end())}, list);
  };
  const auto loading = [&](const std::string& label) { return error_of([&] { loaded(label, classes); }); };
  for (const char* label :
       {R"({"label": 1})", R"({"cls": 1})", R"({"class": "dog"})", R"({"label": "n1"})", R"({"label": "1"})",
        R"({"class_id": 1, "width": 0.5, "file": "x", "box": [[1]]})", R"("dog")", "1",
        "\xEF\xBB\xBF"
        "1"}) {
    CAPTURE(label);
    const auto data = loaded(label, classes);
    CHECK(data->label(0) == 1);
    CHECK_FALSE(data->has_targets());
  }
  CHECK(loaded(R"({"labels": [2, "cat"]})", classes)->target(0).to_vector<float>() == std::vector<float>{1, 0, 1});
  CHECK(loaded(R"({"label": 4})", {})->classes() == 5);
  // Beside .cls nothing else is read.
  const std::string both = tar_member("k.jpg", image_text("444")) + tar_member("k.json", "{\"caption\": [") +
                           tar_member("k.cls", "2") + tar_end();
  CHECK(load_shards("m", {folder.write("y.tar", both)}, classes)->label(0) == 2);
  // A class of that name is meant where there is one.
  const ClassList named{{"label", "dog"}, {"n0", "n1"}};
  CHECK(loaded(R"({"label": 0.25, "dog": 0.75})", named)->target(0).to_vector<float>() ==
        std::vector<float>{0.25f, 0.75f});
  CHECK(one_line_with(loading(R"({"label": 1, "class": 1})"), "x.tar:k.json", "two labels", "\"label\""));
  CHECK(one_line_with(loading(R"({"label": 1, "dog": 0.5})"), "\"label\" is no class", "\"dog\" is one"));
  CHECK(one_line_with(loading(R"({"label": 1.5})"), "a class index or id, got 1.5"));
  CHECK(one_line_with(loading(R"({"label": {"dog": 1}})"), "a class index or id, got {"));
  CHECK(one_line_with(loading(R"({"label": "cow"})"), "unknown class \"cow\""));
  CHECK(one_line_with(error_of([&] { loaded(R"({"label": "cow"})", {}); }), "unknown class \"cow\"", "classes.tsv"));
  CHECK(one_line_with(loading("{}"), "a share above 0"));
}

TEST_CASE("class lists: index, id, name") {
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& text) {
    return error_of([&] { load_class_list(folder.write("classes.tsv", text)); });
  };
  const ClassList list = load_class_list(folder.write("classes.tsv", "0\tn1\tEgyptian cat\n1\tn2\treel\r\n"));
  CHECK(list.ids == std::vector<std::string>{"n1", "n2"});
  CHECK(list.names == std::vector<std::string>{"Egyptian cat", "reel"});
  CHECK(one_line_with(loading("0\tn1\tcat\n2\tn2\tdog\n"), "classes.tsv:2", "expected 1<TAB>"));
  CHECK(one_line_with(loading("0 n1 cat\n"), "classes.tsv:1"));
  CHECK(one_line_with(loading(""), "no class"));
  CHECK(one_line_with(loading("0\tn1\tcat\n1\tn2\tdog\n2\tn1\tcow\n"), "classes.tsv:3", "the id \"n1\"", "line 1"));
  for (const char* lacking : {"0\tn1\tcat\n1\tn2\t\n", "0\tn1\tcat\n1\t\tdog\n", "0\tn1\tcat\n1\tn2\t \r\n"})
    CHECK(one_line_with(loading(lacking), "classes.tsv:2", "expected an id and a name"));
  CHECK(loading("0\tn1\tcrane\n1\tn2\tcrane\n").empty());
  CHECK(load_class_list(folder.write("bom.tsv",
                                     "\xEF\xBB\xBF"
                                     "0\tn1\tcat\n"))
            .ids[0] == "n1");
  const ClassList quoted = load_class_list(folder.write("quoted.tsv", "0\t\"n1\"\t\"cat, \"\"kitty\"\"\"\r\n"));
  CHECK(quoted.ids[0] + quoted.names[0] == "n1cat, \"kitty\"");
}

constexpr const char* kEverything =
    "decode|inception_crop(12)|flip|color_jitter(0.4,0.4,0.4,0.1)|randaugment(2,9)|value_range(-1,1)|cutmix(1)";

/// `count` examples in two shards, JPEG and PNG by turns.
std::vector<std::string> write_shards(const TemporaryFolder& folder, int count) {
  std::string shards[2];
  for (int i = 0; i < count; ++i) {
    const std::string key = "k" + std::to_string(i);
    shards[2 * i / count] += tar_member(key + (i % 3 == 0 ? ".png" : ".jpg"), image_text(i % 3 == 0   ? "png"
                                                                                         : i % 3 == 1 ? "444"
                                                                                                      : "large")) +
                             tar_member(key + ".cls", std::to_string(i % 4));
  }
  return {folder.write("train-0.tar", shards[0] + tar_end()), folder.write("train-1.tar", shards[1] + tar_end())};
}

std::vector<Batch> rest_of(Loader& loader) {
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(*batch);
  return batches;
}

TEST_CASE("loader: shards give the same bytes for 1, 2 and 8 workers, and from the middle of an epoch") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const TemporaryFolder folder;
  const auto data = load_shards("mine", write_shards(folder, 42), {});
  const Pipeline pipeline = Pipeline::parse(kEverything);
  const auto epoch = [&](int threads, int64_t first) {
    Loader loader(data, pipeline, {.batch_size = 8, .seed = 11, .threads = threads});
    loader.start(3, first);
    return rest_of(loader);
  };
  const auto expected = epoch(0, 0);
  REQUIRE(expected.size() == 6);
  CHECK(expected[0].targets.shape() == Shape{8, 4});
  for (const int threads : {1, 2, 8}) {
    for (const int64_t first : {0, 3}) {
      CAPTURE(threads);
      const auto got = epoch(threads, first);
      REQUIRE(got.size() == expected.size() - static_cast<size_t>(first));
      for (size_t i = 0; i < got.size(); ++i) {
        const Batch &a = got[i], &b = expected[i + static_cast<size_t>(first)];
        CHECK(a.images.to_vector<float>() == b.images.to_vector<float>());
        CHECK(a.targets.to_vector<float>() == b.targets.to_vector<float>());
        CHECK(a.labels.to_vector<int64_t>() == b.labels.to_vector<int64_t>());
        CHECK(a.indices.to_vector<int64_t>() == b.indices.to_vector<int64_t>());
      }
    }
  }
}

TEST_CASE("loader: a collection needs decode, and its cost is counted") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const TemporaryFolder folder;
  const auto data = load_shards("mine", write_shards(folder, 12), {});
  CHECK(one_line_with(error_of([&] { Loader(data, Pipeline::parse("resize(8)|value_range(0,1)"), {}); }), "decode",
                      "mine"));
  Loader loader(data, Pipeline::parse("decode|resize(8)|value_range(0,1)"), {.batch_size = 5, .threads = 2});
  loader.start(0);
  CHECK(rest_of(loader).size() == 3);
  const LoaderStatistics& s = loader.statistics();
  CHECK(s.images == 12);
  CHECK(s.skipped == 0);
  CHECK(s.decode_seconds > 0);
  CHECK(s.decode_seconds < s.seconds);
}

/// 12 images, of which 2 is empty and 7 cut off.
static std::string shard_with_two_corrupt() {
  std::string shard;
  for (int i = 0; i < 12; ++i) {
    const std::string key = "k" + std::to_string(i), image = i == 2   ? ""
                                                             : i == 7 ? image_text("444").substr(0, 300)
                                                                      : image_text("444");
    shard += tar_member(key + ".jpg", image) + tar_member(key + ".cls", "1");
  }
  return shard + tar_end();
}

TEST_CASE("loader: corrupt images are counted, named and left out, up to the limit") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const TemporaryFolder folder;
  const auto data = load_shards("mine", {folder.write("x.tar", shard_with_two_corrupt())}, {});
  const Pipeline pipeline = Pipeline::parse("decode|resize(8)|value_range(0,1)|mixup(1)");
  std::vector<std::string> named;
  const auto options = [&](int64_t limit, int threads, int64_t batch = 4) {
    return LoaderOptions{.batch_size = batch,
                         .shuffle = false,
                         .threads = threads,
                         .skip_limit = limit,
                         .on_skip = [&](const Skipped& s) { named.push_back(s.message); }};
  };
  for (const int threads : {0, 1, 4}) {
    CAPTURE(threads);
    named.clear();
    Loader loader(data, pipeline, options(2, threads));
    for (int epoch = 0; epoch < 2; ++epoch) {
      loader.start(epoch);
      const auto batches = rest_of(loader);
      REQUIRE(batches.size() == 3);
      CHECK(batches[0].images.shape() == Shape{3, 8, 8, 3});
      CHECK(batches[0].indices.to_vector<int64_t>() == std::vector<int64_t>{0, 1, 3});
      CHECK(batches[0].targets.shape() == Shape{3, 2});
      CHECK(batches[1].labels.dim(0) == 3);
      CHECK(batches[2].labels.dim(0) == 4);
    }
    REQUIRE(named.size() == 2);  // each once, though met in both epochs
    CHECK(one_line_with(named[0], "x.tar:k2.jpg", "an empty one"));
    CHECK(one_line_with(named[1], "x.tar:k7.jpg", "cut off"));
    CHECK(loader.statistics().skipped == 2);

    Loader strict(data, pipeline, options(1, threads));
    strict.start(0);
    CHECK(strict.next().has_value());
    CHECK(one_line_with(error_of([&] { strict.next(); }), "x.tar:k7.jpg", "so far: 2", "data.skip_limit is 1"));
    Loader strictest(data, pipeline, options(0, threads));
    strictest.start(0);
    CHECK(one_line_with(error_of([&] { strictest.next(); }), "x.tar:k2.jpg", "data.skip_limit is 0"));
  }
  // Too small for a crop: as bad as corrupt, and named.
  Loader small(data, Pipeline::parse("decode|random_crop(32,0)|value_range(0,1)"), options(0, 1));
  small.start(0);
  CHECK(one_line_with(error_of([&] { small.next(); }), "random_crop", "x.tar:k0.jpg"));
}

TEST_CASE(
    "loader: a batch of which every image is corrupt has none, wherever it stands; an epoch without one is an error") {
  if (!can_decode_images()) return test::skip("built without image libraries");
  const TemporaryFolder folder;
  const auto data = load_shards("mine", {folder.write("x.tar", shard_with_two_corrupt())}, {});
  const Pipeline pipeline = Pipeline::parse("decode|resize(8)|value_range(0,1)|mixup(1)");
  for (const int threads : {0, 1, 4}) {
    const LoaderOptions options{.batch_size = 1, .shuffle = false, .threads = threads, .skip_limit = 2};
    Loader alone(data, pipeline, options);
    alone.start(0);
    std::vector<int64_t> sizes;
    for (const Batch& batch : rest_of(alone)) sizes.push_back(batch.images.dim(0));
    CHECK(sizes == std::vector<int64_t>{1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1});
    Loader nothing(std::make_shared<Subset>(data, std::vector<int64_t>{2, 7}), pipeline, options);
    nothing.start(0);
    CHECK(nothing.next()->images.dim(0) == 0);
    CHECK(one_line_with(error_of([&] { nothing.next(); }), "no image of the epoch", "k7.jpg"));
  }
}

TEST_CASE("catalog: folders and shards by path") {
  const TemporaryFolder folder;
  for (const char* name :
       {"f/train/a/1.png", "f/train/a/2.png", "f/train/b/1.png", "f/train/b/2.png", "f/val/a/1.png", "f/val/b/1.png"})
    folder.write(name, image_text("png"));
  const Splits splits = load_splits({.name = "image-folder", .path = folder.path("f")}, 1);
  CHECK(splits.train->size() == 3);
  CHECK(splits.validation->size() == 1);
  CHECK(splits.test->size() == 2);
  CHECK(splits.test->encoded());
  CHECK(splits.train->file(0).bytes == test::image_file("png"));

  std::filesystem::create_directories(folder.path("s"));
  folder.write("s/train-0.tar", sample("a", "1") + sample("b", "0") + tar_end());
  folder.write("s/dev-0.tar", sample("a", "1") + tar_end());
  CHECK(load_splits({.name = "shards", .path = folder.path("s")}, 0).test->size() == 1);
  folder.write("s/dev-0.tar", sample("a", "2") + tar_end());
  const auto loading = [&](DataSpec spec) { return error_of([&] { load_splits(spec, 0); }); };
  CHECK(one_line_with(loading({.name = "shards", .path = folder.path("s")}), "dev-0.tar:a.cls",
                      "label 2, expected 0 to 1"));
  CHECK(one_line_with(loading({.name = "shards", .path = folder.path("f")}), "no shards", "train*.tar"));
  CHECK(one_line_with(loading({.name = "shards", .path = folder.path("none")}), "data.path: cannot read ",
                      "/none: No such"));
  CHECK(one_line_with(loading({.name = "shards"}), "data.path: expected the folder of shards"));
  CHECK(one_line_with(loading({.name = "cifar-10", .path = "x"}), "data.path: expected none"));
  CHECK(one_line_with(loading({.name = "tiny-imagenet-200", .root = folder.path()}), "no shards",
                      "make data DATASETS=\"tiny-imagenet-200\""));
  CHECK(one_line_with(loading({.name = "shards", .path = folder.path("s"), .noise = LabelNoise::pair}),
                      "whose images are files"));
  std::filesystem::remove_all(folder.path("f/val/b"));
  CHECK(
      one_line_with(loading({.name = "image-folder", .path = folder.path("f")}), "f/val", "class folder b is missing"));
  std::filesystem::remove_all(folder.path("f/val"));
  CHECK(one_line_with(loading({.name = "image-folder", .path = folder.path("f")}), "test, val or dev"));
  // A test set without labels is not one; another name of it is.
  folder.write("f/test/1.png", image_text("png"));
  CHECK(one_line_with(loading({.name = "image-folder", .path = folder.path("f")}), "no test images"));
  for (const char* name : {"f/validation/a/1.png", "f/validation/b/1.png", "f/train/a/x.svg"})
    folder.write(name, image_text("png"));
  const Splits flat = load_splits({.name = "image-folder", .path = folder.path("f")}, 0);
  CHECK(flat.test->size() == 2);
  REQUIRE(flat.notes.size() == 2);
  CHECK(one_line_with(flat.notes[0], "f/test has no folder of a class"));
  CHECK(one_line_with(flat.notes[1], "training files: 1 passed over", "f/train/a/x.svg"));
}

TEST_CASE("catalog: shards by the names the field gives them") {
  const TemporaryFolder folder;
  const auto loading = [&](const DataSpec& spec) { return error_of([&] { load_splits(spec, 0); }); };
  std::filesystem::create_directories(folder.path("timm"));
  folder.write("timm/imagenet1k-train-0000.tar", tar_member("README", "x") + sample("a", "0") + tar_end());
  folder.write("timm/imagenet1k-validation-00.tar", tar_end());
  CHECK(one_line_with(loading({.name = "shards", .path = folder.path("timm")}),
                      "imagenet1k-validation-00.tar: no image"));
  folder.write("timm/imagenet1k-validation-00.tar", sample("a", "0") + tar_end());
  const Splits timm = load_splits({.name = "shards", .path = folder.path("timm")}, 0);
  REQUIRE(timm.notes.size() == 1);
  CHECK(one_line_with(timm.notes[0], "imagenet1k-train-0000.tar:README"));
  const DataSpec named{.name = "shards", .path = folder.path("timm")};
  folder.write("timm/x-train-val-1.tar", sample("b", "0") + tar_end());
  CHECK(load_splits(named, 0).train->size() == 2);
  CHECK(load_splits(named, 0).test->size() == 1);
  for (const char* name : {"timm/x-train-val-1.tar.gz", "timm/x-train-val-1.tgz", "timm/x-train-val-1.tar.xz",
                           "timm/._x-train-2.tar", "timm/train.zip"})
    folder.write(name, "x");
  CHECK(load_splits(named, 0).train->size() == 2);
  folder.write("timm/x-train-2.tar.zst", "x");
  CHECK(one_line_with(loading(named), "x-train-2.tar.zst: a shard in .tar.zst", "expected one in .tar", "unzstd"));
  const DataSpec zipped{.name = "shards", .path = folder.path("z")};
  folder.write("z/train-0.ZIP", "x");
  CHECK(one_line_with(loading(zipped), "z/train-0.ZIP: a shard in .zip", "unzip it, then tar -cf"));
  folder.write("z/Train_0.TAR", sample("b", "0") + tar_end());
  folder.write("z/coco.val.tar", sample("b", "0") + tar_end());
  CHECK(load_splits(zipped, 0).train->size() == 1);
  // or in folders of their own, by any name
  for (const char* name : {"g/train/00000.tar", "g/train/00001.tar", "g/val/00000.tar"})
    folder.write(name, sample("b", "0") + tar_end());
  const Splits inside = load_splits({.name = "shards", .path = folder.path("g")}, 0);
  CHECK(inside.train->size() == 2);
  CHECK(inside.test->size() == 1);
  CHECK(inside.validation == nullptr);
  for (int i = 0; i < 3; ++i) folder.write("g/test/" + std::to_string(i) + ".tar", sample("b", "0") + tar_end());
  const Splits parts = load_splits({.name = "shards", .path = folder.path("g")}, 0);
  CHECK(parts.test->size() == 3);
  REQUIRE(parts.validation != nullptr);
  CHECK(parts.validation->size() == 1);
}

TEST_CASE("catalog: a folder's parts by the names people give them") {
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& name) {
    return error_of([&] { load_splits({.name = "image-folder", .path = folder.path(name)}, 0); });
  };
  const auto loaded = [&](const std::string& name) {
    return load_splits({.name = "image-folder", .path = folder.path(name)}, 0);
  };
  const auto write = [&](const std::string& part) {
    for (const char* c : {"/a/1.png", "/b/1.png"}) folder.write(part + c, "x");
  };
  for (const auto& [train, test] : std::initializer_list<std::pair<std::string, std::string>>{
           {"1/train", "1/val"}, {"2/Train", "2/Val"}, {"3/training", "3/testing"}, {"4/TRAIN", "4/valid"}}) {
    write(train);
    write(test);
    CHECK(loaded(train.substr(0, 1)).test->size() == 2);
    CHECK(class_names_of({.name = "image-folder", .path = folder.path(train.substr(0, 1))}).size() == 2);
  }
  write("5/train");
  CHECK(one_line_with(loading("5"), "5: no test images", "test, val or dev", "move some images", "data.validation"));
  // A test set without labels, in a folder of one name or flat, is not used where there is another.
  folder.write("5/test/unlabeled/1.png", "x");
  CHECK(one_line_with(loading("5"), "5/test: the class folder a is missing"));
  write("5/val");
  const Splits nested = loaded("5");
  CHECK(nested.test->size() == 2);
  REQUIRE(nested.notes.size() == 1);
  CHECK(one_line_with(nested.notes[0], "5/test has no folder of a class: not used"));
  write("6/test");
  CHECK(one_line_with(loading("6"), "no folder", "6/train with a folder per class"));
  // Test images beside the classes' own folders: which are training's is not guessed.
  folder.write("6/a/1.png", "x");
  CHECK(one_line_with(loading("6"), "6/test has folders of classes that are beside it"));
}

TEST_CASE("catalog: the real Tiny ImageNet") {
  const auto root = test::data_root_with("tiny-imagenet-200/train-000000.tar");
  if (!root) return;
  const Splits splits = load_splits({.name = "tiny-imagenet-200", .root = *root}, 1000);
  CHECK(splits.train->size() == 14000);
  CHECK(splits.validation->size() == 1000);
  CHECK(splits.test->size() == 3000);
  CHECK(splits.test->classes() == 200);
  CHECK(splits.test->class_names()[0] == "Egyptian cat");
  CHECK(splits.test->label(0) == 121);
  if (can_decode_images()) CHECK(splits.test->image(0).shape() == Shape{64, 64, 3});
}

}  // namespace
}  // namespace sked

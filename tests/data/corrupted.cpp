#include "data/corrupted.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/npy.h"
#include "core/safetensors.h"
#include "data/catalog.h"
#include "data/image_file.h"
#include "data/loader.h"
#include "data/made_corruptions.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

using namespace sked;
using namespace sked::test;

namespace {

const ClassList kThree{.names = {"class 0", "class 1", "class 2"}, .ids = {"n0", "n1", "n2"}};

/// A folder of CIFAR-10-C's form: `per_severity` images of 4×4.
void write_arrays(const TemporaryFolder& folder, const std::vector<std::string>& names, int64_t per_severity = 3) {
  std::filesystem::create_directories(folder.path("c"));
  for (const std::string& name : names)
    save_npy(folder.path("c/" + name + ".npy"), counted_images(5 * per_severity, 4, 3));
  save_npy(folder.path("c/labels.npy"), counted_labels(5 * per_severity, 3));
}

std::vector<std::string> names_of_all(const Corruptions& all, bool in_mean) {
  std::vector<std::string> names;
  for (const Corruption& c : all.list)
    if (c.in_mean == in_mean) names.push_back(c.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("corruptions: .npy files, severities one after the other") {
  const TemporaryFolder folder;
  write_arrays(folder, {"fog", "gaussian_noise", "saturate", "my_own"});
  folder.write("c/README.txt", "words");
  folder.write("c/._fog.npy", "macOS");
  folder.write("c/.DS_Store", "");
  const Corruptions all = find_corruptions(folder.path("c"), kThree);
  CHECK(names_of_all(all, true) == Names{"gaussian_noise", "fog"});
  CHECK(names_of_all(all, false) == Names{"saturate", "my_own"});
  REQUIRE(all.notes.size() == 3);
  CHECK(one_line_with(all.notes[0], "1 passed over", "README.txt"));
  CHECK(one_line_with(all.notes[1], "13 of the 15 published corruptions are not there: shot_noise"));
  CHECK(one_line_with(all.notes[2], "not among the published", "my_own"));
  const Tensor images = counted_images(15, 4, 3);
  for (const int severity : all.list[1].severities) {
    const auto data = all.list[1].open(severity);
    REQUIRE(data->size() == 3);
    CHECK(data->class_names() == kThree.names);
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t row = 3 * (severity - 1) + i;
      CHECK(data->image(i).to_vector<uint8_t>() == images.rows(row, row + 1).to_vector<uint8_t>());
      CHECK(data->label(i) == row % 3);
    }
    CHECK(data->source(0) == folder.path("c/fog.npy, severity " + std::to_string(severity)) + ", image 0");
  }
  save_npy(folder.path("c/labels.npy"), counted_labels(15, 3).to(DType::u8));  // as they are published
  CHECK(find_corruptions(folder.path("c"), kThree).list[0].open(2)->label(1) == 1);
  // Where there is none of the 15 all count but those published as extra.
  for (const char* name : {"fog", "gaussian_noise"})
    std::filesystem::remove(folder.path("c/" + std::string(name) + ".npy"));
  CHECK(names_of_all(find_corruptions(folder.path("c"), kThree), true) == Names{"my_own"});
}

TEST_CASE("corruptions: what is wrong with .npy files is one line that names the file") {
  const TemporaryFolder folder;
  write_arrays(folder, {"fog", "snow"});
  const std::string path = folder.path("c"), fog = path + "/fog.npy", labels = path + "/labels.npy";
  const auto refused = [&](const auto&... parts) {
    const std::string message = error_of([&] { find_corruptions(path, kThree); });
    write_arrays(folder, {"fog", "snow"});
    return one_line_with(message, parts...);
  };
  CHECK(error_of([&] { find_corruptions(path, kThree); }).empty());
  const std::string whole = slurp(fog);
  folder.write("c/fog.npy", whole.substr(0, whole.size() - 1));
  CHECK(refused(fog, "720 bytes", "got 719"));
  folder.write("c/fog.npy", "");
  CHECK(refused(fog, "not a .npy file"));
  save_npy(fog, Tensor::zeros({15, 4, 4, 3}));
  CHECK(refused(fog, "expected images |u1", "f32"));
  save_npy(fog, Tensor::zeros({15, 4, 12}, DType::u8));
  CHECK(refused(fog, "expected images |u1 (5·N, H, W, 1 or 3)", "(15, 4, 12)"));
  save_npy(fog, Tensor::zeros({15, 4, 4, 4}, DType::u8));
  CHECK(refused(fog, "(15, 4, 4, 4)"));
  save_npy(fog, Tensor::zeros({15, 0, 4, 3}, DType::u8));
  CHECK(refused(fog, "(15, 0, 4, 3)"));
  save_npy(fog, counted_images(10, 4, 3));
  CHECK(refused(fog, "10 images, labels.npy has 15"));
  save_npy(path + "/snow.npy", counted_images(15, 5, 3));
  CHECK(refused("snow.npy", "expected images (15, 4, 4, 3) as in fog.npy", "(15, 5, 5, 3)"));
  save_npy(labels, counted_labels(15, 4));
  CHECK(refused(labels, "label 3 is 3, expected 0 to 2"));
  save_npy(labels, counted_labels(15, 2));
  CHECK(refused(labels, "labels of the model's 3 classes, got 0 to 1"));
  save_npy(labels, counted_labels(14, 3));
  CHECK(refused(labels, "(14)"));
  save_npy(labels, Tensor::zeros({0}, DType::i64));
  CHECK(refused(labels, "(0)"));
  save_npy(labels, Tensor::zeros({15}));
  CHECK(refused(labels, "|u1 or <i8, got f32"));
  std::filesystem::remove(labels);
  CHECK(refused(labels, "not there"));
  std::filesystem::remove(fog);
  std::filesystem::remove(path + "/snow.npy");
  CHECK(refused(path, "expected <corruption>.npy"));
  CHECK(one_line_with(error_of([&] { find_corruptions(folder.path("none"), kThree); }), "none", "No such file"));
  std::filesystem::create_directories(folder.path("empty"));
  CHECK(one_line_with(error_of([&] { find_corruptions(folder.path("empty"), kThree); }), "empty", "got none"));
  // What changes later is found when it is opened.
  const Corruptions all = find_corruptions(path, kThree);
  save_npy(fog, counted_images(10, 4, 3));
  CHECK(one_line_with(error_of([&] { all.list[1].open(5); }), fog, "not the file any more"));
}

TEST_CASE("corruptions: folders of classes, one level down or not, by their names or ids") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  const auto write = [&](const std::string& file, int shade) {
    folder.write("c/" + file, "");
    write_png(folder.path("c/" + file), Tensor::full({4, 5, 3}, shade, DType::u8));
  };
  for (int severity = 1; severity <= 5; ++severity)
    for (int k = 0; k < 3; ++k) {
      const std::string level = std::to_string(severity), id = "n" + std::to_string(2 - k) + "/0.png";
      write("blur/glass_blur/" + level + "/" + id, 10 * severity + 2 - k);
      write("extra/homemade/" + level + "/" + id, 1);
      if (severity != 2) write("fog/" + level + "/class " + std::to_string(k) + "/a.png", 100 * k + severity);
    }
  folder.write("c/readme.md", "words");
  folder.write("c/fog/6/note", "words");
  folder.write("c/empty/deeper/x", "words");
  const Corruptions all = find_corruptions(folder.path("c"), kThree);
  CHECK(names_of_all(all, true) == Names{"glass_blur", "fog"});
  CHECK(names_of_all(all, false) == Names{"homemade"});
  CHECK(one_line_with(all.notes.at(0), "3 passed over", "readme.md"));
  CHECK(one_line_with(all.notes.back(), "not all five severities of fog"));
  CHECK(all.list[1].severities == std::vector<int>{1, 3, 4, 5});
  const auto blurred = all.list[0].open(4), foggy = all.list[1].open(3);
  CHECK(blurred->class_names() == kThree.names);  // n0 is class 0
  CHECK(foggy->class_names() == kThree.names);
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(blurred->label(i) == i);
    CHECK(blurred->image(i).to_vector<uint8_t>()[0] == 40 + i);
    CHECK(foggy->image(i).to_vector<uint8_t>()[0] == 100 * i + 3);
  }
  const auto refused = [&](const auto&... parts) {
    return one_line_with(error_of([&] { find_corruptions(folder.path("c"), kThree); }), parts...);
  };
  write("weather/fog/1/class 0/0.png", 0);
  CHECK(refused("weather/fog", "fog is there twice"));
  std::filesystem::remove_all(folder.path("c/weather"));
  write("weather/snow/1/class 0/0.png", 0);
  CHECK(one_line_with(find_corruptions(folder.path("c"), kThree).notes.at(1), "1 with fewer classes than the model",
                      "snow/1: 1 of 3"));
  std::filesystem::remove_all(folder.path("c/weather"));
  write("fog/2/walrus/0.png", 0);
  CHECK(refused("c/fog/2", "other classes than the model's", "walrus"));
  std::filesystem::remove_all(folder.path("c/fog/2/walrus"));
  CHECK(refused("c/fog/2", "expected a folder per class"));
}

TEST_CASE("corruptions: ours are NumPy's and SciPy's where no noise is drawn") {
  const TensorFile file = load_safetensors("tests/fixtures/corruptions.safetensors");
  for (const std::string image : {"color", "gray"})
    for (const auto kind : {MadeCorruption::gaussian_blur, MadeCorruption::brightness, MadeCorruption::contrast}) {
      const Tensor &input = file.at(image + "/image"), &expected = file.at(image + "/" + name_of(kind));
      const int64_t bytes = input.numel();
      for (int severity = 1; severity <= 5; ++severity) {
        CAPTURE(image);
        CAPTURE(name_of(kind));
        CAPTURE(severity);
        const Tensor ours = corrupted(input, kind, severity, 0);
        REQUIRE(ours.shape() == input.shape());
        double furthest = 0;
        for (int64_t i = 0; i < bytes; ++i)
          furthest = std::max(furthest, std::abs(static_cast<double>(ours.data<uint8_t>()[i]) -
                                                 expected.data<float>()[(severity - 1) * bytes + i]));
        CHECK(furthest < 0.5001);  // rounded
      }
    }
}

TEST_CASE("corruptions: noise has its strength, and is a function of kind, severity and image alone") {
  const Tensor gray = Tensor::full({64, 64, 3}, 128, DType::u8);
  constexpr double kDeviation[] = {.04, .06, .08, .09, .1}, kShare[] = {.01, .02, .03, .05, .07};
  for (int severity = 1; severity <= 5; ++severity) {
    const auto noisy = corrupted(gray, MadeCorruption::gaussian_noise, severity, 7).to_vector<uint8_t>();
    double mean = 0, squares = 0;
    for (const uint8_t v : noisy) mean += v / 12288.0;
    for (const uint8_t v : noisy) squares += (v - mean) * (v - mean) / 12288;
    const double expected = 255 * kDeviation[severity - 1];
    CHECK(std::abs(mean - 128) < 4 * expected / std::sqrt(12288));
    CHECK(std::abs(std::sqrt(squares) / expected - 1) < 4 / std::sqrt(2 * 12288.0) + 0.001);  // and rounding
    const auto hit = corrupted(gray, MadeCorruption::impulse_noise, severity, 7).to_vector<uint8_t>();
    const auto black = static_cast<double>(std::ranges::count(hit, 0)),
               white = static_cast<double>(std::ranges::count(hit, 255));
    const double half = 12288 * kShare[severity - 1] / 2;
    CHECK(std::abs(black - half) < 4 * std::sqrt(half));
    CHECK(std::abs(white - half) < 4 * std::sqrt(half));
    CHECK(corrupted(gray, MadeCorruption::gaussian_noise, severity, 7).to_vector<uint8_t>() == noisy);
    CHECK(corrupted(gray, MadeCorruption::gaussian_noise, severity, 8).to_vector<uint8_t>() != noisy);
  }
  const auto base = counted_dataset(4, 32);
  const Corruptions all = made_corruptions(base);
  CHECK(names_of_all(all, true) == Names{"gaussian_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast"});
  for (const Corruption& c : all.list) {
    const auto data = c.open(5);
    CHECK(data->label(2) == base->label(2));
    CHECK(data->image(2).to_vector<uint8_t>() != base->image(2).to_vector<uint8_t>());
    CHECK(base->image(2).to_vector<uint8_t>() == counted_images(4, 32, 3).rows(2, 3).to_vector<uint8_t>());
  }
  CHECK(one_line_with(error_of([&] { corrupted(gray, MadeCorruption::contrast, 6, 0); }), "1 to 5, got 6"));
  CHECK(one_line_with(error_of([&] { corrupted(Tensor::zeros({2, 2, 3}), MadeCorruption::contrast, 1, 0); }), "f32"));
}

TEST_CASE("corruptions: ours of files that differ in size") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  for (const std::string name : {"a", "b"}) {
    folder.write("c/" + name + "/0.png", "");
    write_png(folder.path("c/" + name + "/0.png"), Tensor::full({name == "a" ? 4 : 9, 5, 3}, 200, DType::u8));
  }
  const Corruptions all = made_corruptions(load_image_folder("c", folder.path("c")));
  Loader loader(all.list[4].open(1), Pipeline::parse("decode|resize(4)|value_range(0,255)"), {.shuffle = false});
  loader.start(0);
  const Tensor images = loader.next().value().images;
  CHECK(images.shape() == Shape{2, 4, 4, 3});
  for (const float value : images.to_vector<float>()) CHECK(value == 200);  // contrast: about the mean
}

TEST_CASE("corruptions: what files call a data set's classes") {
  const TemporaryFolder folder;
  folder.write("s/classes.tsv", "0\tn7\towl\n1\tn3\tcat\n");
  DataSpec spec;
  spec.name = "shards";
  spec.path = folder.path("s");
  CHECK(class_names_of(spec) == Names{"owl", "cat"});
  CHECK(class_ids_of(spec) == Names{"n7", "n3"});
  CHECK(class_ids_of({}).empty());
}

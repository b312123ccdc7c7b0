// evaluate --shift: a model's measures under corruptions.

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "core/json.h"
#include "core/npy.h"
#include "data/catalog.h"
#include "data/image_file.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

/// Runs on tiny data, and CIFAR-10-C's files of its test images: severity 1 is the images themselves, 5 is black.
struct ShiftPlace {
  ShiftPlace() {
    write_tiny_data(folder.path("data"));
    test = load_splits(config().data, 0).test;
    std::filesystem::create_directories(folder.path("c"));
    Tensor images = Tensor::zeros({5 * test->size(), 8, 8, 1}, DType::u8);
    Tensor labels = Tensor::empty({images.dim(0)}, DType::i64);
    for (int64_t i = 0; i < images.dim(0); ++i) {
      const Tensor image = test->image(i % test->size());
      const auto severity = static_cast<uint8_t>(i / test->size());
      for (int64_t p = 0; p < 64; ++p)
        images.data<uint8_t>()[64 * i + p] = static_cast<uint8_t>(image.data<uint8_t>()[p] * (4 - severity) / 4);
      labels.data<int64_t>()[i] = test->label(i % test->size());
    }
    save_npy(folder.path("c/fog.npy"), images);
    save_npy(folder.path("c/saturate.npy"), images);
    save_npy(folder.path("c/labels.npy"), labels);
  }
  RunConfig config() const { return tiny_config(folder.path("data")); }
  Outcome evaluate(std::vector<std::string> words) const {
    words.insert(words.begin(), "evaluate");
    words.insert(words.end(), {"--threads", "1", "--out", folder.path("out")});
    return run_program(words);
  }
  std::string json_of(const std::vector<std::string>& words) const {
    const Outcome outcome = evaluate(words);
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    return slurp(folder.path("out/evaluation.json"));
  }

  TemporaryFolder folder;
  std::shared_ptr<const Dataset> test;
};

constexpr const char* kMeasures[] = {"nll", "accuracy", "ece", "brier"};

}  // namespace

TEST_CASE("shift: each severity is measured as any test images are, and means are over severities and corruptions") {
  const ShiftPlace place;
  const std::string run = train_run(place.folder, place.config(), "run"), c = place.folder.path("c");
  const Outcome outcome = place.evaluate({run, "--shift", c});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(has(outcome.out, "2 corruptions, 1 in the mean"));
  CHECK(has(outcome.out, "mean corruption error"));
  CHECK(has(outcome.err, "14 of the 15 published corruptions are not there"));
  const std::string json = slurp(place.folder.path("out/evaluation.json"));
  CHECK(text_at(json, "/shift/corruptions/0/corruption") == "fog");
  CHECK(json_at(json, "/shift/corruptions/1/in_mean") == "false");
  for (const std::string measure : kMeasures) {
    CAPTURE(measure);
    const auto at = [&](int severity) {
      return number_at(json, "/shift/corruptions/0/severities/" + std::to_string(severity - 1) + "/" + measure);
    };
    CHECK(at(1) == number_at(json, "/test/" + measure));
    const double mean = (at(1) + at(2) + at(3) + at(4) + at(5)) / 5;
    CHECK(number_at(json, "/shift/corruptions/0/mean/" + measure) == doctest::Approx(mean));
    CHECK(number_at(json, "/shift/mean/" + measure) == doctest::Approx(mean));
    CHECK(number_at(json, "/shift/severities/4/" + measure) == at(5));
    if (measure == "nll") CHECK(at(5) != at(1));
  }
  CHECK(number_at(json, "/shift/corruptions/0/severities/4/count") == 60);
  CHECK(number_at(json, "/shift/mean_corruption_error") ==
        doctest::Approx(1 - number_at(json, "/shift/mean/accuracy")));
}

TEST_CASE("shift: of corruptions that are not in the mean there is none") {
  const ShiftPlace place;
  std::filesystem::remove(place.folder.path("c/fog.npy"));
  const std::string run = train_run(place.folder, place.config(), "run");
  const std::string json = place.json_of({run, "--shift", place.folder.path("c")});
  CHECK(number_at(json, "/shift/corruptions/0/mean/nll") > 0);
  CHECK(size_at(json, "/shift") == 2);
}

TEST_CASE("shift: of an ensemble, and made of the images at hand") {
  const ShiftPlace place;
  RunConfig config = place.config();
  const std::string first = train_run(place.folder, config, "first");
  config.seed = 1;
  const std::string second = train_run(place.folder, config, "second"), c = place.folder.path("c");
  const std::string json = place.json_of({first, second, "--shift", c});
  for (const std::string measure : kMeasures)
    CHECK(number_at(json, "/shift/corruptions/0/severities/0/" + measure) ==
          number_at(json, "/ensemble/test/" + measure));
  const std::string made = place.json_of({first, "--shift", "made", "--split", "validation"});
  CHECK(size_at(made, "/shift/corruptions") == 5);
  CHECK(number_at(made, "/shift/corruptions/0/severities/0/count") == 40);
  CHECK(place.json_of({first, "--shift", "made", "--split", "validation"}) == made);
  CHECK(has(place.evaluate({first, "--shift", "made"}).out, "no numbers of CIFAR-10-C"));
}

TEST_CASE("shift: folders of images, and what is wrong is said before anything is measured") {
  if (!can_decode_images()) return skip("built without image libraries");
  const ShiftPlace place;
  const std::string run = train_run(place.folder, place.config(), "run");
  for (int64_t i = 0; i < place.test->size(); ++i)
    for (const std::string level : {"2", "3"}) {
      std::string name = place.test->class_names()[static_cast<size_t>(place.test->label(i))];
      if (name == "T-shirt/top") continue;  // no folder can be called so
      const std::string file = "f/noise/shot_noise/" + level + "/" + name + "/" + std::to_string(i) + ".png";
      place.folder.write(file, "");
      const Tensor gray = place.test->image(i);
      Tensor color = Tensor::empty({8, 8, 3}, DType::u8);
      for (int64_t p = 0; p < 192; ++p) color.data<uint8_t>()[p] = gray.data<uint8_t>()[p / 3];
      write_png(place.folder.path(file), color);
    }
  const std::string json = place.json_of({run, "--samples", "0", "--shift", place.folder.path("f")});
  CHECK(size_at(json, "/shift/corruptions/0/severities") == 2);
  CHECK(number_at(json, "/shift/corruptions/0/severities/0/count") == 54);
  CHECK(number_at(json, "/shift/corruptions/0/severities/1/nll") > 0);
  const auto refused = [&](const std::string& shift, const auto&... parts) {
    const Outcome outcome = place.evaluate({run, "--shift", place.folder.path(shift)});
    CHECK(outcome.out.empty());
    return fails_with(outcome, 1, parts...);
  };
  CHECK(refused("nowhere", "nowhere", "No such file"));
  place.folder.write("f/noise/shot_noise/3/walrus/0.png", "");
  CHECK(refused("f", "shot_noise/3", "walrus"));
  const std::string fog = slurp(place.folder.path("c/fog.npy"));
  place.folder.write("c/fog.npy", fog.substr(0, 1000));
  CHECK(refused("c", "fog.npy", "19200 bytes"));
  place.folder.write("c/fog.npy", fog);
  save_npy(place.folder.path("c/labels.npy"), Tensor::full({300}, 10, DType::i64));
  CHECK(refused("c", "labels.npy: label 0 is 10, expected 0 to 9"));
}

// --images: a configuration from somebody's own photos.

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "core/file.h"
#include "core/tensor.h"
#include "data/image_file.h"
#include "tests/apps/support.h"

namespace sked {
namespace {

using test::fails_with, test::Outcome, test::run_program, test::skip;

/// 12 small photos of each of three classes, light, dark and between.
void write_photos(const std::string& root) {
  const std::vector<std::string> classes{"Käfer im Gras", "Straße", "cats"};
  for (size_t k = 0; k < classes.size(); ++k) {
    std::filesystem::create_directories(root + "/" + classes[k]);
    for (int i = 0; i < 12; ++i) {
      Tensor image = Tensor::empty({20, 24, 3}, DType::u8);
      for (int64_t p = 0; p < image.numel(); ++p)
        image.data<uint8_t>()[p] = static_cast<uint8_t>(90 * static_cast<int64_t>(k) + (7 * p + 13 * i) % 60);
      write_png(root + "/" + classes[k] + "/Bild " + std::to_string(i) + " ü.png", image);
    }
  }
  write_file(root + "/Notizen.txt", "no image");
}

/// The command for a training of seconds on photos.
std::vector<std::string> quick(std::vector<std::string> words) {
  words.insert(words.end(), {"--model", "resnet18", "--threads", "1"});
  for (const char* key : {"train.epochs=1", "model.base_width=4", "model.blocks=[1,1]"})
    words.insert(words.end(), {"--set", key});
  return words;
}

}  // namespace

TEST_CASE("own images: trained, said, repeated from config.json and evaluated") {
  if (!can_decode_images()) return skip("built without image libraries");
  const test::TemporaryFolder folder;
  const std::string images = folder.path("Meine Fotos"), run = folder.path("run");
  write_photos(images);
  const Outcome outcome = run_program(quick({"train", "--images", images, "--head", "het-xl", "--out", run}));
  REQUIRE(outcome.code == 0);
  for (const char* part : {"classes   3: Käfer im Gras, Straße, cats", "29 to train on, 7 held out", "no test images",
                           "32 x 32 pixels", "held out (no test images): nll"})
    CHECK_MESSAGE(outcome.out.find(part) != std::string::npos, part);
  const std::string summary = read_file(run + "/summary.json", 1 << 20);
  CHECK(test::number_at(summary, "/validation/count") == 7);
  CHECK(test::json_at(summary, "/test").empty());
  CHECK(test::text_at(summary, "/weights") == "last");

  const std::string again = folder.path("again");
  REQUIRE(run_program({"train", "--config", run + "/config.json", "--out", again, "--threads", "1"}).code == 0);
  CHECK(test::metrics_without_timings(again + "/metrics.jsonl") ==
        test::metrics_without_timings(run + "/metrics.jsonl"));
  const Outcome measured = run_program({"evaluate", run, "--out", run});
  CHECK(measured.code == 0);
  CHECK(measured.out.find("validation images: 7") != std::string::npos);
  CHECK(test::number_at(read_file(run + "/evaluation.json", 1 << 20), "/validation/nll") ==
        doctest::Approx(test::number_at(summary, "/validation/nll")));
}

TEST_CASE("own images: val/ beside test/ is what is held out, and chooses the weights") {
  if (!can_decode_images()) return skip("built without image libraries");
  const test::TemporaryFolder folder;
  const std::string images = folder.path("p"), run = folder.path("run");
  for (const char* part : {"/train", "/val", "/test"}) write_photos(images + part);
  const Outcome outcome = run_program(quick({"train", "--images", images, "--head", "het-xl", "--out", run}));
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("36 to train on, 36 held out, 36 to test") != std::string::npos);
  CHECK(read_config(run + "/config.json").data.validation == 0);
  const std::string summary = read_file(run + "/summary.json", 1 << 20);
  CHECK(test::text_at(summary, "/weights") == "best");
  // Measured again by the same weights, the best.
  REQUIRE(run_program({"evaluate", run, "--out", run}).code == 0);
  CHECK(test::number_at(read_file(run + "/evaluation.json", 1 << 20), "/test/nll") ==
        doctest::Approx(test::number_at(summary, "/test/nll")));
  CHECK(run_program({"evaluate", run, "--split", "validation"}).code == 0);
}

TEST_CASE("own images: what needs no test images takes a folder without") {
  if (!can_decode_images()) return skip("built without image libraries");
  const test::TemporaryFolder folder;
  const std::string images = folder.path("Meine Fotos"), run = folder.path("run");
  write_photos(images);
  REQUIRE(run_program(quick({"train", "--images", images, "--head", "het-xl", "--out", run})).code == 0);
  const std::string other = folder.path("other");
  write_photos(other);
  const auto count = [&](const std::string& at) {
    return test::number_at(read_file(run + "/evaluation.json", 1 << 20), at);
  };
  const auto evaluated = [&](const std::string& option, const std::string& data) {
    return run_program({"evaluate", run, "--out", run, option, "image-folder:" + data});
  };
  const Outcome ood = evaluated("--ood", other);
  REQUIRE_MESSAGE(ood.code == 0, ood.err);
  CHECK(ood.err.find("has no test images: all 36 of its images are taken") != std::string::npos);
  CHECK(count("/ood/count") == 36);
  REQUIRE(evaluated("--ood", other + "/cats").code == 0);  // no classes either
  CHECK(count("/ood/count") == 12);
  const Outcome none = evaluated("--ood", folder.path("none"));
  CHECK(none.code == 1);
  CHECK(none.err.find("cannot read " + folder.path("none") + ": No such file") != std::string::npos);
  const Outcome few_shot = evaluated("--few-shot", other);
  REQUIRE_MESSAGE(few_shot.code == 0, few_shot.err);
  CHECK(few_shot.err.find("a fifth of each class, 7 images, is held out") != std::string::npos);
  CHECK(count("/few_shot/count") == 7);

  const auto says = [&](const std::string& rows, const std::vector<std::string>& more) {
    std::vector<std::string> words{"features", run, "--fresh"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run_program(words);
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return outcome.out.find("\n" + rows + " rows of ") != std::string::npos;
  };
  CHECK(says("train: 36", {"--out", folder.path("f")}));
  CHECK_FALSE(std::filesystem::exists(folder.path("f/test.safetensors")));
  CHECK(says("train: 36", {"--data", "image-folder:" + other, "--out", folder.path("g")}));
  CHECK(fails_with(run_program({"features", run, "--split", "test", "--out", folder.path("h")}), 2, "--split test"));
  // Files, folders and a list of both.
  const std::string one = folder.path("one.safetensors"), list = folder.path("list.txt");
  CHECK(says("images: 13", {images + "/Straße", other + "/cats/Bild 3 ü.png", "--out", one}));
  write_file(list, images + "/cats\n" + other + "/Straße/Bild 0 ü.png\n");
  CHECK(says("images: 13", {"--list", list, "--out", one}));
  CHECK(fails_with(run_program({"features", run, "--list", folder.path("none.txt"), "--out", one}), 1, "none.txt"));
  CHECK(fails_with(run_program({"features", run, folder.path("f"), "--out", one}), 1, "f: expected images"));
}

TEST_CASE("own images: a base configuration, and what is refused") {
  if (!can_decode_images()) return skip("built without image libraries");
  const test::TemporaryFolder folder;
  const std::string images = folder.path("p"), run = folder.path("run");
  write_photos(images);
  RunConfig base = test::tiny_config(folder.path("none"));
  base.train.epochs = 1;
  folder.write("base.json", config_text(base));
  REQUIRE(run_program({"train", "--config", folder.path("base.json"), "--images", images, "--out", run}).code == 0);
  const RunConfig config = read_config(run + "/config.json");
  CHECK(config.data.validation == 0.2);
  CHECK(config.data.train_pipeline.starts_with("decode|"));
  CHECK(config.train.batch_size == base.train.batch_size);

  const auto refused = [&](std::vector<std::string> more) {
    more.insert(more.begin(), "train");
    return run_program(more);
  };
  CHECK(fails_with(refused({"--images", images}), 2, "--model"));
  CHECK(fails_with(refused({"--images", folder.path("none"), "--model", "resnet18"}), 2, "no such folder"));
  CHECK(fails_with(refused({"--images", images, "--model", "resnet18", "--head", "hexl"}), 2, "het-xl"));
  CHECK(fails_with(refused({"--images", images, "--model", "resnet18", "--size", "big"}), 2, "--size"));
  std::filesystem::create_directories(folder.path("q"));
  std::filesystem::rename(images + "/cats", folder.path("q/cats"));
  CHECK(fails_with(refused({"--images", folder.path("q"), "--model", "resnet18"}), 1, "two classes"));
  std::filesystem::create_directories(images + "/empty");
  CHECK(fails_with(refused({"--images", images, "--model", "resnet18"}), 1, "the class has no image"));
}

TEST_CASE("own images: heads and seeds without a plan's file") {
  if (!can_decode_images()) return skip("built without image libraries");
  const test::TemporaryFolder folder;
  const std::string images = folder.path("Meine Fotos"), out = folder.path("out");
  write_photos(images);
  std::vector<std::string> command =
      quick({"replicate", "--images", images, "--heads", "det,het-xl", "--seeds", "2", "--out", out});
  const Outcome outcome = run_program(command);
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("there are no test images") != std::string::npos);
  const std::string results = read_file(out + "/results.json", 1 << 24);
  CHECK(test::size_at(results, "/cells") == 2);
  CHECK(test::size_at(results, "/cells/1/runs") == 2);

  std::filesystem::remove_all(out);
  command.push_back("--dry-run");
  const Outcome dry_run = run_program(command);
  CHECK(dry_run.code == 0);
  CHECK(dry_run.out.find("het-xl  1     het-xl/seed-1  not begun  train\n") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(out));
}

}  // namespace sked

// Training from shards of image files: several labels, mixed batches, corrupt images, shards cut off.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/common/run_folder.h"
#include "apps/common/trainer.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "tests/apps/support.h"
#include "tests/data/archives.h"

using namespace sked;
using namespace sked::test;

namespace {

std::string image_bytes(const std::string& name) {
  static const TensorFile files = load_safetensors("tests/fixtures/images.safetensors");
  const auto data = files.at("file/" + name).to_vector<uint8_t>();
  return {data.begin(), data.end()};
}

/// Shards of `train` and 8 test images in a folder; label(i) is the member with example i's label.
struct Shards {
  explicit Shards(const std::function<std::pair<std::string, std::string>(int)>& label, int corrupt = -1) {
    const char* kinds[] = {"444", "png", "large", "grey-jpeg"};
    for (const auto& [name, count] : {std::pair("train-0.tar", 24), std::pair("val-0.tar", 8)}) {
      std::string bytes;
      for (int i = 0; i < count; ++i) {
        const std::string key = "k" + std::to_string(i),
                          image = i == corrupt && count == 24 ? "broken" : image_bytes(kinds[i % 4]);
        const auto [ending, text] = label(i);
        bytes += tar_member(key + ".jpg", image) + tar_member(key + ending, text);
      }
      folder.write(std::string("data/") + name, bytes + tar_end());
    }
  }
  RunConfig config() const {
    RunConfig c = tiny_config("");
    c.data = {};
    c.data.name = "shards";
    c.data.path = folder.path("data");
    c.data.train_pipeline = "decode|inception_crop(8)|flip|randaugment(1,5)|value_range(-1,1)|cutmix(1)";
    c.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
    c.train.batch_size = 8;
    return c;
  }
  TemporaryFolder folder;
};

Shards hard(int corrupt = -1) {
  return Shards([](int i) { return std::pair(std::string(".cls"), std::to_string(i % 4)); }, corrupt);
}

const TrainOptions kQuiet{.quiet = true};

}  // namespace

TEST_CASE("collections: training on mixed batches of shards repeats itself for any number of loader threads") {
  if (!can_decode_images()) return skip("built without OpenCV");
  const Shards shards = hard();
  RunConfig config = shards.config();
  const RunFolder one{shards.folder.path("one")}, four{shards.folder.path("four")};
  const Summary s = train(config, one.path, kQuiet);
  CHECK(s.steps == 9);
  CHECK(s.test.measures.count == 8);
  config.train.loader_threads = 4;
  train(config, four.path, kQuiet);
  CHECK(metrics_without_timings(one.metrics()) == metrics_without_timings(four.metrics()));
  const auto first = nlohmann::json::parse(slurp(one.metrics()).substr(0, slurp(one.metrics()).find('\n')));
  CHECK(first.at("loader").at("decode_share") > 0);
  CHECK(first.at("loader").at("wait_share") <= 1);
}

TEST_CASE("collections: several labels train the sigmoid link, and any of them is right") {
  if (!can_decode_images()) return skip("built without OpenCV");
  const Shards shards([](int i) { return std::pair(std::string(".json"), i % 2 ? "[0, 1]" : "[2]"); });
  RunConfig config = shards.config();
  config.head.link = "sigmoid";
  config.data.train_pipeline = config.data.eval_pipeline;
  config.schedule.peak = 0.2;
  config.train.epochs = 20;
  const Summary s = train(config, shards.folder.path("run"), kQuiet);
  // i % 4 decides the picture, so pictures tell the classes apart; chance is a half
  CHECK(s.test.measures.accuracy > 0.7);
}

TEST_CASE("collections: corrupt images end a run unless it may leave them out") {
  if (!can_decode_images()) return skip("built without OpenCV");
  const Shards shards = hard(5);
  RunConfig config = shards.config();
  const auto running = [&](const char* out) {
    return error_of([&] { train(config, shards.folder.path(out), kQuiet); });
  };
  CHECK(one_line_with(running("strict"), "train-0.tar:k5.jpg", "data.skip_limit is 0"));
  config.data.skip_limit = 1;
  CHECK(running("tolerant").empty());
  CHECK(slurp(shards.folder.path("tolerant/metrics.jsonl")).find("\"skipped\":1") != std::string::npos);
}

TEST_CASE("collections: what is wrong with them is one line of the program") {
  if (!can_decode_images()) return skip("built without OpenCV");
  const Shards shards = hard();
  const std::string file = shards.folder.path("config.json"), shard = shards.folder.path("data/train-0.tar");
  const auto running = [&](const RunConfig& config) {
    write_file(file, config_text(config));
    return run_program({"train", "--config", file, "--out", shards.folder.path("run"), "--fresh"});
  };
  RunConfig config = shards.config();
  config.data.train_pipeline = "resize(8)|value_range(-1,1)";
  CHECK(fails_with(running(config), 2, "decode", "image files"));
  config.data.train_pipeline = "decode|resize_small(8)|value_range(-1,1)";
  CHECK(fails_with(running(config), 1, "several sizes"));
  config = shards.config();
  config.data.eval_pipeline += "|mixup(1)";
  CHECK(fails_with(running(config), 2, "data.eval_pipeline", "no mixup"));
  config = shards.config();
  config.data.noise = "pair";
  CHECK(fails_with(running(config), 2, "noise"));
  const std::string whole = slurp(shard);
  shards.folder.write("data/train-0.tar", whole.substr(0, 700));
  CHECK(fails_with(running(shards.config()), 1, shard, "at offset", "cut off"));
  shards.folder.write("data/train-0.tar", whole.substr(0, whole.find("k1.cls") + 100));
  CHECK(fails_with(running(shards.config()), 1, shard, "k1: no label", "at offset", "is it whole"));
}

// Training from shards of image files: several labels, mixed batches, corrupt images, shards cut off.

#include <doctest/doctest.h>

#include <sstream>

#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "data/tokenizer.h"
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
  if (!can_decode_images()) return skip("built without image libraries");
  const Shards shards = hard();
  RunConfig config = shards.config();
  const RunFolder one{shards.folder.path("one")}, four{shards.folder.path("four")};
  const Summary s = train(config, one.path, kQuiet);
  CHECK(s.steps == 9);
  CHECK(s.test.measures.count == 8);
  config.train.loader_threads = 4;
  train(config, four.path, kQuiet);
  CHECK(metrics_without_timings(one.metrics()) == metrics_without_timings(four.metrics()));
  const std::string first = slurp(one.metrics()).substr(0, slurp(one.metrics()).find('\n'));
  CHECK(number_at(first, "/loader/decode_share") > 0);
  CHECK(number_at(first, "/loader/wait_share") <= 1);
}

TEST_CASE("collections: several labels train the sigmoid link, and any of them is right") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Shards shards([](int i) { return std::pair(std::string(".json"), i % 2 ? "[0, 1]" : "[2]"); });
  RunConfig config = shards.config();
  config.head.link = Link::sigmoid;
  config.data.train_pipeline = config.data.eval_pipeline;
  config.schedule.peak = 0.2;
  config.train.epochs = 20;
  const Summary s = train(config, shards.folder.path("run"), kQuiet);
  // i % 4 decides the picture, so pictures tell the classes apart; chance is a half
  CHECK(s.test.measures.accuracy > 0.7);
}

TEST_CASE("collections: corrupt images end a run unless it may leave them out") {
  if (!can_decode_images()) return skip("built without image libraries");
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

TEST_CASE("collections: the corrupt images that may be left out may be the first ones") {
  if (!can_decode_images()) return skip("built without image libraries");
  constexpr int kEach = 10;
  const TemporaryFolder folder;
  for (int i = 0; i < kEach; ++i) {
    const std::string name = "/" + std::to_string(i) + ".jpg";
    folder.write("data/train/a" + name, "broken");
    folder.write("data/train/b" + name, image_bytes("444"));
    folder.write("data/test/a" + name, "broken");
  }
  folder.write("data/test/b/0.jpg", image_bytes("444"));
  RunConfig config = tiny_config("");
  config.data = {};
  config.data.name = "image-folder";
  config.data.path = folder.path("data");
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 4;
  config.train.epochs = 1;
  config.data.skip_limit = kEach;
  CHECK(train(config, folder.path("run"), kQuiet).test.measures.count == 1);
  config.data.skip_limit = kEach - 1;
  CHECK(one_line_with(error_of([&] { train(config, folder.path("strict"), kQuiet); }), "data/train/a/9.jpg",
                      "data.skip_limit is 9"));
  for (int i = 0; i < kEach; ++i) folder.write("data/train/b/" + std::to_string(i) + ".jpg", "broken");
  config.data.skip_limit = 2 * kEach;
  CHECK(one_line_with(error_of([&] { train(config, folder.path("none"), kQuiet); }), "no image", "data/train/b/9.jpg"));
}

TEST_CASE("collections: what is wrong with them is one line of the program") {
  if (!can_decode_images()) return skip("built without image libraries");
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
  config.data.noise = LabelNoise::pair;
  CHECK(fails_with(running(config), 2, "noise"));
  const std::string whole = slurp(shard);
  shards.folder.write("data/train-0.tar", whole.substr(0, 700));
  CHECK(fails_with(running(shards.config()), 1, shard, "at offset", "cut off"));
  shards.folder.write("data/train-0.tar", whole.substr(0, whole.find("k1.cls") + 100));
  CHECK(fails_with(running(shards.config()), 1, shard, "k1: no label", "at offset", "is it whole"));
}

TEST_CASE("collections: gzipped shards train to the same numbers, and say what they need") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Shards shards = hard();
  const std::string file = shards.folder.path("config.json");
  write_file(file, config_text(shards.config()));
  const auto running = [&](const std::string& out, const RunLimits& limits = {}) {
    return run_program({"train", "--config", file, "--out", shards.folder.path(out)}, limits);
  };
  REQUIRE(running("plain").code == 0);
  const std::string shard = shards.folder.path("data/train-0.tar");
  write_file(shard, gzipped(slurp(shard)));  // by content, not by name
  const Outcome unpacked = running("unpacked");
  if (unpacked.err.find("built without zlib") != std::string::npos) return skip("built without zlib");
  CHECK(unpacked.code == 0);
  CHECK(one_line_with(unpacked.err.substr(0, unpacked.err.find('\n')), "note: 1 gzipped", shard, "TMPDIR"));
  CHECK(metrics_without_timings(shards.folder.path("plain/metrics.jsonl")) ==
        metrics_without_timings(shards.folder.path("unpacked/metrics.jsonl")));
  CHECK(fails_with(running("full", {.file_bytes = 4096}), 1, "cannot unpack " + shard, "File too large", "TMPDIR"));
}

TEST_CASE("collections: halves of pairs are left out of contrastive training, up to a limit that makes no other run") {
  if (!can_decode_images()) return skip("built without image libraries");
  if (!can_tokenize()) return skip("built without SentencePiece");
  const TemporaryFolder folder;
  std::string bytes;
  for (int i = 0; i < 12; ++i) {
    const std::string key = "k" + std::to_string(i);
    bytes +=
        tar_member(key + ".jpg", image_bytes("444")) + (i == 5 ? "" : tar_member(key + ".txt", "a photo of " + key));
  }
  for (const char* name : {"data/train-0.tar", "data/val-0.tar"}) folder.write(name, bytes + tar_end());
  RunConfig config = tiny_config("");
  config.task = TaskKind::contrastive;
  config.data = {};
  config.data.name = "caption-shards";
  config.data.path = folder.path("data");
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.text.pieces = 60;
  config.text.context = 24;
  config.text.width = 8;
  config.text.heads = 1;
  config.text.depth = 1;
  config.text.mlp = 16;
  config.contrast.width = 8;
  config.train.batch_size = 4;
  config.train.epochs = 1;
  const std::string file = folder.path("config.json");
  const auto running = [&](int64_t limit, const char* out) {
    config.data.skip_limit = limit;
    write_file(file, config_text(config));
    return run_program({"contrast", "--config", file, "--out", folder.path(out)});
  };
  const Outcome first = running(-1, "run");
  CHECK(first.code == 0);
  CHECK(first.err.find("note: training pairs: 1 left out, the first " + folder.path("data/train-0.tar") +
                       ":k5.jpg: no caption (.txt)") != std::string::npos);
  CHECK(fails_with(running(0, "strict"), 1, "training pairs: 1 left out", "k5.jpg", "data.skip_limit is 0"));
  CHECK(running(3, "run").code == 0);
}

TEST_CASE("collections: names of any bytes are read, a configuration is UTF-8") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  const std::string latin = "caf\xE9";
  for (int i = 0; i < 8; ++i) {
    for (const char* part : {"data/train/", "data/val/"}) {
      folder.write(part + latin + "/" + latin + std::to_string(i) + ".jpg", image_bytes("444"));
      folder.write(part + std::string("dog/") + std::to_string(i) + ".png", image_bytes("png"));
    }
  }
  RunConfig config = tiny_config("");
  config.data = {};
  config.data.name = "image-folder";
  config.data.path = folder.path("data");
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 8;
  config.train.epochs = 1;
  const std::string file = folder.path("config.json"), run = folder.path("run" + latin);
  write_file(file, config_text(config));
  CHECK(run_program({"train", "--config", file, "--out", run}).code == 0);
  CHECK(run_program({"train", "--config", file, "--out", run}).code == 0);
  CHECK(run_program({"evaluate", run, "--out", folder.path("e" + latin)}).code == 0);
  const std::string image = folder.path("data/val/" + latin + "/" + latin + "0.jpg"), json = folder.path("a.json");
  CHECK(run_program({"predict", run, image, "--json", json}).code == 0);
  CHECK(slurp(json).find("caf\\\\xE9") != std::string::npos);
  for (const char* key : {"data.path", "data.root", "train.init", "captions.classes"}) {
    config.task = std::string(key).starts_with("captions") ? TaskKind::contrastive : TaskKind::classification;
    write_file(file, config_text(config));
    CHECK(fails_with(run_program({config.task == TaskKind::contrastive ? "contrast" : "train", "--config", file,
                                  "--set", key + ("=" + latin), "--out", run}),
                     2, key, "expected UTF-8, got \"caf\\xE9\""));
  }
  CHECK(fails_with(run_program({"train", "--config", file, "--data-root", latin, "--out", run}), 2, "data.root"));
}

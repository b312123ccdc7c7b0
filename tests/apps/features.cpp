// What features writes, against PyTorch and against itself when it was stopped.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "apps/common/config/interrupt.h"
#include "apps/common/measure/features.h"
#include "core/safetensors.h"
#include "data/image_collection.h"
#include "layers/models/model.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"
#include "tests/common/files.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;
namespace fs = std::filesystem;

namespace {

/// A binary PPM of image i of u8 (N,H,W,3).
std::string write_image(const TemporaryFolder& folder, const Tensor& images, int64_t i) {
  const Shape shape = images.shape();
  const auto bytes = static_cast<size_t>(shape.without(0).numel());
  const std::string pixels(reinterpret_cast<const char*>(images.data<uint8_t>()) + static_cast<size_t>(i) * bytes,
                           bytes);
  return folder.write("image-" + std::to_string(i) + ".ppm",
                      "P6 " + std::to_string(shape[2]) + " " + std::to_string(shape[1]) + " 255\n" + pixels);
}

double relative_error(const Tensor& ours, const Tensor& theirs) {
  REQUIRE(ours.shape() == theirs.shape());
  double difference = 0, size = 0;
  for (int64_t i = 0; i < ours.numel(); ++i) {
    const auto a = static_cast<double>(ours.data<float>()[i]), b = static_cast<double>(theirs.data<float>()[i]);
    difference += (a - b) * (a - b);
    size += b * b;
  }
  return std::sqrt(difference / size);
}

/// Ten images of 8×8, of which a tiny network makes 4 features each, in batches of 4.
struct TinyFeatures {
  TinyFeatures() {
    config.model = {.name = "resnet-cifar", .blocks = {1}, .base_width = 4};
    config.data.eval_pipeline = "decode|resize(8)|value_range(-1,1)";
    config.train.batch_size = 4;
    Init init(1);
    tower = make_backbone(config.model, {8, 8, 3}, init);
    Tensor pixels = Tensor::empty({10, 8, 8, 3}, DType::u8);
    for (int64_t i = 0; i < pixels.numel(); ++i) pixels.data<uint8_t>()[i] = static_cast<uint8_t>(i * i % 251);
    for (int64_t i = 0; i < 10; ++i) paths.push_back(write_image(folder, pixels, i));
  }
  std::shared_ptr<const Dataset> images() const { return listed_images("images", {}, paths); }
  FeaturePlan plan(const std::string& name, const std::string& dtype = "F32") const {
    return {
        .path = folder.path(name),
        .dtype = dtype,
        .images = 10,
        .width = 4,
        .most_left_out = config.data.corrupt_limit(),
        .columns = {{"ids", "U8", {2}, [](int64_t i, void* row) { std::memset(row, static_cast<int>('a' + i), 2); }},
                    {"labels", "I64", {}, [](int64_t i, void* row) { std::memcpy(row, &i, sizeof i); }}},
        .about = "tiny\n" + name,
        .fingerprint = dtype};
  }
  /// Stops behind so many images; 0: does not.
  std::string write(const FeaturePlan& wanted, int64_t stop = 0, Earlier earlier = Earlier::kept,
                    Communicator& ranks = alone()) const {
    const auto say = [this, &ranks](const std::string& line) {
      if (ranks.rank() == 0) said += line + "\n";
    };
    FeatureFile file(wanted, earlier, say, ranks);
    if (file.complete()) return "complete";
    const auto progress = [&](int64_t done) {
      if (done == stop) throw Interrupted();
      if (ranks.rank() == 0) first = first < 0 ? done : first;
    };
    const auto skip = [&say](const Skipped& skipped) { say(skipped.message); };
    try {
      write_features(file, *tower, images(), config, Device::cpu, {}, {progress, skip});
    } catch (const Interrupted&) {
      return "stopped at " + std::to_string(file.done());
    }
    file.finish();
    ranks.barrier();
    return slurp(wanted.path);
  }

  TemporaryFolder folder;
  RunConfig config;
  std::unique_ptr<Backbone> tower;
  std::vector<std::string> paths;
  mutable std::string said;
  mutable int64_t first = -1;  // images behind the first batch of all that were computed
};

}  // namespace

TEST_CASE("features: what PyTorch and timm have before their classifiers, and inside") {
  const TensorFile expected = load_safetensors("tests/fixtures/image_features.safetensors");
  const TemporaryFolder folder;
  const std::vector<std::string> images{write_image(folder, expected.at("images"), 0),
                                        write_image(folder, expected.at("images"), 1),
                                        write_image(folder, expected.at("images"), 2)};
  const auto check = [&](const std::string& weights, const std::string& model, const std::string& layer) {
    const std::string config = folder.write("config.json", R"({"data": {"name": "cifar-10"}, "model": )" + model + "}");
    const std::string out = folder.path(weights + "-" + layer + ".safetensors");
    std::vector<std::string> words{
        "features", "tests/fixtures/init-" + weights + ".safetensors", "--config", config, "--layer", layer, "--out",
        out};
    words.insert(words.end() - 6, images.begin(), images.end());
    const Outcome outcome = run_program(words);
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    CAPTURE(weights + layer);
    const TensorFile file = load_safetensors(out);
    CHECK(file.checked);
    CHECK(relative_error(file.at("features"), expected.at(weights + "/" + layer)) < 2e-6);
    const Tensor& ids = file.at("ids");
    const std::string id(reinterpret_cast<const char*>(ids.data<uint8_t>()) + ids.dim(1),
                         static_cast<size_t>(ids.dim(1)));
    CHECK(id.c_str() == images[1]);
  };
  const std::string resnet = R"({"name": "resnet-cifar", "blocks": [1, 1], "base_width": 8, "stem": "imagenet"})";
  const std::string vit = R"({"name": "vit", "patch": 8, "width": 24, "depth": 2, "heads": 3, "mlp": 48})";
  check("resnet", resnet, "representation");
  check("resnet", resnet, "layer1");
  check("vit", vit, "representation");
  check("vit", vit, "blocks.0");
  const std::string config = folder.write("config.json", R"({"data": {"name": "cifar-10"}, "model": )" + vit + "}");
  const std::vector<std::string> words{"features", "tests/fixtures/init-vit.safetensors", images[0], "--config",
                                       config};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return run_program(more);
  };
  CHECK(fails_with(with({"--out", folder.path("x.safetensors"), "--layer", "blocks.2"}), 2, "--layer blocks.2",
                   "representation, blocks.0, blocks.1"));
  CHECK(fails_with(with({"--out", folder.path("folder")}), 2, "--out", "ends with .safetensors"));
  CHECK(fails_with(with({}), 2, "--out"));
}

TEST_CASE("features: of a run, both splits with their labels, and where they are already") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.data.validation = 50;  // held out, but part of the training images all the same
  config.data.noise = LabelNoise::symmetric;
  const std::string run = train_run(place.folder, config, "run"), out = place.folder.path("out");
  REQUIRE(run_program({"features", run, "--out", out, "--dtype", "f16"}).code == 0);
  CHECK(slurp(out + "/classes.txt").starts_with("T-shirt/top\nTrouser\n"));
  const Splits splits = load_splits(config.data, 0);
  const TensorFile train = load_safetensors(out + "/train.safetensors"),
                   test = load_safetensors(out + "/test.safetensors");
  CHECK(train.at("features").dim(0) == 200);
  CHECK_FALSE(train.contains("label_distribution"));
  const auto labels = train.at("labels").to_vector<int64_t>();
  for (int64_t i = 0; i < 200; ++i) CHECK(labels[static_cast<size_t>(i)] == splits.train->label(i));
  CHECK(test.at("label_distribution").rows(3, 4).to_vector<float>() == splits.test->distribution(3).to_vector<float>());

  const auto before = fs::last_write_time(out + "/train.safetensors");
  const Outcome again = run_program({"features", run, "--out", out, "--dtype", "f16"});
  CHECK(has(again.out, "train.safetensors is there already"));
  CHECK(fs::last_write_time(out + "/train.safetensors") == before);
  CHECK(fails_with(run_program({"features", run, "--out", out}), 1, "train.safetensors", "of other features",
                   "f16, batches", "--fresh"));
  place.folder.write("taken/classes.txt", "cat\n");
  CHECK(fails_with(run_program({"features", run, "--out", place.folder.path("taken")}), 1, "classes.txt",
                   "other classes", "not touched"));
  place.folder.write("mine/train.safetensors", "something else");
  CHECK(fails_with(run_program({"features", run, "--out", place.folder.path("mine"), "--fresh"}), 1,
                   "train.safetensors", "no file of features", "not touched"));
}

TEST_CASE("features: stopped and gone on with, the file is the one written at once") {
  const TinyFeatures tiny;
  const std::string whole = tiny.write(tiny.plan("whole"));
  FeaturePlan plan = tiny.plan("stopped");
  plan.about = tiny.plan("whole").about;
  CHECK(tiny.write(plan, 4) == "stopped at 4");
  CHECK(tiny.write(plan, 8) == "stopped at 8");
  tiny.first = -1;
  CHECK(tiny.write(plan) == whole);
  CHECK(tiny.first == 10);  // the last batch alone was computed
  CHECK(tiny.write(plan) == "complete");
  CHECK(tiny.folder.count() == 12);  // the images and the two files
  CHECK(tiny.said.empty());
  const TensorFile file = load_safetensors(plan.path);
  CHECK(file.at("labels").to_vector<int64_t>() == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});

  SUBCASE("of another network, what is not finished is refused or begun anew") {
    FeaturePlan other = tiny.plan("other");
    CHECK(tiny.write(other, 4) == "stopped at 4");
    other.fingerprint = "other";
    other.about = "tiny\nanother";
    CHECK(one_line_with(error_of([&] { tiny.write(other); }), "of other features", "other there, another here"));
    CHECK(tiny.write(other, 8, Earlier::unfinished_replaced) == "stopped at 8");
    CHECK(occurrences(tiny.said, "is begun anew") == 1);
    other.fingerprint = "third";
    CHECK(tiny.write(other, 4, Earlier::replaced) == "stopped at 4");
  }
  SUBCASE("damaged rows are begun anew") {
    const FeaturePlan damaged = tiny.plan("damaged");
    CHECK(tiny.write(damaged, 8) == "stopped at 8");
    std::fstream bytes(damaged.path + ".partial", std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-1, std::ios::end).put('x');
    bytes.close();
    CHECK(tiny.write(damaged, 4) == "stopped at 4");
    CHECK(occurrences(tiny.said, "damaged: what is unfinished there is of no use, and is begun anew") == 1);
  }
  SUBCASE("while it is being written nobody else writes it") {
    const FeaturePlan held = tiny.plan("held");
    const FeatureFile file(held, Earlier::kept);
    CHECK(one_line_with(error_of([&] { tiny.write(held); }), "another process"));
  }
}

TEST_CASE("features: images that cannot be read are refused, or left out with all that is said of them") {
  TinyFeatures tiny;
  const TensorFile all = load_safetensors((tiny.write(tiny.plan("all")), tiny.folder.path("all")));
  for (const int64_t i : {1, 4, 5, 6, 7}) tiny.folder.write("image-" + std::to_string(i) + ".ppm", "P6 8 8 255\n");
  CHECK(one_line_with(error_of([&] { tiny.write(tiny.plan("refused")); }), "image-1.ppm", "data.skip_limit is 0"));
  tiny.config.data.skip_limit = 5;
  tiny.said.clear();
  for (const std::string dtype : {"F32", "F16", "BF16"}) {
    const FeaturePlan plan = tiny.plan("left-" + dtype, dtype);
    CHECK(tiny.write(plan, 4) == "stopped at 4");
    tiny.write(plan);
    const TensorFile file = load_safetensors(plan.path);
    CHECK(file.checked);
    CHECK(file.at("labels").to_vector<int64_t>() == std::vector<int64_t>{0, 2, 3, 8, 9});
    CHECK(file.at("ids").to_vector<uint8_t>()[4] == 'd');
    const Tensor &phi = file.at("features"), &before = all.at("features");
    for (const auto& [row, image] : {std::pair(0, 0), {2, 3}, {3, 8}}) {
      const auto values = phi.rows(row, row + 1).to_vector<float>(),
                 expected = before.rows(image, image + 1).to_vector<float>();
      for (size_t d = 0; d < 4; ++d)
        CHECK(std::abs(values[d] - expected[d]) <= std::abs(expected[d]) * (dtype == "F32" ? 1e-6F : 0x1p-8F));
    }
  }
  CHECK(occurrences(tiny.said, "image-5.ppm") == 3);
  FeatureFile file(tiny.plan("beyond", "F16"), Earlier::kept);
  CHECK(one_line_with(error_of([&] { file.add(Tensor::full({4, 4}, 7e4), {}, 4); }), "70000", "beyond what F16"));
}

TEST_CASE("features: several ranks write the file of one, go on with what others left, and leave out the same") {
  TinyFeatures tiny;
  for (const int64_t i : {1, 4, 5, 6, 7}) tiny.folder.write("image-" + std::to_string(i) + ".ppm", "P6 8 8 255\n");
  tiny.config.data.skip_limit = 5;
  tiny.write(tiny.plan("one"));
  const TensorFile one = load_safetensors(tiny.folder.path("one"));
  for (const int64_t size : {2, 5}) {
    tiny.said.clear();
    tiny.first = -1;
    const FeaturePlan plan = tiny.plan("ranks-" + std::to_string(size));
    for (const int64_t stop : {4, 0})
      on_ranks(size, [&](Communicator& ranks) {
        const std::string outcome = tiny.write(plan, stop, Earlier::kept, ranks);
        if (stop > 0) CHECK(outcome == "stopped at 4");
      });
    CHECK(tiny.first == 10);  // the first four were there, of the next four none can be read
    CHECK(occurrences(tiny.said, "image-5.ppm") == 1);
    const TensorFile many = load_safetensors(plan.path);
    CHECK(many.checked);
    for (const auto& [name, tensor] : one.tensors) {
      if (tensor.dtype() == DType::f32)
        check_close(name, many.at(name), tensor, 1e-6);
      else
        CHECK(same_bits(many.at(name), tensor));
    }
    on_ranks(size, [&](Communicator& ranks) { CHECK(tiny.write(plan, 0, Earlier::kept, ranks) == "complete"); });
  }
  const FeaturePlan held = tiny.plan("held");
  const FeatureFile file(held, Earlier::kept);
  on_ranks(2, [&](Communicator& ranks) {
    CHECK(one_line_with(error_of([&] { tiny.write(held, 0, Earlier::kept, ranks); }), "another process"));
  });
  tiny.config.data.skip_limit = 4;
  on_ranks(3, [&](Communicator& ranks) {
    const auto write = [&] { tiny.write(tiny.plan("refused"), 0, Earlier::kept, ranks); };
    CHECK(one_line_with(error_of(write), "image-7.ppm", "data.skip_limit is 4"));
  });
}

TEST_CASE("features: φ of a data set, kept on disk, is the same on every rank") {
  const TinyFeatures tiny;
  const Tensor one = image_features(*tiny.tower, tiny.images(), tiny.config, tiny.folder.path("one"), Device::cpu);
  on_ranks(3, [&](Communicator& ranks) {
    const auto kept = [&] {
      return image_features(
          *tiny.tower, tiny.images(), tiny.config, tiny.folder.path("many"), Device::cpu, [](const std::string&) {},
          ranks);
    };
    const Tensor computed = kept();
    check_close("phi", computed, one, 1e-6);
    CHECK(same_bits(kept(), computed));
  });
  CHECK(fs::exists(tiny.folder.path("many")));
}

TEST_CASE("features: a locked backbone trains the head that its features in files train, bit for bit") {
  const TrainPlace place;
  RunConfig config = place.config();
  const std::string base = train_run(place.folder, config, "base"), out = place.folder.path("out");
  REQUIRE(run_program({"features", base, "--out", out}).code == 0);
  config.data.validation = 50;
  config.data.train_pipeline = config.data.eval_pipeline;
  config.head.kind = HeadKind::het_xl;
  config.head.noise.factors = Factors::efficient;
  config.head.noise.rank = 3;
  config.head.train_samples = 4, config.head.test_samples = 8;
  config.train.ema_decay = 0.9;
  config.train.init = base + "/last.safetensors";
  config.train.features = place.folder.path("kept");
  config.train.lock_backbone = true;
  const auto train = [&](const std::string& name, const std::vector<std::string>& more = {}) {
    place.write_config(config);
    const Outcome outcome = run_program(place.command(name, more));
    CAPTURE(outcome.err);
    CHECK(outcome.code == (more.empty() ? 0 : 124));
    return outcome.out;
  };
  CHECK(has(train("locked", {"--set", "train.time_limit=0.000001"}), "the head is new"));
  CHECK(fs::exists(config.train.features));
  train("locked");  // goes on, with what was kept
  config.train.lock_backbone = false;
  config.train.init = "";
  config.data = {};
  config.data.name = "embeddings";
  config.data.path = out;
  config.data.validation = 50;
  config.model = {.name = "none"};
  train("from files");

  const TensorFile whole = load_safetensors(place.run("locked").last()),
                   head = load_safetensors(place.run("from files").last()),
                   given = load_safetensors(base + "/last.safetensors");
  int heads = 0, backbones = 0;
  for (const auto& [name, tensor] : whole.tensors) {
    CAPTURE(name);
    if (name.starts_with("head.")) {
      CHECK(tensor.to_vector<float>() == head.at(name).to_vector<float>());
      ++heads;
    } else if (given.contains(name) && !name.starts_with("optimizer.") && tensor.dtype() == DType::f32) {
      CHECK(tensor.to_vector<float>() == given.at(name).to_vector<float>());
      ++backbones;
    }
  }
  CHECK(heads >= 4);
  CHECK(backbones >= 10);
  const auto nll = [&](const std::string& name) { return number_at(slurp(place.run(name).summary()), "/test/nll"); };
  CHECK(nll("locked") == nll("from files"));
  const std::string measured = place.folder.path("measured");
  REQUIRE(run_program({"evaluate", place.run("locked").path.string(), "--out", measured}).code == 0);
  CHECK(number_at(slurp(measured + "/evaluation.json"), "/test/nll") == doctest::Approx(nll("locked")).epsilon(1e-6));
}

TEST_CASE("features: a locked backbone needs weights, and images that are prepared in one way") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.lock_backbone = true;
  config.data.train_pipeline = config.data.eval_pipeline;
  place.write_config(config);
  CHECK(fails_with(run_program(place.command("none")), 2, "train.lock_backbone", "train.init"));
  config.train.init = train_run(place.folder, place.config(), "base") + "/last.safetensors";
  config.data.train_pipeline = "flip|" + config.data.eval_pipeline;
  place.write_config(config);
  CHECK(fails_with(run_program(place.command("augmented")), 2, "train.lock_backbone", "data.train_pipeline"));
}

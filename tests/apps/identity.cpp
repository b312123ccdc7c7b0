// Whose classes, whose images, whose weights: a checkpoint beside data that is not what it was trained on.

#include "apps/common/run/identity.h"

#include <doctest/doctest.h>

#include <algorithm>

#include <filesystem>

#include "apps/common/measure/features.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;
namespace fs = std::filesystem;

namespace {

const TrainOptions kQuiet{.quiet = true};

/// 8×8 PNG files of one color a class, under noise: <root>/{train,test}/<class>/<i>.png, 12 and 4 of each.
struct Folders {
  explicit Folders(const std::vector<std::string>& classes) {
    for (const std::string& name : classes) add(name, name);
  }
  /// Images of the color of class `looks`, in the folder of class `name`.
  void add(const std::string& name, const std::string& looks, int from = 0) {
    for (const auto& [split, count] : {std::pair("train", 12), std::pair("test", 4)}) {
      const std::string where = folder.path(std::string("data/") + split + "/" + name);
      fs::create_directories(where);
      for (int i = from; i < from + count; ++i) write_png(where + "/" + std::to_string(i) + ".png", image(looks, i));
    }
  }
  static Tensor image(const std::string& looks, int i) {
    Tensor pixels = Tensor::empty({8, 8, 3}, DType::u8);
    Rng rng({1, static_cast<uint64_t>(looks[0]), static_cast<uint64_t>(i)});
    for (int64_t p = 0; p < pixels.numel(); ++p)
      pixels.data<uint8_t>()[p] = static_cast<uint8_t>(rng.below(60) + (p % 3 == looks[0] % 3 ? 190 : 0));
    return pixels;
  }
  RunConfig config() const {
    RunConfig c = tiny_config("");
    c.data = {};
    c.data.name = "image-folder";
    c.data.path = folder.path("data");
    c.data.train_pipeline = c.data.eval_pipeline = "decode|resize(8)|value_range(-1,1)";
    c.train.batch_size = 12;
    c.train.epochs = 12;
    return c;
  }
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  void rename(const std::string& from, const std::string& to) const {
    for (const char* split : {"train/", "test/"})
      fs::rename(folder.path("data/") + split + from, folder.path("data/") + split + to);
  }
  TemporaryFolder folder;
};

double accuracy_of(const Outcome& outcome) {
  const size_t at = outcome.out.find("accuracy");
  REQUIRE_MESSAGE(at != std::string::npos, outcome.err);
  return std::stod(outcome.out.substr(at + 8));
}

bool without_image_libraries() {
  if (!can_decode_images()) skip("built without image libraries");
  return !can_decode_images();
}

}  // namespace

TEST_CASE("identity: evaluate and predict go by the classes' names, or refuse") {
  if (without_image_libraries()) return;
  Folders data({"ant", "bee", "cat"});
  const RunFolder run = data.run("run");
  REQUIRE(train(data.config(), run.path, kQuiet).test.measures.accuracy == 1);
  const std::string cat = data.folder.path("data/test/cat/0.png");
  const auto evaluate = [&] { return run_program({"evaluate", run.path, "--samples", "0"}); };
  const auto predicted = [&](const std::string& image) {
    const Outcome outcome = run_program({"predict", run.path, image, "--top", "1"});
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return outcome.out;
  };
  CHECK(accuracy_of(evaluate()) == 100);
  CHECK(evaluate().err.empty());
  CHECK(predicted(cat).find("cat") != std::string::npos);

  // One image more: measured, and said.
  fs::copy_file(cat, data.folder.path("data/test/cat/new.png"));
  CHECK(evaluate().err.find("test images: 12 then, 13 now") != std::string::npos);
  fs::remove(data.folder.path("data/test/cat/new.png"));

  // Without its first class the others have other numbers, and the same names.
  fs::rename(data.folder.path("data/test/ant"), data.folder.path("ant-test"));
  fs::rename(data.folder.path("data/train/ant"), data.folder.path("ant-train"));
  const Outcome two = evaluate();
  CHECK(accuracy_of(two) == 100);
  CHECK(two.err.find("matched by name") != std::string::npos);
  CHECK(predicted(cat).find("cat") != std::string::npos);

  data.rename("cat", "zebra");
  CHECK(fails_with(evaluate(), 1, "\"zebra\" not expected", "\"ant\"", "\"cat\""));
  CHECK(predicted(data.folder.path("data/test/zebra/0.png")).find(" cat ") != std::string::npos);
  fs::remove_all(data.folder.path("data/train"));
  CHECK(predicted(data.folder.path("data/test/zebra/0.png")).find(" cat ") != std::string::npos);
}

TEST_CASE("identity: training goes on with its own images only") {
  if (without_image_libraries()) return;
  Folders data({"ant", "bee"});
  RunConfig config = data.config();
  config.train.epochs = 2;
  const RunFolder run = data.run("run");
  train(config, run.path, kQuiet);
  const auto again = [&] { return error_of([&] { train(config, run.path, kQuiet); }); };
  fs::remove(run.summary());
  CHECK(again() == "");  // the end once more
  fs::copy_file(data.folder.path("data/train/bee/0.png"), data.folder.path("data/train/bee/new.png"));
  CHECK(again() == "");  // finished: the numbers of then
  fs::rename(data.folder.path("data/train/bee/new.png"), data.folder.path("new.png"));
  fs::copy_file(data.folder.path("new.png"), data.folder.path("data/test/bee/new.png"));
  config.train.epochs = 3;
  CHECK(one_line_with(again(), run.last(), "test images: 8 then, 9 now", "--fresh"));  // before it trains
  CHECK(fs::exists(run.summary()));
  config.train.epochs = 2;
  fs::remove(data.folder.path("data/test/bee/new.png"));
  fs::rename(data.folder.path("new.png"), data.folder.path("data/train/bee/new.png"));
  fs::remove(run.summary());
  CHECK(one_line_with(again(), run.last(), "training images: 24 then, 25 now", "--fresh"));
  fs::remove(data.folder.path("data/train/bee/1.png"));
  CHECK(one_line_with(again(), "training images: 24 as then, but with other names"));
  data.rename("bee", "wasp");
  CHECK(one_line_with(again(), "class names", "\"wasp\" not expected", "no \"bee\""));
  CHECK(fs::exists(run.last()));
}

TEST_CASE("identity: results without their checkpoint are not trained over") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.steps = 2;
  const RunFolder run{folder.path("run")};
  const double nll = train(config, run.path, kQuiet).test.measures.nll;
  fs::remove(run.last());
  const std::string metrics = slurp(run.metrics());
  CHECK(train(config, run.path, kQuiet).test.measures.nll == nll);
  CHECK_FALSE(fs::exists(run.last()));
  config.seed = 3;
  CHECK(one_line_with(error_of([&] { train(config, run.path, kQuiet); }), run.summary(), "seed differs", "--fresh"));
  CHECK(slurp(run.metrics()) == metrics);
}

TEST_CASE("identity: images seen in training are not measured as held out, nor a network as another") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.steps = 2;
  config.head.temperature.value = 2;
  config.head.temperature.learn = false;
  const RunFolder run{folder.path("run")};
  train(config, run.path, kQuiet);
  const auto evaluate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"evaluate", run.path, "--data-root", folder.path("data")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  CHECK(evaluate({"--split", "validation"}).code == 0);
  CHECK(fails_with(evaluate({"--split", "validation", "--set", "data.validation=80"}), 1,
                   "validation images: 40 then, 80 now", "it has seen some"));
  CHECK(evaluate({"--split", "train", "--set", "data.validation=0"}).err.find("train images: 160 then, 200 now") !=
        std::string::npos);

  // --config brings other data, not another network.
  const std::string open = folder.write("open.json", R"({"data": {"name": "fashion-mnist", "validation": 40}})");
  CHECK(evaluate({}).out == evaluate({"--config", open}).out);
  const std::string wrong = folder.write("wrong.json", R"({"model": {"name": "resnet-cifar", "base_width": 8}})");
  CHECK(fails_with(evaluate({"--config", wrong}), 2, "model.base_width", "another network"));
  CHECK(fails_with(evaluate({"--set", "head.kind=het"}), 2, "head.kind"));
  CHECK(fails_with(evaluate({"--set", "model.stem=cifar2"}), 2, "model.stem"));
  CHECK(evaluate({"--set", "head.temperature=3", "--set", "head.test_samples=4"}).code == 0);

  // The weights of another run in this one's folder.
  config.seed = 1;
  const RunFolder second{folder.path("second")};
  train(config, second.path, kQuiet);
  fs::copy_file(run.best(), second.best(), fs::copy_options::overwrite_existing);
  fs::remove(second.summary());
  CHECK(one_line_with(error_of([&] { train(config, second.path, kQuiet); }), second.best(), "not of this run", "seed"));
}

TEST_CASE("identity: an older checkpoint with held-out images does not go on, and is still measured") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.steps = 2;
  const RunFolder run{folder.path("run")};
  train(config, run.path, kQuiet);
  for (const std::string& path : {run.last(), run.best()}) {
    TensorFile file = load_safetensors(path);
    file.metadata.erase("data");
    save_safetensors(path, file.tensors, file.metadata);
  }
  const Outcome measured = run_program({"evaluate", run.path, "--data-root", folder.path("data")});
  CHECK(measured.code == 0);
  CHECK(measured.err.find("note: ") == 0);
  CHECK(measured.err.find("earlier version") != std::string::npos);
  CHECK(std::ranges::count(measured.err, '\n') == 1);
  fs::remove(run.summary());
  CHECK(one_line_with(error_of([&] { train(config, run.path, kQuiet); }), "held-out", "--fresh"));
}

TEST_CASE("identity: the same image gets the same answer wherever it stands") {
  if (without_image_libraries()) return;
  Folders data({"ant", "bee"});
  RunConfig config = data.config();
  config.train.epochs = 2;
  train(config, data.run("run").path, kQuiet);
  const std::string a = data.folder.path("data/test/ant/0.png"), b = data.folder.path("data/test/bee/1.png"),
                    json = data.folder.path("a.json");
  const auto answers = [&](const std::vector<std::string>& images) {
    std::vector<std::string> arguments{"predict", data.folder.path("run"), "--json", json};
    arguments.insert(arguments.end(), images.begin(), images.end());
    REQUIRE(run_program(arguments).code == 0);
    return slurp(json);
  };
  const std::string one = answers({a, b, a}), other = answers({b, a});
  CHECK(json_at(one, "/0") == json_at(one, "/2"));
  CHECK(json_at(one, "/0") == json_at(other, "/1"));
  CHECK(json_at(one, "/1") == json_at(other, "/0"));
  CHECK(json_at(one, "/0") != json_at(one, "/1"));
}

TEST_CASE("identity: kept features are of these very images in this order") {
  Init init(1);
  RunConfig config;
  config.model = {.name = "resnet-cifar", .blocks = {1}, .base_width = 4};
  const TemporaryFolder folder;
  config.contrast.features = folder.path("features");
  const auto tower = make_backbone(config.model, {8, 8, 1}, init);
  Tensor images = Tensor::empty({6, 8, 8, 1}, DType::u8);
  for (int64_t i = 0; i < images.numel(); ++i) images.data<uint8_t>()[i] = static_cast<uint8_t>(i * i % 251);
  const auto all =
      std::make_shared<ImageDataset>("all", std::vector<std::string>{"a"}, images, Tensor::zeros({6}, DType::i64));
  const auto features = [&](const std::vector<int64_t>& order) {
    return image_features(*tower, std::make_shared<Subset>(all, order), config, config.contrast.features, Device::cpu)
        .to_vector<float>();
  };
  const auto files = [&] { return std::distance(fs::directory_iterator(config.contrast.features), {}); };
  const auto forth = features({0, 1, 2, 3, 4, 5}), back = features({5, 4, 3, 2, 1, 0});
  CHECK(std::equal(forth.begin(), forth.begin() + 4, back.end() - 4));
  CHECK(forth != back);
  CHECK(files() == 2);
  CHECK(features({0, 1, 2, 3, 4, 5}) == forth);
  CHECK(files() == 2);
  images.data<uint8_t>()[7] ^= 1;  // one bit of one pixel
  CHECK(features({0, 1, 2, 3, 4, 5}) != forth);
  config.data.eval_pipeline = "value_range(0,1)";
  features({0, 1, 2, 3, 4, 5});
  CHECK(files() == 4);
}

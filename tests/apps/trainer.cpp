// The trainer on a tiny data set: it learns, it repeats itself, and it refuses what cannot be trained.

#include "apps/common/run/trainer.h"

#include <doctest/doctest.h>

#include <numeric>
#include <sstream>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "core/allocator.h"
#include "core/error.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"
#include "tests/common/in_bf16.h"

using namespace sked;
using namespace sked::test;

namespace {

const TrainOptions kQuiet{.quiet = true};

/// A tiny data set and a folder for runs on it.
struct Workplace {
  Workplace() { write_tiny_data(root()); }
  std::string root() const { return folder.path("data"); }
  RunConfig config() const { return tiny_config(root()); }
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  TemporaryFolder folder;
};

std::vector<double> losses(const RunFolder& run) {
  std::vector<double> values;
  std::istringstream lines(slurp(run.metrics()));
  for (std::string line; std::getline(lines, line);) {
    if (text_at(line, "/split") == "train") values.push_back(number_at(line, "/loss"));
  }
  return values;
}

void check_same_run(const RunFolder& a, const RunFolder& b) {
  CHECK(metrics_without_timings(a.metrics()) == metrics_without_timings(b.metrics()));
  CHECK(tensors(a.last()) == tensors(b.last()));
  CHECK(tensors(a.best()) == tensors(b.best()));
}

}  // namespace

TEST_CASE("trainer: the loss falls, and the folder holds a whole run") {
  const Workplace place;
  RunConfig config = place.config();
  config.train.epochs = 12;
  const RunFolder run = place.run("run");
  const Summary s = train(config, run.path, kQuiet);
  const std::vector<double> loss = losses(run);
  REQUIRE(loss.size() == 120);  // 160 images in batches of 16, 12 epochs, every step logged
  CHECK(loss.back() < 0.7 * loss.front());
  CHECK(s.test.measures.accuracy > 0.3);  // chance: 0.1
  CHECK(s.test.measures.count == 60);
  CHECK(s.weights == "best");
  CHECK(s.steps == 120);
  CHECK(s.params_head_extra > 0);
  CHECK(s.peak_memory_bytes > 0);
  CHECK(parse_config(slurp(run.config()), "config.json").train.epochs == 12);
  const std::string json = slurp(run.summary());
  for (const char* key : {"head", "link", "dataset", "backbone", "seed", "params_total", "params_head_extra",
                          "temperature", "test", "images_per_second", "train_seconds", "peak_memory_bytes"})
    CHECK_MESSAGE(!json_at(json, std::string("/") + key).empty(), key);
  for (const char* key : {"nll", "accuracy", "top5", "ece", "brier", "count"})
    CHECK_MESSAGE(!json_at(json, std::string("/test/") + key).empty(), key);
  const Summary read = read_summary(run.summary());
  CHECK(read.test.measures.nll == s.test.measures.nll);
  CHECK(read.test.measures.bins[14].count == s.test.measures.bins[14].count);
  CHECK(read.temperature == s.temperature);

  // A finished run is returned as it is.
  const std::string before = slurp(run.metrics());
  CHECK(train(config, run.path, kQuiet).test.measures.nll == s.test.measures.nll);
  CHECK(slurp(run.metrics()) == before);
}

TEST_CASE("trainer: runs repeat themselves, whatever the number of loader threads") {
  const Workplace place;
  RunConfig config = place.config();
  train(config, place.run("a").path, kQuiet);
  train(config, place.run("b").path, kQuiet);
  check_same_run(place.run("a"), place.run("b"));
  config.train.loader_threads = 3;
  train(config, place.run("threads").path, kQuiet);
  check_same_run(place.run("a"), place.run("threads"));
  config.train.loader_threads = 0;
  train(config, place.run("none").path, kQuiet);
  check_same_run(place.run("a"), place.run("none"));
  config.seed = 1;
  train(config, place.run("seed").path, kQuiet);
  CHECK(losses(place.run("a")) != losses(place.run("seed")));
}

TEST_CASE("trainer: in bf16 runs repeat themselves too, and learn what they learn in f32") {
  if (!offers(Device::cpu, Precision::bf16)) return skip("training in bf16: this processor has no instructions");
  const Workplace place;
  RunConfig config = place.config();
  config.train.epochs = 6;
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    CAPTURE(kind);
    config.head.kind = kind;
    const auto run = [&](const char* what) { return place.run(std::to_string(static_cast<int>(kind)) + what); };
    train(config, run("f32").path, kQuiet);
    {
      const InBf16 rounded;
      train(config, run("bf16").path, kQuiet);
      train(config, run("again").path, kQuiet);
    }
    check_same_run(run("bf16"), run("again"));
    const std::vector<double> want = losses(run("f32")), got = losses(run("bf16"));
    REQUIRE(got.size() == want.size());
    CHECK(got != want);
    CHECK(got.front() == doctest::Approx(want.front()).epsilon(0.01));
    const auto last_epoch = [](const std::vector<double>& loss) {
      return std::accumulate(loss.end() - 10, loss.end(), 0.0) / 10;
    };
    CHECK(last_epoch(got) == doctest::Approx(last_epoch(want)).epsilon(0.05));
  }
}

TEST_CASE("trainer: with a weight average the test measures the average") {
  const Workplace place;
  RunConfig config = place.config();
  config.train.ema_decay = 0.5;
  const RunFolder run = place.run("run");
  train(config, run.path, kQuiet);
  const auto last = tensors(run.last());
  CHECK(last.at("head.weight") != last.at("raw.head.weight"));
  config.data.validation = 0;
  const Summary s = train(config, place.run("test").path, kQuiet);
  CHECK(s.weights == "last");
}

TEST_CASE("trainer: smoothed targets are the loss's, not the measures'") {
  const Workplace place;
  RunConfig config = place.config();
  config.train.steps = 1;
  config.schedule = {.kind = ScheduleKind::constant, .peak = 1e-9};  // the weights stay
  const auto check_against = [&](const std::string& name, const Summary& plain, double plain_loss) {
    const Summary s = train(config, place.run(name).path, kQuiet);
    CHECK(s.test.measures.nll == doctest::Approx(plain.test.measures.nll).epsilon(1e-5));
    CHECK(std::abs(losses(place.run(name)).at(0) - plain_loss) > 1e-3);
  };
  const Summary hard = train(config, place.run("hard").path, kQuiet);
  config.train.label_smoothing = 0.5;
  check_against("smoothed", hard, losses(place.run("hard")).at(0));
  config.data.train_pipeline += "|mixup(1)";
  check_against("mixed", hard, losses(place.run("hard")).at(0));
  config = place.config();
  config.train.steps = 1;
  config.schedule = {.kind = ScheduleKind::constant, .peak = 1e-9};
  config.head.link = Link::sigmoid;
  const Summary sigmoid = train(config, place.run("sigmoid").path, kQuiet);
  config.train.on_value = 0.9, config.train.off_value = 0.05;
  check_against("values", sigmoid, losses(place.run("sigmoid")).at(0));
}

TEST_CASE("trainer: a batch in parts trains as the whole does where there is no batch norm, in less memory") {
  const Workplace place;
  RunConfig config = place.config();
  config.data.validation = 0;
  config.model = {.name = "vit", .patch = 2, .width = 64, .depth = 2, .heads = 2};
  config.train.batch_size = 60;
  config.train.epochs = 2;
  config.train.eval_every = 0;
  config.optimizer.clip_norm = 1;
  const auto peak_of = [&](const std::string& name) {
    allocator(Device::cpu).reset_peak();
    train(config, place.run(name).path, kQuiet);
    return allocator(Device::cpu).stats().peak;
  };
  const size_t whole_peak = peak_of("whole");
  config.train.accumulate = 7;  // parts of 8 and 9
  const size_t parts_peak = peak_of("parts");
  CHECK(parts_peak < whole_peak / 3);
  const std::vector<double> whole = losses(place.run("whole")), parts = losses(place.run("parts"));
  REQUIRE(whole.size() == 6);
  REQUIRE(parts.size() == 6);
  for (size_t i = 0; i < whole.size(); ++i) CHECK(parts[i] == doctest::Approx(whole[i]).epsilon(1e-4));
  CHECK(parts != whole);
  const auto a = tensors(place.run("whole").last()), b = tensors(place.run("parts").last());
  for (const auto& [name, values] : a) {
    CAPTURE(name);
    REQUIRE(b.contains(name));
    for (size_t i = 0; i < values.size(); ++i) CHECK(std::abs(values[i] - b.at(name)[i]) < 1e-4);
  }
  CHECK(one_line_with(error_of([&] { train(config, place.run("whole").path, kQuiet); }), "train.accumulate differs"));
}

TEST_CASE("trainer: label noise and its known distribution") {
  const Workplace place;
  RunConfig config = place.config();
  config.data.noise = LabelNoise::symmetric;
  config.data.noise_rate = 0.3;
  const Summary s = train(config, place.run("run").path, kQuiet);
  CHECK(s.noisy_share > 0.15);
  CHECK(s.test.distribution == "noisy");
  CHECK(s.test.against.count == 60);
  CHECK(s.test.against.entropy ==
        doctest::Approx(-0.7 * std::log(0.7) - 0.3 * std::log(0.3 / 9)).epsilon(1e-5));  // f32 distribution
  CHECK(s.test.against.cross_entropy > s.test.against.entropy);
}

TEST_CASE("trainer: a fraction of an epoch, a batch larger than the data, no samples at test time") {
  const Workplace place;
  RunConfig config = place.config();
  config.train.epochs = 0.25;
  config.head.test_samples = 0;
  CHECK(train(config, place.run("fraction").path, kQuiet).steps == 3);  // of 10, rounded
  config.train.batch_size = 1000;
  config.train.epochs = 2;
  CHECK(train(config, place.run("large").path, kQuiet).steps == 2);
}

TEST_CASE("trainer: a folder goes on only with its own configuration") {
  const Workplace place;
  RunConfig config = place.config();
  const RunFolder run = place.run("run");
  train(config, run.path, kQuiet);
  const std::string before = slurp(run.last());
  config.head.kind = HeadKind::het;
  config.seed = 3;
  CHECK_THROWS_AS(train(config, run.path, kQuiet), UsageError);
  CHECK(one_line_with(error_of([&] { train(config, run.path, kQuiet); }), "head.kind, seed differ", "--fresh"));
  CHECK(slurp(run.last()) == before);
  CHECK(train(config, run.path, {.fresh = true, .quiet = true}).head == "het");
}

TEST_CASE("trainer: a loss that is not finite names its step and leaves the checkpoint") {
  const Workplace place;
  RunConfig config = place.config();
  config.train.checkpoint_every = 1;
  config.schedule = {.kind = ScheduleKind::constant, .peak = 1e30};
  const RunFolder run = place.run("run");
  const std::string error = error_of([&] { train(config, run.path, kQuiet); });
  CHECK(one_line_with(error, "[train] the loss of step", "schedule.peak", "the last checkpoint is untouched"));
  CHECK(read_checkpoint(run.last()).state.step >= 1);
  CHECK_FALSE(std::filesystem::exists(run.summary()));
}

TEST_CASE("trainer: what cannot be trained is refused before anything is written") {
  const Workplace place;
  const auto refusal = [&](const std::string& assignment) {
    RunConfig config = place.config();
    set_field(assignment, fields_of(config));
    const RunFolder run = place.run("run");
    const std::string error = error_of([&] { train(config, run.path, kQuiet); });
    CHECK_FALSE(std::filesystem::exists(run.path));
    return error;
  };
  CHECK(one_line_with(refusal("data.name=fashion-mnits"), "fashion-mnits", "fashion-mnist"));
  CHECK(one_line_with(refusal("data.name=cifar-10"), "cifar-10", "make data"));
  CHECK(one_line_with(refusal("data.validation=200"), "0 to 199", "200"));
  CHECK(one_line_with(refusal("model.name=resnet21"), "resnet21", "resnet20"));
  CHECK(one_line_with(refusal("schedule.cooldown_steps=31"), "schedule.cooldown_steps", "30 steps", "31"));
  CHECK(one_line_with(refusal("head.train_samples=0"), "samples", "0"));
  CHECK(one_line_with(refusal("head.rank=9"), "rank", "9"));  // D = 8
  CHECK(one_line_with(refusal("data.eval_pipeline=value_rnge(0,1)"), "value_rnge", "value_range"));
  CHECK(one_line_with(refusal("data.eval_pipeline=random_crop(6,0)|value_range(0,1)"), "eval_pipeline", "(6, 6, 1)"));
}

TEST_CASE("trainer: averaged weights have batch statistics of their own, in every file") {
  const Workplace place;
  RunConfig config = place.config();
  config.data.train_pipeline = config.data.eval_pipeline;
  config.data.validation = 0;
  config.train.batch_size = 20;  // 10 batches: all of them are looked at
  config.train.ema_decay = 0.95;
  const RunFolder run = place.run("run");
  const Summary s = train(config, run.path, kQuiet);
  const TensorFile file = load_safetensors(run.last());
  // The mean of the first convolution's outputs over all training images, by its averaged weights.
  const Splits splits = load_splits(config.data, 0);
  const auto model = make_classifier(config, {8, 8, 1}, 10, Device::cpu);
  restore_weights(file, run.last(), *model);
  const Pipeline pipeline = Pipeline::parse(config.data.eval_pipeline);
  Tensor images = Tensor::empty({200, 8, 8, 1});
  Rng rng({0, 0, 0});
  for (int64_t i = 0; i < 200; ++i) pipeline.apply(splits.train->image(i), rng, images.data<float>() + 64 * i);
  model->backbone().forward(Var(images), {.training = true, .momentum = 1});
  for (const auto& [name, buffer] : model->buffers()) {
    if (name != "bn1.running_mean") continue;
    check_close(name, file.at(name), buffer->to(DType::f64), 1e-5);
    CHECK(file.at("raw." + name).to_vector<float>() != file.at(name).to_vector<float>());
  }
  // What the summary says is what the file gives.
  const Outcome measured =
      run_program({"evaluate", run.path, "--data-root", place.root(), "--out", place.run("e").path});
  REQUIRE(measured.code == 0);
  const std::string json = slurp(place.run("e").path.string() + "/evaluation.json");
  CHECK(number_at(json, "/test/nll") == doctest::Approx(s.test.measures.nll).epsilon(1e-6));
}

TEST_CASE("trainer: no epoch at all is a measurement of the weights it begins with") {
  const Workplace place;
  RunConfig config = place.config();
  train(config, place.run("first").path, kQuiet);
  config.train.init = place.run("first").best();
  config.train.epochs = 0;
  for (const int64_t held_out : {0, 40}) {
    config.data.validation = held_out;
    const RunFolder run = place.run("measured" + std::to_string(held_out));
    const Summary s = train(config, run.path, kQuiet);
    CHECK(s.steps == 0);
    CHECK(s.images_per_second == 0);
    CHECK(s.test.measures.nll == read_summary(place.run("first").summary()).test.measures.nll);
    CHECK(load_safetensors(run.last()).at("conv1.weight").to_vector<float>() ==
          load_safetensors(config.train.init).at("conv1.weight").to_vector<float>());
    CHECK(train(config, run.path, kQuiet).test.measures.nll == s.test.measures.nll);
  }
}

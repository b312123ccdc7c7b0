// --device, and training on the GPU beside the CPU: losses step by step, and a run that is stopped and resumed.

#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <memory>

#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "autograd/optimizer.h"
#include "core/kernel.h"
#include "core/safetensors.h"
#include "layers/classifier.h"
#include "layers/heads/make_head.h"
#include "layers/models/model.h"
#include "tests/apps/support.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"

namespace sked::test {
namespace {

bool built_with_cuda() {
  for (const KernelBase* kernel : all_kernels())
    if (kernel->implemented(Device::cuda)) return true;
  return false;
}

struct Setup {
  std::string name, model;
  HeadConfig head;
  int64_t batch, size;
};

/// The losses of ten steps from the same weights on the same batch, clipped as configurations have it.
std::vector<double> losses(const Setup& s, Device device) {
  constexpr int64_t kClasses = 10;
  Init init(7, device);
  ModelConfig config;
  config.name = s.model;
  auto backbone = make_backbone(config, {s.size, s.size, 3}, init);
  const int64_t width = backbone->width();
  Classifier classifier(std::move(backbone), make_head(s.head, width, kClasses, init));
  Optimizer optimizer({.momentum = 0.9, .weight_decay = 5e-4, .clip_norm = 1}, classifier.parameters());
  const Var images(hash_tensor({s.batch, s.size, s.size, 3}, 1).to(device));
  const Targets targets{.labels = hash_labels(s.batch, kClasses, 2).to(device), .distributions = {}};
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < s.batch; ++i) ids.push_back(100 + i);
  Context context{.training = true, .seed = 3, .step = 0, .examples = Tensor::from(ids, {s.batch}).to(device)};
  std::vector<double> all;
  for (; context.step < 10; ++context.step) {
    const Var phi = classifier.backbone().forward(images, context);
    const Var loss = classifier.head().loss(phi, targets, context);
    loss.backward();
    optimizer.step(0.05);
    optimizer.clear_grads();
    all.push_back(loss.value().item());
  }
  return all;
}

void check_follows(const Setup& s) {
  const std::vector<double> cpu = losses(s, Device::cpu), gpu = losses(s, Device::cuda);
  for (size_t i = 0; i < cpu.size(); ++i) {
    // The first loss differs by rounding alone; later ones by what ten steps at this rate make of it (a ReLU whose
    // input rounds to the other side of 0 changes a gradient at once).
    const double tolerance = i == 0 ? 1e-4 : 1e-2;
    CHECK_MESSAGE(std::abs(gpu[i] / cpu[i] - 1) <= tolerance, s.name, ", step ", i, ": cpu ", cpu[i], ", gpu ", gpu[i],
                  ", tolerance ", tolerance);
  }
}

/// Configurations whose every step is recorded: each likelihood; noise of every kind in a vision transformer. Several
/// losses are looked at together, which would show one that the next step has overwritten.
std::vector<std::pair<std::string, RunConfig>> recorded_runs(const std::string& root) {
  std::vector<std::pair<std::string, RunConfig>> runs;
  RunConfig config = tiny_config(root);
  config.train.epochs = 2;
  config.train.log_every = 4;
  config.train.eval_every = 1;
  config.train.ema_decay = 0.9;
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl})
    for (const Link link : {Link::softmax, Link::sigmoid})
      for (const Likelihood likelihood : {Likelihood::streaming, Likelihood::composed}) {
        if (kind == HeadKind::det && likelihood == Likelihood::composed) continue;  // it has no samples
        config.head.kind = kind, config.head.link = link, config.head.likelihood = likelihood;
        runs.emplace_back(name_of(kind) + "-" + name_of(link) + "-" + name_of(likelihood), config);
      }
  config.data.train_pipeline = "random_crop(8,1)|value_range(-1,1)|mixup(0.2)";
  config.model = {};
  config.model.name = "vit";
  config.model.patch = 4, config.model.width = 16, config.model.depth = 2, config.model.heads = 2;
  config.model.dropout = 0.1, config.model.drop_path = 0.1, config.model.recompute = true;
  config.optimizer.kind = OptimizerKind::adamw;
  config.optimizer.clip_norm = 1;
  config.head.link = Link::softmax;
  runs.emplace_back("vit", config);
  config.data = {};
  config.data.name = kMadeEmbeddings;
  config.data.made = {.classes = 3, .superclass_size = 3, .width = 6, .train = 160, .test = 16};
  config.model = {.name = "mlp", .dropout = 0.1, .standardize = true, .l2_normalize = true, .widths = {8}};
  config.model.layer_norm = true;
  runs.emplace_back("mlp", config);
  return runs;
}

/// Metrics and weights of two run folders.
void check_same_run(const RunFolder& a, const RunFolder& b) {
  CHECK(metrics_without_timings(a.metrics()) == metrics_without_timings(b.metrics()));
  const TensorFile left = load_safetensors(a.last()), right = load_safetensors(b.last());
  REQUIRE(left.tensors.size() == right.tensors.size());
  for (const auto& [name, tensor] : left.tensors) {
    CAPTURE(name);
    CHECK(tensor.to_vector<double>() == right.at(name).to_vector<double>());
  }
}

}  // namespace

TEST_CASE("devices: --device cuda without a usable GPU fails in one line; auto says so once and goes on") {
  TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const auto run = [&](const std::string& device) {
    const RunConfig config = tiny_config(folder.path("data"));
    folder.write("run.json", config_text(config));
    return run_program({"train", "--config", folder.path("run.json"), "--out", folder.path(device), "--threads", "1",
                        "--device", device});
  };
  if (is_available(Device::cuda)) {
    CHECK(run("cuda").code == 0);
    return;
  }
  CHECK(fails_with(run("cuda"), 1, "--device cuda",
                   built_with_cuda() ? "no GPU is usable on this machine (" : "without the CUDA backend"));
  const Outcome automatic = run("auto");
  CHECK(automatic.code == 0);
  const std::string reason = reason_unavailable(Device::cuda);
  CHECK(reason.empty() == !built_with_cuda());
  CHECK(automatic.err ==
        (built_with_cuda() ? "note: no GPU is usable on this machine (" + reason + "): running on the CPU\n" : ""));
}

TEST_CASE("devices: ten training steps on the GPU follow the CPU's losses") {
  if (no_gpu("ten training steps beside the CPU's")) return;
  check_follows({"ResNet-20, DET", "resnet20", {}, 16, 32});
  check_follows({"ViT-Ti, DET", "vit-ti", {}, 4, 64});
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl})
    for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal})
      for (const Link link : {Link::softmax, Link::sigmoid}) {
        HeadConfig head;
        head.kind = kind, head.noise.factors = factors, head.link = link;
        head.noise.rank = 4, head.temperature.learn = true, head.noise.antithetic = true;
        check_follows(
            {"ResNet-20, " + name_of(kind) + ", " + name_of(factors) + ", " + name_of(link), "resnet20", head, 8, 32});
      }
}

TEST_CASE("devices: on the GPU a run stopped and resumed ends as if never stopped, near the CPU's") {
  if (no_gpu("a run stopped and resumed")) return;
  TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.checkpoint_every = 7;
  folder.write("run.json", config_text(config));
  const auto run = [&](const std::string& out, const std::string& device, const RunLimits& limits = {}) {
    return run_program({"train", "--config", folder.path("run.json"), "--out", folder.path(out), "--threads", "1",
                        "--device", device, "--deterministic"},
                       limits);
  };
  REQUIRE(run("whole", "cuda").code == 0);
  REQUIRE(run("cpu", "cpu").code == 0);
  const Outcome stopped =
      run("stopped", "cuda",
          {.signal = SIGINT, .when = [&] { return count_lines(folder.path("stopped/metrics.jsonl")) >= 12; }});
  CHECK((stopped.code == 130 || stopped.code == 0));  // a fast card may be done before the signal
  REQUIRE(run("stopped", "cuda").code == 0);
  const TensorFile whole = load_safetensors(folder.path("whole/last.safetensors")),
                   resumed = load_safetensors(folder.path("stopped/last.safetensors")),
                   cpu = load_safetensors(folder.path("cpu/last.safetensors"));
  for (const auto& [name, tensor] : whole.tensors) {
    CAPTURE(name);
    CHECK(tensor.to_vector<double>() == resumed.at(name).to_vector<double>());
    CHECK(tensor.shape() == cpu.at(name).shape());
  }
}

TEST_CASE("devices: recorded steps give the run that plain ones give, bit for bit, by a stand-in on the CPU") {
  TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  for (const auto& [name, config] : recorded_runs(folder.path("data"))) {
    CAPTURE(name);
    const auto run = [&](const std::string& out, bool graph) {
      train(config, folder.path(out), {.graph = graph, .quiet = true});
      return folder.path(out);
    };
    const std::string plain = run(name + "-plain", true);
    const StandInRecorder recorder;
    check_same_run({run(name + "-recorded", true)}, {plain});
    CHECK(recorder.replays() == 19);  // of 20 steps
    if (name == "vit") run("off", false);
    CHECK(recorder.recordings() == 1);
  }
}

TEST_CASE("devices: recorded steps give the run that plain ones give, bit for bit, on the GPU") {
  if (no_gpu("recorded steps beside plain ones")) return;
  TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  for (const auto& [name, config] : recorded_runs(folder.path("data"))) {
    CAPTURE(name);
    folder.write("run.json", config_text(config));
    const std::string precision = name == "vit" || name == "het-xl-softmax-streaming" ? "bf16" : "f32";
    for (const std::string graph : {"auto", "off"}) {
      const Outcome run =
          run_program({"train", "--config", folder.path("run.json"), "--out", folder.path(name + graph), "--threads",
                       "1", "--device", "cuda", "--deterministic", "--precision", precision, "--graph", graph});
      CHECK(run.code == 0);
      CHECK_MESSAGE(run.out.find("not replayed") == std::string::npos, run.out);
    }
    check_same_run({folder.path(name + "auto")}, {folder.path(name + "off")});
  }
}

}  // namespace sked::test

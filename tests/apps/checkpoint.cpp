// Checkpoints: what is saved comes back, and what does not fit is refused before anything is changed.

#include "apps/common/run/checkpoint.h"

#include <doctest/doctest.h>

#include <cmath>

#include "apps/common/measure/evaluation.h"
#include "core/error.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

const DataIdentity kData{{"cat", "d\"o\ng", ""}, {200, "0123"}, {}, {60, "abcd"}};

RunConfig small_config() {
  RunConfig config = tiny_config("");
  config.optimizer.kind = OptimizerKind::adamw;
  return config;
}

/// A classifier and its optimizer, one step away from where they began.
struct Stepped {
  explicit Stepped(const RunConfig& config)
      : model(make_classifier(config, {8, 8, 1}, 10, Device::cpu)),
        optimizer(config.optimizer, model->parameters()),
        average(0.9, model->parameters(), model->buffers()) {}

  void step(double value) {
    for (NamedVar& p : parameters) p.var.mutable_grad() = Tensor::full(p.var.shape(), value);
    optimizer.step(0.01, &average);
    for (const auto& [name, buffer] : model->buffers()) buffer->fill(value);
  }
  Trained trained() { return {model.get(), &optimizer, &average}; }
  std::vector<std::vector<float>> weights() const {
    std::vector<std::vector<float>> values;
    for (const NamedVar& p : model->parameters()) values.push_back(p.var.value().to_vector<float>());
    for (const auto& [name, buffer] : model->buffers()) values.push_back(buffer->to_vector<float>());
    return values;
  }

  std::unique_ptr<Classifier> model;
  Optimizer optimizer;
  WeightAverage average;
  std::vector<NamedVar> parameters = model->parameters();
};

}  // namespace

TEST_CASE("checkpoint: model, optimizer, average and state come back, and go on alike") {
  const TemporaryFolder folder;
  const RunConfig config = small_config();
  Stepped a(config);
  a.step(0.5);
  a.step(-0.25);
  TrainerState state;
  state.step = 2;
  state.best_nll = 0.1;
  state.train_seconds = 1.0 / 3;
  const auto before = a.weights();
  save_checkpoint(folder.path("last.safetensors"), a.trained(), {config, kData}, state);
  CHECK(a.weights() == before);  // the averages were swapped in and out again

  RunConfig other = config;
  other.seed = 9;
  Stepped b(other);
  CHECK(b.weights() != before);
  const Checkpoint c = read_checkpoint(folder.path("last.safetensors"));
  CHECK(config_text(c.config) == config_text(config));
  CHECK(c.state.step == 2);
  CHECK(c.state.optimizer_steps == 2);
  CHECK(c.state.best_nll == state.best_nll);
  CHECK(c.state.train_seconds == state.train_seconds);
  CHECK(c.data == kData);
  CHECK(what_is_unknown(c.file, c.path, c.config).empty());
  restore(c, b.trained());
  CHECK(b.weights() == before);
  a.step(0.125);
  b.step(0.125);
  CHECK(a.weights() == b.weights());
  a.average.swap();
  b.average.swap();
  CHECK(a.weights() == b.weights());
}

TEST_CASE("checkpoint: the plain names hold what evaluations use") {
  const TemporaryFolder folder;
  const RunConfig config = small_config();
  Stepped a(config);
  a.step(0.5);
  save_checkpoint(folder.path("last.safetensors"), a.trained(), {config, kData}, {});
  a.average.swap();
  const TensorFile file = load_safetensors(folder.path("last.safetensors"));
  CHECK(file.metadata.at("format") == "pt");
  for (const NamedVar& p : a.model->parameters()) {
    CAPTURE(p.name);
    CHECK(file.at(p.name).to_vector<float>() == p.var.value().to_vector<float>());
  }
}

TEST_CASE("checkpoint: weights of another model are refused and change nothing") {
  const TemporaryFolder folder;
  const RunConfig config = small_config();
  const Stepped a(config);
  const std::string path = folder.path("a.safetensors");
  save_weights(path, *a.model, {config, kData}, {});
  const TensorFile file = load_safetensors(path);

  RunConfig wider = config;
  wider.model.base_width = 8;
  const Stepped b(wider);
  const auto before = b.weights();
  CHECK(one_line_with(error_of([&] { restore_weights(file, path, *b.model); }), path, "expected", "got", "8", "4"));
  CHECK(b.weights() == before);

  TensorFile less = file;
  const std::string gone = less.tensors.back().name;
  less.tensors.pop_back();
  CHECK(one_line_with(error_of([&] { restore_weights(less, path, *a.model); }), gone, "none of that name"));

  TensorFile more = file;
  more.tensors.push_back({"head.wieght", Tensor::zeros({1})});
  CHECK(one_line_with(error_of([&] { restore_weights(more, path, *a.model); }), "head.wieght",
                      "did you mean \"head.weight\"?"));
}

TEST_CASE("checkpoint: weights that are not finite are refused and change nothing") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  const Stepped a(small_config());
  save_weights(path, *a.model, {small_config(), kData}, {});
  const auto before = a.weights();
  for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (const char* name : {"conv1.weight", "bn1.running_var", "head.bias"}) {
      TensorFile file = load_safetensors(path);
      for (NamedTensor& t : file.tensors)
        if (t.name == name) t.tensor.data<float>()[t.tensor.numel() - 1] = static_cast<float>(value);
      CHECK(one_line_with(error_of([&] { restore_weights(file, path, *a.model); }), path, name, "not finite"));
      CHECK(a.weights() == before);
    }
  }
}

TEST_CASE("checkpoint: one of an earlier version is read, and what it cannot tell is said") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  RunConfig config = small_config();
  Stepped a(config), b(config);
  a.step(0.5);
  save_checkpoint(path, a.trained(), {config, kData}, {});
  TensorFile old = load_safetensors(path);
  old.metadata.erase("data");
  old.checked = false;
  // It kept the buffers of the raw weights, under plain names.
  std::erase_if(old.tensors, [](const NamedTensor& t) {
    return t.name.starts_with("raw.") && t.name.find("running_") != std::string::npos;
  });
  restore({.path = path, .file = old, .config = config, .data = {}, .state = {.optimizer_steps = 1}}, b.trained());
  for (const auto& [name, buffer] : b.model->buffers())
    CHECK(buffer->to_vector<float>() == old.at(name).to_vector<float>());
  CHECK(one_line_with(what_is_unknown(old, path, config), path, "class names", "cannot be checked"));
  config.train.ema_decay = 0.9;
  CHECK(one_line_with(what_is_unknown(old, path, config), "batch statistics"));
}

TEST_CASE("checkpoint: a file without configuration or with a damaged one is refused") {
  const TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  const auto refusal = [&](const std::map<std::string, std::string>& metadata) {
    save_safetensors(path, {{"x", Tensor::zeros({1})}}, metadata);
    const std::string error = error_of([&] { read_checkpoint(path); });
    CHECK_THROWS_AS(read_checkpoint(path), Error);
    return error;
  };
  const std::string config = config_text({});
  CHECK(one_line_with(refusal({}), path, "config"));
  CHECK(one_line_with(refusal({{"config", "{"}, {"state", "{}"}}), path, "malformed JSON"));
  CHECK(one_line_with(refusal({{"config", R"({"train": {"batch_size": 0}})"}, {"state", "{}"}}), path,
                      "train.batch_size"));
  CHECK(one_line_with(refusal({{"config", config}, {"state", R"({"steps": 1})"}}), path, "unknown key steps"));
  CHECK(one_line_with(refusal({{"config", config}, {"state", R"({"step": -1})"}}), path, "step -1"));
}

// Training in bf16 on a GPU, where products read weights from rounded copies that the optimizer writes: the same run,
// bit for bit, as where each product casts them, whatever else writes to the weights; and fewer launches.

#include <doctest/doctest.h>

#include <memory>
#include <optional>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/gradient_step.h"
#include "autograd/weight_average.h"
#include "core/precision.h"
#include "core/work_count.h"
#include "tests/apps/support.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"

namespace sked::test {
namespace {

constexpr int64_t kBatch = 6, kClasses = 10;

RunConfig vit_config() {
  RunConfig config = tiny_config("");
  config.model = {};
  config.model.name = "vit";
  config.model.patch = 4, config.model.width = 16, config.model.depth = 2, config.model.heads = 2;
  config.optimizer = {.momentum = 0.9, .nesterov = true, .weight_decay = 1e-3};
  return config;
}

/// A network in training, by the optimizer or by the same steps on tensors that keep nothing.
struct Training {
  RunConfig config;
  std::unique_ptr<Classifier> model = make_classifier(config, {8, 8, 1}, kClasses, Device::cuda);
  std::vector<NamedVar> parameters = model->parameters();
  std::optional<Optimizer> optimizer;
  TensorList momentum;
  WeightAverage average{0.8, parameters, model->buffers()};
  GradientStep gradients;
  uint64_t steps = 0;
  std::vector<float> losses;

  Training(const RunConfig& given, bool keeps, bool record)
      : config(given),
        gradients(
            [this](const TensorList& in, const Context& context) {
              const Var phi = model->backbone().forward(Var(in[0]), context);
              return model->head().loss(phi, {.labels = in[1], .distributions = {}}, context);
            },
            parameters, Device::cuda, record, [](const std::string& line) { FAIL_CHECK(line); }) {
    if (keeps) optimizer.emplace(config.optimizer, parameters);
    for (const NamedVar& p : parameters) momentum.push_back(Tensor::zeros_like(p.var.value()));
  }

  Tensor backward() {
    const Context context{.training = true,
                          .seed = 1,
                          .step = steps,
                          .examples = Tensor::zeros({kBatch}, DType::i64),
                          .activations = DType::bf16};
    const auto salt = static_cast<uint32_t>(100 + steps);
    return gradients.run({hash_tensor({kBatch, 8, 8, 1}, salt), hash_labels(kBatch, kClasses, salt)}, context);
  }

  void update() {
    if (optimizer) {
      optimizer->step(0.05, &average);
    } else {
      TensorList values, grads, none;
      std::vector<double> decay;
      for (NamedVar& p : parameters) {
        values.push_back(p.var.mutable_value());
        grads.push_back(p.var.grad().defined() ? p.var.grad() : Tensor::zeros_like(values.back()));
        decay.push_back(decays(p) ? config.optimizer.weight_decay : 0);
      }
      kernel::sgd_step(values, grads, momentum, none, none, decay, {}, {0.05, 0.9, true, steps == 0});
      average.update();
    }
    ++steps;
  }

  void step() {
    losses.push_back(static_cast<float>(backward().item()));
    update();
  }

  /// A loss that trains nothing.
  void look() {
    const NoGrad off;
    const Var phi = model->backbone().forward(Var(hash_tensor({kBatch, 8, 8, 1}, 7).to(Device::cuda)),
                                              {.activations = DType::bf16});
    losses.push_back(static_cast<float>(
        model->head()
            .loss(phi, {.labels = hash_labels(kBatch, kClasses, 7).to(Device::cuda), .distributions = {}},
                  {.training = true,
                   .seed = 1,
                   .step = steps,
                   .examples = Tensor::zeros({kBatch}, DType::i64).to(Device::cuda)})
            .value()
            .item()));
  }
};

/// Ten steps, and between them all that a run may do to its weights.
void run_through(Training& t, const std::string& path) {
  const RunIdentity identity{t.config, {}};
  for (int i = 0; i < 4; ++i) t.step();
  save_weights(path, *t.model, identity, {});
  t.average.swap();  // an evaluation of the averages
  t.look();
  t.average.swap();
  t.look();
  t.step();
  restore_weights(load_safetensors(path), path, *t.model);
  t.look();
  t.step();
  t.average.swap();  // weights that are loaded in place of the averages, which stay
  restore_weights(load_safetensors(path), path, *t.model);
  t.look();
  t.average.swap();
  t.step();
  restore_weights(load_safetensors(path), path, *t.model);  // not looked at before the next step
  t.step();
  if (t.optimizer) t.optimizer->load_state(t.optimizer->state());
  t.parameters[2].var.mutable_value().fill(0.0625);
  t.step();
  for (NamedVar& p : t.parameters) p.var.mutable_value().copy_from(p.var.value().to(Device::cpu));
  t.step();
}

}  // namespace

TEST_CASE("rounded weights: a run with them is the run without, bit for bit, recorded or not") {
  if (no_gpu("rounded copies of weights")) return;
  const InBf16 scope;
  const TemporaryFolder folder;
  for (const RunConfig& config : {vit_config(), tiny_config("")}) {
    CAPTURE(config.model.name);
    Training without(config, false, false);
    without.config.optimizer = vit_config().optimizer;
    run_through(without, folder.path("weights"));
    for (const bool record : {false, true}) {
      CAPTURE(record);
      RunConfig same = config;
      same.optimizer = vit_config().optimizer;
      Training with(same, true, record);
      run_through(with, folder.path("weights"));
      CHECK(with.losses == without.losses);
      for (size_t i = 0; i < with.parameters.size(); ++i) {
        CAPTURE(with.parameters[i].name);
        CHECK(with.parameters[i].var.value().to_vector<float>() ==
              without.parameters[i].var.value().to_vector<float>());
      }
    }
  }
}

TEST_CASE("rounded weights: no step but the first casts a weight, for two bytes a parameter") {
  if (no_gpu("rounded copies of weights")) return;
  const InBf16 scope;
  RunConfig config = vit_config();
  config.head.kind = HeadKind::det;
  const auto casts = [](Training& t) {
    t.step();
    const WorkCount count;
    t.backward();
    t.update();
    return count.entries().at("cast").launches;
  };
  Training with(config, true, false), without(config, false, false), restored(config, true, false);
  restored.average.swap();  // as restore() leaves a run: parameters and averages have changed places
  // In each of two blocks four weights forward and back and their biases forward; the patches' bias; the head's weight
  // forward and back (its bias is added to f32). The patches' filters are laid out first, and that is what is cast.
  const int64_t all = casts(without);
  CHECK(all - casts(with) == 2 * 4 * 3 + 1 + 2);
  CHECK(all - casts(restored) == 2 * 4 * 3 + 1 + 2);
  for (const Training* t : {&with, &without, &restored}) {
    size_t copies = 0, bytes = 0, expected = 0;
    for (const NamedVar& p : t->parameters) {
      const Tensor copy = p.var.value().rounded_copy();
      if (!copy.defined()) continue;
      ++copies, bytes += copy.bytes(), expected += 2 * static_cast<size_t>(p.var.numel());
    }
    CHECK(copies == (t != &without ? 2 * 8 + 1 + 1 : 0));
    CHECK(bytes == expected);
  }
}

}  // namespace sked::test

// Batches whose images travel as bytes: the same losses and gradients as from f32, a quarter of the copying.

#include <doctest/doctest.h>

#include "apps/common/run/gradient_step.h"
#include "apps/common/run/make_task.h"
#include "apps/common/run/task.h"
#include "core/precision.h"
#include "core/work_count.h"
#include "data/tokenizer.h"
#include "tests/apps/support.h"
#include "tests/common/gpu.h"
#include "tests/common/in_bf16.h"

namespace sked::test {
namespace {

constexpr int64_t kBatch = 16, kImageBytes = kBatch * 8 * 8;

/// What comes of the first batches of an epoch.
struct Came {
  std::vector<float> losses, gradients;
  int64_t copied = 0;  // bytes from the host for the last batch
  DType images = DType::f32;
};

Came steps(const RunConfig& config, Device device, bool bytes) {
  const auto task = make_task(config, load_data(config), device);
  Loader loader(task->training_set(), Pipeline::parse(config.data.train_pipeline),
                {.batch_size = kBatch, .seed = 3, .drop_last = true, .bytes = bytes});
  GradientStep gradients([&](const TensorList& inputs, const Context& context) { return task->loss(inputs, context); },
                         task->model().parameters(), device, true, [](const std::string& line) { FAIL_CHECK(line); });
  Came came;
  loader.start(0);
  for (uint64_t step = 0; step < 4; ++step) {
    const Batch batch = loader.next().value();
    came.images = batch.images.dtype();
    const WorkCount count;
    const Tensor loss = gradients.run(task->inputs(batch), {.training = true,
                                                            .seed = 1,
                                                            .step = step,
                                                            .examples = batch.indices,
                                                            .activations = activation_dtype(device)});
    if (device != Device::cpu) came.copied = count.entries().at("copy_from_host").bytes;
    came.losses.push_back(static_cast<float>(loss.item()));
    for (const NamedVar& p : task->model().parameters())
      for (const float g : p.var.grad().defined() ? p.var.grad().to_vector<float>() : std::vector<float>{})
        came.gradients.push_back(g);
  }
  return came;
}

void check_alike(const RunConfig& config, Device device, bool travel) {
  const Came values = steps(config, device, false), bytes = steps(config, device, true);
  CHECK(values.images == DType::f32);
  CHECK(bytes.images == (travel ? DType::u8 : DType::f32));
  CHECK(bytes.losses == values.losses);
  CHECK(bytes.gradients == values.gradients);
  if (device != Device::cpu) CHECK(values.copied - bytes.copied == (travel ? 3 * kImageBytes : 0));
}

void check_pipelines(Device device) {
  TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  for (const std::string pipeline : {"random_crop(8,1)|flip|value_range(-1,1)", "value_range(0,1)|normalize(0.3,0.21)",
                                     "random_crop(8,1)|value_range(-1,1)|cutmix(1)", "value_range(-1,1)|mixup(0.2)"}) {
    CAPTURE(pipeline);
    config.data.train_pipeline = pipeline;
    check_alike(config, device, pipeline.find("mixup") == std::string::npos);
  }
  config = tiny_captioned(tiny_config(folder.path("data")));
  check_alike(config, device, true);
  config = tiny_config(folder.path("data"));
  config.model = {};
  config.model.name = "vit";
  config.model.patch = 4, config.model.width = 16, config.model.depth = 1, config.model.heads = 2;
  check_alike(config, device, true);
}

}  // namespace

TEST_CASE("bytes: batches that travel as bytes give the losses and gradients of f32, bit for bit, on the CPU") {
  if (!can_tokenize()) return skip("built without SentencePiece");
  check_pipelines(Device::cpu);
  const StandInRecorder recorder;
  check_pipelines(Device::cpu);
  CHECK(recorder.replays() > 0);
}

TEST_CASE("bytes: batches that travel as bytes give the losses and gradients of f32, bit for bit, on the GPU") {
  if (no_gpu("batches as bytes")) return;
  check_pipelines(Device::cuda);
  const InBf16 on;
  check_pipelines(Device::cuda);
}

}  // namespace sked::test

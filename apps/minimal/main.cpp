// A training loop to show: a small residual network on Fashion-MNIST. Give it det, het or het-xl.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>

#include "autograd/optimizer.h"
#include "autograd/schedule.h"
#include "core/threads.h"
#include "data/catalog.h"
#include "data/loader.h"
#include "layers/classifier.h"
#include "layers/heads/make_head.h"
#include "layers/models/model.h"

using namespace sked;

int train(HeadKind head) {
  const Splits data = load_splits({.name = "fashion-mnist"}, /*validation_size=*/0, /*train_size=*/10000);
  Loader train(data.train, Pipeline::parse("random_crop(28,2)|flip|value_range(-1,1)"), {.batch_size = 64});
  Loader test(data.test, Pipeline::parse("value_range(-1,1)"), {.batch_size = 500, .shuffle = false});

  Init init(/*seed=*/0);
  const int64_t K = data.train->classes();
  auto backbone = make_backbone({.name = "resnet-cifar", .blocks = {1, 1, 1}, .stem = Stem::cifar2}, {28, 28, 1}, init);
  auto noisy_or_not = make_head({.kind = head, .train_samples = 16}, backbone->width(), K, init);
  Classifier model(std::move(backbone), std::move(noisy_or_not));
  Optimizer optimizer({.kind = OptimizerKind::sgd, .weight_decay = 1e-4}, model.parameters());
  const int64_t epochs = 4, steps = epochs * train.batches();
  const Schedule lr{.kind = ScheduleKind::cosine, .peak = 0.1, .warmup = steps / 20, .total = steps};

  uint64_t step = 0;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    train.start(epoch);
    while (const auto batch = train.next()) {
      // Noise is drawn at an address: the step, and which image it is.
      const Context context{.training = true, .step = step, .examples = batch->indices};
      const Var phi = model.backbone().forward(Var(batch->images), context);
      const Var loss = model.head().loss(phi, {.labels = batch->labels}, context);
      optimizer.clear_grads();
      loss.backward();
      optimizer.step(lr.at(static_cast<int64_t>(step++)));
    }
    double right = 0, nll = 0;
    test.start(0);
    while (const auto batch = test.next()) {
      const NoGrad off;
      const Context context{.examples = batch->indices};
      const Var phi = model.backbone().forward(Var(batch->images), context);
      const auto p = model.head().predict(phi.value(), /*samples=*/100, context).to_vector<double>();
      const auto label = batch->labels.to_vector<int64_t>();
      for (size_t i = 0; i < label.size(); ++i) {
        const double* row = &p[i * K];
        right += std::max_element(row, row + K) - row == label[i];
        nll -= std::log(row[label[i]]);
      }
    }
    const auto n = static_cast<double>(data.test->size());
    std::printf("%s, epoch %ld: accuracy %.2f %%, NLL %.4f\n", name_of(head).c_str(), epoch + 1, 100 * right / n,
                nll / n);
  }
  return 0;
}

int main(int argc, char** argv) {
  share_processors(argv);
  const std::string name = argc == 2 ? argv[1] : "het-xl";
  const auto head = value_named<HeadKind>(name);
  if (argc > 2 || !head) {
    std::fprintf(stderr, "usage: %s [det|het|het-xl]\n", argv[0]);
    return name == "--help" || name == "-h" ? 0 : 2;
  }
  try {
    return train(*head);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

#include "apps/scale/measured.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/error.h"
#include "core/stopwatch.h"

namespace sked::scale {
namespace {

/// Seconds of f() by all ranks at once: of the slowest.
template <class F>
double seconds_of_all(Communicator& ranks, F&& f) {
  ranks.barrier();
  const Stopwatch watch;
  f();
  Tensor seconds = Tensor::full({1}, watch.seconds(), DType::f64);
  ranks.all_reduce(seconds, Reduction::max);
  return seconds.item();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// What a step is foretold from, and the step, in turn.
struct Rounds {
  std::vector<double> passes, update, message, sum, step, waited;
};

/// `sent`: bytes of gradients that ranks exchange.
Rounds time_rounds(TrainingStep& step, int64_t images, int64_t sent, Communicator& ranks, int rounds) {
  Rounds all;
  Tensor one = Tensor::zeros({1}), many = Tensor::zeros({sent / 4});
  const auto passes = [&] {
    const Var phi = step.pre_logits(images);
    phi.backward(Tensor::full(phi.shape(), 1e-3));
  };
  passes();
  step.run(images);  // makes the optimizer's state
  for (int i = 0; i < rounds; ++i) {
    all.passes.push_back(seconds_of_all(ranks, passes));
    all.update.push_back(seconds_of_all(ranks, [&] { step.update(); }));
    all.message.push_back(seconds_of_all(ranks, [&] { ranks.all_reduce(one); }));
    all.sum.push_back(seconds_of_all(ranks, [&] { ranks.all_reduce(many); }));
    const double before = step.seconds_waited();
    all.step.push_back(seconds_of_all(ranks, [&] { step.run(images); }));
    all.waited.push_back(step.seconds_waited() - before);
  }
  return all;
}

}  // namespace

Measured measure_step(const StepConfig& config, int64_t batch, Communicator& ranks, int rounds) {
  const int64_t size = ranks.size(), images = batch / size;
  require_usage(batch % size == 0 && images >= 2, "--global-batch",
                "expected as many images, two or more, for each of ", size, " ranks, got ", batch);
  const StepCount count = count_step(config, batch, size, images);
  const auto gradients = count.update.collectives.find("start_all_reduce");
  const int64_t sent = gradients == count.update.collectives.end() ? 0 : gradients->second.bytes;
  Init init(1);
  TrainingStep step(config, ranks, init);
  const Rounds all = time_rounds(step, images, sent, ranks, rounds);

  Measured measured;
  Machine& machine = measured.machine;
  machine.rate = static_cast<double>(count.forward.operations + count.backward.operations) / median(all.passes);
  machine.memory = static_cast<double>(count.update.bytes) / median(all.update);
  if (size > 1) {
    const double message = median(all.message), share = static_cast<double>(size - 1) / static_cast<double>(size);
    machine.latency = message / (2 * std::bit_width(static_cast<uint64_t>(size - 1)));
    machine.link = 2 * share * static_cast<double>(sent) / std::max(median(all.sum) - message, 1e-9);
    machine.hidden = std::clamp(1 - median(all.waited) / time_of(count, size, machine).gradients, 0.0, 1.0);
  }
  measured.seconds = median(all.step);
  measured.foretold = time_of(count, size, machine);
  return measured;
}

}  // namespace sked::scale

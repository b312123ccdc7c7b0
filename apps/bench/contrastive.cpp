// The streaming contrastive loss of HET-XL: a training step's forward and backward pass over thousands of pairs.

#include <cmath>
#include <memory>

#include "apps/bench/bench.h"
#include "apps/bench/peer.h"
#include "apps/common/config/progress.h"
#include "core/kernels/random.h"
#include "layers/heads/contrastive.h"

namespace sked::bench {
namespace {

struct Sizes {
  int64_t pairs, samples, width;
};

/// What two towers would hand over: B pairs of N(0,1) vectors.
class Pass {
 public:
  Pass(const Sizes& s, Likelihood likelihood) : examples_(Tensor::empty({s.pairs}, DType::i64)) {
    for (int64_t i = 0; i < s.pairs; ++i) examples_.data<int64_t>()[i] = i;
    ContrastConfig config;
    config.kind = ContrastKind::het_xl;
    config.width = s.width;
    config.train_samples = s.samples;
    config.likelihood = likelihood;
    Init init(5);
    head_ = std::make_unique<ContrastiveHead>(config, s.width, s.width, init);
    image_ = drawn(s, 1);
    text_ = drawn(s, 2);
  }

  double run(uint64_t step) {
    image_.clear_grad();
    text_.clear_grad();
    for (NamedVar& p : head_->parameters()) p.var.clear_grad();
    const Var loss = head_->loss(image_, text_, {.training = true, .seed = 1, .step = step, .examples = examples_});
    loss.backward();
    return loss.value().item();
  }
  const Var& image() const { return image_; }
  const Var& text() const { return text_; }

 private:
  Var drawn(const Sizes& s, uint64_t stream) const {
    Tensor x = Tensor::empty({s.pairs, 1, s.width});
    kernel::gaussian_noise(examples_, x, RngAddress{3, stream, 0}, 0);
    return Var(x.reshape({s.pairs, s.width}), true);
  }

  Tensor examples_;
  std::unique_ptr<ContrastiveHead> head_;
  Var image_, text_;
};

/// Largest relative difference of loss and input gradients between the streaming form and the composition of ops.
double check() {
  const Sizes small{96, 4, 32};
  Pass streaming(small, Likelihood::streaming), composed(small, Likelihood::composed);
  double error = std::abs(streaming.run(0) / composed.run(0) - 1);
  for (const auto& [got, want] :
       {std::pair{streaming.image(), composed.image()}, {streaming.text(), composed.text()}}) {
    const std::vector<double> a = got.grad().to_vector<double>(), b = want.grad().to_vector<double>();
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
    error = std::max(error, std::sqrt(difference / size));
  }
  return error;
}

}  // namespace

void contrastive_rows(const Settings& settings, const Report& report) {
  const Sizes s{settings.pairs, 16, 256};
  Row row{.name = "contrastive HET-XL B" + std::to_string(s.pairs) + " S16 D256"};
  if (!settings.wants(row.name)) return;
  if (!settings.profile) row.check(check(), composition_limit());
  // B S B D multiply-adds: one product forward, the same again and two gradients backward.
  row.operations = 8.0 * static_cast<double>(s.pairs * s.samples) * static_cast<double>(s.pairs * s.width);
  Pass pass(s, Likelihood::streaming);
  if (settings.profile) {
    pass.run(0);
    profile(row, Device::cpu, [&] { pass.run(1); });
    return report(row, true);
  }
  row.measure_memory(Device::cpu, [&] { pass.run(0); });
  row.naive_memory = 4.0 * static_cast<double>(s.pairs * s.samples) * static_cast<double>(s.pairs);
  uint64_t draw = 1;
  Settings on_cpu = settings;
  on_cpu.device = Device::cpu;
  time_in_turn(row,
               {.ours = [&](int steps) { return median_seconds([&] { pass.run(draw++); }, steps, 0); },
                .options = {"--model", "contrastive", "--batch", std::to_string(s.pairs), "--samples",
                            std::to_string(s.samples)}},
               on_cpu, report);
  report(row, true);
}

}  // namespace sked::bench

// The streaming likelihood of HET-XL: forward and backward passes, and the variance that antithetic samples save.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "apps/bench/bench.h"
#include "apps/bench/peer.h"
#include "apps/common/config/progress.h"
#include "autograd/elementwise.h"
#include "core/kernels/random.h"
#include "core/precision.h"
#include "layers/heads/make_head.h"

namespace sked::bench {
namespace {

constexpr int64_t kRank = 8;

struct Sizes {
  int64_t batch, samples, width, classes;
  Device device = Device::cpu;
};

Tensor indices(int64_t n, int64_t factor, int64_t modulus) {
  Tensor t = Tensor::empty({n}, DType::i64);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = i * factor % modulus;
  return t;
}

/// A head with a batch of pre-logits.
class Pass {
 public:
  Pass(HeadKind kind, const Sizes& s, Likelihood likelihood, bool antithetic = false)
      : labels_(indices(s.batch, 37, s.classes).to(s.device)), examples_(indices(s.batch, 1, s.batch).to(s.device)) {
    HeadConfig config;
    config.kind = kind;
    config.noise.rank = kRank;
    config.train_samples = s.samples;
    config.likelihood = likelihood;
    config.noise.antithetic = antithetic;
    Init init(5, s.device);
    head_ = make_head(config, s.width, s.classes, init);
    Tensor phi = Tensor::empty({s.batch, 1, s.width}, DType::f32, s.device);
    kernel::gaussian_noise(examples_, phi, RngAddress{3, 0, 0}, 0);
    phi_ = Var(phi.reshape({s.batch, s.width}), true);
  }

  /// Loss, forward and backward, with the noise of `step`.
  double run(uint64_t step) { return start(step).item(); }
  /// The same, without waiting for the device.
  Tensor start(uint64_t step) {
    phi_.clear_grad();
    for (NamedVar& p : head_->parameters()) p.var.clear_grad();
    const Var loss =
        head_->loss(phi_, {labels_, {}}, {.training = true, .seed = 1, .step = step, .examples = examples_});
    loss.backward();
    return loss.value();
  }
  /// Every gradient, one after the other.
  std::vector<double> gradients() const {
    std::vector<double> all = phi_.grad().to_vector<double>();
    for (const NamedVar& p : head_->parameters()) {
      const std::vector<double> g = p.var.grad().to_vector<double>();
      all.insert(all.end(), g.begin(), g.end());
    }
    return all;
  }

 private:
  std::unique_ptr<Head> head_;
  Tensor labels_, examples_;
  Var phi_;
};

/// Largest relative difference of loss and gradients between the streaming form and the composition of ops.
double check(Device device) {
  const Sizes small{8, 16, 64, 301, device};
  Pass streaming(HeadKind::het_xl, small, Likelihood::streaming),
      composed(HeadKind::het_xl, small, Likelihood::composed);
  const double loss = streaming.run(0), expected = composed.run(0);
  const std::vector<double> got = streaming.gradients(), want = composed.gradients();
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return std::max(std::abs(loss / expected - 1), std::sqrt(difference / size));
}

/// Sums over repetitions of a vector and of its square, of which its variance is made.
struct Moments {
  int64_t count = 0;
  std::vector<double> sum, squares;

  void add(const std::vector<double>& x) {
    sum.resize(x.size());
    squares.resize(x.size());
    for (size_t i = 0; i < x.size(); ++i) sum[i] += x[i], squares[i] += x[i] * x[i];
    ++count;
  }
  /// The variances, summed over elements.
  double variance() const {
    const auto n = static_cast<double>(count);
    double total = 0;
    for (size_t i = 0; i < sum.size(); ++i) total += (squares[i] - sum[i] * sum[i] / n) / (n - 1);
    return total;
  }
};

struct Spread {
  double loss, gradient, seconds;
};

Spread spread(HeadKind kind, const Sizes& sizes, bool antithetic, uint64_t first, int draws) {
  Pass pass(kind, sizes, Likelihood::streaming, antithetic);
  Moments loss, gradient;
  uint64_t step = first;
  const double seconds = median_seconds(
      [&] {
        loss.add({pass.run(step++)});
        gradient.add(pass.gradients());
      },
      draws, 0);
  return {loss.variance(), gradient.variance(), seconds};
}

/// Passes between two waits for the device: of a GPU a run of them where one is short.
int timed_passes(const Settings& settings, double operations) {
  return settings.device == Device::cuda && settings.shrink == 1 && operations < 1e14 ? 10 : 1;
}

}  // namespace

double composition_limit() { return product_precision() == Precision::f32 ? 1e-5 : 2e-2; }

void likelihood_rows(const Settings& settings, const Report& report) {
  const Sizes s{settings.shrunk(settings.batch), settings.samples, 1024, settings.classes, settings.device};
  Row row{.name = "likelihood HET-XL B" + std::to_string(s.batch) + " S" + std::to_string(s.samples) + " D1024 K" +
                  std::to_string(s.classes)};
  if (!settings.wants(row.name)) return;
  // 2 B S D K forward, 6 B S D K backward (layers/heads/METHOD.md, "The streaming form").
  row.operations = 8.0 * static_cast<double>(s.batch * s.samples) * static_cast<double>(s.width * s.classes);
  Pass pass(HeadKind::het_xl, s, Likelihood::streaming);
  if (settings.profile) {
    pass.run(0);
    profile(row, s.device, [&] { pass.run(1); });
    return report(row, true);
  }
  row.check(check(settings.device), composition_limit());
  uint64_t draw = 0;
  row.measure_memory(s.device, [&] { pass.run(draw++); });
  row.naive_memory = 4.0 * static_cast<double>(s.batch * s.samples) * static_cast<double>(s.classes);
  const auto passes = [&](int count) {
    for (int i = 0; i < count; ++i) pass.start(draw++);
    memory(s.device).synchronize();
  };
  time_in_turn(row,
               {.ours = [&](int count) { return median_seconds([&] { passes(count); }, 1, 0) / count; },
                .steps = timed_passes(settings, row.operations),
                .warmup = settings.rounds > 1 ? 1 : 0,
                .options = {"--model", "likelihood", "--batch", std::to_string(s.batch), "--samples",
                            std::to_string(s.samples), "--width", std::to_string(s.width), "--classes",
                            std::to_string(s.classes), "--rank", std::to_string(kRank)}},
               settings, report);
  report(row, true);
}

std::vector<VarianceRow> variance_rows(const Settings& settings) {
  constexpr int kGroups = 10;  // of draws, for the standard error
  const int draws = 5 * settings.rounds;
  std::vector<VarianceRow> rows;
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    if (!settings.wants(name_of(kind))) continue;
    for (const int64_t samples : {2, 8, 32, 128}) {
      const Sizes sizes{32, samples, 64, 100};
      VarianceRow row{.head = name_of(kind), .samples = samples};
      std::vector<double> loss, gradient, seconds;
      for (int g = 0; g < kGroups; ++g) {
        const auto first = static_cast<uint64_t>(g * draws);
        const Spread plain = spread(kind, sizes, false, first, draws), pairs = spread(kind, sizes, true, first, draws);
        loss.push_back(plain.loss / pairs.loss);
        gradient.push_back(plain.gradient / pairs.gradient);
        seconds.push_back(plain.seconds / pairs.seconds);
      }
      const auto mean = [](const std::vector<double>& x) {
        double sum = 0;
        for (const double v : x) sum += v;
        return sum / static_cast<double>(x.size());
      };
      row.loss_ratio = mean(loss);
      row.gradient_ratio = mean(gradient);
      row.seconds_ratio = median(seconds);
      for (const double v : gradient) row.error += (v - row.gradient_ratio) * (v - row.gradient_ratio);
      row.error = std::sqrt(row.error / (kGroups * (kGroups - 1)));
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace sked::bench

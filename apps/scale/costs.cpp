#include "apps/scale/costs.h"

#include <algorithm>
#include <cctype>
#include <chrono>

#include "autograd/optimizer.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/kernels/random.h"
#include "core/text.h"
#include "layers/heads/make_head.h"

namespace sked::scale {

namespace {

const std::vector<Named> kWidths = {{"ViT-Ti", 192}, {"ViT-S", 384},    {"ViT-B", 768},     {"ViT-L", 1024},
                                    {"ViT-H", 1280}, {"ResNet18", 512}, {"ResNet50", 2048}, {"ResNet152", 2048}};
const std::vector<Named> kClasses = {
    {"ImageNet", 1000}, {"JFT-300M", 18291}, {"ImageNet-21k", 21843}, {"JFT-4B", 29593}};

Named look_up(const std::string& text, const std::vector<Named>& known, const char* option, int64_t least) {
  for (const Named& n : known)
    if (lower_case(n.name) == lower_case(text)) return n;
  const bool digits = !text.empty() && text.size() <= 9 &&
                      std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (digits && std::stoll(text) >= least) return {text, std::stoll(text)};
  std::vector<std::string> names;
  for (const Named& n : known) names.push_back(n.name);
  require_usage(false, option, "expected a number from ", least, " on or one of ", join(names), ", got \"", text, "\"",
                did_you_mean(text, names));
  return {};
}

/// Parameters beyond the classifier (layers/heads/METHOD.md, "Noise"), J = K for HET, D for HET-XL.
int64_t extra_by_formula(const HeadConfig& c, int64_t D, int64_t K) {
  if (c.kind == HeadKind::det) return 0;
  const int64_t J = c.kind == HeadKind::het ? K : D, R = c.noise.rank, diagonal = J * (D + 1),
                temperature = c.temperature.learn;
  if (c.noise.factors == Factors::full) return J * R * (D + 1) + diagonal + temperature;
  return J * (D + 1) + J * R + diagonal + temperature;
}

/// Operations of a training step per example: the products with the classifier and with the covariance layers, forward
/// and twice backward, and of the streaming form one more forward pass.
double operations_of(const HeadConfig& c, int64_t D, int64_t K) {
  const auto d = static_cast<double>(D), k = static_cast<double>(K), s = static_cast<double>(c.train_samples);
  if (c.kind == HeadKind::det) return 6 * d * k;
  const double j = c.kind == HeadKind::het ? k : d, r = static_cast<double>(c.noise.rank);
  const double scales = 6 * d * j * (c.noise.factors == Factors::full ? r + 1 : 2), noise = 8 * s * j * r;
  return scales + noise + (c.kind == HeadKind::het ? 6 * d * k : 8 * s * d * k);
}

}  // namespace

Named width_of(const std::string& text) { return look_up(text, kWidths, "--width", 1); }
Named classes_of(const std::string& text) { return look_up(text, kClasses, "--classes", 2); }

std::vector<HeadKindConfig> compared_heads(int64_t rank, int64_t samples) {
  HeadConfig base;
  base.noise.rank = rank;
  base.train_samples = samples;
  const auto with = [&](HeadKind kind, Factors factors) {
    HeadConfig c = base;
    c.kind = kind;
    c.noise.factors = factors;
    return c;
  };
  return {{"DET", with(HeadKind::det, Factors::efficient)},
          {"HET full", with(HeadKind::het, Factors::full)},
          {"HET", with(HeadKind::het, Factors::efficient)},
          {"HET-XL", with(HeadKind::het_xl, Factors::efficient)}};
}

Costs count(const HeadKindConfig& head, const Named& width, const Named& classes, int64_t largest_bytes) {
  const int64_t D = width.value, K = classes.value, expected = extra_by_formula(head.config, D, K);
  Costs costs{.head = head.name, .backbone = width.name, .data = classes.name, .width = D, .classes = K};
  costs.extra = expected;
  costs.parameters = K * (D + 1) + expected;
  costs.counted = costs.parameters <= largest_bytes / static_cast<int64_t>(sizeof(float));
  if (costs.counted) {
    Init init = Init::blank();
    const std::unique_ptr<Head> made = make_head(head.config, D, K, init);
    require(made->extra_parameters() == expected && made->parameter_count() == costs.parameters, "scale", head.name,
            " with D = ", D, ", K = ", K, ": expected ", expected, " extra parameters by the formula, the module has ",
            made->extra_parameters());
  }
  costs.bytes = 16.0 * static_cast<double>(costs.parameters);
  costs.operations = operations_of(head.config, D, K);
  return costs;
}

void measure(Costs& costs, const HeadKindConfig& head, int64_t batch, int rounds) {
  const int64_t D = costs.width, K = costs.classes;
  Init init(1);
  const std::unique_ptr<Head> made = make_head(head.config, D, K, init);
  Optimizer optimizer({.kind = OptimizerKind::adam}, made->parameters());
  Tensor examples = Tensor::empty({batch}, DType::i64), labels = Tensor::empty({batch}, DType::i64);
  for (int64_t i = 0; i < batch; ++i) examples.data<int64_t>()[i] = i, labels.data<int64_t>()[i] = i * 37 % K;
  Tensor values = Tensor::empty({batch, 1, D});
  kernel::gaussian_noise(examples, values, RngAddress{3, 0, 0}, 0);
  const Var phi(values.reshape({batch, D}), true);
  uint64_t number = 0;
  const auto step = [&] {
    optimizer.clear_grads();
    made->loss(phi, {labels, {}}, {.training = true, .seed = 1, .step = number++, .examples = examples}).backward();
    optimizer.step(1e-3);
  };
  step();  // makes gradients and the optimizer's state
  CachingAllocator& memory = allocator(Device::cpu);
  const size_t kept = memory.stats().live;
  memory.reset_peak();
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    step();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  costs.seconds = seconds[seconds.size() / 2];
  costs.extra_bytes = static_cast<double>(memory.stats().peak - kept);
  memory.release_cache();
}

}  // namespace sked::scale

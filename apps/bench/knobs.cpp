// What the GPU's libraries could do instead, choice by choice: what decides between them on a card.

#include <cmath>
#include <set>

#include "apps/bench/bench.h"
#include "autograd/reduce.h"
#include "core/candidates.h"
#include "core/error.h"
#include "core/kernels/elementwise.h"
#include "layers/heads/streaming.h"

namespace sked::bench {
namespace {

using Tell = std::function<void(const Knob&)>;

/// Times each way, `calls` of it at a time, and tells of it.
void tell_all(const Settings& s, const std::string& kind, const std::string& problem, double operations,
              const std::vector<Candidate>& ways, int calls, const Tell& tell) {
  Knob knob{.kind = kind, .problem = problem, .operations = operations};
  if (ways.empty()) {
    knob.refused = "nothing on offer";
    return tell(knob);
  }
  for (size_t i = 0; i < ways.size(); ++i) {
    knob.choice = std::to_string(i) + ": " + ways[i].name;
    knob.refused.clear();
    try {
      knob.seconds = median_seconds(
                         [&] {
                           for (int call = 0; call < calls; ++call) ways[i].run();
                           memory(s.device).synchronize();
                         },
                         s.rounds) /
                     calls;
    } catch (const Error& error) {
      knob.refused = error.what();
    }
    tell(knob);
  }
}

// ---- products ------------------------------------------------------------------------------------

constexpr int kProducts = 8, kPlans = 5;  // of what a library offers
constexpr int kCalls = 10;                // beside which the wait at their end is little

/// y (N,O) = x (N,I) wᵀ and its gradients, in bf16 with the weights' gradient in f32, with and without what can ride on
/// each.
struct LinearKnobs {
  const Settings& s;
  const CandidateLists& lists;
  const Tell& tell;
  std::string layer;
  int64_t N, I, O;

  Tensor random(const Shape& shape, DType dtype = DType::bf16) const { return random_tensor(shape, s.device, dtype); }
  void product(const std::string& what, const ProductWork& work, double operations) const {
    tell_all(s, "product", layer + " " + what, operations, lists.product(work, kProducts), kCalls, tell);
  }
  double operations() const { return 2.0 * static_cast<double>(N * I) * static_cast<double>(O); }

  void forward(bool gelu) const {
    ProductWork work{.a = random({N, I}), .b = random({O, I}), .c = random({N, O}), .transpose_b = true};
    product("forward", work, operations());
    work.bias = random({O});
    product("forward + bias", work, operations());
    if (!gelu) return;
    work.act = Activation::gelu_tanh;
    product("forward + bias + gelu", work, operations());
    work.pre = random({N, O});
    product("forward + bias + gelu + aux", work, operations());
  }
  void backward_input(bool gelu) const {
    ProductWork work{.a = random({N, O}), .b = random({O, I}), .c = random({N, I})};
    product("input", work, operations());
    if (!gelu) return;
    work.through = random({N, I});
    product("input + gelu'", work, operations());
    work.sum_of_c = random({I});
    product("input + gelu' + bias gradient", work, operations());
  }
  void backward_weight() const {
    ProductWork work{.a = random({N, O}), .b = random({N, I}), .c = random({O, I}, DType::f32), .transpose_a = true};
    product("weight", work, operations());
    work.sum_of_a = random({O}, DType::f32);
    product("weight + bias gradient", work, operations());
    product("bias gradient alone", {.a = work.a, .b = {}, .c = {}, .transpose_a = true, .sum_of_a = work.sum_of_a}, 0);
  }
};

void product_knobs(const Settings& s, const CandidateLists& lists, const Tell& tell) {
  for (const auto& [model, full] : {std::pair<std::string, int64_t>("ViT-S", 384), {"ViT-B", 768}}) {
    const int64_t D = s.shrunk(full, 8), N = s.shrunk(256 * 197, 8);
    for (const auto& [layer, I, O] : {std::tuple<std::string, int64_t, int64_t>("qkv", D, 3 * D),
                                      {"proj", D, D},
                                      {"fc1", D, 4 * D},
                                      {"fc2", 4 * D, D}}) {
      const LinearKnobs knobs{s, lists, tell, model + " " + layer, N, I, O};
      if (!s.wants(knobs.layer)) continue;
      knobs.forward(layer == "fc1");
      knobs.backward_input(layer == "fc2");  // whose input is fc1's GELU
      knobs.backward_weight();
    }
  }
}

// ---- convolutions --------------------------------------------------------------------------------

struct ConvCase {
  int64_t edge, in, out;
  Window window;

  std::string name() const {
    return "ResNet-50 " + std::to_string(in) + "->" + std::to_string(out) + " k" + std::to_string(window.kernel) +
           " s" + std::to_string(window.stride) + " " + std::to_string(edge) + "x" + std::to_string(edge);
  }
};

/// Every convolution of ResNet-50 (v1.5) at 224².
std::vector<ConvCase> resnet50_convolutions() {
  std::vector<ConvCase> list{{224, 3, 64, {.kernel = 7, .stride = 2, .padding = 3}}};
  int64_t in = 64, edge = 56;
  for (int64_t width = 64; width <= 512; width *= 2) {
    const int64_t stride = width == 64 ? 1 : 2, inner = edge / stride;
    list.push_back({edge, in, width, {}});
    list.push_back({edge, width, width, {.kernel = 3, .stride = stride, .padding = 1}});
    list.push_back({edge, in, 4 * width, {.stride = stride}});
    list.push_back({inner, width, 4 * width, {}});
    list.push_back({inner, 4 * width, width, {}});
    list.push_back({inner, width, width, {.kernel = 3, .padding = 1}});
    in = 4 * width, edge = inner;
  }
  return list;
}

void convolution_knobs(const Settings& s, const CandidateLists& lists, const Tell& tell) {
  using Pass = ConvolutionWork::Pass;
  std::set<std::string> seen;
  for (const ConvCase& c : resnet50_convolutions()) {
    if (!s.wants(c.name()) || !seen.insert(c.name()).second) continue;
    const int64_t N = s.shrunk(256), H = s.shrunk(c.edge, 4), P = c.window.output(H), k = c.window.kernel;
    const int64_t I = c.in == 3 ? 3 : s.shrunk(c.in, 8), O = s.shrunk(c.out, 8);
    const auto random = [&](const Shape& shape) { return random_tensor(shape, s.device, DType::bf16); };
    ConvolutionWork work{Pass::forward, random({N, H, H, I}), random({O, I, k, k}), random({N, P, P, O}), c.window};
    const double operations = 2.0 * static_cast<double>(work.y.numel()) * static_cast<double>(I * k * k);
    for (const auto& [pass, what] :
         {std::pair(Pass::forward, " forward"), {Pass::backward_input, " input"}, {Pass::backward_weight, " weight"}}) {
      if (c.in == 3 && pass == Pass::backward_input) continue;  // nobody asks for the images' gradient
      work.pass = pass;
      tell_all(s, "convolution", c.name() + what, operations, lists.convolution(work, kPlans), kCalls, tell);
    }
  }
}

// ---- tiles ---------------------------------------------------------------------------------------

/// HET-XL's likelihood, forward and backward, in tiles of so many rows (example and sample) and bytes of f32.
void tile_knobs(const Settings& s, const Tell& tell) {
  const int64_t B = s.shrunk(64), S = s.shrunk(1000, 2), D = s.shrunk(1024, 8), K = s.shrunk(29593, 8), R = 8;
  const auto random = [&](const Shape& shape, double scale) {
    Tensor t = random_tensor(shape, s.device, DType::f32);
    Tensor scaled = Tensor::like(t);
    kernel::affine(t, scaled, scale, 0);
    return Var(scaled, true);
  };
  const SampledLogits logits{
      .center = random({B, D}, 1),
      .scales = {.d = random({B, D}, 0.1), .v = random({B, D}, 0.1), .factors = random({D, R}, 0.1)},
      .weight = random({K, D}, 1 / std::sqrt(static_cast<double>(D))),
      .bias = random({K}, 0.1),
      .noise = {.examples = row_numbers(B, s.device), .factors = {1, 2, 0}, .diagonal = {1, 3, 0}},
      .samples = S};
  const Tensor labels = row_numbers(B, s.device);  // K > B
  for (const int64_t rows : {2048, 4096, 8192, 16384}) {
    std::vector<Candidate> ways;
    for (const int64_t mib : {8, 32, 128, 512}) {
      const int64_t samples = std::clamp<int64_t>(s.shrunk(rows) / B, 1, S);
      const int64_t bytes = std::max<int64_t>(1, (mib << 20) / s.shrink / s.shrink);
      const TileSize tile{samples, std::max<int64_t>(4, bytes / 4 / (B * samples))};
      ways.push_back({std::to_string(mib) + " MiB", [&logits, &labels, tile] {
                        for (Var v : inputs_of(logits)) v.clear_grad();
                        mean(streaming_nll(logits, labels, tile)).backward();
                      }});
    }
    tell_all(s, "tile", std::to_string(rows) + " rows", 8.0 * static_cast<double>(B * S) * static_cast<double>(D * K),
             ways, 1, tell);
  }
}

}  // namespace

void gpu_knobs(const Settings& s, const Tell& tell) {
  const CandidateLists* lists = candidates_of(s.device);
  require(lists != nullptr, "bench", "gpu-knobs: ", s.device, " has no choices: a GPU is needed");
  product_knobs(s, *lists, tell);
  convolution_knobs(s, *lists, tell);
  if (s.wants("tile")) tile_knobs(s, tell);
  for (const Gelu gelu : {Gelu::exact, Gelu::tanh})
    if (s.wants("gelu"))
      tell({.kind = "model.gelu",
            .problem = "ViT-S/16 step",
            .choice = name_of(gelu),
            .seconds = step_seconds(s, gelu)});
}

}  // namespace sked::bench

#pragma once
// Timing, and what the benchmark's parts report. Correctness is checked before anything is timed.

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/measure/work_profile.h"
#include "core/device.h"
#include "core/json.h"
#include "core/tensor.h"
#include "layers/transformer.h"

namespace sked::bench {

/// Seconds of one call of `f`: the median over `rounds` calls after `warmup` uncounted ones.
double median_seconds(const std::function<void()>& f, int rounds, int warmup = 1);
double median(std::vector<double> values);

/// One of PyTorch's modes, as `compile channels_last`.
struct PeerMode {
  std::string name;
  double seconds = 0;        // median of a step
  std::string failure = {};  // why there is none; empty: there is one
  bool no_memory = false;    // that is why
};

/// One line of the report.
struct Row {
  std::string name;
  double seconds = 0;        // median time of one call
  double operations = 0;     // floating-point operations of one call; 0 where bytes say more
  double bytes = 0;          // bytes read and written at least once
  double error = 0;          // largest relative error against the definition
  std::string failure = {};  // what makes it worth nothing; empty: nothing does
  double images = 0;         // of one call; 0 where there are none
  double memory = 0;         // bytes above inputs and parameters, gradients included; 0 where it was not measured
  double naive_memory = 0;   // bytes of what it never holds at once: all its sampled logits or similarities, in f32
  double peer_seconds = 0;   // PyTorch's median, in the best of its modes; 0: not run
  double ratio = 0;          // median over rounds of PyTorch's time / ours
  std::vector<PeerMode> peer_modes = {};
  Json peer_info = {};    // what its best mode says of itself: version, threads …
  WorkProfile work = {};  // of a profiled call

  /// Takes the error, and fails the row where it is not below the limit.
  void check(double found, double limit);
  /// Runs `call`, the first of its row, and takes what its tensors need on the device at their most.
  void measure_memory(Device device, const std::function<void()>& call);
};

/// Is told of a row as far as it is known, after each mode of the peer, and once more when it is `done`.
using Report = std::function<void(const Row& row, bool done)>;

/// The row of a call of `step`, which is warm already: that of median time of five. On a GPU it is a single one,
/// between a profiler's start and stop.
void profile(Row& row, Device device, const std::function<void()>& step);

/// One choice that a backend has, and what it costs.
struct Knob {
  std::string kind, problem, choice = {};
  double seconds = 0, operations = 0;  // of one call
  std::string refused = {};            // not empty: why it did not run
};

struct Settings {
  int threads = 2;
  int rounds = 7;
  std::string peer;                     // Python interpreter with PyTorch; empty: no peer
  std::string script;                   // run by it
  std::vector<std::string> peer_modes;  // of PyTorch: eager, compile, max-autotune
  Device device = Device::cpu;          // of training steps, likelihood and peak; the rest: the CPU
  bool profile = false;                 // plain calls, every kernel of them timed, instead of checks and times
  int64_t shrink = 1;       // sizes are divided by it, to see the program run: no figure means anything then
  bool record = true;       // training steps are replayed from a recording where the device can
  int64_t samples = 64;     // S of the likelihood
  int64_t batch = 64;       // B
  int64_t classes = 21843;  // K
  int64_t pairs = 4096;     // B of the contrastive loss
  std::string only;         // run cases whose name contains this
  int64_t shrunk(int64_t n, int64_t least = 1) const { return std::max(least, n / shrink); }
  bool wants(const std::string& name) const { return only.empty() || name.find(only) != std::string::npos; }
};

/// N(0,1), other numbers at each call: what a product takes depends on them, by a card's power.
Tensor random_tensor(const Shape& shape, Device device, DType dtype);

/// Operations per second of a large matrix product in the precision asked for: the peak other figures are measured
/// against.
double gemm_peak(const Settings& settings);
/// Its extents: n × n × n.
inline int64_t gemm_size(const Settings& settings) {
  return settings.shrunk(settings.device == Device::cuda ? 8192 : 2048);
}
/// How far a streaming loss may be from the composition of ops, relatively: both multiply the same numbers in another
/// order, and round different gradients where factors are rounded.
double composition_limit();
/// Kernels on the shapes of ResNet-18 and ViT-S/16: those of tests/kernels that have a Timing.
void kernel_rows(const Settings& settings, const Report& report);
/// Forward and backward passes of the streaming likelihood of HET-XL, of settings.batch examples, settings.classes
/// classes and settings.samples samples, on settings.device, beside PyTorch's naive composition of it in turn where a
/// peer is given.
void likelihood_rows(const Settings& settings, const Report& report);
/// A forward and backward pass of the streaming contrastive loss over settings.pairs pairs, likewise.
void contrastive_rows(const Settings& settings, const Report& report);
/// Whole training steps (forward, backward, SGD), beside PyTorch in turn where a peer is given.
void step_rows(const Settings& settings, const Report& report);
/// The same of ResNet-50 and ViT-B/16 in batches of 8, small enough for a CPU.
void large_step_rows(const Settings& settings, const Report& report);
/// Epochs of 50,000 made vectors of 256 numbers in batches of 512 (ten classes, the heads on the vectors themselves),
/// through loader and training steps; prints what waiting for data, passes and optimizer take of one.
void embedding_rows(const Settings& settings, const Report& report);
/// Seconds of ViT-S/16's step with that `model.gelu`.
double step_seconds(const Settings& settings, Gelu gelu);

/// What the GPU's libraries could do instead (core/candidates.h), each choice timed: cuBLASLt's algorithms and
/// epilogues for the products of ViT-S/16 and ViT-B/16, cuDNN's plans for the convolutions of ResNet-50, the tiles of
/// the likelihood, and GELU's two forms. Throws Error on a device without choices.
void gpu_knobs(const Settings& settings, const std::function<void(const Knob&)>& report);

/// What antithetic pairs do to the variance of loss and gradient, at several numbers of samples.
struct VarianceRow {
  std::string head;
  int64_t samples = 0;
  double loss_ratio = 0;      // variance of the loss, plain / antithetic
  double gradient_ratio = 0;  // variance of the gradient summed over parameters, plain / antithetic
  double seconds_ratio = 0;   // time of a pass, plain / antithetic
  double error = 0;           // standard error of gradient_ratio
};
std::vector<VarianceRow> variance_rows(const Settings& settings);

/// The loader on the training shards of Tiny ImageNet beside a bare loop of cv::imdecode and the same resize on the
/// same files and threads, in turn. Prints both, and returns the median share of the bare loop's images per second.
double loader_share(const Settings& settings, const std::string& data_root);

}  // namespace sked::bench

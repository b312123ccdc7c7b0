#pragma once
// Timing, and what the benchmark's parts report. Correctness is checked before anything is timed.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"

namespace sked::bench {

/// Seconds of one call of `f`: the median over `rounds` calls after `warmup` uncounted ones.
double median_seconds(const std::function<void()>& f, int rounds, int warmup = 1);
double median(std::vector<double> values);

/// One line of the report.
struct Row {
  std::string name;
  double seconds = 0;       // median time of one call
  double operations = 0;    // floating-point operations of one call; 0 where bytes say more
  double bytes = 0;         // bytes read and written at least once
  double error = 0;         // largest relative error against the definition
  double images = 0;        // of one call; 0 where there are none
  double peer_seconds = 0;  // PyTorch's median, in the best of its modes; 0: not run
  double ratio = 0;         // median over rounds of PyTorch's time / ours
  std::vector<std::pair<std::string, double>> peer_modes = {};  // each mode's median
};

struct Settings {
  int threads = 2;
  int rounds = 7;
  std::string peer;                                 // Python interpreter with PyTorch; empty: no peer
  std::string script;                               // apps/bench/peer_torch.py
  std::vector<std::string> peer_modes = {"eager"};  // of PyTorch's training steps: eager, compile, max-autotune
  Device device = Device::cpu;                      // of training steps, likelihood and peak; the rest: the CPU
  bool record = true;                               // training steps are replayed from a recording where the device can
  int64_t samples = 64;                             // S of the likelihood
  int64_t pairs = 4096;                             // B of the contrastive loss
  bool rehearsal = false;                           // all is small, and no figure means anything
  std::string only;                                 // run cases whose name contains this
  bool wants(const std::string& name) const { return only.empty() || name.find(only) != std::string::npos; }
};

/// Operations per second of a large matrix product in the precision asked for: the peak other figures are measured
/// against.
double gemm_peak(const Settings& settings);
/// Its extents: n × n × n.
inline int64_t gemm_size(const Settings& settings) {
  return settings.rehearsal ? 64 : (settings.device == Device::cuda ? 8192 : 2048);
}
/// How far a streaming loss may be from the composition of ops, relatively: both multiply the same numbers in another
/// order, and round different gradients where factors are rounded.
double composition_limit();
/// Kernels on the shapes of ResNet-18 and ViT-S/16.
std::vector<Row> kernel_rows(const Settings& settings);
/// Forward and backward passes of the streaming likelihood of HET-XL at settings.samples samples on settings.device,
/// beside PyTorch's naive composition of it in turn where a peer is given.
std::vector<Row> likelihood_rows(const Settings& settings);
/// A forward and backward pass of the streaming contrastive loss over settings.pairs pairs, likewise; prints its
/// memory.
std::vector<Row> contrastive_rows(const Settings& settings);
/// Whole training steps (forward, backward, SGD), beside PyTorch in turn where a peer is given.
std::vector<Row> step_rows(const Settings& settings);

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

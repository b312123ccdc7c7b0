// bench: kernels and training steps; correctness first, then time, GFLOP/s and the share of the measured GEMM peak.

#include <algorithm>
#include <cstdio>
#include <fstream>

#include <omp.h>

#include "apps/bench/bench.h"
#include "apps/bench/results.h"
#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked::bench {

namespace {

/// As the system calls it; empty where it does not say.
std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return std::string(trimmed(line.substr(line.find(':') + 1)));
  return {};
}

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

void bench(const CommonOptions& options, const std::vector<std::string>& topics, Settings settings) {
  if (!options.out.empty()) check_results({options.out}, "threads");
  settings.threads = omp_get_max_threads();
  settings.device = options.device;
  settings.record = options.graph;
  const bool about_peer = !settings.script.empty() || !settings.peer_modes.empty();
  require_usage(!settings.peer.empty() || !about_peer, "bench",
                "--peer-script and --peer-modes: expected the peer's interpreter with --peer, got none");
  if (settings.script.empty()) settings.script = "apps/bench/peer_torch.py";
  if (settings.peer_modes.empty()) {
    settings.peer_modes = {"eager", "compile"};
    if (settings.device == Device::cuda) settings.peer_modes.push_back("max-autotune");
  }
  // Needs data, so it runs only when it is named.
  if (std::find(topics.begin(), topics.end(), "loader") != topics.end()) {
    const double load = load_average(), share = loader_share(settings, options.data_root);
    std::printf("threads %d · load average %.2f at start\n", settings.threads, load);
    if (!options.out.empty())
      write_file(options.out,
                 json_text({{"threads", settings.threads}, {"load_average", load}, {"loader_share", share}}));
    return;
  }
  const auto named = [&](const char* topic) { return std::find(topics.begin(), topics.end(), topic) != topics.end(); };
  const auto asked = [&](const char* topic) {
    return topics.empty() ? settings.device == Device::cpu || std::string("steps") == topic : named(topic);
  };
  require(!settings.profile || !topics.empty(), "bench",
          "--profile: name what it shall look at: steps, likelihood, contrastive");
  const double load = load_average();
  Json head = {{"processor", processor()}, {"threads", settings.threads}, {"load_average", load}};
  std::printf("%s · threads %d · load average %.2f at start", processor().c_str(), settings.threads, load);
  double peak = 0;  // nothing is held against it in a profile, and gpu-knobs measures products itself
  if (!settings.profile && !(topics.size() == 1 && named("gpu-knobs"))) {
    peak = gemm_peak(settings);
    head["gemm_gflops"] = peak * 1e-9;
    std::printf(" · %s on %s, GEMM %lld^3: %.1f GFLOP/s", name(product_precision()), name(settings.device),
                static_cast<long long>(gemm_size(settings)), peak * 1e-9);
  }
  std::printf("\n");
  Results results(options.out, head, peak);
  if (asked("kernels")) kernel_rows(settings, results.rows("kernels"));
  if (asked("likelihood")) likelihood_rows(settings, results.rows("likelihood"));
  if (asked("contrastive")) contrastive_rows(settings, results.rows("contrastive"));
  if (asked("steps")) step_rows(settings, results.rows("steps"));
  if (named("large-steps")) large_step_rows(settings, results.rows("large-steps"));
  if (asked("embeddings")) embedding_rows(settings, results.rows("embeddings"));
  if (asked("variance"))
    for (const VarianceRow& row : variance_rows(settings)) results.variance(row);
  if (named("gpu-knobs")) gpu_knobs(settings, [&](const Knob& knob) { results.knob(knob); });
  results.finish(settings.only);
}

const AppText kText = {
    .name = "bench",
    .about =
        "Checks kernels against their definitions, then times them, the streaming likelihood and whole training "
        "steps, these two on the device of --device; measures the variance that antithetic samples save. Errors are "
        "relative; "
        "`of peak` is the share of the GEMM rate measured first, in the precision of --precision. --out names a JSON "
        "file here, which is written after every row.",
    .example = "build/bench steps --threads 2 --peer python3   # training steps beside PyTorch, in turn",
    .without = {"--config", "--set", "--list-keys", "--print-config", "--seed"}};

}  // namespace
}  // namespace sked::bench

int main(int argc, char** argv) {
  using namespace sked;
  std::vector<std::string> topics;
  bench::Settings settings;
  return run_app(
      argc, argv, bench::kText,
      {{.name = "topics",
        .target = &topics,
        .help = "kernels, likelihood, contrastive, steps, embeddings, variance; all when none is named (on a GPU: "
                "steps); large-steps (ResNet-50 and ViT-B/16, batches of 8); loader (needs Tiny ImageNet); gpu-knobs "
                "(what a GPU's libraries could do instead)",
        .one_of = {"kernels", "likelihood", "contrastive", "steps", "large-steps", "embeddings", "variance", "loader",
                   "gpu-knobs"}},
       {.name = "--samples",
        .target = &settings.samples,
        .help = "Monte Carlo samples of the likelihood",
        .in = {{1, 100000}},
        .shows_default = true},
       {.name = "--batch",
        .target = &settings.batch,
        .help = "Examples of the likelihood",
        .in = {{1, 1 << 20}},
        .shows_default = true},
       {.name = "--classes",
        .target = &settings.classes,
        .help = "Classes of the likelihood",
        .in = {{2, 1 << 20}},
        .shows_default = true},
       {.name = "--pairs", .target = &settings.pairs, .help = "Pairs of the contrastive loss", .in = {{2, 1 << 20}}},
       {.name = "--rounds",
        .target = &settings.rounds,
        .help = "Timed repetitions; medians are reported",
        .in = {{1, 1000}},
        .shows_default = true},
       {"--only", &settings.only, "Only cases whose name contains this"},
       {"--profile", &settings.profile,
        "steps, likelihood, contrastive: where the time of a plain call goes, after the warm-up and without checks: a "
        "table of kernels with calls, ms, share, GFLOP/s, launches, bytes, and what passes between kernels; of five "
        "calls the one of median time. On a GPU one call, waited for kernel by kernel, which `ncu "
        "--profile-from-start off` sees alone"},
       {.name = "--shrink",
        .target = &settings.shrink,
        .help = "Divides the sizes of steps and gpu-knobs and the batch of the likelihood, to see them run where "
                "they are too large; no figure means anything then",
        .in = {{1, 1 << 20}}},
       {"--peer", &settings.peer,
        "Python interpreter with PyTorch to run the same steps in turn, in each of its modes and layouts; the ratio is "
        "that to the fastest"},
       {.name = "--peer-modes",
        .target = &settings.peer_modes,
        .help = "Its modes; default: eager and compile, on a GPU max-autotune too",
        .one_of = {"eager", "compile", "max-autotune"}},
       {"--peer-script", &settings.script,
        "The peer's side of the steps; peer_jax.py: JAX's of the likelihood, with --peer-modes compile"}},
      [&](const CommonOptions& options) { bench::bench(options, topics, settings); });
}

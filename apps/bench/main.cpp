// bench: kernels and training steps; correctness first, then time, GFLOP/s and the share of the measured GEMM peak.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include <omp.h>

#include "apps/bench/bench.h"
#include "apps/common/cli.h"
#include "apps/common/outputs.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"

namespace sked::bench {

namespace {

void print(const std::vector<Row>& rows, double peak) {
  std::printf("%-52s %10s %9s %7s %7s %8s %9s %10s %7s\n", "case", "median ms", "GFLOP/s", "of peak", "GB/s",
              "images/s", "error", "torch ms", "ratio");
  for (const Row& r : rows) {
    std::printf("%-52s %10.3f", r.name.c_str(), r.seconds * 1e3);
    if (r.operations > 0)
      std::printf(" %9.1f %6.0f%%", r.operations / r.seconds * 1e-9, 100 * r.operations / r.seconds / peak);
    else
      std::printf(" %9s %7s", "", "");
    if (r.bytes > 0)
      std::printf(" %7.1f", r.bytes / r.seconds * 1e-9);
    else
      std::printf(" %7s", "");
    if (r.images > 0)
      std::printf(" %8.1f", r.images / r.seconds);
    else
      std::printf(" %8s", "");
    std::printf(" %9.1e", r.error);
    if (r.peer_seconds > 0) std::printf(" %10.1f %7.2f", r.peer_seconds * 1e3, r.ratio);
    std::printf("\n");
    if (r.peer_modes.size() < 2) continue;
    for (const auto& [mode, seconds] : r.peer_modes)
      std::printf("%-52s %10.3f\n", ("  torch " + mode).c_str(), seconds * 1e3);
  }
}

nlohmann::ordered_json json_of(const std::vector<Row>& rows, double peak) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Row& r : rows) {
    list.push_back({{"name", r.name}, {"seconds", r.seconds}, {"relative_error", r.error}});
    if (r.operations > 0) {
      list.back()["gflops"] = r.operations / r.seconds * 1e-9;
      list.back()["share_of_gemm_peak"] = r.operations / r.seconds / peak;
    }
    if (r.bytes > 0) list.back()["gigabytes_per_second"] = r.bytes / r.seconds * 1e-9;
    if (r.images > 0) list.back()["images_per_second"] = r.images / r.seconds;
    for (const auto& [mode, seconds] : r.peer_modes) list.back()["torch_modes"][mode] = seconds;
    if (r.peer_seconds > 0) {
      list.back()["torch_seconds"] = r.peer_seconds;
      list.back()["times_faster_than_torch"] = r.ratio;
    }
  }
  return list;
}

void report_variance(const std::vector<VarianceRow>& rows, nlohmann::ordered_json& result) {
  std::printf("%-10s %8s %22s %32s %12s %26s\n", "head", "samples", "var loss plain/anti", "var gradient plain/anti",
              "time ratio", "plain samples for the same");
  for (const VarianceRow& r : rows) {
    std::printf("%-10s %8lld %22.2f %22.2f +- %6.2f %12.2f %26.0f\n", r.head.c_str(), static_cast<long long>(r.samples),
                r.loss_ratio, r.gradient_ratio, r.error, r.seconds_ratio,
                static_cast<double>(r.samples) * r.gradient_ratio);
    result["variance"].push_back({{"head", r.head},
                                  {"samples", r.samples},
                                  {"loss_variance_ratio", r.loss_ratio},
                                  {"gradient_variance_ratio", r.gradient_ratio},
                                  {"standard_error", r.error},
                                  {"seconds_ratio", r.seconds_ratio}});
  }
}

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

void bench(const CommonOptions& options, const std::vector<std::string>& topics, Settings settings) {
  if (!options.out.empty()) {
    check_writable(options.out);
    check_own_results({options.out}, "threads");
  }
  settings.threads = omp_get_max_threads();
  settings.device = options.device;
  settings.record = options.graph;
  if (settings.device == Device::cuda) settings.peer_modes = {"eager", "compile", "max-autotune"};
  // Needs data, so it runs only when it is named.
  if (std::find(topics.begin(), topics.end(), "loader") != topics.end()) {
    const double load = load_average(), share = loader_share(settings, options.data_root);
    std::printf("threads %d · load average %.2f at start\n", settings.threads, load);
    if (!options.out.empty())
      write_file(options.out,
                 json_text({{"threads", settings.threads}, {"load_average", load}, {"loader_share", share}}));
    return;
  }
  const auto asked = [&](const char* topic) {
    if (topics.empty()) return settings.device == Device::cpu || std::string("steps") == topic;
    return std::find(topics.begin(), topics.end(), topic) != topics.end();
  };
  const double load = load_average();
  const double peak = gemm_peak(settings);
  std::printf("threads %d · load average %.2f at start · %s on %s, GEMM %lld^3: %.1f GFLOP/s\n", settings.threads, load,
              name(product_precision()), name(settings.device), static_cast<long long>(gemm_size(settings)),
              peak * 1e-9);
  nlohmann::ordered_json result = {{"threads", settings.threads}, {"load_average", load}, {"gemm_gflops", peak * 1e-9}};
  const auto report = [&](const char* topic, std::vector<Row> (*rows_of)(const Settings&)) {
    if (!asked(topic)) return;
    const std::vector<Row> rows = rows_of(settings);
    print(rows, peak);
    result[topic] = json_of(rows, peak);
  };
  report("kernels", kernel_rows);
  report("likelihood", likelihood_rows);
  report("contrastive", contrastive_rows);
  report("steps", step_rows);
  if (asked("variance")) report_variance(variance_rows(settings), result);
  if (!options.out.empty()) write_file(options.out, json_text(result));
}

}  // namespace
}  // namespace sked::bench

int main(int argc, char** argv) {
  using namespace sked;
  std::vector<std::string> topics;
  bench::Settings settings;
  settings.script = "apps/bench/peer_torch.py";
  const AppText text = {
      .name = "bench",
      .about =
          "Checks kernels against their definitions, then times them, the streaming likelihood and whole training "
          "steps, these two on the device of --device; measures the variance that antithetic samples save. Errors are "
          "relative; "
          "`of peak` is the share of the GEMM rate measured first, in the precision of --precision. --out names a JSON "
          "file here.",
      .example = "build/bench steps --threads 2 --peer python3   # training steps beside PyTorch, in turn"};
  return run_app(
      argc, argv, text,
      [&](CLI::App& app) {
        app.add_option("topics", topics,
                       "kernels, likelihood, contrastive, steps, variance; all when none is named (on a GPU: steps); "
                       "loader (needs Tiny ImageNet)")
            ->check(CLI::IsMember({"kernels", "likelihood", "contrastive", "steps", "variance", "loader"}));
        app.add_option("--samples", settings.samples, "Monte Carlo samples of the likelihood")
            ->check(CLI::Range(1, 100000));
        app.add_option("--pairs", settings.pairs, "Pairs of the contrastive loss")->check(CLI::Range(2, 1 << 20));
        app.add_option("--rounds", settings.rounds, "timed repetitions; medians are reported")
            ->check(CLI::Range(1, 1000));
        app.add_flag("--rehearsal", settings.rehearsal,
                     "one small training step in place of the real ones, to see the whole of it run");
        app.add_option("--only", settings.only, "only cases whose name contains this");
        app.add_option("--peer", settings.peer, "Python interpreter with PyTorch to run the same steps in turn");
        app.add_option("--peer-script", settings.script, "PyTorch's side of the steps");
      },
      [&](const CommonOptions& options) { bench::bench(options, topics, settings); });
}

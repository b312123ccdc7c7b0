#include "apps/bench/results.h"

#include <algorithm>
#include <cstdio>

#include "apps/common/config/fields.h"
#include "core/error.h"
#include "core/file.h"

namespace sked::bench {
namespace {

void print_head() {
  std::printf("%-52s %10s %9s %7s %7s %8s %9s %10s %7s\n", "case", "median ms", "GFLOP/s", "of peak", "GB/s",
              "images/s", "error", "peer ms", "ratio");
}

void print(const Row& r, double peak) {
  std::printf("%-52s %10.3f", r.name.c_str(), r.seconds * 1e3);
  if (r.operations > 0)
    std::printf(" %9.1f", r.operations / r.seconds * 1e-9);
  else
    std::printf(" %9s", "");
  if (r.operations > 0 && peak > 0)
    std::printf(" %6.0f%%", 100 * r.operations / r.seconds / peak);
  else
    std::printf(" %7s", "");
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
  if (!r.failure.empty()) std::printf("  FAILED: %s\n", r.failure.c_str());
  if (r.memory > 0)
    std::printf("  %.0f MB above its inputs and parameters, gradients included; all samples at once: %.0f MB\n",
                r.memory * 1e-6, r.naive_memory * 1e-6);
  for (const PeerMode& mode : r.peer_modes) {
    std::printf("%-52s", ("  peer: " + mode.name).c_str());
    mode.failure.empty() ? std::printf(" %10.3f\n", mode.seconds * 1e3) : std::printf(" %s\n", mode.failure.c_str());
  }
  if (!r.work.rows.empty()) std::fputs(profile_table(r.work).c_str(), stdout);
}

Json json_of(const Row& r, double peak) {
  Json row = {{"name", r.name}, {"seconds", r.seconds}, {"relative_error", r.error}};
  if (!r.failure.empty()) row["failed"] = r.failure;
  if (r.operations > 0 && r.seconds > 0) {
    row["gflops"] = r.operations / r.seconds * 1e-9;
    if (peak > 0) row["share_of_gemm_peak"] = r.operations / r.seconds / peak;
  }
  if (r.bytes > 0) row["gigabytes_per_second"] = r.bytes / r.seconds * 1e-9;
  if (r.memory > 0) {
    row["memory_bytes"] = r.memory;
    row["naive_memory_bytes"] = r.naive_memory;
  }
  if (r.images > 0 && r.seconds > 0) row["images_per_second"] = r.images / r.seconds;
  for (const PeerMode& mode : r.peer_modes)
    row["peer_modes"][mode.name] = mode.failure.empty() ? Json(mode.seconds) : Json{{"failed", mode.failure}};
  if (r.peer_seconds > 0) {
    row["peer_seconds"] = r.peer_seconds;
    row["times_faster_than_peer"] = r.ratio;
    row["peer"] = r.peer_info;
  }
  if (!r.work.rows.empty()) put_profile(row, r.work);
  return row;
}

/// Was there a peer that has failed in every mode, and not because the memory is too small?
bool no_peer(const Row& row) {
  return !row.peer_modes.empty() && row.peer_seconds == 0 &&
         std::ranges::none_of(row.peer_modes, [](const PeerMode& mode) { return mode.no_memory; });
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

}  // namespace

Results::Results(std::string file, Json head, double peak)
    : file_(std::move(file)), json_(std::move(head)), peak_(peak) {}

Report Results::rows(const std::string& topic) {
  return [this, topic](const Row& row, bool done) {
    if (done) {
      if (headed_ != topic) print_head();
      headed_ = topic;
      print(row, peak_);
      std::fflush(stdout);
      if (!row.failure.empty()) failed_.push_back(row.name);
      if (no_peer(row)) alone_.push_back(row.name);
    }
    keep(topic, row);
  };
}

void Results::keep(const std::string& topic, const Row& row) {
  Json& list = json_[topic];
  if (list.empty() || list.back()["name"] != row.name) list.push_back({});
  list.back() = json_of(row, peak_);
  write();
}

void Results::knob(const Knob& k) {
  Json& list = json_["gpu-knobs"];
  if (list.empty()) std::printf("%-12s %-40s %-44s %10s %10s\n", "kind", "problem", "choice", "median ms", "TFLOP/s");
  std::printf("%-12s %-40s %-44s", k.kind.c_str(), k.problem.c_str(), k.choice.c_str());
  list.push_back({{"kind", k.kind}, {"problem", k.problem}, {"choice", k.choice}});
  if (!k.refused.empty()) {
    std::printf(" %s\n", k.refused.c_str());
    list.back()["refused"] = k.refused;
  } else {
    std::printf(" %10.4f", k.seconds * 1e3);
    list.back()["seconds"] = k.seconds;
    if (k.operations > 0) {
      std::printf(" %10.2f", k.operations / k.seconds * 1e-12);
      list.back()["gflops"] = k.operations / k.seconds * 1e-9;
    }
    std::printf("\n");
  }
  std::fflush(stdout);
  write();
}

void Results::variance(const VarianceRow& r) {
  Json& list = json_["variance"];
  if (list.empty())
    std::printf("%-10s %8s %22s %32s %12s %26s\n", "head", "samples", "var loss plain/anti", "var gradient plain/anti",
                "time ratio", "plain samples for the same");
  std::printf("%-10s %8lld %22.2f %22.2f +- %6.2f %12.2f %26.0f\n", r.head.c_str(), static_cast<long long>(r.samples),
              r.loss_ratio, r.gradient_ratio, r.error, r.seconds_ratio,
              static_cast<double>(r.samples) * r.gradient_ratio);
  std::fflush(stdout);
  list.push_back({{"head", r.head},
                  {"samples", r.samples},
                  {"loss_variance_ratio", r.loss_ratio},
                  {"gradient_variance_ratio", r.gradient_ratio},
                  {"standard_error", r.error},
                  {"seconds_ratio", r.seconds_ratio}});
  write();
}

void Results::write() const {
  if (!file_.empty()) write_file(file_, json_text(json_));
}

void Results::finish(const std::string& only) const {
  const bool any = std::ranges::any_of(json_.members(), [](const JsonMember& topic) { return topic.value.is_array(); });
  require_usage(any, "bench", "--only: no case asked for has '", only, "' in its name");
  write();
  if (!failed_.empty())
    fail("bench", failed_.size(), " of its rows failed their check against the definitions: ", joined(failed_));
  if (!alone_.empty())
    fail("bench", "the peer gave no time in any of its modes, for the reason in the row, for: ", joined(alone_));
}

}  // namespace sked::bench

#include "apps/scale/ranks.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "apps/common/config/interrupt.h"
#include "apps/scale/format.h"

namespace sked::scale {
namespace {

/// One rank's first: the others are held against it.
RanksCost cost_of(const RanksCase& c, const HeadKindConfig& head, int64_t batch, int64_t ranks, bool sharded) {
  if (interrupted()) throw Interrupted();
  RanksCost cost{.head = head.name, .batch = batch, .ranks = ranks, .sharded = sharded};
  StepConfig step = c.step;
  step.head = head.config;
  step.head.shard_classes = sharded;
  cost.count = count_step(step, batch, ranks, c.at_once);
  cost.time = time_of(cost.count, ranks, c.machine);
  return cost;
}

/// Can classes be divided over them?
std::vector<bool> layouts(int64_t ranks) {
  return ranks > 1 ? std::vector<bool>{false, true} : std::vector<bool>{false};
}

std::string between(const std::string& least, const std::string& most) {
  return least == most ? least : least + " – " + most;
}

std::string share(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

Json json_of(const Work& work, int64_t ranks, const Machine& machine) {
  Json json = {{"operations", work.operations}, {"bytes", work.bytes}, {"collectives", Json::array()}};
  for (const auto& [name, entry] : work.collectives)
    json["collectives"].push_back({{"name", name},
                                   {"calls", entry.calls},
                                   {"bytes", entry.bytes},
                                   {"seconds", seconds_of(name, entry, ranks, machine)}});
  return json;
}

Json json_of(const Machine& m) {
  return {{"operations_per_second", m.rate},
          {"link_bytes_per_second", m.link},
          {"latency_seconds", m.latency},
          {"memory_bytes_per_second", m.memory},
          {"hidden_share", m.hidden}};
}

Json json_of(const RanksCase& c) {
  return {{"model", c.step.model.name},
          {"image", c.step.image},
          {"classes", c.step.classes},
          {"activations", name(c.step.activations)}};
}

Json json_of(const StepTime& t) {
  return {{"compute", t.compute},       {"gradients", t.gradients}, {"hidden", t.hidden},
          {"exchange", t.exchange},     {"optimizer", t.optimizer}, {"step_at_least", t.at_least()},
          {"step_at_most", t.at_most()}};
}

Json json_of(const RanksCost& cost, const Machine& machine) {
  const StepCount& n = cost.count;
  return {{"head", cost.head},
          {"batch", cost.batch},
          {"ranks", cost.ranks},
          {"shard_classes", cost.sharded},
          {"images", n.images},
          {"parts", n.parts},
          {"forward", json_of(n.forward, cost.ranks, machine)},
          {"backward", json_of(n.backward, cost.ranks, machine)},
          {"head_passes", json_of(n.head, cost.ranks, machine)},
          {"update", json_of(n.update, cost.ranks, machine)},
          {"seconds", json_of(cost.time)},
          {"memory_bytes",
           {{"parameters", n.parameters},
            {"gradients", n.gradients},
            {"optimizer_state", n.state},
            {"activations", n.activations},
            {"head", n.head_peak},
            {"all", n.memory()}}},
          {"efficiency_at_least", cost.efficiency_at_least},
          {"efficiency_at_most", cost.efficiency_at_most}};
}

Plot plot_of(const std::vector<RanksCost>& all, const char* title, const char* label,
             double (*value)(const RanksCost&)) {
  Plot plot{.title = title, .x_label = "ranks", .y_label = label};
  const int64_t smallest = std::ranges::min(all, {}, &RanksCost::batch).batch;
  for (const RanksCost& c : all) {
    if (c.batch != smallest) continue;
    const std::string name = c.head + (c.sharded ? ", classes sharded" : "");
    auto at = std::ranges::find(plot.series, name, &Series::name);
    if (at == plot.series.end()) at = plot.series.insert(at, {.name = name});
    at->x.push_back(static_cast<double>(c.ranks));
    at->y.push_back(value(c));
  }
  return plot;
}

}  // namespace

std::vector<RanksCost> ranks_costs(const RanksCase& c) {
  std::vector<RanksCost> all;
  for (const HeadKindConfig& head : c.heads)
    for (const int64_t batch : c.batches) {
      const double one = cost_of(c, head, batch, 1, false).time.at_most();
      for (const int64_t ranks : c.ranks)
        for (const bool sharded : layouts(ranks)) {
          RanksCost cost = cost_of(c, head, batch, ranks, sharded);
          const auto efficiency = [&](double seconds) { return one / (static_cast<double>(ranks) * seconds); };
          cost.efficiency_at_least = efficiency(cost.time.at_most());
          cost.efficiency_at_most = efficiency(cost.time.at_least());
          all.push_back(cost);
        }
    }
  return all;
}

std::string table_of(const std::vector<RanksCost>& all) {
  std::ostringstream out;
  std::string head;
  for (const RanksCost& c : all) {
    if (c.head != head)
      out << (head.empty() ? "" : "\n") << "| " << c.head
          << ": batch | ranks | classes | compute | gradients | other exchange | optimizer | step | efficiency | "
             "memory a rank |\n|---|---|---|---|---|---|---|---|---|---|\n";
    head = c.head;
    const StepTime& t = c.time;
    out << "| " << c.batch << " | " << c.ranks << " | " << (c.sharded ? "sharded" : "whole") << " | "
        << seconds(t.compute) << " | " << seconds(t.gradients) << " | " << seconds(t.exchange) << " | "
        << seconds(t.optimizer) << " | " << between(seconds(t.at_least()), seconds(t.at_most())) << " | "
        << between(share(c.efficiency_at_least), share(c.efficiency_at_most)) << " | "
        << scaled(static_cast<double>(c.count.memory()), "B") << " |\n";
  }
  return out.str();
}

Json json_of(const std::vector<RanksCost>& all, const RanksCase& c) {
  Json result = json_of(c);
  result["images_at_once"] = c.at_once;
  result["machine"] = json_of(c.machine);
  result["steps"] = Json::array();
  for (const RanksCost& cost : all) result["steps"].push_back(json_of(cost, c.machine));
  return result;
}

std::vector<MeasuredCost> measured_costs(const RanksCase& c, Communicator& ranks, int rounds) {
  require_usage(c.ranks == std::vector<int64_t>{ranks.size()}, "--ranks", "expected ", ranks.size(),
                ", as many as there are processes (mpirun), beside --measure");
  std::vector<MeasuredCost> all;
  for (const HeadKindConfig& head : c.heads)
    for (const int64_t batch : c.batches)
      for (const bool sharded : layouts(ranks.size())) {
        if (interrupted(ranks)) throw Interrupted();
        StepConfig step = c.step;
        step.head = head.config;
        step.head.shard_classes = sharded;
        all.push_back({head.name, batch, sharded, measure_step(step, batch, ranks, rounds)});
      }
  return all;
}

std::string table_of(const std::vector<MeasuredCost>& all, int64_t ranks) {
  std::ostringstream out;
  out << "| head | batch | ranks | classes | operations a second | link | message | hidden | compute | gradients | "
         "other exchange | optimizer | step foretold | measured |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const MeasuredCost& c : all) {
    const Machine& m = c.measured.machine;
    const StepTime& t = c.measured.foretold;
    char message[32];
    std::snprintf(message, sizeof message, "%.0f µs", 1e6 * m.latency);
    out << "| " << c.head << " | " << c.batch << " | " << ranks << " | " << (c.sharded ? "sharded" : "whole") << " | "
        << scaled(m.rate, "") << " | " << (ranks > 1 ? scaled(m.link, "B/s") : "–") << " | "
        << (ranks > 1 ? message : "–") << " | " << (ranks > 1 ? share(m.hidden) : "–") << " | " << seconds(t.compute)
        << " | " << seconds(t.gradients) << " | " << seconds(t.exchange) << " | " << seconds(t.optimizer) << " | "
        << seconds(t.at_least()) << " | " << seconds(c.measured.seconds) << " |\n";
  }
  return out.str();
}

Json json_of(const std::vector<MeasuredCost>& all, const RanksCase& c) {
  Json result = json_of(c);
  result["ranks"] = c.ranks.front();
  result["steps"] = Json::array();
  for (const MeasuredCost& cost : all)
    result["steps"].push_back({{"head", cost.head},
                               {"batch", cost.batch},
                               {"shard_classes", cost.sharded},
                               {"machine", json_of(cost.measured.machine)},
                               {"seconds", json_of(cost.measured.foretold)},
                               {"measured_seconds", cost.measured.seconds}});
  return result;
}

Plot efficiency_plot(const std::vector<RanksCost>& all) {
  return plot_of(all, "Efficiency of a training step", "of one rank's",
                 [](const RanksCost& c) { return c.efficiency_at_most; });
}

Plot memory_plot(const std::vector<RanksCost>& all) {
  return plot_of(all, "Memory of a rank", "GB",
                 [](const RanksCost& c) { return 1e-9 * static_cast<double>(c.count.memory()); });
}

}  // namespace sked::scale

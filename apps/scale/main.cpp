// scale: what the heads cost as the number of classes grows, and a training step as the ranks do.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>

#include "apps/common/config/cli.h"
#include "apps/common/config/interrupt.h"
#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/plots.h"
#include "apps/common/run/run_folder.h"
#include "apps/scale/costs.h"
#include "apps/scale/format.h"
#include "apps/scale/ranks_options.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mpi.h"
#include "core/text.h"

namespace sked::scale {
namespace {

constexpr const char *kTable = "table.md", *kJson = "scale.json";

struct Settings {
  std::vector<std::string> widths, classes, heads;  // empty: as the table at hand has them
  int64_t rank = 10, samples = 16, batch = 32;
  int rounds = 3;
  int64_t limit_mb = 4096;
  bool measure = false;
  RanksOptions ranks;
};

std::string table_of(const std::vector<Costs>& all, const Settings& settings) {
  // HET : HET-XL is of the efficient form on both sides, at the same D and K.
  std::map<std::pair<int64_t, int64_t>, double> xl;
  for (const Costs& c : all)
    if (c.head == "HET-XL") xl[{c.width, c.classes}] = static_cast<double>(c.extra);
  std::ostringstream out;
  out << "| backbone, D | classes K | head | parameters | extra | extra : HET-XL's | with gradients and Adam | "
         "operations "
         "a step and example |"
      << (settings.measure ? " step | peak above those |" : "") << "\n|---|---|---|---|---|---|---|---|"
      << (settings.measure ? "---|---|" : "") << '\n';
  for (const Costs& c : all) {
    const double base = xl.count({c.width, c.classes}) ? xl[{c.width, c.classes}] : 0;
    char ratio[32] = "–";
    if (base > 0 && c.extra > 0) std::snprintf(ratio, sizeof ratio, "%.2f", static_cast<double>(c.extra) / base);
    out << "| " << c.backbone << ", " << c.width << " | " << c.data << ", " << c.classes << " | " << c.head << " | "
        << c.parameters << (c.counted ? "" : " (by formula)") << " | " << c.extra << " | " << ratio << " | "
        << scaled(c.bytes, "B") << " | " << scaled(c.operations, "") << " |";
    if (settings.measure && c.seconds > 0)
      out << ' ' << seconds(c.seconds) << " | " << scaled(c.extra_bytes, "B") << " |";
    else if (settings.measure)
      out << " – | – |";
    out << '\n';
  }
  return out.str();
}

Json json_of(const std::vector<Costs>& all, const Settings& settings) {
  Json result = {{"rank", settings.rank}, {"samples", settings.samples}};
  if (settings.measure) result["batch"] = settings.batch, result["rounds"] = settings.rounds;
  for (const Costs& c : all) {
    Json one = {{"head", c.head},
                {"backbone", c.backbone},
                {"width", c.width},
                {"data", c.data},
                {"classes", c.classes},
                {"parameters", c.parameters},
                {"extra_parameters", c.extra},
                {"counted_on_a_module", c.counted},
                {"bytes_with_gradients_and_adam", c.bytes},
                {"operations_per_example", c.operations}};
    if (c.seconds > 0) one["step_seconds"] = c.seconds, one["peak_bytes_above"] = c.extra_bytes;
    result["heads"].push_back(one);
  }
  return result;
}

/// One line a head and width, over K.
Plot plot_of(const std::vector<Costs>& all, const char* title, const char* label, double (*value)(const Costs&)) {
  std::vector<std::pair<std::string, Series>> lines;
  for (const Costs& c : all) {
    if (!(value(c) > 0)) continue;
    const std::string name = c.head + ", D = " + std::to_string(c.width);
    auto at = std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line.first == name; });
    if (at == lines.end()) at = lines.insert(lines.end(), {name, {.name = name}});
    at->second.x.push_back(static_cast<double>(c.classes));
    at->second.y.push_back(value(c));
  }
  Plot plot{.title = title, .x_label = "classes K", .y_label = label};
  for (auto& [name, series] : lines) plot.series.push_back(series);
  return plot;
}

using Plots = std::vector<std::pair<const char*, Plot>>;

Plots plots_of(const std::vector<Costs>& all, const Settings& settings) {
  Plots plots = {{"parameters.svg", plot_of(all, "Parameters beyond the classifier", "millions",
                                            [](const Costs& c) { return static_cast<double>(c.extra) * 1e-6; })}};
  if (settings.measure) {
    plots.emplace_back(
        "step.svg", plot_of(all, "A training step of the head", "seconds", [](const Costs& c) { return c.seconds; }));
    plots.emplace_back("memory.svg", plot_of(all, "Peak memory above parameters, gradients, optimizer", "MB",
                                             [](const Costs& c) { return c.extra_bytes * 1e-6; }));
  }
  return plots;
}

void write_results(const std::filesystem::path& out, const Json& json, const std::string& table, const Plots& plots) {
  write_file((out / kJson).string(), json_text(json));  // first: by it the rest is known as ours
  write_file((out / kTable).string(), table);
  try {
    for (const auto& [file, plot] : plots) write_file((out / file).string(), draw(plot) + "\n");
  } catch (const Error& error) {
    note(std::string("plots are missing: ") + error.what());
  }
}

/// The folder and what can be found out before the work: whether it can be written, and whether
/// there will be plots. `key` is what our JSON has.
bool prepare(const std::filesystem::path& out, const char* key) {
  RunFolder{out}.create();
  std::vector<std::string> results;
  for (const char* file : {kJson, kTable, "parameters.svg", "step.svg", "memory.svg", "efficiency.svg"})
    results.push_back((out / file).string());
  check_results(results, key);
  const std::string no_plots = why_no_plots();
  if (!no_plots.empty()) note(no_plots + ": no plots");
  return no_plots.empty();
}

std::vector<std::string> or_else(const std::vector<std::string>& asked, const std::vector<std::string>& otherwise) {
  return asked.empty() ? otherwise : asked;
}

std::vector<HeadKindConfig> chosen_heads(const Settings& settings, const std::vector<std::string>& otherwise) {
  const std::vector<std::string> names = or_else(settings.heads, otherwise);
  std::vector<HeadKindConfig> heads = compared_heads(settings.rank, settings.samples);
  std::erase_if(heads, [&](const HeadKindConfig& h) { return std::ranges::count(names, h.name) == 0; });
  return heads;
}

void run(const CommonOptions& options, const Settings& settings) {
  require_usage(world().size() == 1, "--measure", "expected --ranks beside several processes");
  std::vector<Named> widths, classes;
  for (const std::string& w : or_else(settings.widths, {"ViT-L", "ResNet152"})) widths.push_back(width_of(w));
  for (const std::string& k : or_else(settings.classes, {"ImageNet", "JFT-300M", "ImageNet-21k", "JFT-4B"}))
    classes.push_back(classes_of(k));
  for (const auto* list : {&widths, &classes})
    for (const Named& n : *list)
      require_usage(settings.rank <= n.value, "--rank", "expected at most the number of noisy coordinates (", n.value,
                    "), got ", settings.rank);
  const std::vector<HeadKindConfig> heads = chosen_heads(settings, {"DET", "HET full", "HET", "HET-XL"});
  const std::filesystem::path out = options.out;
  const bool plots = !out.empty() && prepare(out, "heads");
  std::vector<Costs> all;
  for (const Named& width : widths)
    for (const Named& k : classes)
      for (const HeadKindConfig& head : heads) {
        if (interrupted()) throw Interrupted();
        Costs costs = count(head, width, k, settings.limit_mb * 1000000);
        if (settings.measure && costs.bytes <= static_cast<double>(settings.limit_mb) * 1e6)
          measure(costs, head, settings.batch, settings.rounds);
        all.push_back(costs);
        tell({}, "  " + head.name + ", D = " + std::to_string(width.value) + ", K = " + std::to_string(k.value) +
                     (costs.seconds > 0 ? ": " + seconds(costs.seconds) : ""));
      }
  const std::string table = table_of(all, settings);
  if (!out.empty()) write_results(out, json_of(all, settings), table, plots ? plots_of(all, settings) : Plots());
  std::fputs(table.c_str(), stdout);
}

void measure_ranks(const RanksCase& c, const Settings& settings, const std::filesystem::path& out) {
  const bool first = world().rank() == 0 && !out.empty();
  if (first) prepare(out, "steps");
  const std::vector<MeasuredCost> all = measured_costs(c, world(), settings.rounds);
  const std::string table = table_of(all, world().size());
  if (first) write_results(out, json_of(all, c), table, {});
  std::fputs(table.c_str(), stdout);
}

void run_ranks(const CommonOptions& options, const Settings& settings) {
  const std::filesystem::path out = options.out;
  require_usage(settings.widths.empty(), "--width", "expected --model beside --ranks, got ", join(settings.widths));
  const std::vector<std::string> classes = or_else(settings.classes, {"JFT-4B"});
  require_usage(classes.size() == 1, "--classes", "expected one number beside --ranks, got ", join(classes));
  const RanksCase c = ranks_case(settings.ranks, chosen_heads(settings, {"DET", "HET", "HET-XL"}),
                                 classes_of(classes.front()).value, settings.measure);
  if (settings.measure) return measure_ranks(c, settings, out);
  require_usage(world().size() == 1, "--ranks", "expected --measure or one process, got ", world().size());
  const bool plots = !out.empty() && prepare(out, "steps");
  const std::vector<RanksCost> all = ranks_costs(c);
  const std::string table = table_of(all);
  if (!out.empty())
    write_results(out, json_of(all, c), table,
                  plots ? Plots{{"efficiency.svg", efficiency_plot(all)}, {"memory.svg", memory_plot(all)}} : Plots());
  std::fputs(table.c_str(), stdout);
}

std::vector<Option> options_of(Settings& s) {
  std::vector<Option> options = {
      {"--width", &s.widths, "Pre-logit widths: numbers or ViT-Ti to ViT-H, ResNet18/50/152"},
      {"--classes", &s.classes, "Numbers of classes: numbers or ImageNet, JFT-300M, ImageNet-21k, JFT-4B"},
      {.name = "--heads",
       .target = &s.heads,
       .help = "Only these heads",
       .one_of = {"DET", "HET full", "HET", "HET-XL"}},
      {.name = "--rank",
       .target = &s.rank,
       .help = "R of the noise factors",
       .in = {{1, 100000}},
       .shows_default = true},
      {.name = "--samples",
       .target = &s.samples,
       .help = "S of a training step",
       .in = {{1, 100000}},
       .shows_default = true},
      {.name = "--batch",
       .target = &s.batch,
       .help = "Images of a measured step",
       .in = {{1, 1000000}},
       .shows_default = true},
      {.name = "--rounds",
       .target = &s.rounds,
       .help = "Measured steps; their median is reported",
       .in = {{1, 1000}},
       .shows_default = true},
      {.name = "--limit-mb",
       .target = &s.limit_mb,
       .help = "Heads that would take more megabytes are counted by formula, and not measured",
       .in = {{1, 1000000}},
       .shows_default = true},
      {"--measure", &s.measure, "Measures training steps as well"}};
  for (const Option& option : options_of(s.ranks)) options.push_back(option);
  return options;
}

}  // namespace
}  // namespace sked::scale

int main(int argc, char** argv) {
  using namespace sked;
  scale::Settings settings;
  const AppText text = {
      .name = "scale",
      .about =
          "What DET, HET (full and efficient factors) and HET-XL cost as the number of classes grows: parameters "
          "(counted on modules really made), bytes with gradients and optimizer state, arithmetic; with --measure "
          "also the time and memory of a training step of the head. With --ranks: what a whole training step costs on "
          "so many ranks, in time of compute and of what they exchange, memory and efficiency; with --measure too, "
          "under mpirun, real steps beside what is foretold of them. --out takes table.md, scale.json and plots.",
      .example = "build/scale --width ViT-L --classes ImageNet JFT-4B --measure --out runs/scale",
      .without = {"--config", "--set", "--list-keys", "--print-config", "--device", "--deterministic", "--graph",
                  "--seed", "--data-root"},
      .ranks = true};
  return run_app(argc, argv, text, options_of(settings), [&](const CommonOptions& options) {
    if (settings.ranks.ranks.empty())
      scale::run(options, settings);
    else
      scale::run_ranks(options, settings);
  });
}

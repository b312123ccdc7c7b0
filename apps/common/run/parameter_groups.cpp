#include "apps/common/run/parameter_groups.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

bool is_in(const std::string& name, const std::vector<std::string>& layer) {
  return std::ranges::any_of(layer, [&](const std::string& part) { return is_within(name, part); });
}

/// The parameters that `part` stands for.
std::vector<NamedVar> named(const Module& model, const Backbone& tower, const std::string& part) {
  std::vector<NamedVar> found = model.parameters();
  std::erase_if(found, [&](const NamedVar& p) { return !is_within(p.name, part); });
  const std::vector<std::vector<std::string>> layers = tower.parameter_layers();
  for (const NamedVar& p : tower.parameters()) {
    if (part == "backbone" || (part == "stem" && !layers.empty() && is_in(p.name, layers.front()))) found.push_back(p);
  }
  return found;
}

/// Every beginning of a parameter's name, in whole parts.
std::vector<std::string> parts_of(const Module& model) {
  std::set<std::string> parts;
  for (const NamedVar& p : model.parameters()) {
    for (size_t end = p.name.find('.'); end != std::string::npos; end = p.name.find('.', end + 1))
      parts.insert(p.name.substr(0, end));
    parts.insert(p.name);
  }
  return {parts.begin(), parts.end()};
}

}  // namespace

void freeze(Module& model, Backbone& tower, const std::vector<std::string>& parts) {
  if (parts.empty()) return;
  for (const std::string& part : parts) {
    std::vector<NamedVar> frozen = named(model, tower, part);
    require_usage(!frozen.empty(), "config", "train.freeze: no parameter's name begins with ", excerpt(part),
                  did_you_mean(part, parts_of(model)));
    for (NamedVar& p : frozen) p.var.set_requires_grad(false);
  }
  require_usage(model.requires_grad(), "config",
                "train.freeze: expected something left to train, got every parameter of the model frozen");
}

std::string frozen_line(const Module& model, const TrainConfig& config) {
  if (config.freeze.empty()) return "";
  int64_t trained = 0;
  for (const NamedVar& p : trained_parameters(model)) trained += p.var.numel();
  const int64_t count = model.parameter_count();
  return "trains " + std::to_string(trained) + " of " + std::to_string(count) +
         " parameters: train.freeze leaves the others as they " +
         (config.init.empty() ? "were drawn" : "are in train.init");
}

std::vector<NamedVar> trained_parameters(const Module& model) {
  std::vector<NamedVar> parameters = model.parameters();
  std::erase_if(parameters, [](const NamedVar& p) { return !p.var.requires_grad(); });
  return parameters;
}

std::vector<double> lr_scales(const Module& model, const Backbone& tower, const OptimizerConfig& config) {
  if (config.head_lr_scale == 1 && config.layer_decay == 1) return {};
  const std::vector<std::vector<std::string>> layers = tower.parameter_layers();
  require_usage(config.layer_decay == 1 || !layers.empty(), "config",
                "optimizer.layer_decay: expected 1 for a backbone without layers, got ", config.layer_decay);
  std::vector<double> scales;
  for (const NamedVar& p : trained_parameters(model)) {
    const auto layer = std::ranges::find_if(layers, [&](const auto& l) { return is_in(p.name, l); });
    const double scale = std::pow(config.layer_decay, static_cast<double>(layers.end() - layer));
    scales.push_back(is_within(p.name, "head") ? config.head_lr_scale * scale : scale);
  }
  return scales;
}

}  // namespace sked

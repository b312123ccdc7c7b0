#pragma once
// Which parameters are trained, and each with which share of the learning rate.

#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "layers/backbone.h"

namespace sked {

/// Freezes the parameters whose names are within one of `parts` (is_within), a configuration's train.freeze; `backbone`
/// stands for the whole of `tower`, `stem` for the first of its parameter_layers(). Throws UsageError, with the
/// nearest, for one that the model does not have, and where nothing is left to train.
void freeze(Module& model, Backbone& tower, const std::vector<std::string>& parts);

/// Of how many parameters train.freeze leaves how many, for people; empty where it freezes none.
std::string frozen_line(const Module& model, const TrainConfig& config);

/// The parameters of a model without the frozen ones.
std::vector<NamedVar> trained_parameters(const Module& model);

/// What the learning rate of each of trained_parameters(model) is multiplied by: layer_decay^(L − l) for layer l
/// of a backbone of L layers (parameter_layers()), head_lr_scale for the head. Empty where the configuration asks for
/// neither. Throws UsageError for a layer_decay of a backbone without layers.
std::vector<double> lr_scales(const Module& model, const Backbone& tower, const OptimizerConfig& config);

}  // namespace sked

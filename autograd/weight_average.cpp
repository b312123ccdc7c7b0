#include "autograd/weight_average.h"

#include "autograd/state.h"
#include "core/kernels/optimizer.h"

namespace sked {

WeightAverage::WeightAverage(double decay, const std::vector<NamedVar>& parameters,
                             const std::vector<NamedBuffer>& buffers)
    : decay_(decay), buffers_(buffers) {
  require_usage(decay >= 0 && decay < 1, "weight_average", "expected 0 <= decay < 1, got ", decay);
  for (const NamedVar& parameter : parameters) {
    if (!parameter.var.requires_grad()) continue;
    parameters_.push_back(parameter);
    averages_.push_back(parameter.var.value().clone());
    // In the parameters' place they are read as those are, and after a restore(), which swaps once, they are those.
    if (averages_.back().dtype() == DType::f32) averages_.back().keep_rounded();
  }
  for (const auto& [name, buffer] : buffers_) kept_.push_back(buffer->clone());
}

void WeightAverage::update() {
  if (averages_.empty()) return;
  TensorList values;
  for (const NamedVar& parameter : parameters_) values.push_back(parameter.var.value());
  kernel::ema_step(averages_, values, decay_);
}

TensorList WeightAverage::averages_of(const std::vector<NamedVar>& parameters) {
  require(parameters.size() == parameters_.size(), "weight_average", "expected the parameters that are averaged, ",
          parameters_.size(), " of them, got ", parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i)
    require(&parameters[i].var.value() == &parameters_[i].var.value(), "weight_average", "expected the ",
            parameters_[i].name, " that is averaged, got another parameter, ", parameters[i].name);
  return averages_;
}

void WeightAverage::swap() {
  // Handles change places, not elements.
  for (size_t i = 0; i < averages_.size(); ++i) std::swap(averages_[i], parameters_[i].var.mutable_value());
  for (size_t i = 0; i < kept_.size(); ++i) std::swap(kept_[i], *buffers_[i].second);
}

std::vector<SharedTensor> WeightAverage::state() const {
  std::vector<SharedTensor> tensors;
  for (size_t i = 0; i < averages_.size(); ++i)
    tensors.push_back({"average." + parameters_[i].name, averages_[i], detail::share_of(parameters_[i])});
  for (size_t i = 0; i < kept_.size(); ++i) tensors.push_back({"average." + buffers_[i].first, kept_[i]});
  return tensors;
}

void WeightAverage::load_state(const std::vector<SharedTensor>& tensors) {
  detail::load_named(state(), tensors, "weight_average");
}

}  // namespace sked

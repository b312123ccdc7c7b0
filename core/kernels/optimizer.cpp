#include "core/kernels/optimizer.h"

namespace sked {
namespace {

/// One tensor of `other` for each parameter, alike and of its shape.
void require_parallel(const TensorList& parameters, const TensorList& other, const char* where, const char* what) {
  require(other.size() == parameters.size(), where, "expected ", parameters.size(), " tensors of ", what, ", got ",
          other.size());
  for (size_t i = 0; i < other.size(); ++i) {
    require_alike(parameters[i], other[i], where);
    require_shape(other[i], parameters[i].shape(), where, what);
  }
}

/// Nothing, or for each parameter a bf16 tensor of its shape beside its f32, or an undefined one.
void require_rounded(const TensorList& parameters, const TensorList& rounded, const char* where) {
  if (rounded.empty()) return;
  require(rounded.size() == parameters.size(), where, "expected ", parameters.size(), " rounded tensors or none, got ",
          rounded.size());
  for (size_t i = 0; i < rounded.size(); ++i) {
    if (!rounded[i].defined()) continue;
    require_shape(rounded[i], parameters[i].shape(), where, "rounded");
    require(rounded[i].dtype() == DType::bf16 && parameters[i].dtype() == DType::f32 &&
                rounded[i].device() == parameters[i].device(),
            where, "expected bf16 beside f32, got ", rounded[i], " beside ", parameters[i]);
  }
}

/// Nothing, or one alike for each parameter.
void require_averages(const TensorList& parameters, const TensorList& averages, const char* where) {
  if (!averages.empty()) require_parallel(parameters, averages, where, "averages");
}

/// One decay for each parameter; grad_scale (1) beside them, or undefined.
void require_scales(const TensorList& parameters, const std::vector<double>& decay, const Tensor& grad_scale,
                    const char* where) {
  require(decay.size() == parameters.size(), where, "expected ", parameters.size(), " weight decays, got ",
          decay.size());
  if (!grad_scale.defined() || parameters.empty()) return;
  require_alike(parameters[0], grad_scale, where);
  require(grad_scale.numel() == 1, where, "expected grad_scale (1), got ", grad_scale);
}

void check_sgd(const char* where, const TensorList& parameters, const TensorList& gradients, const TensorList& momentum,
               const TensorList& rounded, const TensorList& averages, const std::vector<double>& decay,
               const Tensor& grad_scale, SgdStep step) {
  require_parallel(parameters, gradients, where, "gradients");
  if (step.momentum != 0.0) require_parallel(parameters, momentum, where, "momentum");
  require_rounded(parameters, rounded, where);
  require_averages(parameters, averages, where);
  require_scales(parameters, decay, grad_scale, where);
}

void check_adam(const char* where, const TensorList& parameters, const TensorList& gradients, const TensorList& m,
                const TensorList& v, const TensorList& rounded, const TensorList& averages,
                const std::vector<double>& decay, const Tensor& grad_scale, AdamStep step) {
  require_parallel(parameters, gradients, where, "gradients");
  require_parallel(parameters, m, where, "m");
  require_parallel(parameters, v, where, "v");
  require_rounded(parameters, rounded, where);
  require_averages(parameters, averages, where);
  require_scales(parameters, decay, grad_scale, where);
  require(step.step >= 1, where, "expected steps counted from 1, got ", step.step);
}

void check_global_norm(const char* where, const TensorList& tensors, const Tensor& norm) {
  require(norm.defined() && norm.numel() == 1, where, "expected norm (1), got ", norm);
  for (const Tensor& t : tensors) require_alike(tensors[0], t, where);
  if (!tensors.empty()) require_alike(tensors[0], norm, where);
}

void check_ema(const char* where, const TensorList& averages, const TensorList& values, double) {
  require_parallel(averages, values, where, "values");
}

[[maybe_unused]] const bool registered = kernel::sgd_step.expect(check_sgd) && kernel::adam_step.expect(check_adam) &&
                                         kernel::global_norm.expect(check_global_norm) &&
                                         kernel::ema_step.expect(check_ema);

}  // namespace
}  // namespace sked

#include "core/kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/cpu/parallel.h"
#include "core/cpu/sums.h"
#include "core/kernels/convert.h"
#include "core/math.h"

namespace sked::cpu {
namespace {

/// Elements [begin, end) of tensor `tensor` of a list.
struct Piece {
  size_t tensor;
  int64_t begin, end;
};

/// Cuts all tensors into pieces of at most 16 Ki elements, so that threads share a step evenly whatever the sizes of
/// the parameters. The cut depends on the shapes alone.
std::vector<Piece> pieces(const TensorList& list) {
  constexpr int64_t kPiece = 1 << 14;
  std::vector<Piece> cut;
  for (size_t t = 0; t < list.size(); ++t) {
    for (int64_t i = 0; i < list[t].numel(); i += kPiece) cut.push_back({t, i, std::min(i + kPiece, list[t].numel())});
  }
  return cut;
}

int64_t total(const TensorList& list) {
  int64_t count = 0;
  for (const Tensor& t : list) count += t.numel();
  return count;
}

/// The elements of every tensor of a list as T.
template <class T, class List>
auto pointers(List& list) {
  std::vector<decltype(list[0].template data<T>())> result;
  result.reserve(list.size());
  for (auto& t : list) result.push_back(t.template data<T>());
  return result;
}

double scale_of(const Tensor& grad_scale) { return grad_scale.defined() ? grad_scale.item() : 1.0; }

template <class T>
void average_piece(const Piece& piece, T* average, const T* value, T take) {
#pragma omp simd
  for (int64_t i = piece.begin; i < piece.end; ++i) average[i] += take * (value[i] - average[i]);
}

/// What follows parameters: bf16 and averages, each where it is wanted.
template <class T>
class Followers {
 public:
  Followers(TensorList& rounded, TensorList& averages, double decay)
      : rounded_(rounded), averages_(pointers<T>(averages)), take_(static_cast<T>(1.0 - decay)) {}

  /// Brings them up to what a piece of a parameter has become, while that is in cache.
  void follow(const Piece& piece, const T* value) const {
    if (!averages_.empty()) average_piece(piece, averages_[piece.tensor], value, take_);
    if (rounded_.empty() || !rounded_[piece.tensor].defined()) return;
    bf16* to = rounded_[piece.tensor].template data<bf16>();
    for (int64_t i = piece.begin; i < piece.end; ++i) to[i] = convert<bf16>(value[i]);
  }

 private:
  TensorList& rounded_;
  std::vector<T*> averages_;
  T take_;
};

/// Calls f(piece) for every piece, in parallel; f must not throw.
template <class F>
void for_each_piece(const TensorList& list, F f) {
  const std::vector<Piece> cut = pieces(list);
#pragma omp parallel for schedule(static) if (total(list) > kLight)
  for (size_t i = 0; i < cut.size(); ++i) f(cut[i]);
}

template <class T>
void sgd(TensorList& parameters, const TensorList& gradients, TensorList& momentum, const Followers<T>& followers,
         const std::vector<double>& decay, T scale, SgdStep step) {
  const auto p = pointers<T>(parameters);
  const auto grad = pointers<T>(gradients);
  const auto m = pointers<T>(momentum);
  const T lr = static_cast<T>(step.lr), mu = static_cast<T>(step.momentum);
  for_each_piece(parameters, [&](const Piece& piece) {
    T* value = p[piece.tensor];
    const T* g_raw = grad[piece.tensor];
    const T wd = static_cast<T>(decay[piece.tensor]);
    if (mu == T{0}) {
#pragma omp simd
      for (int64_t i = piece.begin; i < piece.end; ++i) value[i] -= lr * (scale * g_raw[i] + wd * value[i]);
      return followers.follow(piece, value);
    }
    T* velocity = m[piece.tensor];
    const T keep = step.first ? T{0} : mu;
    // On the first step the old momentum is not read: it may be uninitialized, and 0 · NaN is NaN.
    if (step.first) std::fill(velocity + piece.begin, velocity + piece.end, T{0});
    const T ahead = step.nesterov ? mu : T{1}, now = step.nesterov ? T{1} : T{0};
#pragma omp simd
    for (int64_t i = piece.begin; i < piece.end; ++i) {
      const T g = scale * g_raw[i] + wd * value[i];
      const T v = keep * velocity[i] + g;
      velocity[i] = v;
      value[i] -= lr * (now * g + ahead * v);
    }
    followers.follow(piece, value);
  });
}

void sgd_step(TensorList& parameters, const TensorList& gradients, TensorList& momentum, TensorList& rounded,
              TensorList& averages, const std::vector<double>& decay, const Tensor& grad_scale, SgdStep step) {
  if (parameters.empty()) return;
  const double scale = scale_of(grad_scale);
  visit_float(parameters[0].dtype(), "sgd_step", [&](auto type) {
    using T = decltype(type);
    const Followers<T> followers(rounded, averages, step.ema_decay);
    sgd<T>(parameters, gradients, momentum, followers, decay, static_cast<T>(scale), step);
  });
}

template <class T>
void adam(TensorList& parameters, const TensorList& gradients, TensorList& first, TensorList& second,
          const Followers<T>& followers, const std::vector<double>& decay, T scale, AdamStep step) {
  const auto p = pointers<T>(parameters);
  const auto grad = pointers<T>(gradients);
  const auto ms = pointers<T>(first);
  const auto vs = pointers<T>(second);
  const auto t = static_cast<double>(step.step);
  const T rate = static_cast<T>(step.lr / (1.0 - std::pow(step.beta1, t)));       // lr · m̂ = rate · m
  const T root = static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(step.beta2, t)));  // √v̂ = root · √v
  const T b1 = static_cast<T>(step.beta1), c1 = static_cast<T>(1.0 - step.beta1);
  const T b2 = static_cast<T>(step.beta2), c2 = static_cast<T>(1.0 - step.beta2);
  const T eps = static_cast<T>(step.eps);
  for_each_piece(parameters, [&](const Piece& piece) {
    T* value = p[piece.tensor];
    const T* g_raw = grad[piece.tensor];
    T* m = ms[piece.tensor];
    T* v = vs[piece.tensor];
    const double wd = decay[piece.tensor];
    const T coupled = static_cast<T>(step.decoupled ? 0.0 : wd);
    const T shrink = static_cast<T>(step.decoupled ? 1.0 - step.lr * wd : 1.0);
#pragma omp simd
    for (int64_t i = piece.begin; i < piece.end; ++i) {
      const T g = scale * g_raw[i] + coupled * value[i];
      m[i] = b1 * m[i] + c1 * g;
      v[i] = b2 * v[i] + c2 * g * g;
      value[i] = shrink * value[i] - rate * m[i] / (root * math::sqrt(v[i]) + eps);
    }
    followers.follow(piece, value);
  });
}

void adam_step(TensorList& parameters, const TensorList& gradients, TensorList& m, TensorList& v, TensorList& rounded,
               TensorList& averages, const std::vector<double>& decay, const Tensor& grad_scale, AdamStep step) {
  if (parameters.empty()) return;
  const double scale = scale_of(grad_scale);
  visit_float(parameters[0].dtype(), "adam_step", [&](auto type) {
    using T = decltype(type);
    const Followers<T> followers(rounded, averages, step.ema_decay);
    adam<T>(parameters, gradients, m, v, followers, decay, static_cast<T>(scale), step);
  });
}

void global_norm(const TensorList& tensors, Tensor& norm) {
  if (tensors.empty()) return norm.fill(0.0);
  visit_float(tensors[0].dtype(), "global_norm", [&](auto type) {
    using T = decltype(type);
    const auto data = pointers<T>(tensors);
    const std::vector<Piece> cut = pieces(tensors);
    std::vector<double> sums(cut.size());
#pragma omp parallel for schedule(static) if (total(tensors) > kLight)
    for (size_t i = 0; i < cut.size(); ++i) {
      const auto [tensor, begin, end] = cut[i];
      sums[i] = lane_sum(data[tensor] + begin, end - begin, [](double v) { return v * v; });
    }
    norm.fill(std::sqrt(lane_sum(sums.data(), static_cast<int64_t>(sums.size()), [](double v) { return v; })));
  });
}

void ema_step(TensorList& averages, const TensorList& values, double decay) {
  if (averages.empty()) return;
  visit_float(averages[0].dtype(), "ema_step", [&](auto type) {
    using T = decltype(type);
    const auto average = pointers<T>(averages);
    const auto value = pointers<T>(values);
    const T take = static_cast<T>(1.0 - decay);
    for_each_piece(averages,
                   [&](const Piece& piece) { average_piece(piece, average[piece.tensor], value[piece.tensor], take); });
  });
}

const bool registered =
    kernel::sgd_step.define(Device::cpu, sgd_step) && kernel::adam_step.define(Device::cpu, adam_step) &&
    kernel::global_norm.define(Device::cpu, global_norm) && kernel::ema_step.define(Device::cpu, ema_step);

}  // namespace
}  // namespace sked::cpu

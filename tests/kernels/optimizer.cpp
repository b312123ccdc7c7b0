// sgd_step, adam_step, global_norm, ema_step: the textbook's recurrences, one step from any state.

#include "core/kernels/optimizer.h"

#include <cmath>

#include "core/error.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kStep{2e-6, "a few roundings of f32", 1, 1e-13, true};
constexpr Tolerance kAdam{1e-5, "the square root of a v from few steps", 1, 1e-12, true};
constexpr Tolerance kNorm{1e-7, "accumulated in f64: one rounding to f32"};
constexpr Tolerance kNormOnGpu{1e-6, "accumulated in f64, in another order"};
constexpr Tolerance kStepOnGpu{2e-6, "a few roundings of f32"};

/// A scalar, an empty tensor, and sizes on both sides of a block's 4096 elements and a piece's 16 Ki.
const Shape kShapes[] = {{3, 5}, {}, {4096}, {16384}, {0}, {20000}, {90001}, {130, 129}};
constexpr size_t kCount = std::size(kShapes);
const std::vector<double> kDecay = {0.1, 0.0, 0.05, 0.0, 0.1, 0.0, 0.1, 0.2};
constexpr double kEmaDecay = 0.9;

TensorList tensors(uint32_t salt, float scale = 1, float offset = 0) {
  TensorList list;
  for (const Shape& shape : kShapes) list.push_back(hash_tensor(shape, salt++, scale, offset));
  return list;
}

TensorList all_unset() {
  TensorList list;
  for (const Shape& shape : kShapes) list.push_back(unset(shape));
  return list;
}

TensorList joined(TensorList a, const TensorList& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// The `which`-th list of all.
TensorList part(const TensorList& all, size_t which) {
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(which * kCount);
  return {first, first + static_cast<std::ptrdiff_t>(kCount)};
}

/// Where f32 parameters are to be rounded, all but the last.
TensorList places_beside(const TensorList& p) {
  TensorList rounded(p.size());
  for (size_t i = 0; p[0].dtype() == DType::f32 && i + 1 < p.size(); ++i)
    rounded[i] = Tensor::full(p[i].shape(), 7, DType::bf16, p[i].device());
  return rounded;
}

/// Throws Error unless they are bit for bit what a cast makes of them.
void require_rounded(const TensorList& p, const TensorList& rounded) {
  for (size_t i = 0; i < p.size(); ++i)
    require(!rounded[i].defined() || rounded[i].to_vector<float>() == p[i].to(DType::bf16).to_vector<float>(),
            "optimizer", "what is rounded beside parameter ", i, " is not what a cast makes of it");
}

/// Throws Error unless averages are bit for bit what a pass of its own makes of those `before`.
void require_averaged(const TensorList& p, TensorList before, const TensorList& averages) {
  kernel::ema_step(before, p, kEmaDecay);
  for (size_t i = 0; i < p.size(); ++i)
    require(averages[i].to_vector<double>() == before[i].to_vector<double>(), "optimizer",
            "what is averaged beside parameter ", i, " is not what ema_step makes of it");
}

TensorList clones(const TensorList& list) {
  TensorList all;
  for (const Tensor& t : list) all.push_back(t.clone());
  return all;
}

/// f(parameter's elements of each list, its gradient, its decay) for each element of each tensor; lists lie one behind
/// another in `before`, averages last where there are any.
template <class F>
Reference step(size_t lists, bool averaged, F f) {
  return [=](const ValueLists& in, const ValueLists& before) {
    const double scale = in.size() > kCount ? in[kCount][0] : 1;
    ValueLists y = before;
    std::vector<double*> at(lists);
    for (size_t t = 0; t < kCount; ++t)
      for (size_t i = 0; i < y[t].size(); ++i) {
        for (size_t l = 0; l < lists; ++l) at[l] = &y[l * kCount + t][i];
        f(at, scale * in[t][i], kDecay[t]);
        if (!averaged) continue;
        double& average = y[lists * kCount + t][i];
        average = kEmaDecay * average + (1 - kEmaDecay) * *at[0];
      }
    return y;
  };
}

/// With `more`, the gradient has a factor and averages follow.
void add_sgd(KernelCases& cases, bool more, double momentum, bool nesterov, bool first) {
  const TensorList gradients = tensors(10), scale = more ? TensorList{Tensor::full({1}, 0.5)} : TensorList();
  const SgdStep sgd{0.1, momentum, nesterov, first, kEmaDecay};
  const TensorList state = momentum == 0 ? TensorList() : (first ? all_unset() : tensors(20));
  const size_t lists = momentum == 0 ? 1 : 2;
  KernelCase c{kernel::sgd_step.name(),
               std::string(momentum > 0 ? "momentum" : "plain") + (nesterov ? ", nesterov" : "") +
                   (first ? ", first" : "") + (more ? ", averaged" : ""),
               joined(gradients, scale),
               joined(joined(tensors(1), state), more ? tensors(40) : TensorList()),
               {}};
  c.call = [=](const TensorList& in, TensorList& out) {
    TensorList p = part(out, 0), m = momentum == 0 ? TensorList() : part(out, 1), rounded = places_beside(p),
               averages = more ? part(out, lists) : TensorList();
    const TensorList before = clones(averages);
    kernel::sgd_step(p, part(in, 0), m, rounded, averages, kDecay, more ? in.back() : Tensor(), sgd);
    require_rounded(p, rounded);
    if (more) require_averaged(p, before, averages);
  };
  cases.push_back(c.gives(step(lists, more,
                               [=](const std::vector<double*>& at, double gradient, double decay) {
                                 double g = gradient + decay * *at[0];
                                 if (momentum > 0) {
                                   const double m = *at[1] = first ? g : momentum * *at[1] + g;
                                   g = nesterov ? g + momentum * m : m;
                                 }
                                 *at[0] -= 0.1 * g;
                               }),
                          kStep)
                      .on_gpu(kStepOnGpu));
}

/// At the first step m and v are zeros. `more` as above.
void add_adam(KernelCases& cases, bool more, bool decoupled, int64_t count) {
  const double lr = 0.01, b1 = 0.9, b2 = 0.999, eps = 1e-8;
  const TensorList gradients = tensors(10), scale = more ? TensorList{Tensor::full({1}, 0.5)} : TensorList();
  const float reach = count == 1 ? 0 : 1;
  const TensorList state = joined(tensors(20, reach), tensors(30, 0.25f * reach, 0.5f * reach));
  KernelCase c{
      kernel::adam_step.name(),
      std::string(decoupled ? "decoupled" : "coupled") + ", step " + std::to_string(count) + (more ? ", averaged" : ""),
      joined(gradients, scale),
      joined(joined(tensors(1), state), more ? tensors(40) : TensorList()),
      {}};
  c.call = [=](const TensorList& in, TensorList& out) {
    TensorList p = part(out, 0), m = part(out, 1), v = part(out, 2), rounded = places_beside(p),
               averages = more ? part(out, 3) : TensorList();
    const TensorList before = clones(averages);
    kernel::adam_step(p, part(in, 0), m, v, rounded, averages, kDecay, more ? in.back() : Tensor(),
                      {lr, b1, b2, eps, decoupled, count, kEmaDecay});
    require_rounded(p, rounded);
    if (more) require_averaged(p, before, averages);
  };
  cases.push_back(c.gives(step(3, more,
                               [=](const std::vector<double*>& at, double gradient, double decay) {
                                 double &p = *at[0], &m = *at[1], &v = *at[2];
                                 if (decoupled) p -= lr * decay * p;
                                 const double g = gradient + (decoupled ? 0 : decay * p);
                                 m = b1 * m + (1 - b1) * g;
                                 v = b2 * v + (1 - b2) * g * g;
                                 const auto t = static_cast<double>(count);
                                 p -= lr * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
                               }),
                          kAdam)
                      .on_gpu(kStepOnGpu));
}

void add_norm(KernelCases& cases, const TensorList& list, const std::string& what) {
  KernelCase c{kernel::global_norm.name(), what, list, {unset({1})}, {}};
  c.call = [](const TensorList& in, TensorList& out) { kernel::global_norm(in, out[0]); };
  if (list.empty()) c.on_cpu_alone();  // a call dispatches on its first tensor
  cases.push_back(c.gives(
                       [](const auto& in, const auto&) {
                         double squares = 0;
                         for (const Values& t : in)
                           for (const double v : t) squares += v * v;
                         return ValueLists{{std::sqrt(squares)}};
                       },
                       kNorm)
                      .on_gpu(list.empty() ? kNorm : kNormOnGpu));
}

void add_average(KernelCases& cases, const TensorList& values, const TensorList& averages, const std::string& what) {
  KernelCase c{kernel::ema_step.name(), what, values, averages, {}};
  c.call = [](const TensorList& in, TensorList& out) { kernel::ema_step(out, in, kEmaDecay); };
  cases.push_back(c.gives(
                       [](const auto& in, const auto& before) {
                         ValueLists y = before;
                         for (size_t t = 0; t < y.size(); ++t)
                           for (size_t i = 0; i < y[t].size(); ++i)
                             y[t][i] = kEmaDecay * y[t][i] + (1 - kEmaDecay) * in[t][i];
                         return y;
                       },
                       kStep)
                      .on_gpu(kStepOnGpu));
}

void add_refused(KernelCases& cases, const KernelBase& kernel, std::vector<std::string> words,
                 const std::function<void()>& call) {
  KernelCase c{kernel.name(), "refused", {}, {}, [call](const TensorList&, TensorList&) { call(); }};
  cases.push_back(c.is_refused(std::move(words)));
}

void add_refusals(KernelCases& cases) {
  const TensorList p{Tensor::zeros({2})}, three{Tensor::zeros({3})}, doubles{Tensor::zeros({2}, DType::f64)}, none;
  const auto sgd = [&](const TensorList& g, const TensorList& m, const std::vector<double>& decay,
                       std::vector<std::string> words, const TensorList& kept = {}) {
    add_refused(cases, kernel::sgd_step, std::move(words), [=] {
      TensorList parameters = p, momentum = m, rounded, averages = kept;
      kernel::sgd_step(parameters, g, momentum, rounded, averages, decay, Tensor(), {0.1, 0.9, false, true});
    });
  };
  sgd(none, p, {0}, {"gradients", "got 0"});
  sgd(p, none, {0}, {"momentum"});
  sgd(p, p, {}, {"weight decays"});
  sgd(three, p, {0}, {"(2)", "(3)"});
  sgd(p, p, {0}, {"(2)", "averages", "(3)"}, three);
  add_refused(cases, kernel::adam_step, {"got 0"}, [=] {
    TensorList parameters = p, nothing;
    kernel::adam_step(parameters, p, parameters, parameters, nothing, nothing, {0}, Tensor(),
                      {0.1, 0.9, 0.999, 1e-8, true, 0});
  });
  add_refused(cases, kernel::adam_step, {"f32", "f64"}, [=] {
    TensorList parameters = p, rounded, averages = doubles;
    kernel::adam_step(parameters, p, parameters, parameters, rounded, averages, {0}, Tensor(),
                      {0.1, 0.9, 0.999, 1e-8, true, 1});
  });
  add_refused(cases, kernel::global_norm, {"(2)"}, [=] {
    Tensor two = Tensor::zeros({2});
    kernel::global_norm(p, two);
  });
  add_refused(cases, kernel::ema_step, {"f32", "f64"}, [=] {
    TensorList averages = p;
    kernel::ema_step(averages, doubles, 0.9);
  });
}

}  // namespace

KernelCases optimizer_cases() {
  KernelCases cases;
  for (const bool first : {false, true}) {
    for (const bool nesterov : {false, true})
      for (const bool more : {false, true}) add_sgd(cases, more, 0.9, nesterov, first);
    for (const bool more : {false, true}) add_sgd(cases, more, 0, false, first);
  }
  for (const bool decoupled : {false, true})
    for (const bool more : {false, true})
      for (const int64_t count : {1, 2, 3, 5}) add_adam(cases, more, decoupled, count);
  add_norm(cases, tensors(5, 2), "of all");
  add_norm(cases, {}, "of nothing");
  add_norm(cases, {Tensor::full({3}, 1e30)}, "of squares that would overflow f32");
  add_average(cases, tensors(7, 2), tensors(6, 2), "all");
  // More tensors than one launch takes.
  TensorList many, others;
  for (uint32_t i = 0; i < 1000; ++i) many.push_back(hash_tensor({3}, i)), others.push_back(hash_tensor({3}, 5000 + i));
  add_average(cases, others, many, "1000 tensors");
  add_norm(cases, many, "of 1000 tensors");
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test

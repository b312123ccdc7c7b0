#pragma once
// Kernel: one documented operation the hardware must do, with one implementation per device.
//
// core/kernels/<family>.h declares them; from static initializers core/kernels/<family>.cpp registers what operands
// must be, once for all devices, and core/cpu/<family>.cpp and cuda/<family>.cu implementations:
//
//   inline Kernel<void(const Tensor& x, Tensor& y, Unary op)> unary_forward{"unary_forward"};      // the list
//   const auto registered = kernel::unary_forward.expect(check_unary);                             // its precondition
//   const auto registered = kernel::unary_forward.define(Device::cpu, unary_forward_cpu);          // an implementation
//   kernel::unary_forward(x, y, Unary::exp);                                                       // a call
//
// A call dispatches on its first tensor's device, its operands' shapes, dtypes and devices checked (not the values of
// indices, which lie on the device). `define` gives the readable definition; `tune` a faster one for f32 and bf16
// (oneDNN …) that leaves f64 to the definition. The CPU computes in f32 and f64. An implementation may read and write
// bf16 as it is stored; one that does not gets its operands' values in f32, and its results are rounded to bf16
// (core/widened.h).

#include <array>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "core/widened.h"
#include "core/work_count.h"

namespace sked {

/// What the registry knows of every kernel.
class KernelBase {
 public:
  /// Constant: a kernel has its name before any code runs.
  explicit constexpr KernelBase(const char* name) : name_(name) {}
  KernelBase(const KernelBase&) = delete;
  KernelBase& operator=(const KernelBase&) = delete;

  const char* name() const { return name_; }
  virtual bool implemented(Device device) const = 0;
  /// Has this device a tuned implementation beside its definition?
  virtual bool tuned(Device device) const = 0;

 protected:
  constexpr ~KernelBase() = default;
  /// Adds it to all_kernels().
  void enlist() const;

 private:
  const char* name_;
};

/// Every kernel of the program, in order of name: tests demand a case for each.
std::vector<const KernelBase*> all_kernels();

/// While one lives on this thread, calls use the definitions only: the reference tuned kernels are tested against.
class ReferenceOnly {
 public:
  ReferenceOnly() : before_(active()) { active() = true; }
  ~ReferenceOnly() { active() = before_; }
  ReferenceOnly(const ReferenceOnly&) = delete;
  ReferenceOnly& operator=(const ReferenceOnly&) = delete;
  static bool& active();

 private:
  bool before_;
};

/// While one lives on this thread, calls are checked and counted (core/work_count.h) and not carried out, nor are
/// copies of tensors, but for integers, which shapes and checks may follow: what they would have written is undefined.
/// A network of any size then runs in no time, and in memory that is never touched.
class DryRun {
 public:
  DryRun() : before_(active()) { active() = true; }
  ~DryRun() { active() = before_; }
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;
  static bool& active();

 private:
  bool before_;
};

namespace detail {
/// An argument that is only looked at.
template <class Arg>
struct ReadOnly {
  using Type = Arg;
};
template <class T>
struct ReadOnly<T&> {
  using Type = const T&;
};

template <class... Rest>
const Tensor& first_tensor(const Tensor& t, const Rest&...) {
  return t;
}
template <class... Rest>
const Tensor& first_tensor(const TensorList& list, const Rest&...) {
  static const Tensor none;
  return list.empty() ? none : list.front();
}
}  // namespace detail

template <class Signature>
class Kernel;

template <class... Args>
class Kernel<void(Args...)> final : public KernelBase {
 public:
  using Function = void (*)(Args...);
  /// Throws `[where] …`, where being the kernel's name, naming what does not fit.
  using Precondition = void (*)(const char* where, typename detail::ReadOnly<Args>::Type... args);

  explicit constexpr Kernel(const char* name) : KernelBase(name) {}

  /// Registers what operands must be on every device; a kernel without it cannot be called. Returns true, so that a
  /// static can be initialized with it.
  bool expect(Precondition precondition) {
    enlist();
    precondition_ = precondition;
    return true;
  }
  /// Of a call, for WorkCount; 0 where nothing is registered.
  using Operations = int64_t (*)(typename detail::ReadOnly<Args>::Type... args);
  bool costs(Operations operations) {
    operations_ = operations;
    return true;
  }
  /// Registers the definition for `device`. `stores` says that f takes elements as they are stored, bf16 among them, as
  /// all do on a GPU.
  bool define(Device device, Function f, bool stores = false) {
    definition_[index(device)] = {f, stores || device != Device::cpu};
    return true;
  }
  /// Registers a faster implementation for f32 and bf16.
  bool tune(Device device, Function f, bool stores = false) {
    tuned_[index(device)] = {f, stores || device != Device::cpu};
    return true;
  }
  bool implemented(Device device) const override { return definition_[index(device)].f || tuned_[index(device)].f; }
  /// For a tuned implementation that leaves some operands, checked by now, to the definition.
  void by_definition(Args... args) const {
    carry_out(definition_[index(detail::first_tensor(args...).device())], std::forward<Args>(args)...);
  }
  /// For one that takes only some mixtures of dtypes as they are stored: f with the others in f32.
  static void widened(Function f, Args... args) {
    std::tuple<detail::Widened<Args>...> operands(args...);
    std::apply([f](auto&... operand) { f(operand.get()...), (operand.finish(), ...); }, operands);
  }
  bool tuned(Device device) const override { return tuned_[index(device)].f != nullptr; }

  void operator()(Args... args) const {
    const Tensor& t = detail::first_tensor(args...);
    const Device device = t.device();
    const bool tuned = tuned_[index(device)].f && t.dtype() != DType::f64 && !ReferenceOnly::active();
    const Implementation& chosen = tuned ? tuned_[index(device)] : definition_[index(device)];
    if (!chosen.f) fail(name(), "no ", device, " implementation", t.dtype() == DType::f64 ? " for f64" : "");
    if (!precondition_) fail(name(), "no precondition");
    precondition_(name(), args...);
    const WorkCount::Call call(name(), device, [&] {
      return WorkCount::Entry{.calls = 1,
                              .bytes = (detail::operand_bytes(args) + ... + 0),
                              .operations = operations_ ? operations_(args...) : 0};
    });
    if (DryRun::active()) return;
    carry_out(chosen, std::forward<Args>(args)...);
  }

 private:
  static size_t index(Device device) { return static_cast<size_t>(device); }
  struct Implementation {
    Function f = nullptr;
    bool stores = false;  // takes bf16 as it is stored
  };
  static void carry_out(const Implementation& chosen, Args... args) {
    if (!chosen.stores && (detail::holds_bf16(args) || ...)) return widened(chosen.f, args...);
    chosen.f(std::forward<Args>(args)...);
  }
  Precondition precondition_ = nullptr;
  Operations operations_ = nullptr;
  std::array<Implementation, kDevices> definition_{}, tuned_{};
};

}  // namespace sked

#pragma once
// Module: named parameters and buffers in a tree. Names follow timm / torchvision, so public checkpoints map one to
// one.
//
// Threads: a module belongs to one thread at a time. forward() in training writes running statistics, and every
// forward() reads parameters, which an optimizer, a checkpoint or set_requires_grad() writes; evaluations may share a
// module only while nobody does, each with a Context of its own and off the tape (NoGrad).

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "core/communicator.h"
#include "core/rng.h"

namespace sked {

/// What a forward pass must know beside its input.
struct Context {
  bool training = false;
  uint64_t seed = 0;  // of the run: dropout and the heads' noise are addressed by (seed, a module's stream, step, …)
  uint64_t step = 0;  // training step
  Tensor examples = {};   // (N) i64: global index of each example in the batch; defined whenever noise is drawn
  double momentum = 0.1;  // of running statistics: running ← (1 − momentum) running + momentum batch
  /// What networks keep their activations in from the first layer to the last: f32 or bf16 (core/precision.h says which
  /// suits a device). In bf16, parameters and their gradients, statistics, heads, losses and the optimizer's state stay
  /// f32.
  DType activations = DType::f32;
  /// Where this forward pass's rows lie in the batch, of which they may be a part, or one rank's: the place of the
  /// first. Dropout is addressed by the place in the batch, so that it drops the same however that is cut.
  int64_t first_row = 0;
  /// The ranks that compute the batch, each some of its rows; null: this process has them all. Batch norm in training
  /// looks at the rows of all of them, and so does the loss of image–text training.
  Communicator* ranks = nullptr;
};

/// Hands out what modules draw at construction: initial weights and a stream of their own for later noise. Everything
/// is a function of the seed and the order of construction.
class Init {
 public:
  explicit Init(uint64_t seed, Device device = Device::cpu) : seed_(seed), device_(device) {}
  /// Zeros instead of random weights, for a module whose weights a checkpoint will overwrite; streams are numbered as
  /// ever.
  static Init blank(Device device = Device::cpu) {
    Init init(0, device);
    init.draws_ = false;
    return init;
  }

  Device device() const { return device_; }
  uint64_t next_stream() { return ++streams_; }

  /// N(0, std²).
  Tensor normal(const Shape& shape, double std);
  /// N(0, std²) restricted to ±bound; the default is that of PyTorch's and timm's trunc_normal_ (so it cuts nothing at
  /// their 0.02).
  Tensor truncated_normal(const Shape& shape, double std, double bound = 2);
  /// U(−bound, bound).
  Tensor uniform(const Shape& shape, double bound);
  /// Kaiming normal for ReLU, fan-out (He et al., arXiv 1502.01852): std = sqrt(2 / fan_out); w (O,I,kh,kw) or (O,I).
  Tensor kaiming_fan_out(const Shape& shape);
  /// LeCun normal: std = scale · sqrt(1 / fan_in), w (O,I…).
  Tensor lecun_normal(const Shape& shape, double scale = 1);
  /// Its `rows` alone, the very numbers that they have in the whole of `shape`, which is never drawn.
  Tensor lecun_normal(const Shape& shape, double scale, Span rows);
  /// Xavier/Glorot uniform: bound = sqrt(6 / (fan_in + fan_out)).
  Tensor xavier_uniform(const Shape& shape);
  Tensor constant(const Shape& shape, double value) { return Tensor::full(shape, value, DType::f32, device_); }

 private:
  uint64_t seed_;
  Device device_;
  bool draws_ = true;
  uint64_t streams_ = 0;
};

/// Base of everything with parameters. Members are registered in the constructor: `add("weight", weight)`. The tree
/// holds pointers into the module, so modules are neither copied nor moved; containers hold them by unique_ptr.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Parameters of the tree in order of registration, names joined by dots: `blocks.0.attn.qkv.weight`.
  std::vector<NamedVar> parameters() const;
  /// Buffers (running statistics): state that is saved but not trained.
  std::vector<NamedBuffer> buffers() const;
  /// Number of elements of all parameters; of those that are divided among ranks, on all of these.
  int64_t parameter_count() const;
  /// Frozen parameters get no gradient.
  void set_requires_grad(bool on);
  /// Does any parameter of the tree get one?
  bool requires_grad() const;

 protected:
  /// Throws for a name taken in this module. Undefined ones are not listed. A child without a name lends its names to
  /// this module (the backbone of a classifier). `shard` says which rows of a parameter this rank has, where it is
  /// divided.
  void add(std::string name, Var& parameter, RowShard shard = {});
  void add(std::string name, Tensor& buffer);
  void add(std::string name, Module& child);

 private:
  struct Entry {
    std::string name;
    Var* parameter = nullptr;
    Tensor* buffer = nullptr;
    Module* child = nullptr;
    RowShard shard = {};
  };
  void add(Entry entry);
  void collect(const std::string& prefix, std::vector<NamedVar>& parameters, std::vector<NamedBuffer>& buffers) const;
  std::vector<Entry> entries_;
};

/// Is `prefix` the name or its first parts: blocks.1 of blocks.1.attn.qkv.weight, not of blocks.10.attn.qkv.weight?
bool is_within(std::string_view name, std::string_view prefix);

/// A trainable leaf.
inline Var parameter(Tensor value) { return Var(std::move(value), true); }

}  // namespace sked

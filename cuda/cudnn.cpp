// Convolutions and attention as graphs of one operation each, linear layers with their GELU as graphs of several that
// it compiles into one kernel, described by NVIDIA's header-only cudnn-frontend to cuDNN 9: it proposes engines
// (heuristics mode A, then the fallback list), the first that can be built is the plan, kept for its shape. cuDNN sees
// channels first in every shape, and where numbers really lie in the strides.
//
// Floors: a convolution's 2 N P Q O kernel² I/groups operations, attention's 4 N H T² E forward and 10 backward, at the
// rate of the tensor cores (bf16, tf32) or of f32; for the thin ones, the bytes of the operands once. Of a linear layer
// both: 2 N I O operations, and its operands and results once.

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include "cuda/cudnn.h"

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <array>
#include <bit>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/precision.h"
#include "core/tensor.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

/// Where the frontend looks up the functions of libcudnn.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace sked::cuda::cudnn {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Graph;
using Numbers = std::vector<int64_t>;
using Operand = fe::graph::Tensor_attributes;
using OperandPtr = std::shared_ptr<Operand>;

constexpr size_t kMostPlans = 4096;  // they are never freed: captured CUDA graphs hold on to their kernels
constexpr uintptr_t kAlignment = 16;

/// Empty where all is well.
std::string reason(fe::error_t status) { return status.is_good() ? "" : status.get_message(); }

bool opened() {
  static const bool once = [] {
    fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW);
    return fe::cudnn_dlhandle != nullptr;
  }();
  return once;
}

/// What the numbers of a problem go through, beside its shape.
struct Arithmetic {
  bool tf32, deterministic;
};
Arithmetic arithmetic(DType dtype) {
  return {dtype == DType::f32 && product_precision() == Precision::tf32, deterministic()};
}

/// All that a plan depends on; what a kind of problem has no use for stays 0.
using Key = std::array<int64_t, 16>;
Key key_of(const Convolution& c) {
  const auto [tf32, fixed] = arithmetic(c.dtype);
  const auto& [N, H, W, I, P, Q, O] = c.s;
  const Window& w = c.window;
  const auto pass = static_cast<int64_t>(c.pass), dtype = static_cast<int64_t>(c.dtype);
  return {0, pass, fixed, dtype, tf32, N, H, W, I, P, Q, O, w.kernel, w.stride, w.padding, w.groups};
}
Key key_of(const Attention& a) {
  const auto& [N, T, H, E] = a.s;
  return {1, static_cast<int64_t>(a.pass), deterministic(), N, T, H, E, a.causal, std::bit_cast<int32_t>(a.scale)};
}
Key key_of(const LinearGelu& p) {
  const auto& [N, I, O] = p.s;
  const auto bias = p.bias ? 1 + static_cast<int64_t>(p.bias_dtype) : 0;
  return {2, static_cast<int64_t>(p.pass), deterministic(), N, I, O, bias, p.pre};
}

// ---- graphs: operands are numbered from 1 in the order run() takes their addresses

struct Described {
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  std::vector<fe::NumericalNote_t> barred;  // engines that do this with numbers are not taken
  int64_t operands = 0;
  int64_t most_workspace = int64_t{1} << 30;

  /// For a card of that capability, 10 · major + minor: operations are checked against it as they are added.
  Described(DType dtype, Arithmetic a, int capability) {
    using Note = fe::NumericalNote_t;
    graph->set_io_data_type(dtype == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT)
        .set_sm_version(capability)
        .set_cuda_graph_retention(fe::CudaGraphRetention_t::NONE);  // see kMostPlans
    // Winograd's larger tiles cost digits.
    barred = {Note::DOWN_CONVERT_INPUTS, Note::REDUCED_PRECISION_REDUCTION, Note::WINOGRAD_TILE_6x6,
              Note::WINOGRAD_TILE_13x13};
    if (dtype == DType::f32 && !a.tf32) barred.push_back(Note::TENSOR_CORE);  // of f32 these are tf32
    if (a.deterministic) barred.push_back(Note::NONDETERMINISTIC);
  }
  void place(Operand& t, const Numbers& dim, const Numbers& stride) {
    t.set_dim(dim).set_stride(stride).set_uid(++operands);
  }
  OperandPtr input(const Numbers& dim, const Numbers& stride, bool is_float = false) {
    Operand t;
    place(t, dim, stride);
    if (is_float) t.set_data_type(fe::DataType_t::FLOAT);
    return graph->tensor(t);
  }
  void output(const OperandPtr& t, const Numbers& dim, const Numbers& stride, bool is_float = false) {
    place(*t, dim, stride);
    t->set_output(true);
    if (is_float) t->set_data_type(fe::DataType_t::FLOAT);
  }
};

/// Dimensions (count, channels, height, width) of an array that lies as (count, height, width, channels).
struct Images {
  Numbers dim, stride;
  Images(int64_t count, int64_t height, int64_t width, int64_t channels)
      : dim{count, channels, height, width}, stride{height * width * channels, 1, width * channels, channels} {}
};

Described describe(const Convolution& c, int capability) {
  const Window& w = c.window;
  const Images x(c.s.N, c.s.H, c.s.W, c.s.I), y(c.s.N, c.s.P, c.s.Q, c.s.O),
      filters(c.s.O, w.kernel, w.kernel, c.s.I / w.groups);
  const bool forward = c.pass == Pass::forward, to_input = c.pass == Pass::backward_input;
  Described d(c.dtype, arithmetic(c.dtype), capability);
  const Images &first = forward ? x : y, &second = forward || to_input ? filters : x,
               &result = forward ? y : (to_input ? x : filters);
  const OperandPtr a = d.input(first.dim, first.stride), b = d.input(second.dim, second.stride);
  const auto geometry = [&](auto attributes) {
    return attributes.set_padding({w.padding, w.padding}).set_stride({w.stride, w.stride}).set_dilation({1, 1});
  };
  OperandPtr out;
  switch (c.pass) {
    case Pass::forward:
      out = d.graph->conv_fprop(a, b, geometry(fe::graph::Conv_fprop_attributes()));
      break;
    case Pass::backward_input:
      out = d.graph->conv_dgrad(a, b, geometry(fe::graph::Conv_dgrad_attributes()));
      break;
    case Pass::backward_weight:
      out = d.graph->conv_wgrad(a, b, geometry(fe::graph::Conv_wgrad_attributes()));
      break;
  }
  d.output(out, result.dim, result.stride);
  return d;
}

Described describe(const Attention& p, int capability) {
  const auto& [N, T, H, E] = p.s;
  // (image, head, token, element) of arrays (N,T,3,H,E), (N,T,H,E) and (N,H,T)
  const Numbers dim{N, H, T, E}, packed{T * 3 * H * E, E, 3 * H * E, 1}, plain{T * H * E, E, H * E, 1};
  const Numbers rows{N, H, T, 1}, row{H * T, T, 1, 1};
  const auto options = [&](auto attributes) {
    attributes.set_attn_scale(p.scale);
    if (p.causal) attributes.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    return attributes;
  };
  Described d(DType::bf16, arithmetic(DType::bf16), capability);
  const OperandPtr q = d.input(dim, packed), k = d.input(dim, packed), v = d.input(dim, packed);
  if (p.pass == Pass::forward) {
    const auto [y, lse] = d.graph->sdpa(q, k, v, options(fe::graph::SDPA_attributes().set_generate_stats(true)));
    d.output(y, dim, plain);
    d.output(lse, rows, row, true);
    return d;
  }
  d.most_workspace = int64_t{4} << 30;  // what repeats itself keeps dP: N·H·T² numbers, 1.6 GB for ViT-B at batch 1,024
  const OperandPtr y = d.input(dim, plain), dy = d.input(dim, plain), lse = d.input(rows, row, true);
  const auto attributes = fe::graph::SDPA_backward_attributes().set_deterministic_algorithm(deterministic());
  for (const OperandPtr& gradient : d.graph->sdpa_backward(q, k, v, y, dy, lse, options(attributes)))
    d.output(gradient, dim, packed);
  return d;
}

/// A row-major (rows, columns) matrix, or its transpose, as cuDNN's batch of one.
struct Matrix {
  Numbers dim, stride;
  Matrix(int64_t rows, int64_t columns) : dim{1, rows, columns}, stride{rows * columns, columns, 1} {}
  Matrix transposed() const {
    Matrix t = *this;
    std::swap(t.dim[1], t.dim[2]);
    std::swap(t.stride[1], t.stride[2]);
    return t;
  }
};

/// Operands: x, w, b where there is one, pre where it is kept, y; dy, w, pre, dx, db where it is wanted.
Described describe(const LinearGelu& p, int capability) {
  const auto& [N, I, O] = p.s;
  const Matrix x(N, I), y(N, O), w(O, I), row(1, p.pass == Pass::forward ? O : I);
  Described d(DType::bf16, arithmetic(DType::bf16), capability);
  Graph& g = *d.graph;
  const auto pointwise = [](fe::PointwiseMode_t mode) { return fe::graph::Pointwise_attributes().set_mode(mode); };
  if (p.pass == Pass::forward) {
    const OperandPtr in = d.input(x.dim, x.stride), weight = d.input(w.transposed().dim, w.transposed().stride);
    OperandPtr z = g.matmul(in, weight, fe::graph::Matmul_attributes());
    if (p.bias) {
      const OperandPtr b = d.input(row.dim, row.stride, p.bias_dtype == DType::f32);
      z = g.pointwise(z, b, pointwise(fe::PointwiseMode_t::ADD));
    }
    if (p.pre) d.output(z, y.dim, y.stride);
    d.output(g.pointwise(z, pointwise(fe::PointwiseMode_t::GELU_FWD)), y.dim, y.stride);
    return d;
  }
  const OperandPtr dy = d.input(y.dim, y.stride), weight = d.input(w.dim, w.stride), pre = d.input(x.dim, x.stride);
  const OperandPtr product = g.matmul(dy, weight, fe::graph::Matmul_attributes());
  const OperandPtr dx = g.pointwise(product, pre, pointwise(fe::PointwiseMode_t::GELU_BWD));
  d.output(dx, x.dim, x.stride);
  if (!p.bias) return d;
  const auto sum = fe::graph::Reduction_attributes().set_mode(fe::ReductionMode_t::ADD);
  d.output(g.reduction(dx, sum), row.dim, row.stride, true);
  return d;
}

/// Makes the graph's list of engines, for a handle's card or for one set in it. Empty, or why there are none.
std::string propose(Described& d, cudnnHandle_t handle) {
  Graph& g = *d.graph;
  fe::error_t status = g.validate();
  if (status.is_good()) status = handle ? g.build_operation_graph(handle) : g.build_operation_graph();
  if (status.is_good()) status = g.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK});
  if (status.is_bad()) return reason(status);
  g.deselect_numeric_notes(d.barred);
  g.deselect_workspace_greater_than(d.most_workspace);
  return reason(g.check_support());
}

std::string build(Described& d) { return reason(d.graph->build_plans()); }

// ---- plans

struct Plan {
  std::shared_ptr<Graph> graph;  // none: nothing on offer
  std::string why_not = {};      // it is not used
  int64_t workspace = 0;         // bytes
  int64_t index = -1;            // among the graph's; −1: the first that could be built
};

int capability_here() {
  int device = 0, major = 0, minor = 0;
  SKED_CUDA(cudaGetDevice(&device));
  SKED_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  SKED_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return 10 * major + minor;
}

/// The library's handle on the GPU and the plans made so far. Never freed.
struct Library {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;  // none: unusable here
  int capability = 0;
  std::map<Key, Plan> plans;
  std::set<std::string> said;

  static Library& own() {
    static Library& library = *new Library;
    return library;
  }
  Library() {
    const std::string why = start();
    if (!why.empty()) say("all", why + ": slower kernels do convolutions, attention and GELU");
  }
  /// Empty, or why it cannot be used.
  std::string start() try {
    if (!opened()) return "libcudnn.so.9 is not found";
    (void)fe::detail::loaded_cudart_version();  // throws: the frontend asks a shared runtime, ours is linked in
    cudnnHandle_t made = nullptr;
    cudnnStatus_t status = fe::detail::create_handle(&made);
    if (status == CUDNN_STATUS_SUCCESS) status = fe::detail::set_stream(made, compute_stream().get());
    if (status != CUDNN_STATUS_SUCCESS)
      return std::string("cuDNN cannot be started: ") + fe::detail::get_error_string(status);
    handle = made;
    capability = capability_here();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  void say(const std::string& kind, const std::string& what) {
    if (said.insert(kind).second) std::cerr << "note: " << what << std::endl;
  }
};

template <class Problem>
Plan make_plan(const Library& library, const Problem& problem) try {
  Described d = describe(problem, library.capability);
  Plan plan;
  plan.why_not = propose(d, library.handle);
  if (plan.why_not.empty()) plan.why_not = build(d);
  if (plan.why_not.empty()) plan.why_not = reason(d.graph->get_workspace_size(plan.workspace));
  if (plan.why_not.empty()) plan.graph = d.graph;
  return plan;
} catch (const std::runtime_error& error) {
  return {.graph = {}, .why_not = error.what()};  // an old libcudnn that lacks a function
}

/// Empty, or why nothing was done.
std::string execute(const Library& library, const Plan& plan, const char* name,
                    const std::vector<const void*>& operands) try {
  std::unordered_map<int64_t, void*> addresses;
  for (const void* p : operands) addresses.emplace(addresses.size() + 1, const_cast<void*>(p));
  Tensor workspace = Tensor::empty({std::max<int64_t>(plan.workspace, 1)}, DType::u8, Device::cuda);
  count_launch(name);
  const fe::error_t status =
      plan.index < 0 ? plan.graph->execute(library.handle, addresses, workspace.raw())
                     : plan.graph->execute_plan_at_index(library.handle, addresses, workspace.raw(), plan.index);
  return reason(status);
} catch (const std::runtime_error& error) {
  return error.what();
}

std::string sizes(std::initializer_list<int64_t> numbers) {
  std::string text;
  for (const int64_t n : numbers) text += (text.empty() ? "" : "×") + std::to_string(n);
  return text;
}
std::string sizes(const Convolution& c) {
  const auto& [N, H, W, I, P, Q, O] = c.s;
  return std::string(name(c.dtype)) + " " + sizes({N, H, W, I}) + " and " + sizes({N, P, Q, O}) + ", kernel " +
         std::to_string(c.window.kernel) + ", stride " + std::to_string(c.window.stride) + ", groups " +
         std::to_string(c.window.groups);
}
std::string sizes(const Attention& a) { return sizes({a.s.N, a.s.T, a.s.H, a.s.E}); }
std::string sizes(const LinearGelu& p) { return sizes({p.s.N, p.s.I, p.s.O}); }

/// `sums`, if any, are the floats of an operand that the kernel adds to.
template <class Problem>
bool run(const Problem& problem, const std::vector<const void*>& operands, float* sums = nullptr, int64_t count = 0) {
  for (const void* p : operands)
    if (reinterpret_cast<uintptr_t>(p) % kAlignment != 0) return false;
  Library& library = Library::own();
  const std::lock_guard lock(library.mutex);
  if (!library.handle) return false;
  const Key key = key_of(problem);
  auto found = library.plans.find(key);
  if (found == library.plans.end()) {
    if (library.plans.size() >= kMostPlans) {
      library.say("full", "cuDNN has " + std::to_string(kMostPlans) + " plans: slower kernels do all other shapes");
      return false;
    }
    found = library.plans.emplace(key, make_plan(library, problem)).first;
  }
  Plan& plan = found->second;
  const auto do_without = [&](const std::string& what) {
    library.say(problem.name() + plan.why_not, "cuDNN " + what + " " + problem.name() + " (" + sizes(problem) +
                                                   "): " + plan.why_not + ": a slower kernel does it");
    return false;
  };
  if (!plan.why_not.empty()) return do_without("has no plan for");
  if (sums) {
    count_launch(problem.name());
    SKED_CUDA(cudaMemsetAsync(sums, 0, static_cast<size_t>(count) * sizeof(float), compute_stream().get()));
  }
  plan.why_not = execute(library, plan, problem.name(), operands);
  return plan.why_not.empty() || do_without("refuses");  // the graph stays: see kMostPlans
}

/// The address of q, k and v (part 0, 1, 2) of the first token, in (N,T,3,H,E).
const void* part(const Attention& p, const void* packed, int64_t which) {
  return static_cast<const bf16*>(packed) + which * p.s.H * p.s.E;
}

std::shared_ptr<fe::DeviceProperties> read(const Card& card) {
  auto properties = std::make_shared<fe::DeviceProperties>();
  const fe::error_t status = properties->deserialize({card.properties.begin(), card.properties.end()});
  require(status.is_good(), "cudnn", "a card's properties: ", reason(status));
  return properties;
}

}  // namespace

bool run(const Convolution& problem, const void* a, const void* b, void* c) { return run(problem, {a, b, c}); }

bool run_forward(const Attention& p, const void* qkv, void* y, float* lse) {
  return run(p, {part(p, qkv, 0), part(p, qkv, 1), part(p, qkv, 2), y, lse});
}

bool run_backward(const Attention& p, const void* dy, const void* qkv, const void* y, const float* lse, void* dqkv) {
  return run(p, {part(p, qkv, 0), part(p, qkv, 1), part(p, qkv, 2), y, dy, lse, part(p, dqkv, 0), part(p, dqkv, 1),
                 part(p, dqkv, 2)});
}

std::vector<Candidate> candidates(const Convolution& problem, const Tensor& a, const Tensor& b, const Tensor& c,
                                  int most) try {
  Library& library = Library::own();
  const std::lock_guard lock(library.mutex);
  if (!library.handle) return {};
  Described d = describe(problem, library.capability);
  if (!propose(d, library.handle).empty()) return {};
  std::vector<Candidate> list;
  for (int64_t i = 0; i < d.graph->get_execution_plan_count() && static_cast<int>(list.size()) < most; ++i) {
    Plan plan{.graph = d.graph, .index = i};
    std::string name;
    if (d.graph->build_plan_at_index(i).is_bad() || d.graph->get_plan_name_at_index(i, name).is_bad()) continue;
    if (d.graph->get_workspace_size_plan_at_index(i, plan.workspace).is_bad()) continue;
    list.push_back({name, [&library, plan, a, b, c] {
                      const std::string why = execute(library, plan, "candidate", {a.raw(), b.raw(), c.raw()});
                      require(why.empty(), "candidate", "cuDNN: ", why);
                    }});
  }
  return list;
} catch (const std::runtime_error&) {
  return {};  // an old libcudnn that lacks a function
}

bool run_forward(const LinearGelu& p, const void* x, const void* w, const void* b, void* y, void* pre) {
  std::vector<const void*> operands{x, w};
  if (p.bias) operands.push_back(b);
  if (p.pre) operands.push_back(pre);
  operands.push_back(y);
  return run(p, operands);
}

bool run_backward(const LinearGelu& p, const void* dy, const void* w, const void* pre, void* dx, float* db) {
  if (!p.bias) return run(p, {dy, w, pre, dx});
  return run(p, {dy, w, pre, dx, db}, db, p.s.I);
}

bool found() { return opened(); }

std::string why_not(const Convolution& problem, const Card& card) {
  Described d = describe(problem, card.capability);
  d.graph->set_device_properties(read(card));
  const std::string why = propose(d, nullptr);
  return why.empty() ? build(d) : why;
}

std::string why_not(const Attention& problem, const Card& card) {
  Described d = describe(problem, card.capability);
  d.graph->set_device_properties(read(card));
  return propose(d, nullptr);
}

std::string why_not(const LinearGelu& problem, const Card& card) {
  Described d = describe(problem, card.capability);
  d.graph->set_device_properties(read(card));
  const std::string why = propose(d, nullptr);
  return why.empty() ? reason(d.graph->build_plan_at_index(0)) : why;
}

Card this_card() {
  fe::DeviceProperties properties;
  std::vector<uint8_t> text;
  fe::error_t status = properties.set_device_id(0).build();
  if (status.is_good()) status = properties.serialize(text);
  require(status.is_good(), "cudnn", "this card's properties: ", reason(status));
  return {std::string(text.begin(), text.end()), capability_here()};
}

}  // namespace sked::cuda::cudnn

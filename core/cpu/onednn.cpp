#include "core/cpu/onednn.h"

#include <omp.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cassert>
#include <new>

#include "core/build.h"

namespace sked::cpu::onednn {
namespace {

const WithLibrary library("oneDNN " + std::to_string(dnnl_version()->major) + "." +
                          std::to_string(dnnl_version()->minor) + "." + std::to_string(dnnl_version()->patch));

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::stream& stream() {
  thread_local dnnl::stream mine(engine());
  return mine;
}

/// Scratch memory is ours to give. With `accumulate` what is computed is added to what lies there.
dnnl::primitive_attr attributes(bool accumulate = false) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops then;
    then.append_sum(1.0f);
    attr.set_post_ops(then);
  }
  return attr;
}

// What differs between the versions: 2.x wraps the description in a `desc` before it meets its engine, 3.x takes all at
// once. A backward operation also gets the forward one's description, as a hint.
template <class Kind, class... Args>
typename Kind::primitive_desc describe(const dnnl::primitive_attr& attr, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Kind::primitive_desc(engine(), args..., attr);
#else
  return typename Kind::primitive_desc(typename Kind::desc(args...), attr, engine());
#endif
}

template <class Kind, class Hint, class... Args>
typename Kind::primitive_desc describe_backward(const Hint& forward, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
  return typename Kind::primitive_desc(engine(), args..., forward, attributes());
#else
  return typename Kind::primitive_desc(typename Kind::desc(args...), attributes(), engine(), forward);
#endif
}

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

Extents both(int64_t extent) { return {extent, extent}; }

Extents extents(const Layout& layout) {
#if DNNL_VERSION_MAJOR >= 3
  return layout.get_dims();
#else
  return layout.dims();
#endif
}

dnnl::convolution_forward::primitive_desc forward_description(const ConvLayouts& l, const Window& window,
                                                              bool accumulate = false) {
  return describe<dnnl::convolution_forward>(attributes(accumulate), dnnl::prop_kind::forward_training, kDirect, l.x,
                                             l.w, l.bias, l.y, both(window.stride), both(window.padding),
                                             both(window.padding));
}

/// The forward convolution of a backward one, as a hint: in f32, since a filters' gradient of bf16 has no forward.
dnnl::convolution_forward::primitive_desc hint(const ConvLayouts& l, const Window& window) {
  return forward_description(
      {layout(extents(l.x), Tag::nhwc), layout(extents(l.w), Tag::any), {}, layout(extents(l.y), Tag::nhwc)}, window);
}

}  // namespace

Layout layout(const Extents& extents, Tag tag, dnnl::memory::data_type type) { return Layout(extents, type, tag); }

Layout layout(const Extents& extents, const Extents& strides, dnnl::memory::data_type type) {
  return Layout(extents, type, strides);
}

int threads_here() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

bool processor_has(dnnl::cpu_isa isa) {
  const auto all = static_cast<unsigned>(dnnl::get_effective_cpu_isa()), wanted = static_cast<unsigned>(isa);
  return (all & wanted) == wanted;
}

void require_room_for_code() {
  static const bool limited = [] {
    rlimit limit{};
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  }();
  if (!limited) return;
  constexpr size_t kCode = size_t{128} << 20;  // more than what another thread may take at once, 64 MiB for its heap
  void* mapping = mmap(nullptr, kCode, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  munmap(mapping, kCode);
}

Operation::Operation(const dnnl::primitive_desc_base& description) : description_(description) {
  require_room_for_code();
  primitive_ = dnnl::primitive(description.get());
}

Layout Operation::layout(int which) const { return description_.query_md(dnnl::query::exec_arg_md, which); }

Tensor Operation::allocate(int which) const {
  return Tensor::empty({static_cast<int64_t>(layout(which).get_size())}, DType::u8);
}

void Operation::run(std::initializer_list<Argument> arguments) const {
  constexpr size_t kMost = 8;
  assert(arguments.size() < kMost);
  std::array<dnnl::memory, kMost> memories;
  std::array<dnnl_exec_arg_t, kMost> passed;
  size_t count = 0;
  const auto add = [&](int which, const Layout& layout, const void* data) {
    memories[count] = dnnl::memory(layout, engine(), const_cast<void*>(data));
    passed[count] = {which, memories[count].get()};
    ++count;
  };
  for (const Argument& a : arguments) {
    if (a.data) add(a.which, layout(a.which), a.data);
  }
  const Layout pad = description_.scratchpad_desc();
  Tensor scratch;
  if (pad.get_size() > 0) {
    scratch = Tensor::empty({static_cast<int64_t>(pad.get_size())}, DType::u8);
    add(DNNL_ARG_SCRATCHPAD, pad, scratch.raw());
  }
  dnnl::error::wrap_c_api(
      dnnl_primitive_execute(primitive_.get(), stream().get(), static_cast<int>(count), passed.data()),
      "could not execute a primitive");
  stream().wait();
}

Operation matmul(const Layout& a, const Layout& b, const Layout& bias, const Layout& c, bool accumulate) {
  return Operation(describe<dnnl::matmul>(attributes(accumulate), a, b, bias, c));
}

Operation convolution_forward(const ConvLayouts& l, const Window& window) {
  return Operation(forward_description(l, window));
}

Operation convolution_forward_accumulate(const ConvLayouts& l, const Window& window) {
  return Operation(forward_description(l, window, true));
}

Operation convolution_backward_input(const ConvLayouts& l, const Window& window) {
  return Operation(describe_backward<dnnl::convolution_backward_data>(
      hint(l, window), kDirect, l.x, l.w, l.y, both(window.stride), both(window.padding), both(window.padding)));
}

Operation convolution_backward_weight(const ConvLayouts& l, const Window& window) {
  return Operation(describe_backward<dnnl::convolution_backward_weights>(hint(l, window), kDirect, l.x, l.w, l.bias,
                                                                         l.y, both(window.stride), both(window.padding),
                                                                         both(window.padding)));
}

Operation reorder(const Layout& from, const Layout& to) {
  return Operation(dnnl::reorder::primitive_desc(engine(), from, engine(), to, attributes()));
}

Tensor FilterPlan::filters(const Tensor& w) const {
  return w.prepared(this, [&] {
    Tensor wanted = compute.allocate(DNNL_ARG_WEIGHTS);
    rearrange.run({{DNNL_ARG_FROM, w.raw()}, {DNNL_ARG_TO, wanted.raw()}});
    return wanted;
  });
}

}  // namespace sked::cpu::onednn

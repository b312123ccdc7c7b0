#include "apps/scale/step_count.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "apps/scale/dry_ranks.h"
#include "core/allocator.h"
#include "core/error.h"

namespace sked::scale {
namespace {

constexpr int64_t kFew = 2;  // images of what is counted; batch norm takes no single one

int64_t live() { return static_cast<int64_t>(allocator(Device::cpu).stats().live); }

/// Blocks in use at the peak of f().
template <class F>
int64_t peak(F&& f) {
  allocator(Device::cpu).reset_peak();
  f();
  return static_cast<int64_t>(allocator(Device::cpu).stats().peak);
}

template <class F>
Work counted(F&& f) {
  const WorkCount count;
  f();
  return work_of(count);
}

int64_t block_bytes(const Tensor& t) { return static_cast<int64_t>(CachingAllocator::rounded(t.bytes())); }

int64_t parameter_bytes(const Module& module) {
  int64_t bytes = 0;
  for (const NamedVar& p : module.parameters()) bytes += block_bytes(p.var.value());
  return bytes;
}

int64_t gradient_bytes(const Module& module) {
  int64_t bytes = 0;
  for (const NamedVar& p : module.parameters())
    if (p.var.grad().defined()) bytes += block_bytes(p.var.grad());
  return bytes;
}

void clear_grads(const Module& module) {
  for (NamedVar& p : module.parameters()) p.var.clear_grad();
}

struct BackboneWork {
  Work forward, backward;
};

/// Gradients are made, or added to where they are.
BackboneWork backbone_work(TrainingStep& step, int64_t images) {
  BackboneWork work;
  Var phi;
  work.forward = counted([&] { phi = step.pre_logits(images); });
  work.backward = counted([&] { phi.backward(Tensor::like(phi.value())); });
  return work;
}

Work head_work(TrainingStep& step, int64_t images) {
  const Var phi(Tensor::empty({images, step.model().backbone().width()}), true);
  return counted([&] { step.loss(phi).backward(); });
}

/// What is `once` for kFew images and `twice` for as many again, of `images`: a constant, and as much for each.
int64_t continued(int64_t once, int64_t twice, int64_t images) {
  return once + (twice - once) * (images - kFew) / kFew;
}

/// The other ranks are asked for the same, however many images there are.
Work continued(Work once, const Work& twice, int64_t images) {
  once.operations = continued(once.operations, twice.operations, images);
  once.bytes = continued(once.bytes, twice.bytes, images);
  return once;
}

/// Where the memory of the step's pieces goes; its gradients are there. `images` at once.
void count_memory(StepCount& c, TrainingStep& step, int64_t images) {
  // Linear in the images: blocks of twice the images are rounded up by the same share.
  const int64_t kept = live(), once = peak([&] { backbone_work(step, kFew); }) - kept,
                twice = peak([&] { backbone_work(step, 2 * kFew); }) - kept;
  c.activations = continued(once, twice, images);
  if (c.parts == 1) clear_grads(step.model().head());  // else they are added to
  c.head_peak = std::max<int64_t>(0, peak([&] { head_work(step, images); }) - kept);
}

}  // namespace

Work& Work::operator+=(const Work& other) {
  operations += other.operations;
  bytes += other.bytes;
  for (const auto& [name, entry] : other.collectives) collectives[name] += entry;
  return *this;
}

Work& Work::operator-=(const Work& other) {
  Work negative = other;
  return *this += negative *= -1;
}

Work& Work::operator*=(int64_t times) {
  operations *= times;
  bytes *= times;
  for (auto& [name, entry] : collectives) entry.calls *= times, entry.bytes *= times;
  return *this;
}

Work work_of(const WorkCount& count) {
  constexpr std::array<std::string_view, 6> kCollectives = {"all_reduce",     "start_all_reduce", "all_gather",
                                                            "reduce_scatter", "broadcast",        "barrier"};
  Work work;
  for (const auto& [name, entry] : count.entries()) {
    if (std::find(kCollectives.begin(), kCollectives.end(), name) != kCollectives.end()) {
      work.collectives[name] = entry;
    } else {
      work.operations += entry.operations;
      work.bytes += entry.bytes;
    }
  }
  return work;
}

StepCount count_step(const StepConfig& config, int64_t batch, int64_t ranks, int64_t at_once) {
  require_usage(batch >= ranks, "--global-batch", "expected an image for each of ", ranks, " ranks, got ", batch);
  const DryRun dry;
  DryRanks others(ranks);
  StepCount c;
  c.images = span_of(batch, others.rank(), ranks).size();
  c.parts = (c.images - 1) / at_once + 1;
  const int64_t images = (c.images - 1) / c.parts + 1;

  const int64_t nothing = live();
  Init init = Init::blank();
  TrainingStep step(config, others, init);
  step.run(kFew);  // makes all that stays: the optimizer's state, weights rounded once
  c.parameters = parameter_bytes(step.model());
  c.gradients = gradient_bytes(step.model());
  c.state = live() - nothing - c.parameters - c.gradients;

  c.update = counted([&] { step.run(kFew); });
  clear_grads(step.model());
  const BackboneWork few = backbone_work(step, kFew);
  for (const Work& work : {few.forward, few.backward, head_work(step, kFew)}) c.update -= work;
  count_memory(c, step, images);

  clear_grads(step.model());
  const BackboneWork twice = backbone_work(step, 2 * kFew);
  c.forward = continued(few.forward, twice.forward, images) *= c.parts;
  c.backward = continued(few.backward, twice.backward, images) *= c.parts;
  c.head = head_work(step, images) *= c.parts;
  return c;
}

}  // namespace sked::scale

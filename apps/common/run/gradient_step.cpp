#include "apps/common/run/gradient_step.h"

#include "autograd/elementwise.h"
#include "core/error.h"

namespace sked {
namespace {

TensorList on_device(const TensorList& tensors, Device device) {
  TensorList there;
  for (const Tensor& t : tensors) there.push_back(t.to(device));
  return there;
}

}  // namespace

GradientStep::GradientStep(Loss loss, std::vector<NamedVar> parameters, Device device, bool record, Note note,
                           int64_t parts)
    : loss_of_(std::move(loss)),
      parameters_(std::move(parameters)),
      device_(device),
      records_(record && can_record(device)),
      note_(std::move(note)),
      parts_(parts) {
  require(parts >= 1, "gradient_step", "expected at least 1 part, got ", parts);
}

Tensor GradientStep::run(const TensorList& inputs, const Context& context) {
  clear_grads();
  bool known = false;
  if (records_) {
    Layout layout{{context.examples.shape(), context.examples.dtype()}};
    for (const Tensor& t : inputs) layout.emplace_back(t.shape(), t.dtype());
    known = layout == layout_ && (!recording_ || context.first_row == context_.first_row);
    if (!recording_) layout_ = std::move(layout);
  }
  if (known && (recording_ || record(inputs, context))) return replay(inputs, context);
  Context there = context;
  there.examples = context.examples.to(device_);
  return compute(on_device(inputs, device_), there);
}

Tensor GradientStep::compute(const TensorList& inputs, const Context& context) const {
  if (parts_ > 1) return compute_in_parts(inputs, context);
  const Var loss = loss_of_(inputs, context);
  loss.backward();
  return loss.value();
}

Tensor GradientStep::compute_in_parts(const TensorList& inputs, const Context& context) const {
  const int64_t rows = context.examples.dim(0);
  Tensor total;
  for (int64_t part = 0; part < parts_; ++part) {
    const int64_t first = rows * part / parts_, end = rows * (part + 1) / parts_;
    if (first == end) continue;
    TensorList some;
    for (const Tensor& t : inputs) some.push_back(t.rows(first, end));
    Context of_part = context;
    of_part.examples = context.examples.rows(first, end);
    of_part.first_row = context.first_row + first;
    const Var loss = loss_of_(some, of_part) * (static_cast<double>(end - first) / static_cast<double>(rows));
    loss.backward();
    total = total.defined() ? (Var(total) + Var(loss.value())).value() : loss.value();
  }
  return total;
}

bool GradientStep::record(const TensorList& inputs, const Context& context) {
  const auto place_for = [&](const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), device_); };
  context_ = context;
  if (context.examples.defined()) context_.examples = place_for(context.examples);
  for (const Tensor& t : inputs) inputs_.push_back(place_for(t));
  try {
    recording_ = record_work(device_, context.step, [this] {
      loss_ = compute(inputs_, context_);
      grads_.clear();
      for (const NamedVar& p : parameters_) grads_.push_back(p.var.grad());
    });
  } catch (const Error& error) {
    clear_grads();
    inputs_.clear();
    records_ = false;
    if (note_) note_(std::string("the steps are not replayed from a recording: ") + error.what());
  }
  return records_;
}

Tensor GradientStep::replay(const TensorList& inputs, const Context& context) {
  require(context.seed == context_.seed && context.training == context_.training, "gradient_step", "expected the seed ",
          context_.seed, " of the recording, got ", context.seed);
  require(context.activations == context_.activations, "gradient_step", "expected the recording's activations in ",
          context_.activations, ", got ", context.activations);
  for (size_t i = 0; i < inputs.size(); ++i) inputs_[i].copy_from(inputs[i]);
  if (context.examples.defined()) context_.examples.copy_from(context.examples);
  context_.step = context.step;
  recording_->replay(context.step);
  clear_grads();
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].var.mutable_grad() = grads_[i];
  return loss_.clone();  // the next replay overwrites it
}

void GradientStep::clear_grads() {
  for (NamedVar& p : parameters_) p.var.clear_grad();
}

}  // namespace sked

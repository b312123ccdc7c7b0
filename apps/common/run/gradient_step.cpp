#include "apps/common/run/gradient_step.h"

#include "apps/common/run/trace.h"
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

BatchCut cut_of(const std::vector<int64_t>& part_rows, Communicator& ranks) {
  const auto parts = std::ssize(part_rows);
  const std::vector<int64_t> all = all_gather_rows(ranks, Tensor::from(part_rows, {parts})).to_vector<int64_t>();
  BatchCut cut;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t begin = cut.total;
    BatchCut::Part mine;
    int64_t empty = -1;
    for (int64_t r = 0; r < ranks.size(); ++r) {
      const int64_t rows = all[static_cast<size_t>(r * parts + p)];
      if (r == ranks.rank()) mine = {rows, cut.total};
      if (rows == 0) empty = r;
      cut.total += rows;
    }
    require(empty < 0 || cut.total == begin, "train", "rank ", empty, " has no image of a batch that others have ",
            cut.total - begin, " of: expected train.batch_size / train.accumulate of more than ", ranks.size(),
            " ranks, and fewer images that cannot be used");
    cut.parts.push_back(mine);
  }
  return cut;
}

GradientStep::GradientStep(Loss loss, std::vector<NamedVar> parameters, Device device, bool record, Note note,
                           Communicator& ranks)
    : loss_of_(std::move(loss)),
      parameters_(std::move(parameters)),
      device_(device),
      records_(record && can_record(device) && ranks.size() == 1),
      note_(std::move(note)),
      ranks_(ranks),
      sums_(ranks.size() > 1 ? parameters_ : std::vector<NamedVar>{}, ranks) {}

Tensor GradientStep::run(const TensorList& inputs, const Context& context) {
  return run(inputs, context, cut_of({inputs.front().dim(0)}, ranks_));
}

Tensor GradientStep::run(const TensorList& inputs, const Context& context, const BatchCut& cut) {
  clear_grads();
  bool known = false;
  if (records_) {
    Layout layout{{context.examples.shape(), context.examples.dtype()}};
    for (const Tensor& t : inputs) layout.emplace_back(t.shape(), t.dtype());
    known = layout == layout_ && cut == cut_;
    if (!recording_) layout_ = std::move(layout), cut_ = cut;
  }
  if (known && !Trace::looks() && (recording_ || record(inputs, context))) return replay(inputs, context);
  Context there = context;
  there.examples = context.examples.to(device_);
  return compute(on_device(inputs, device_), there, cut);
}

Tensor GradientStep::compute(const TensorList& inputs, const Context& context, const BatchCut& cut) {
  Tensor total;
  int64_t begin = 0, to_come = 0;
  for (const BatchCut::Part& part : cut.parts) to_come += part.rows;
  for (const BatchCut::Part& part : cut.parts) {
    const int64_t end = begin + part.rows;
    if (begin == end) continue;
    TensorList some;
    for (const Tensor& t : inputs) some.push_back(t.rows(begin, end));
    Context of_part = context;
    of_part.examples = context.examples.defined() ? context.examples.rows(begin, end) : Tensor();
    of_part.first_row = part.first_row;
    of_part.ranks = &ranks_;
    begin = end;
    Var loss;
    {
      const Trace::Span span("forward");
      loss = loss_of_(some, of_part);
      if (part.rows < cut.total) loss = loss * (static_cast<double>(part.rows) / static_cast<double>(cut.total));
    }
    to_come -= part.rows;
    const Trace::Span span("backward");
    to_come == 0 && ranks_.size() > 1 ? sums_.backward(loss) : loss.backward();
    total = total.defined() ? (Var(total) + Var(loss.value())).value() : loss.value();
  }
  ranks_.all_reduce(total);
  return total;
}

bool GradientStep::record(const TensorList& inputs, const Context& context) {
  const auto place_for = [&](const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), device_); };
  context_ = context;
  if (context.examples.defined()) context_.examples = place_for(context.examples);
  for (const Tensor& t : inputs) inputs_.push_back(place_for(t));
  try {
    recording_ = record_work(device_, context.step, [this] {
      loss_ = compute(inputs_, context_, cut_);
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

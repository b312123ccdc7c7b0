#include "autograd/gradient_sums.h"

#include <algorithm>

#include "core/error.h"
#include "core/stopwatch.h"

namespace sked {

GradientSums::GradientSums(const std::vector<NamedVar>& parameters, Communicator& ranks, int64_t bucket_bytes)
    : ranks_(ranks) {
  int64_t elements = 0;
  const auto close = [&] {
    Bucket& bucket = buckets_.back();
    const Tensor& like = parameters_[bucket.members.front().parameter].var.value();
    bucket.elements = Tensor::empty({elements}, like.dtype(), like.device());
    elements = 0;
  };
  for (size_t i = parameters.size(); i-- > 0;) {
    const NamedVar& p = parameters[i];
    if (!p.var.requires_grad() || p.shard.divided()) continue;
    const bool first = parameters_.empty(),
               full = elements * static_cast<int64_t>(size_of(p.var.dtype())) >= bucket_bytes;
    if (!first && (full || p.var.dtype() != parameters_.back().var.dtype())) close();
    if (elements == 0) buckets_.emplace_back();
    buckets_.back().members.push_back({parameters_.size(), {elements, elements + p.var.numel()}});
    elements += p.var.numel();
    bucket_of_.push_back(buckets_.size() - 1);
    by_gradient_[&p.var.grad()] = parameters_.size();
    parameters_.push_back(p);
  }
  if (!buckets_.empty()) close();
}

void GradientSums::backward(const Var& loss) {
  const Stopwatch watch;
  begun_ = 0;
  done_.assign(parameters_.size(), false);
  for (Bucket& bucket : buckets_) bucket.missing = bucket.members.size();
  {
    const OnGradient listening([this](const Tensor& grad) {
      const auto at = by_gradient_.find(&grad);
      if (at != by_gradient_.end()) complete(at->second);
    });
    loss.backward();
  }
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!done_[i]) complete(i);
  const Stopwatch waiting;
  ranks_.finish();
  seconds_waited_ += waiting.seconds();
  seconds_ += watch.seconds();
}

/// Its gradient lies in the bucket from here on.
void GradientSums::complete(size_t parameter) {
  Bucket& bucket = buckets_[bucket_of_[parameter]];
  require(!done_[parameter], "gradient_sums", "the gradient of ", parameters_[parameter].name,
          " was complete and has changed: an op reads the parameter in a recomputation and elsewhere");
  done_[parameter] = true;
  put(bucket, *std::ranges::find(bucket.members, parameter, &Member::parameter));
  --bucket.missing;
  begin_full();
  ranks_.poke();
}

void GradientSums::put(const Bucket& bucket, const Member& member) {
  Var& var = parameters_[member.parameter].var;
  Tensor place = bucket.elements.rows(member.place.begin, member.place.end);
  if (var.grad().defined())
    place.copy_from(var.grad().reshape({-1}));
  else
    place.fill(0);
  var.set_grad(place.reshape(var.shape()));
}

void GradientSums::begin_full() {
  while (begun_ < buckets_.size() && buckets_[begun_].missing == 0)
    ranks_.start_all_reduce(buckets_[begun_++].elements);
}

}  // namespace sked

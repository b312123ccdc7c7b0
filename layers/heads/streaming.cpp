#include "layers/heads/streaming.h"

#include <cmath>
#include <limits>

#include "autograd/collective.h"
#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"
#include "core/kernels/index.h"
#include "layers/heads/logit_tiles.h"

namespace sked {

namespace {

using detail::LogitTiles;

constexpr double kNothingYet = -std::numeric_limits<double>::infinity();  // of a running log-sum-exp

/// The same values without the tape they hang on.
SampledLogits off_tape(const SampledLogits& a) {
  std::vector<Var> inputs = inputs_of(a);
  for (Var& x : inputs)
    if (x.defined()) x = x.detach();
  return with_inputs(a, inputs);
}

Tensor filled(const SampledLogits& a, int64_t rows, int64_t columns, double value) {
  return Tensor::full({rows, columns}, value, a.center.dtype(), a.center.device());
}

/// x (B,n) times dy (B).
Tensor times_rows(const Tensor& x, const Tensor& dy) { return (Var(x) * reshape(Var(dy), {dy.dim(0), 1})).value(); }

/// On the CPU at once. Elsewhere the host would have to wait for the device, which finds a wrong one where it follows
/// it: in a table of as many rows as there are classes.
void check_labels(const Tensor& labels, int64_t rows, int64_t classes) {
  require_shape(labels, {rows}, "streaming_nll", "labels");
  if (labels.device() != Device::cpu) {
    Tensor unused = Tensor::empty({rows, 1}, DType::f32, labels.device());
    return kernel::gather_rows(Tensor::zeros({classes, 1}, DType::f32, labels.device()), labels, unused);
  }
  const std::vector<int64_t> values = labels.to_vector<int64_t>();
  for (size_t b = 0; b < values.size(); ++b)
    require(values[b] >= 0 && values[b] < classes, "streaming_nll", "expected labels in 0 to ", classes - 1, ", got ",
            values[b], " in row ", b);
}

/// Labels among all classes, checked, as places among this rank's, outside of which no tile has them; on the CPU.
Tensor counted_from_own(const SampledLogits& a, const Tensor& labels) {
  const int64_t rows = a.center.dim(0);
  const Tensor here = labels.to(Device::cpu);
  check_labels(here, rows, a.shard.total);
  std::vector<int64_t> places = here.to_vector<int64_t>();
  for (int64_t& label : places) label -= a.shard.first;
  return Tensor::from(places, {rows});
}

/// The labels as the kernels count them.
Tensor own_labels(const SampledLogits& a, const Tensor& labels) {
  if (a.shard.divided()) return counted_from_own(a, labels).to(a.center.device());
  check_labels(labels, a.center.dim(0), a.classes());
  return labels;
}

/// The targets (B,K) of this rank's classes.
Tensor own_targets(const SampledLogits& a, const Targets& targets) {
  if (!a.shard.divided() || targets.distributions.defined())
    return dense_targets(targets, a.classes(), a.center.value());
  const std::vector<int64_t> places = counted_from_own(a, targets.labels).to_vector<int64_t>();
  Tensor one_hot = Tensor::zeros({a.center.dim(0), a.classes()});
  for (int64_t b = 0; b < one_hot.dim(0); ++b) {
    const int64_t k = places[static_cast<size_t>(b)];
    if (k >= 0 && k < a.classes()) one_hot.data<float>()[b * a.classes() + k] = 1;
  }
  return one_hot.to(a.center.dtype()).to(a.center.device());
}

/// What each rank has summed over its own classes becomes the sum over all.
void sum_over_ranks(const SampledLogits& a, Tensor& t) {
  if (a.shard.divided()) a.shard.ranks->all_reduce(t);
}

/// lse (B,S) over each rank's own classes becomes that over all: log Σ_r exp lse_r, its greatest term taken out. A
/// target_logit (B,S), 0 on all ranks but the one that has the label, becomes that rank's.
void combine(const SampledLogits& a, Tensor& lse, Tensor* target_logit = nullptr) {
  if (!a.shard.divided()) return;
  Tensor greatest = lse.clone();
  a.shard.ranks->all_reduce(greatest, Reduction::max);
  const int64_t B = lse.dim(0);
  const Var shares = exp(Var(lse) - Var(greatest));
  Tensor sums = target_logit ? concat({shares, Var(*target_logit)}, 0).value() : shares.value();
  a.shard.ranks->all_reduce(sums);
  lse = (Var(greatest) + log(Var(sums.rows(0, B)))).value();
  if (target_logit) *target_logit = sums.rows(B, 2 * B);
}

/// Twice through the tiles, the second time with what the first has summed over classes: chunk by chunk, or, where
/// other ranks have classes too, once through all chunks and, when `meet` has put the ranks' sums together, once more.
template <class First, class Meet, class Second>
void two_passes(LogitTiles& tiles, bool divided, First&& first, Meet&& meet, Second&& second) {
  if (!divided) {
    return tiles.for_each_chunk([&] {
      first();
      second();
    });
  }
  tiles.for_each_chunk(first);
  meet();
  tiles.for_each_chunk(second);
}

/// lse and log p of every class for the softmax: log p (B,K) = log Σ_s softmax(a_s).
struct SoftmaxSums {
  Tensor lse, log_p;

  SoftmaxSums(const SampledLogits& a, TileSize tile, const std::shared_ptr<detail::KeptTiles>& kept) {
    LogitTiles tiles(a, tile, kept);
    lse = filled(a, tiles.batch(), a.samples, kNothingYet);
    log_p = filled(a, tiles.batch(), tiles.classes(), kNothingYet);
    Tensor none;
    const auto over_classes = [&] {
      tiles.for_each_tile([&](const Tensor& x, TileOrigin at) { kernel::label_tile_forward(x, none, lse, none, at); });
    };
    const auto over_samples = [&] {
      tiles.for_each_tile(
          [&](const Tensor& x, TileOrigin at) { kernel::class_tile_forward(x, lse, log_p, ClassLog::softmax, at); });
    };
    two_passes(
        tiles, a.shard.divided(), over_classes, [&] { combine(a, lse); }, over_samples);
  }
};

/// log Σ_s σ(±a_s) (B,K), one for each of `logs`.
TensorList sigmoid_sums(const SampledLogits& a, TileSize tile, const std::vector<ClassLog>& logs,
                        const std::shared_ptr<detail::KeptTiles>& kept) {
  LogitTiles tiles(a, tile, kept);
  TensorList sums;
  for (size_t i = 0; i < logs.size(); ++i) sums.push_back(filled(a, tiles.batch(), tiles.classes(), kNothingYet));
  tiles.for_each_chunk([&] {
    tiles.for_each_tile([&](const Tensor& x, TileOrigin at) {
      for (size_t i = 0; i < logs.size(); ++i) kernel::class_tile_forward(x, Tensor(), sums[i], logs[i], at);
    });
  });
  return sums;
}

}  // namespace

Var streaming_nll(const SampledLogits& a, const Tensor& targets, TileSize tile) {
  const auto kept = detail::worth_keeping(a);
  LogitTiles tiles(a, tile, kept);
  const Tensor labels = own_labels(a, targets);
  Tensor lse = filled(a, tiles.batch(), a.samples, kNothingYet);
  Tensor target_logit = a.shard.divided() ? Tensor::zeros_like(lse) : Tensor::like(lse);
  tiles.for_each_chunk([&] {
    tiles.for_each_tile(
        [&](const Tensor& x, TileOrigin at) { kernel::label_tile_forward(x, labels, lse, target_logit, at); });
  });
  combine(a, lse, &target_logit);
  const Var c = Var(target_logit) - Var(lse);
  const Tensor loss = (-logmeanexp(c, 1)).value(), w = softmax(c).value();
  return record(loss, inputs_of(a), [a = off_tape(a), labels, lse, w, tile, kept](const Tensor& dy) {
    const Tensor weight = times_rows(w, dy);
    LogitTiles back(a, tile, kept);
    back.for_each_chunk([&] {
      back.differentiate([&](Tensor& x, Tensor& dbias, TileOrigin at) {
        kernel::label_tile_backward(x, labels, lse, weight, dbias, at);
      });
    });
    return back.gradients();
  });
}

Var streaming_soft_nll(const SampledLogits& a, const Tensor& q, TileSize tile) {
  const auto kept = detail::worth_keeping(a);
  const SoftmaxSums sums(a, tile, kept);
  require_shape(q, sums.log_p.shape(), "streaming_soft_nll", "q");
  const double log_samples = std::log(static_cast<double>(a.samples));
  Tensor loss = (-sum(Var(q) * (Var(sums.log_p) - log_samples), 1)).value();
  sum_over_ranks(a, loss);
  return record(loss, inputs_of(a), [a = off_tape(a), q, sums, tile, kept](const Tensor& dy) {
    const auto& [lse, log_p] = sums;
    const Tensor share = times_rows(q, dy);
    Tensor total = Tensor::zeros_like(lse);
    LogitTiles back(a, tile, kept);
    const auto weigh = [&, &lse = lse, &log_p = log_p] {
      back.for_each_tile(
          [&](const Tensor& x, TileOrigin at) { kernel::soft_tile_weights(x, lse, log_p, share, total, at); });
    };
    const auto differentiate = [&, &lse = lse, &log_p = log_p] {
      back.differentiate([&](Tensor& x, Tensor& dbias, TileOrigin at) {
        kernel::soft_tile_backward(x, lse, log_p, share, total, dbias, at);
      });
    };
    two_passes(
        back, a.shard.divided(), weigh, [&] { sum_over_ranks(a, total); }, differentiate);
    return back.gradients();
  });
}

Var streaming_sigmoid_nll(const SampledLogits& a, const Tensor& t, TileSize tile) {
  const auto kept = detail::worth_keeping(a);
  const TensorList sums = sigmoid_sums(a, tile, {ClassLog::sigmoid, ClassLog::sigmoid_complement}, kept);
  require_shape(t, sums[0].shape(), "streaming_sigmoid_nll", "t");
  const double log_samples = std::log(static_cast<double>(a.samples));
  const Var log_p = Var(sums[0]) - log_samples, log_not_p = Var(sums[1]) - log_samples;
  Tensor loss = (-sum(Var(t) * log_p + (1 - Var(t)) * log_not_p, 1)).value();
  sum_over_ranks(a, loss);
  return record(loss, inputs_of(a), [a = off_tape(a), t, sums, tile, kept](const Tensor& dy) {
    const Tensor share = times_rows(t, dy), rest = times_rows((1 - Var(t)).value(), dy);
    LogitTiles back(a, tile, kept);
    back.for_each_chunk([&] {
      back.differentiate([&](Tensor& x, Tensor& dbias, TileOrigin at) {
        kernel::sigmoid_tile_backward(x, sums[0], sums[1], share, rest, dbias, at);
      });
    });
    return back.gradients();
  });
}

Var streaming_contrastive(const SampledLogits& a, TileSize tile) {
  LogitTiles tiles(a, tile);
  const int64_t B = tiles.batch(), texts = a.shard.divided() ? a.shard.total : tiles.classes();
  require(texts == B, "streaming_contrastive", "expected as many texts as images, ", B, ", got ", texts);
  const Span mine = a.shard.divided() ? a.shard.rows() : Span{0, B};  // the images of this rank's texts
  const Tensor own = a.shard.divided() ? own_labels(a, row_numbers(B, Device::cpu)) : row_numbers(B, a.center.device());
  Tensor lse = filled(a, B, a.samples, kNothingYet), target_logit = Tensor::zeros_like(lse);
  Tensor column_lse = filled(a, a.samples, mine.size(), kNothingYet);  // (S,texts), as the columns of a tile lie
  tiles.for_each_chunk([&] {
    tiles.for_each_tile([&](const Tensor& x, TileOrigin at) {
      kernel::label_tile_forward(x, own, lse, target_logit, at);
      kernel::column_tile_forward(x, column_lse, at);
    });
  });
  combine(a, lse, &target_logit);
  const Var c_image = Var(target_logit) - Var(lse);
  const Var c_text = Var(target_logit.rows(mine.begin, mine.end)) - transpose(Var(column_lse));
  Tensor of_texts = (-logmeanexp(c_text, 1)).value();
  if (a.shard.divided()) of_texts = all_gather_rows(*a.shard.ranks, of_texts);
  const Tensor loss = ((Var(of_texts) - logmeanexp(c_image, 1)) / 2.0).value();
  const Tensor w_image = softmax(c_image).value(), w_text = softmax(c_text).value();
  const auto rule = [=, a = off_tape(a)](const Tensor& dy) {
    const Tensor half = (Var(dy) / 2.0).value();
    const Tensor weight = times_rows(w_image, half);
    const Tensor column_weight = transpose(Var(times_rows(w_text, half.rows(mine.begin, mine.end)))).value();
    LogitTiles back(a, tile);
    back.for_each_chunk([&] {
      back.differentiate([&](Tensor& x, Tensor& dbias, TileOrigin at) {
        kernel::pair_tile_backward(x, own, lse, weight, column_lse, column_weight, dbias, at);
      });
    });
    return back.gradients();
  };
  return record(loss, inputs_of(a), rule);
}

Var streaming_loss(Link link, const SampledLogits& a, const Targets& targets, TileSize tile) {
  Var loss;
  if (link == Link::softmax && targets.labels.defined()) {
    loss = streaming_nll(a, targets.labels, tile);
  } else {
    const Tensor t = own_targets(a, targets);
    loss = link == Link::softmax ? streaming_soft_nll(a, t, tile) : streaming_sigmoid_nll(a, t, tile);
  }
  return all_reduce_gradient(mean(loss), a.shard.divided() ? *a.shard.ranks : alone());
}

Tensor streaming_predict(Link link, const SampledLogits& a, TileSize tile) {
  const Tensor log_sum = link == Link::softmax ? SoftmaxSums(a, tile, nullptr).log_p
                                               : sigmoid_sums(a, tile, {ClassLog::sigmoid}, nullptr)[0];
  return exp(Var(log_sum) - std::log(static_cast<double>(a.samples))).value();
}

}  // namespace sked

#pragma once
// Link functions, what they are trained towards, and the Monte Carlo likelihood ("Likelihood" of METHOD.md).

#include <vector>

#include "layers/heads/head.h"
#include "layers/heads/streamed.h"
#include "layers/heads/streaming.h"

namespace sked {

/// Throws Error unless exactly one kind of target is there, with one row for each of `rows` examples: labels (B) i64 or
/// distributions (B,K). (That labels lie in 0 … K−1 is checked where they are read.)
void check_targets(const Targets& targets, int64_t rows, int64_t classes);

/// t (B,K) in the dtype and on the device of `like`: the distributions, or one-hot labels.
Tensor dense_targets(const Targets& targets, int64_t classes, const Tensor& like);

/// softmax over the last axis, or element-wise σ.
Var link_probabilities(Link link, const Var& a);

/// The mean over the batch of the losses that MonteCarloLikelihood::loss spells out, and its predictions, streaming
/// over samples and classes (layers/heads/streaming.h). What heads use unless told otherwise.
Var streaming_loss(Link link, const SampledLogits& a, const Targets& targets);
Tensor streaming_predict(Link link, const SampledLogits& a);

/// The same composed of ordinary ops: the readable definition, and what the streaming form is tested against.
/// The average of link(a_s) over samples of a_s = u_s / τ, in training through its logarithm. Logits come in chunks
/// (B,C,K) from a SampleChunk and are never kept: the memory of a loss or prediction is that of `chunk` samples,
/// whatever S.
class MonteCarloLikelihood {
 public:
  MonteCarloLikelihood(Link link, int64_t chunk) : link_(link), chunk_(chunk) {}

  /// Mean over the batch of
  ///   softmax, labels          −log p_y,            log p_y = logmeanexp_s log_softmax(a_s)_y
  ///   softmax, distributions   −Σ_k q_k log p_k,    log p_k = logmeanexp_s log_softmax(a_s)_k
  ///   sigmoid                  −Σ_k [t_k log p_k + (1−t_k) log(1−p_k)],
  ///                            log p_k = logmeanexp_s log σ(a_sk), log(1−p_k) = logmeanexp_s log σ(−a_sk)
  /// The streamed value per sample is one number for labels, K or 2K otherwise; that is also all that is kept between
  /// the passes.
  Var loss(const SampleChunk& a, const std::vector<Var>& inputs, int64_t samples, const Targets& targets) const;

  /// p (B,K) = (1/S) Σ_s link(a_s): an average of probabilities, never of logits. No tape.
  Tensor predict(const SampleChunk& a, const std::vector<Var>& inputs, int64_t samples) const;

  Link link() const { return link_; }
  int64_t chunk() const { return chunk_; }

 private:
  Link link_;
  int64_t chunk_;
};

}  // namespace sked

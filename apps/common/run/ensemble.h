#pragma once
// Ensembles: the predicted probabilities of several trained classifiers, averaged (Lakshminarayanan, Pritzel, Blundell,
// "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017, arXiv 1612.01474). The
// reference's ensembles of HET (uncertainty-baselines) average probabilities as well, each over its own Monte Carlo
// samples first, never logits.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/run/asked.h"

namespace sked {

struct EnsembleEvaluation {
  std::vector<Evaluation> members;
  Evaluation ensemble;      // of (1/M) Σ_m p_m(x)
  double disagreement = 0;  // share of the images that two members put in different classes, mean over pairs of members
};

/// M classifiers of the same classes and images. Their networks may differ, and so may their pipelines: each prepares
/// the images as its own configuration says.
class Ensemble {
 public:
  /// Reads every run, its networks side by side on the device; the images are the first's `split`, the classes in the
  /// first's order. `samples`: instead of each one's own head.test_samples. Each of the ranks calls what follows, and
  /// computes its rows of every batch. Throws UsageError for a run named twice;
  /// Error naming the run, what differs and both values where one has other classes, another link, other images or
  /// other label distributions than the first; and what load_asked() and check_images() throw.
  static Ensemble load(const std::vector<std::string>& runs, const std::string& split, std::optional<int64_t> samples,
                       const CommonOptions& common, Communicator& ranks = alone());

  const std::vector<Asked>& members() const { return members_; }
  const std::shared_ptr<const Dataset>& images() const { return images_; }

  /// Each member's measures and the ensemble's on images of the first member's classes, one member after the other:
  /// beside the networks it needs f32 (N,K). `on_member` is called with each as soon as it is measured, `on_mean`
  /// with every batch's averaged probabilities, (B,K). Throws Error where one cannot read an image that another could,
  /// and as evaluate().
  EnsembleEvaluation evaluate(const std::shared_ptr<const Dataset>& images,
                              const std::function<void(size_t, const Evaluation&)>& on_member = {},
                              const std::function<void(const Tensor&, const Batch&)>& on_mean = {}) const;

 private:
  void add(Asked member, const std::string& split);
  Tensor in_first_order(Tensor probabilities, size_t member) const;

  std::vector<Asked> members_;
  std::vector<std::vector<int64_t>> classes_;  // the first member's number of each one's class k; empty: the same
  std::shared_ptr<const Dataset> images_;
};

}  // namespace sked

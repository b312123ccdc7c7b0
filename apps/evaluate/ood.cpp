#include "apps/evaluate/ood.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "apps/common/config/progress.h"
#include "apps/common/measure/detection.h"
#include "core/text.h"

namespace sked {
namespace {

/// Greater values mean further out of distribution.
struct Score {
  const char *key, *title;
  std::vector<double> values = {};
};

/// One number for each row of a matrix on any device.
template <class F>
std::vector<double> of_rows(const Tensor& matrix, const F& of_row) {
  const Tensor rows = matrix.to(Device::cpu);
  const int64_t width = rows.numel() / rows.dim(0);
  std::vector<double> numbers;
  for (int64_t i = 0; i < rows.dim(0); ++i) numbers.push_back(of_row(rows.data<float>() + i * width, width));
  return numbers;
}

void append(Score& score, const std::vector<double>& numbers) {
  score.values.insert(score.values.end(), numbers.begin(), numbers.end());
}

/// Numbers of this rank's rows: those of all are appended.
void append(Score& score, const std::vector<double>& numbers, const BatchRows& rows) {
  append(score, rows.gathered(Tensor::from(numbers, {std::ssize(numbers)})).to_vector<double>());
}

double minus_greatest(const float* row, int64_t width) { return -*std::max_element(row, row + width); }

/// Every score that `d` knows, of every image.
std::vector<Score> scores_of(const Detector& d, const std::shared_ptr<const Dataset>& dataset) {
  Score probability{"max_probability", "maximum probability"}, entropies{"entropy", "entropy"},
      logit{"max_logit", "maximum logit"}, noise{"noise", "predicted noise"}, nearest{"mahalanobis", "Mahalanobis"},
      relative{"relative_mahalanobis", "relative Mahalanobis"};
  const auto entropy_of = [&](const float* row, int64_t classes) { return entropy(row, classes, d.sigmoid); };
  d.predict(dataset, [&](const Prediction& p) {
    append(probability, of_rows(p.probabilities, minus_greatest));
    append(entropies, of_rows(p.probabilities, entropy_of));
    if (d.head) append(logit, of_rows(d.head->classifier_logits(p.phi), minus_greatest), p.rows);
    if (d.head && d.noisy)
      append(noise, of_rows(d.head->noise_scale(p.phi), [](const float* s, int64_t) { return *s; }), p.rows);
    if (!d.training) return;
    std::vector<double> near, far;
    for (const Mahalanobis::Distances& distances : d.training->distances(p.phi)) {
      near.push_back(distances.nearest);
      far.push_back(distances.relative);
    }
    append(nearest, near, p.rows);
    append(relative, far, p.rows);
  });
  std::vector<Score> scores;
  for (Score* s : {&probability, &entropies, &logit, &noise, &nearest, &relative})
    if (!s->values.empty()) scores.push_back(std::move(*s));
  return scores;
}

}  // namespace

Mahalanobis training_representations(const PredictAll& predict, const std::shared_ptr<const Dataset>& train,
                                     int64_t width, int64_t batch_size) {
  Mahalanobis gaussians(train->classes(), width);
  const int64_t batches = (train->size() + batch_size - 1) / batch_size;
  int64_t done = 0;
  {
    Progress progress("training images:", 0, batches, static_cast<double>(batch_size), false);
    predict(train, [&](const Prediction& p) {
      gaussians.add(p.rows.gathered(p.phi), p.batch.labels);
      progress.update(++done);
    });
  }
  gaussians.fit();
  if (gaussians.regularization() > 0)
    std::printf(
        "note: the representation of %lld training images, %lld wide, has a singular covariance: %.3g, a millionth of "
        "its mean variance, was added to its diagonal\n",
        static_cast<long long>(gaussians.count()), static_cast<long long>(width), gaussians.regularization());
  return gaussians;
}

Json report_ood(const Detector& detector, const std::shared_ptr<const Dataset>& own,
                const std::shared_ptr<const Dataset>& other, const std::string& name) {
  const std::vector<Score> in = scores_of(detector, own), out = scores_of(detector, other);
  std::printf("out of distribution (positive): %s, %zu images, by\n  %-22s   AUROC   AUPRC  AUPRC-in  FPR@95\n",
              printable(name).c_str(), out.front().values.size(), "");
  Json scores = Json::object();
  for (size_t i = 0; i < in.size(); ++i) {
    const Detection d = detection(in[i].values, out[i].values);
    std::printf("  %-22s  %.4f  %.4f  %8.4f  %.4f\n", in[i].title, d.auroc, d.auprc, d.auprc_in, d.fpr95);
    scores[in[i].key] = {{"auroc", d.auroc}, {"auprc", d.auprc}, {"auprc_in", d.auprc_in}, {"fpr95", d.fpr95}};
  }
  const Json area = scores.at("max_probability").at("auroc");
  return {{"dataset", name}, {"count", out.front().values.size()}, {"auroc", area}, {"scores", std::move(scores)}};
}

}  // namespace sked

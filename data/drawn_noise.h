#pragma once
// The label noise a configuration asks for, drawn on a data set's labels.

#include <cstdint>
#include <functional>
#include <memory>

#include "data/dataset.h"
#include "data/heteroscedastic_noise.h"
#include "data/label_noise.h"

namespace sked {

struct DrawnNoise {
  LabelNoise kind = LabelNoise::none;
  double rate = 0.4;
  uint64_t seed = 0;
};

/// p(noisy label | x) of the noise asked for, but heteroscedastic noise: f32 (N, K). Split 0 is training, 1 test, 2 a
/// validation part of its own.
Tensor noisy_label_distribution(const DrawnNoise& noise, const Tensor& images, const Tensor& labels, const Tensor& mean,
                                int64_t classes, uint64_t split);

/// Σ(x) of example i, whose v(x) is row i of v (N, K).
std::function<Tensor(int64_t)> covariance_by_example(std::shared_ptr<const HeteroscedasticNoise> noise, Tensor v);

/// Replaces labels of vectors by draws of the noise; the test set keeps its labels and gets the noise's p(y | x), and
/// of heteroscedastic noise its covariances. For that and instance noise all features are in memory while it is
/// drawn.
void draw_noise(const DrawnNoise& noise, std::shared_ptr<const Dataset>& train,
                std::shared_ptr<const Dataset>& validation, std::shared_ptr<const Dataset>& test);

}  // namespace sked

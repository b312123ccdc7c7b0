#include "data/drawn_noise.h"

#include <functional>
#include <utility>

#include "data/other_labels.h"

namespace sked {
namespace {

/// f32 (N, D).
Tensor features_of(const Dataset& data) {
  const int64_t width = data.image_shape()[0];
  Tensor features = Tensor::empty({data.size(), width});
  for (int64_t i = 0; i < data.size(); ++i) data.read_features(i, features.data<float>() + i * width);
  return features;
}

/// p(noisy label | x) of example i: f32 (1, K). But for instance noise it is made when it is asked for, since (N, K)
/// may be large.
std::function<Tensor(int64_t)> noise_by_example(const DrawnNoise& noise, const Dataset& data, const Tensor& features,
                                                const Tensor& mean, uint64_t split) {
  const int64_t classes = data.classes();
  const Tensor labels = labels_of(data);
  if (noise.kind == LabelNoise::instance) {
    const Tensor p = noisy_label_distribution(noise, features, labels, mean, classes, split);
    return [p](int64_t i) { return p.rows(i, i + 1); };
  }
  return [=](int64_t i) { return noisy_label_distribution(noise, {}, labels.rows(i, i + 1), mean, classes, split); };
}

std::shared_ptr<const Dataset> with_noise(const DrawnNoise& noise, const std::shared_ptr<const Dataset>& data,
                                          const Tensor& features, const Tensor& mean, uint64_t split) {
  const auto p = noise_by_example(noise, *data, features, mean, split);
  Tensor noisy = Tensor::empty({data->size()}, DType::i64);
  for (int64_t i = 0; i < data->size(); ++i) noisy.rows(i, i + 1).copy_from(sample_labels(p(i), noise.seed, split, i));
  return with_labels(data, noisy, data->name());
}

void draw_heteroscedastic(const DrawnNoise& asked, std::shared_ptr<const Dataset>& train,
                          std::shared_ptr<const Dataset>& validation, std::shared_ptr<const Dataset>& test) {
  const Tensor trained_on = features_of(*train);
  const auto noise = std::make_shared<const HeteroscedasticNoise>(trained_on, labels_of(*train), train->classes(),
                                                                  asked.rate, asked.seed);
  const auto drawn = [&](const std::shared_ptr<const Dataset>& data, const Tensor& features, uint64_t split) {
    return with_labels(data, noise->draw_labels(noise->scales(features), labels_of(*data), split), data->name());
  };
  train = drawn(train, trained_on, 0);
  if (validation) validation = drawn(validation, features_of(*validation), 2);
  const Tensor v = noise->scales(features_of(*test)), p = noise->distributions(v, labels_of(*test));
  test = with_distributions(test, [p](int64_t i) { return p.rows(i, i + 1).reshape({p.dim(1)}); });
  test = with_covariances(test, covariance_by_example(noise, v));
}

}  // namespace

std::function<Tensor(int64_t)> covariance_by_example(std::shared_ptr<const HeteroscedasticNoise> noise, Tensor v) {
  return [noise = std::move(noise), v = std::move(v)](int64_t i) {
    return noise->covariance(v.rows(i, i + 1).reshape({v.dim(1)}));
  };
}

Tensor noisy_label_distribution(const DrawnNoise& noise, const Tensor& images, const Tensor& labels, const Tensor& mean,
                                int64_t classes, uint64_t split) {
  if (noise.kind == LabelNoise::symmetric) return symmetric_noise(labels, classes, noise.rate);
  if (noise.kind == LabelNoise::pair) return pair_noise(labels, classes, noise.rate);
  return instance_noise(images, labels, mean, classes, {noise.rate, noise.seed, split});
}

void draw_noise(const DrawnNoise& noise, std::shared_ptr<const Dataset>& train,
                std::shared_ptr<const Dataset>& validation, std::shared_ptr<const Dataset>& test) {
  if (noise.kind == LabelNoise::heteroscedastic) return draw_heteroscedastic(noise, train, validation, test);
  const auto features = [&](const Dataset& data) {
    return noise.kind == LabelNoise::instance ? features_of(data) : Tensor();
  };
  const Tensor trained_on = features(*train), mean = trained_on.defined() ? mean_image(trained_on) : Tensor();
  train = with_noise(noise, train, trained_on, mean, 0);
  if (validation) validation = with_noise(noise, validation, features(*validation), mean, 2);
  const auto p = noise_by_example(noise, *test, features(*test), mean, 1);
  test = with_distributions(test, [p](int64_t i) {
    const Tensor row = p(i);
    return row.reshape({row.dim(1)});
  });
}

}  // namespace sked

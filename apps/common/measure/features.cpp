#include "apps/common/measure/features.h"

#include <filesystem>

#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "core/error.h"
#include "core/fingerprint.h"
#include "core/precision.h"
#include "core/safetensors.h"
#include "core/stopwatch.h"

namespace sked {
namespace {

/// All that decides φ but the weights, for people too.
std::string description(const Dataset& dataset, const RunConfig& config) {
  RunConfig decisive;
  decisive.model = config.model;
  decisive.data.eval_pipeline = config.data.eval_pipeline;
  return dataset.name() + ": " + std::to_string(dataset.size()) + " images " + image_fingerprint(dataset) +
         ", products in " + name(product_precision()) + "\n" + config_text(decisive);
}

std::string fingerprint(const Module& tower, const std::string& about) {
  Fingerprint f;
  const auto add = [&](const Tensor& tensor) {
    const Tensor values = tensor.to(Device::cpu);
    f.add(values.data<float>(), static_cast<size_t>(values.numel()) * sizeof(float));
  };
  for (const NamedVar& p : tower.parameters()) add(p.var.value());
  for (const auto& [name, buffer] : tower.buffers()) add(*buffer);
  f.add(about);
  return f.hex();
}

}  // namespace

LabeledFeatures labeled_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                                 const RunConfig& config, Device device, const Say& say, const std::string& what) {
  constexpr double kSecondsBetweenLines = 10;
  const int64_t total = dataset->size();
  LabeledFeatures f{Tensor::empty({total, tower.width()}), Tensor::empty({total}, DType::i64)};
  int64_t done = 0;
  Stopwatch since_line;
  const auto take = [&](const Batch& batch) {
    const int64_t count = batch.images.dim(0);
    const Tensor phi =
        tower.forward(Var(batch.images.to(device)), {.activations = activation_dtype(device)}).value().to(Device::cpu);
    require_finite(phi, batch, *dataset, "its representation");
    f.phi.rows(done, done + count).copy_from(phi);
    f.labels.rows(done, done + count).copy_from(batch.labels);
    done += count;
    if (since_line.seconds() < kSecondsBetweenLines || done == total) return;
    tell(say, what + ": " + std::to_string(done) + " of " + std::to_string(total));
    since_line = {};
  };
  for_each_batch(dataset, config.data.eval_pipeline, config.train.batch_size, config.data.corrupt_limit(), take,
                 [&](const Skipped& s) { tell(say, "left out: " + s.message); });
  return {f.phi.rows(0, done), f.labels.rows(0, done)};
}

Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      Device device, const Say& say) {
  namespace fs = std::filesystem;
  const std::string about = description(*dataset, config), &folder = config.contrast.features;
  const fs::path path = fs::path(folder) / (dataset->name() + "-" + fingerprint(tower, about) + ".safetensors");
  const Shape shape{dataset->size(), tower.width()};
  if (fs::exists(path)) {
    const TensorFile file = load_safetensors(path.string());
    const Tensor& phi = file.at("phi");
    require(phi.shape() == shape && phi.dtype() == DType::f32, "features", path.string(), ": phi expected ", shape,
            " f32, got ", phi, " (remove the file to have it made again)");
    return phi.to(device);
  }
  tell(say, "computing the features of " + std::to_string(dataset->size()) + " images, once: " + path.string());
  std::error_code failure;
  fs::create_directories(folder, failure);
  require(!failure, "features", folder, ": ", failure.message());
  check_writable(path.string());
  RunConfig every = config;  // an image that is lost would move the others
  every.data.skip_limit = 0;
  const Tensor phi = labeled_features(tower, dataset, every, device, say, "features").phi;
  save_safetensors(path.string(), {{"phi", phi}}, {{"about", about}});
  return phi.to(device);
}

}  // namespace sked

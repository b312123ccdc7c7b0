#include "apps/common/measure/features.h"

#include <cstdio>
#include <filesystem>

#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "core/error.h"
#include "core/fingerprint.h"
#include "core/precision.h"
#include "core/safetensors.h"

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

Tensor compute(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config, Device device) {
  Tensor phi = Tensor::empty({dataset->size(), tower.width()});
  int64_t done = 0;
  for_each_batch(dataset, config.data.eval_pipeline, config.train.batch_size, 0, [&](const Batch& batch) {
    const int64_t count = batch.images.dim(0);
    const Var images(batch.images.to(device));
    phi.rows(done, done + count)
        .copy_from(tower.forward(images, {.activations = activation_dtype(device)}).value().to(Device::cpu));
    done += count;
  });
  return phi;
}

}  // namespace

Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      Device device, const std::function<void(const std::string&)>& say) {
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
  const std::string line =
      "computing the features of " + std::to_string(dataset->size()) + " images, once: " + path.string();
  say ? say(line) : static_cast<void>(std::fprintf(stderr, "%s\n", line.c_str()));
  std::error_code failure;
  fs::create_directories(folder, failure);
  require(!failure, "features", folder, ": ", failure.message());
  check_writable(path.string());
  const Tensor phi = compute(tower, dataset, config, device);
  save_safetensors(path.string(), {{"phi", phi}}, {{"about", about}});
  return phi.to(device);
}

}  // namespace sked

#include "apps/common/features.h"

#include <cstdio>
#include <filesystem>

#include "apps/common/evaluation.h"
#include "core/error.h"
#include "core/fingerprint.h"
#include "core/safetensors.h"

namespace sked {
namespace {

std::string fingerprint(const Module& tower, const std::string& about) {
  Fingerprint f;
  const auto add = [&](const Tensor& tensor) {
    const Tensor values = tensor.to(Device::cpu);
    f.add(values.data<float>(), static_cast<size_t>(values.numel()) * sizeof(float));
  };
  for (const NamedVar& p : tower.parameters()) add(p.var.value());
  for (const auto& [name, buffer] : tower.buffers()) add(*buffer);
  f.add(about.data(), about.size());
  return f.hex();
}

Tensor compute(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const std::string& pipeline,
               int64_t batch_size, Device device) {
  Tensor phi = Tensor::empty({dataset->size(), tower.width()});
  int64_t done = 0;
  for_each_batch(dataset, pipeline, batch_size, 0, [&](const Batch& batch) {
    const int64_t count = batch.images.dim(0);
    phi.rows(done, done + count)
        .copy_from(tower.forward(Var(batch.images.to(device)), Context{}).value().to(Device::cpu));
    done += count;
  });
  return phi;
}

}  // namespace

Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const std::string& pipeline,
                      int64_t batch_size, const FeatureStore& store, Device device) {
  namespace fs = std::filesystem;
  const fs::path path =
      fs::path(store.folder) / (dataset->name() + "-" + fingerprint(tower, store.about) + ".safetensors");
  const Shape shape{dataset->size(), tower.width()};
  if (fs::exists(path)) {
    const TensorFile file = load_safetensors(path.string());
    const Tensor& phi = file.at("phi");
    require(phi.shape() == shape && phi.dtype() == DType::f32, "features", path.string(), ": phi expected ", shape,
            " f32, got ", phi, " (remove the file to have it made again)");
    return phi.to(device);
  }
  std::fprintf(stderr, "computing the features of %lld images, once: %s\n", static_cast<long long>(dataset->size()),
               path.string().c_str());
  const Tensor phi = compute(tower, dataset, pipeline, batch_size, device);
  std::error_code failure;
  fs::create_directories(store.folder, failure);
  require(!failure, "features", store.folder, ": ", failure.message());
  save_safetensors(path.string(), {{"phi", phi}}, {{"about", store.about}});
  return phi.to(device);
}

}  // namespace sked

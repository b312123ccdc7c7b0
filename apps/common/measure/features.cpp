#include "apps/common/measure/features.h"

#include <omp.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "core/error.h"
#include "core/fingerprint.h"
#include "core/precision.h"
#include "core/safetensors.h"
#include "core/stopwatch.h"

namespace sked {
namespace {

constexpr double kSecondsBetweenLines = 10;

/// Calls `visit` for every batch with φ f32 (B,·) of its images, on the CPU of every rank. Image files are decoded by
/// as many threads as compute.
void for_each_phi(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                  Device device, std::optional<size_t> layer, BatchOptions options,
                  const std::function<void(const Batch&, const Tensor&)>& visit) {
  const Context context{.activations = activation_dtype(device)};
  const auto compute = [&](const Batch& batch, const BatchRows& rows) {
    const Var images(batch.images.to(device));
    const Var y = layer ? tower.forward_to(*layer, images, context) : tower.forward(images, context);
    const Tensor phi = rows.gathered(y.value());
    require_finite(phi, batch.indices, *dataset, "its representation");
    visit(batch, phi);
  };
  options.batch_size = config.train.batch_size;
  options.threads = dataset->encoded() ? omp_get_max_threads() : 1;
  for_each_batch(dataset, config.data.eval_pipeline, options, compute);
}

}  // namespace

std::string about_features(const Dataset& dataset, const RunConfig& config) {
  RunConfig decisive;
  decisive.model = config.model;
  decisive.data.eval_pipeline = config.data.eval_pipeline;
  return dataset.name() + ": " + std::to_string(dataset.size()) + " images " + image_fingerprint(dataset) +
         ", products in " + name(product_precision()) + "\n" + config_text(decisive);
}

std::string feature_fingerprint(const Module& tower, const std::string& about) {
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

LabeledFeatures labeled_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                                 const RunConfig& config, Device device, const Say& say, const std::string& what,
                                 Communicator& ranks) {
  const int64_t total = dataset->size();
  LabeledFeatures f{Tensor::empty({total, tower.width()}), Tensor::empty({total}, DType::i64)};
  int64_t done = 0;
  Stopwatch since_line;
  const auto take = [&](const Batch& batch, const Tensor& phi) {
    const int64_t count = phi.dim(0);
    f.phi.rows(done, done + count).copy_from(phi);
    f.labels.rows(done, done + count).copy_from(batch.labels);
    done += count;
    if (since_line.seconds() < kSecondsBetweenLines || done == total) return;
    tell(say, what + ": " + std::to_string(done) + " of " + std::to_string(total));
    since_line = {};
  };
  const auto on_skip = [&](const Skipped& s) { tell(say, "left out: " + s.message); };
  for_each_phi(tower, dataset, config, device, {},
               {.skip_limit = config.data.corrupt_limit(), .on_skip = on_skip, .ranks = &ranks}, take);
  return {f.phi.rows(0, done), f.labels.rows(0, done)};
}

void write_features(FeatureFile& file, Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                    const RunConfig& config, Device device, std::optional<size_t> layer, const FeatureReport& report) {
  const int64_t total = dataset->size(), batch_size = config.train.batch_size;
  const auto before = static_cast<int64_t>(file.left_out().size());
  std::vector<int64_t> lost;  // since the last batch with images
  const auto take = [&](const Batch& batch, const Tensor& phi) {
    const int64_t next = batch.indices.data<int64_t>()[0] / batch_size + 1;
    file.add(phi, std::exchange(lost, {}), std::min(next * batch_size, total));
    if (report.progress) report.progress(file.done());
  };
  const auto on_skip = [&](const Skipped& skipped) {
    lost.push_back(skipped.index);
    if (report.on_skip) report.on_skip(skipped);
  };
  try {
    for_each_phi(tower, dataset, config, device, layer,
                 {.skip_limit = config.data.corrupt_limit() - before,
                  .on_skip = on_skip,
                  .first_batch = file.done() / batch_size,
                  .ranks = &file.ranks()},
                 take);
    if (file.done() < total) file.add(Tensor::empty({0, file.width()}), lost, total);
  } catch (...) {
    file.save();
    throw;
  }
}

Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      const std::string& folder, Device device, const Say& say, Communicator& ranks) {
  namespace fs = std::filesystem;
  const std::string about = about_features(*dataset, config), fingerprint = feature_fingerprint(tower, about);
  const std::string path = (fs::path(folder) / (dataset->name() + "-" + fingerprint + ".safetensors")).string();
  const Shape shape{dataset->size(), tower.width()};
  const bool first = ranks.rank() == 0;
  if (all_gather_number(ranks, first && fs::exists(path) ? 1 : 0).front() == 0) {
    tell(say, "computing the features of " + std::to_string(dataset->size()) + " images, once: " + path);
    std::error_code failure;
    if (first) fs::create_directories(folder, failure);
    require(!failure, "features", folder, ": ", failure.message());
    RunConfig every = config;  // an image that is lost would move the others
    every.data.skip_limit = 0;
    // Rows go on at a batch's end: what was begun with batches of another size is begun anew.
    const FeaturePlan plan{.path = path,
                           .name = "phi",
                           .images = shape[0],
                           .width = shape[1],
                           .about = about,
                           .fingerprint = fingerprint + "-" + std::to_string(config.train.batch_size)};
    std::optional<FeatureFile> file;
    for (bool said = false; !file; said = true) {
      try {
        file.emplace(plan, Earlier::unfinished_replaced, say, ranks);
      } catch (const BusyError& error) {
        if (!said) tell(say, std::string(error.what()) + ": waiting for it");
        wait_a_moment(ranks);
      }
    }
    Stopwatch since_line;
    const auto progress = [&](int64_t done) {
      if (since_line.seconds() < kSecondsBetweenLines || done == shape[0]) return;
      tell(say, "features: " + std::to_string(done) + " of " + std::to_string(shape[0]));
      since_line = {};
    };
    if (!file->complete()) {
      write_features(*file, tower, dataset, every, device, {}, {progress, {}});
      file->finish();
    }
  }
  Tensor phi = first ? load_safetensors(path).at("phi") : Tensor::empty(shape);
  require(phi.shape() == shape && phi.dtype() == DType::f32, "features", path, ": phi expected ", shape, " f32, got ",
          phi, " (remove the file to have it made again)");
  ranks.broadcast(phi);
  return phi;
}

void KeptFeatures::keep(Tensor phi) {
  require_shape(phi, {size(), width_}, "features", "phi");
  phi_ = std::move(phi);
}

Tensor KeptFeatures::image(int64_t i) const {
  Tensor row = Tensor::empty({width_});
  read_features(i, row.data<float>());
  return row;
}

void KeptFeatures::read_features(int64_t i, float* out) const {
  check_index(i);
  require(phi_.defined(), "features", name(), ": expected the representations before they are asked for");
  std::copy_n(phi_.data<float>() + i * width_, width_, out);
}

}  // namespace sked

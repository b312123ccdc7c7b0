#include "apps/replicate/cell_noise.h"

#include <cstdio>
#include <cstdlib>

#include "apps/common/measure/heat_map.h"
#include "apps/replicate/noisy_images.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int kShownImages = 12;

/// To six digits: what a shade needs, and a file that can be read.
double shortened(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::strtod(text, nullptr);
}

Json matrix_json(const Tensor& values) {
  Json rows = Json::array();
  for (int64_t i = 0; i < values.dim(0); ++i) {
    Json row = Json::array();
    for (int64_t j = 0; j < values.dim(1); ++j)
      row.push_back(shortened(static_cast<double>(values.data<float>()[i * values.dim(1) + j])));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json noise_json(const NoiseStudy& study) {
  Json names = Json::array(), images = Json::array();
  for (const std::string& name : study.classes) names.push_back(valid_utf8(name));
  for (const NoisyImage& image : study.noisiest)
    images.push_back({{"picture", image.picture},
                      {"label", valid_utf8(image.label)},
                      {"prediction", valid_utf8(image.prediction)},
                      {"noise", shortened(image.noise)}});
  Json noise = {{"classes", std::move(names)}};
  if (study.learned.defined()) noise["learned"] = matrix_json(study.learned);
  if (study.known_covariance.defined()) noise["true"] = matrix_json(study.known_covariance);
  noise["images"] = std::move(images);
  return noise;
}

}  // namespace

bool has_noise(const Cell& cell) {
  const FinishedRun& run = cell.runs.front();
  const auto classes = static_cast<int64_t>(run.summary.test.classes.size());
  return run.plan.config.task == TaskKind::classification && run.summary.head != "det" && classes > 0 &&
         classes <= kMostNamedClasses;
}

Json cell_noise(const Cell& cell, const std::filesystem::path& out) {
  const FinishedRun& run = cell.runs.front();
  return noise_json(study_noise(run, (out / run.plan.folder).string(), kShownImages));
}

}  // namespace sked

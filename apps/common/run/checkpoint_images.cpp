#include "apps/common/run/checkpoint_images.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/grid.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/catalog.h"
#include "data/transforms.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

struct NamedStatistics {
  const char *name, *stages;
};
constexpr NamedStatistics kStatistics[] = {
    {"imagenet", "value_range(0,1)|normalize(0.485 0.456 0.406,0.229 0.224 0.225)"},
    {"half", "value_range(-1,1)"},
    {"clip", "value_range(0,1)|normalize(0.48145466 0.4578275 0.40821073,0.26862954 0.26130258 0.27577711)"}};

/// Of a pipeline, its stages from value_range on, but for what mixes batches.
std::string statistics_in(const std::string& pipeline) {
  std::string found, stage;
  for (std::istringstream stages(pipeline); std::getline(stages, stage, '|');) {
    stage = trimmed(stage);
    if (stage.starts_with("value_range") || stage.starts_with("normalize")) found += (found.empty() ? "" : "|") + stage;
  }
  return found;
}

/// `normalize` of three means and deviations in a JSON object; empty where it has none.
std::string normalize_stage(const Json& object, const char* mean, const char* deviation) {
  std::ostringstream stage;
  stage << "value_range(0,1)|normalize(";
  for (const char* key : {mean, deviation}) {
    const Json* list = object.is_object() ? object.find(key) : nullptr;
    if (list == nullptr || !list->is_array() || list->size() != 3) return "";
    for (const Json& number : list->elements()) {
      if (!number.is_number() || !(number.number() >= 0 && number.number() <= 10)) return "";
      stage << (&number == &list->elements()[0] ? "" : " ") << number.number();
    }
    stage << (key == mean ? "," : ")");
  }
  return stage.str();
}

/// From the files that timm and transformers put beside weights.
std::string statistics_beside(const std::string& path, std::string& why) {
  constexpr uint64_t kMostBytes = 1 << 20;
  const fs::path folder = fs::path(path).parent_path();
  for (const char* name : {"config.json", "preprocessor_config.json"}) {
    const fs::path file = folder / name;
    std::error_code error;
    if (!fs::is_regular_file(file, error)) continue;
    try {
      const Json json = parse_json(read_file(file.string(), kMostBytes), file.string());
      const Json* timm = json.is_object() ? json.find("pretrained_cfg") : nullptr;
      std::string stage = timm ? normalize_stage(*timm, "mean", "std") : "";
      if (stage.empty()) stage = normalize_stage(json, "image_mean", "image_std");
      if (stage.empty()) continue;
      why = file.string();
      return stage;
    } catch (const Error&) {  // not what it is taken for
    }
  }
  return "";
}

/// Which mean and deviation weights with such names mostly have.
const char* usual_statistics(const ForeignWeights& weights, std::string& why) {
  const auto given = [&](const char* name) { return weights.has(name) ? weights.find(name)->given : ""; };
  const bool vit = weights.has("patch_embed.proj.weight"), bit = weights.has("stages.0.blocks.0.conv1.weight");
  if (weights.has("norm_pre.weight")) return why = "CLIP's, as its networks have it", "clip";
  if (bit) return why = "0.5, as Big Transfer has it", "half";
  if (!vit) return why = "ImageNet's, as residual networks mostly have it", "imagenet";
  if (given("patch_embed.proj.weight").find("conv_proj") != std::string::npos)
    return why = "ImageNet's, as torchvision has it", "imagenet";
  if (weights.has("dist_token") || weights.has("blocks.0.ls1.gamma"))
    return why = "ImageNet's, as DeiT and DINOv2 have it", "imagenet";
  return why = "0.5, as most ViTs of timm and Google have it, while DeiT and DINO have ImageNet's", "half";
}

CheckpointImages of_own_run(const TensorFile& file, const std::string& path) {
  const DataConfig data = config_of(file, path).data;
  CheckpointImages images;
  images.statistics = statistics_in(data.eval_pipeline);
  images.own_run = true;
  images.size = Pipeline::parse(data.eval_pipeline).output_shape(image_shape_of(data))[0];
  return images;
}

}  // namespace

std::string statistics_named(const std::string& name) {
  for (const NamedStatistics& known : kStatistics)
    if (name == known.name) return known.stages;
  require_usage(false, "images", "--statistics: expected imagenet, half or clip, got ", excerpt(name));
  return "";
}

CheckpointImages images_of(const TensorFile& file, const std::string& path) {
  if (is_checkpoint(file)) return of_own_run(file, path);
  const ForeignWeights weights = own_names(file, path);
  const auto extent = [&](const char* name, size_t axis) {
    const ForeignTensor* tensor = weights.find(name);
    return tensor != nullptr && axis < tensor->shape.size() ? tensor->shape[axis] : int64_t{0};
  };
  CheckpointImages images;
  images.patch = extent("patch_embed.proj.weight", 2);
  const int64_t tokens = extent("pos_embed", 1), prefix = (weights.has("cls_token") ? 1 : 0) + extent("reg_token", 1);
  constexpr int64_t kMostPixels = 4096;
  for (const int64_t patches : {tokens - prefix, tokens}) {
    const std::optional<int64_t> edge = patches > 0 ? square_root(patches) : std::nullopt;
    if (!edge || images.patch <= 0 || *edge > kMostPixels / images.patch) continue;
    images.size = *edge * images.patch;
    break;
  }
  const bool cifar = extent("conv1.weight", 2) == 3 && extent("conv1.weight", 0) == 16;
  if (cifar) images.size = 32;
  images.statistics = statistics_beside(path, images.why);
  images.guessed = images.statistics.empty();
  if (images.guessed) images.statistics = statistics_named(usual_statistics(weights, images.why));
  return images;
}

}  // namespace sked

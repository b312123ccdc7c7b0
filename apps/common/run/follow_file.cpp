#include "apps/common/run/follow_file.h"

#include <optional>
#include <sstream>
#include <type_traits>
#include <utility>

#include "apps/common/config/config.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/grid.h"
#include "core/error.h"

namespace sked {
namespace {

/// As a line for people shows a setting.
template <NamedEnum E>
std::string shown(const std::optional<E>& value) {
  return value ? name_of(*value) : "";
}
std::string shown(bool value) { return value ? "true" : "false"; }
std::string shown(int64_t value) { return std::to_string(value); }
std::string shown(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

class Following {
 public:
  Following(ModelConfig& model, ForeignWeights file, const std::string& path, const Shape& image_shape, bool partial)
      : model_(model), file_(std::move(file)), path_(path), image_shape_(image_shape), partial_(partial) {}

  /// `configuration`: the text of the one in the metadata of this program's checkpoints, or empty.
  std::vector<std::string> run(const std::string& configuration);

 private:
  /// The file has `told`, which tensor `by` shows; a model without a setting would have `otherwise`.
  template <class T>
  void tell(const char* key, T& setting, const std::type_identity_t<T>& told, const std::type_identity_t<T>& otherwise,
            const std::string& by) {
    if (setting != T{}) {
      require(setting == told || partial_, "init", path_, ": model.", key, " is ", shown(setting),
              ", the file's network has ", shown(told), " (", by, ")");
    } else if (told != otherwise) {
      setting = told;
      lines_.push_back(std::string("model.") + key + " = " + shown(told) + " (" + by + ")");
    }
  }
  /// For settings whose value counts only as present or not.
  template <class T>
  void tell_presence(const char* key, T& setting, const std::type_identity_t<T>& told, const std::string& tensor) {
    const bool there = file_.has(tensor);
    if (setting != T{})
      require(there || partial_, "init", path_, ": model.", key, " is ", shown(setting), ", the file has no ", tensor);
    else if (there)
      tell(key, setting, told, T{}, file_.find(tensor)->given);
  }
  void follow_configuration(const std::string& configuration, bool transformer);
  void follow_transformer();
  void follow_flax();
  void follow_pool();
  void follow_positions();
  void follow_residual();
  void follow_groups();

  /// The extent of an axis of a tensor in the file; 0 where there is none.
  int64_t extent(const std::string& name, size_t axis) const {
    const ForeignTensor* tensor = file_.find(name);
    return tensor != nullptr && axis < tensor->shape.size() ? tensor->shape[axis] : 0;
  }
  const std::string& given(const std::string& name) const { return file_.find(name)->given; }

  ModelConfig& model_;
  ForeignWeights file_;
  const std::string& path_;
  const Shape& image_shape_;
  bool partial_;
  std::vector<std::string> lines_;
};

std::vector<std::string> Following::run(const std::string& configuration) {
  const bool transformer = model_.name.starts_with("vit"), bit = model_.name.starts_with("bit-");
  const bool same_family = file_.has(transformer ? "patch_embed.proj.weight"
                                     : bit       ? "stages.0.blocks.0.conv1.weight"
                                                 : "layer1.0.conv1.weight");
  if (!same_family) return {};
  if (!configuration.empty()) follow_configuration(configuration, transformer);
  if (transformer) follow_transformer();
  if (written_out(model_).shortcut) follow_residual();
  return std::move(lines_);
}

/// What names and shapes do not tell, with what the name of the run's model stands for.
void Following::follow_configuration(const std::string& configuration, bool transformer) {
  ModelConfig theirs;
  try {
    theirs = written_out(parse_config(configuration, "config").model);
  } catch (const UsageError& error) {  // nobody's usage is wrong: the file is
    fail("init", path_, ": ", error.what());
  }
  const ModelConfig ours = written_out(model_);
  const auto follow = [&](const char* key, auto setting) {
    tell(key, model_.*setting, theirs.*setting, ours.*setting, "as in its configuration");
  };
  if (!transformer) return follow("stem", &ModelConfig::stem);
  follow("pool", &ModelConfig::pool);
  follow("positions", &ModelConfig::positions);
  follow("gelu", &ModelConfig::gelu);
  follow("norm_eps", &ModelConfig::norm_eps);
  follow("heads", &ModelConfig::heads);
}

/// Heads and the GELU of every flax program, and of a model of free sizes its sizes.
void Following::follow_flax() {
  if (model_.name == "vit") {
    const std::string& patches = given("patch_embed.proj.weight");
    int64_t depth = 0;
    while (file_.has("blocks." + std::to_string(depth) + ".norm1.weight")) ++depth;
    tell("patch", model_.patch, extent("patch_embed.proj.weight", 2), 0, patches);
    tell("width", model_.width, extent("patch_embed.proj.weight", 0), 0, patches);
    tell("depth", model_.depth, depth, 0, "its blocks");
    tell("mlp", model_.mlp, extent("blocks.0.mlp.fc1.weight", 0), 4 * model_.width,
         file_.has("blocks.0.mlp.fc1.weight") ? given("blocks.0.mlp.fc1.weight") : "no MLP");
  }
  const ModelConfig ours = written_out(model_);
  tell("heads", model_.heads, file_.flax_heads, ours.heads,
       file_.has("blocks.0.attn.qkv.weight") ? given("blocks.0.attn.qkv.weight") : "its queries");
  tell("gelu", model_.gelu, Gelu::tanh, ours.gelu, "as in flax");
}

void Following::follow_transformer() {
  if (file_.flax_heads > 0) follow_flax();
  follow_pool();
  tell("registers", model_.registers, extent("reg_token", 1), 0,
       file_.has("reg_token") ? given("reg_token") : "no reg_token");
  follow_positions();
  tell_presence("layer_scale", model_.layer_scale, 1e-5, "blocks.0.ls1.gamma");
  tell_presence("qk_norm", model_.qk_norm, true, "blocks.0.attn.q_norm.weight");
  tell_presence("pre_norm", model_.pre_norm, true, "norm_pre.weight");
  if (file_.has("pre_logits.fc.weight") || model_.representation != 0)
    tell("representation", model_.representation, extent("pre_logits.fc.weight", 0), 0,
         file_.has("pre_logits.fc.weight") ? given("pre_logits.fc.weight") : "no pre_logits.fc.weight");
  if (file_.transformers_vit && model_.norm_eps == 0)
    tell("norm_eps", model_.norm_eps, 1e-12, 0.0, "as in transformers");
}

/// pool, class_token and norm hang together: each one's default depends on the one before.
void Following::follow_pool() {
  const bool token = file_.has("cls_token"), pooled = file_.has("fc_norm.weight");
  if (file_.has("attn_pool.latent")) {
    require(!token || model_.pool || partial_, "init", path_, ": it has ", given("attn_pool.latent"), " and ",
            token ? given("cls_token") : "",
            ", which its pooling may see or not: here it sees the patches alone; set "
            "model.pool to map where its network's does too");
    tell("pool", model_.pool, Pool::map, Pool::token, given("attn_pool.latent"));
  } else if (!token) {
    tell("pool", model_.pool, Pool::gap, Pool::token, "no cls_token");
  } else {
    require(model_.pool != Pool::map || partial_, "init", path_,
            ": model.pool is map, the file's network has no attn_pool.latent");
    require(!pooled || model_.pool || partial_, "init", path_, ": it has ", given("cls_token"), " and ",
            pooled ? given("fc_norm.weight") : "", ": set model.pool to gap or token, whichever its network has");
  }
  const bool token_by_default = !model_.pool || model_.pool == Pool::token;
  if (token_by_default && !token) return;  // in part only
  tell("class_token", model_.class_token, token ? ClassToken::yes : ClassToken::no,
       token_by_default ? ClassToken::yes : ClassToken::no, token ? given("cls_token") : "no cls_token");
  if (pooled != file_.has("norm.weight"))
    tell("norm", model_.norm, pooled ? LastNorm::pooled : LastNorm::tokens,
         model_.pool == Pool::gap ? LastNorm::pooled : LastNorm::tokens,
         given(pooled ? "fc_norm.weight" : "norm.weight"));
}

/// Do the class token and the registers have rows in pos_embed?
void Following::follow_positions() {
  const int64_t prefix = (file_.has("cls_token") ? 1 : 0) + extent("reg_token", 1), tokens = extent("pos_embed", 1),
                patch = extent("patch_embed.proj.weight", 2);
  if (prefix == 0 || tokens == 0 || patch == 0) return;
  const int64_t patches = (image_shape_[0] / patch) * (image_shape_[1] / patch);
  bool all = tokens == patches + prefix, bare = tokens == patches;
  if (!all && !bare) {
    all = square_root(tokens - prefix).has_value();
    bare = square_root(tokens).has_value();
    require(
        all || !bare || model_.positions || partial_, "init", path_, ": ", given("pos_embed"), " of ", tokens,
        " tokens may be of patches alone, or of all tokens on a grid that is not square, which is not resampled: set "
        "model.positions to patches where they are");
  }
  const std::string by = given("pos_embed") + " of " + std::to_string(tokens) + " tokens";
  if (all && bare) {
    require(model_.positions || partial_, "init", path_, ": ", by,
            " may be patches alone or all tokens: set model.positions to patches or all, whichever its network has");
  } else if (all || bare) {
    tell("positions", model_.positions, all ? Positions::all : Positions::patches, Positions::all, by);
  }
}

void Following::follow_residual() {
  if (file_.has("conv1.0.weight")) tell("stem", model_.stem, Stem::deep, {}, given("conv1.0.weight"));
  bool shapes_change = file_.has("layer1.0.conv3.weight"), projections = false;
  std::string average;
  for (const auto& [name, tensor] : file_.tensors) {
    shapes_change = shapes_change || name.starts_with("layer2.");
    projections = projections || name.find(".downsample.") != std::string::npos;
    if (name.ends_with(".downsample.1.weight") && tensor.shape.size() == 4) average = tensor.given;
  }
  const std::optional<Shortcut> otherwise = written_out(model_).shortcut;
  if (!average.empty())
    tell("shortcut", model_.shortcut, Shortcut::avg, otherwise, average);
  else if (projections)
    tell("shortcut", model_.shortcut, Shortcut::conv, otherwise, "its downsample tensors");
  else if (shapes_change)
    tell("shortcut", model_.shortcut, Shortcut::pad, otherwise, "no downsample tensors");
  follow_groups();
}

/// Of a bottleneck's 3×3: a filter sees floor(base_width · width_per_group / 64) channels, a group's.
void Following::follow_groups() {
  const int64_t filters = extent("layer1.0.conv2.weight", 0), seen = extent("layer1.0.conv2.weight", 1),
                base = extent("layer1.0.conv3.weight", 0) / 4;
  if (base == 0 || seen == 0 || filters % seen != 0) return;
  const std::string& by = given("layer1.0.conv2.weight");
  const int64_t per_group = (seen * 64 + base - 1) / base;  // the least of which floor(base · per_group / 64) is seen
  const ModelConfig ours = written_out(model_);
  tell("groups", model_.groups, filters / seen, ours.groups, by);
  tell("width_per_group", model_.width_per_group, per_group, ours.width_per_group, by);
}

}  // namespace

std::vector<std::string> follow_file(ModelConfig& model, const TensorFile& file, const std::string& path,
                                     const Shape& image_shape, bool partial) {
  if (image_shape.ndim() == 1) return {};  // what is made of vectors has no settings that a file would tell
  require(image_shape.ndim() == 3, "init", "expected images (H,W,C), got ", image_shape);
  return Following(model, own_names(file, path), path, image_shape, partial)
      .run(is_checkpoint(file) ? file.metadata.at("config") : "");
}

}  // namespace sked

#include "apps/common/run/difference.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <sstream>
#include <string_view>

#include "core/text.h"

namespace sked {
namespace {

int64_t extent(const Shapes& shapes, const std::string& name, size_t axis) {
  const auto found = shapes.find(name);
  return found != shapes.end() && axis < found->second.size() ? found->second[axis] : 0;
}

std::string shown(const std::vector<int64_t>& numbers) {
  std::vector<std::string> words;
  for (const int64_t n : numbers) words.push_back(std::to_string(n));
  return join(words);
}

/// How many different words follow `prefix` in names, up to the next dot: blocks of a network.
int64_t children(const Shapes& shapes, const std::string& prefix) {
  std::set<std::string> words;
  for (auto at = shapes.lower_bound(prefix); at != shapes.end() && at->first.starts_with(prefix); ++at)
    words.insert(at->first.substr(prefix.size(), at->first.find('.', prefix.size()) - prefix.size()));
  return static_cast<int64_t>(words.size());
}

/// Blocks of each stage: layer1.* …, or stages.0.blocks.* ….
std::vector<int64_t> stages(const Shapes& shapes) {
  std::vector<int64_t> blocks;
  for (const int64_t first : {1, 0}) {
    for (int64_t s = first; blocks.size() < 64; ++s) {
      const std::string number = std::to_string(s);
      const int64_t count = children(shapes, first == 1 ? "layer" + number + "." : "stages." + number + ".blocks.");
      if (count == 0) break;
      blocks.push_back(count);
    }
  }
  return blocks;
}

std::string_view kind(const Shapes& shapes) {
  if (shapes.contains("patch_embed.proj.weight")) return "a vision transformer";
  if (shapes.contains("layer1.0.conv1.weight")) return "a residual network";
  if (shapes.contains("stages.0.blocks.0.conv1.weight")) return "a pre-activation residual network (BiT)";
  return "";
}

/// A number that sizes decide: which axis of which tensor has it.
struct Size {
  const char *name, *what, *key;
  size_t axis;
};
constexpr std::array kSizes{
    Size{"patch_embed.proj.weight", "a width of ", "model.width", 0},
    Size{"patch_embed.proj.weight", "patches of an edge of ", "model.patch", 2},
    Size{"blocks.0.mlp.fc1.weight", "MLPs of a width of ", "model.mlp", 0},
    Size{"blocks.0.attn.q_norm.weight", "heads of a width of ", "model.width / model.heads", 0},
    Size{"reg_token", "register tokens: ", "model.registers", 1},
    Size{"pre_logits.fc.weight", "a representation of a width of ", "model.representation", 0},
    Size{"conv1.weight", "a first stage of a width of ", "model.base_width", 0},
    Size{"stem.conv.weight", "a first stage of a width of ", "model.base_width", 0},
};

std::string sizes(const Shapes& file, const Shapes& model) {
  std::ostringstream text;
  for (const Size& s : kSizes) {
    const int64_t theirs = extent(file, s.name, s.axis), ours = extent(model, s.name, s.axis);
    if (theirs == ours || theirs == 0 || ours == 0) continue;
    text << "the file has " << s.what << theirs << ", " << s.key << " is " << ours;
    return text.str();
  }
  const int64_t depth = children(file, "blocks."), own_depth = children(model, "blocks.");
  if (depth != own_depth && depth > 0 && own_depth > 0) {
    text << "the file has " << depth << " blocks, model.depth is " << own_depth;
    return text.str();
  }
  for (const char* name : {"patch_embed.proj.weight", "conv1.weight", "stem.conv.weight", "conv1.0.weight"}) {
    const int64_t theirs = extent(file, name, 1), ours = extent(model, name, 1);
    if (theirs == ours || theirs == 0 || ours == 0) continue;
    text << "the file's network sees images of " << theirs << " channels, the model of " << ours;
    return text.str();
  }
  for (const char* name : {"conv1.weight", "stem.conv.weight"}) {
    const int64_t theirs = extent(file, name, 2), ours = extent(model, name, 2);
    if (theirs == ours || theirs == 0 || ours == 0) continue;
    text << "the file's first convolution is " << theirs << "×" << theirs << ", the model's " << ours << "×" << ours
         << " (model.stem: imagenet has 7×7, cifar 3×3 of stride 1, cifar2 3×3 of stride 2)";
    return text.str();
  }
  const bool bottleneck = file.contains("layer1.0.conv3.weight"), own = model.contains("layer1.0.conv3.weight");
  if (bottleneck != own && file.contains("layer1.0.conv1.weight") && model.contains("layer1.0.conv1.weight"))
    return std::string("the file has blocks of ") +
           (bottleneck ? "three convolutions, the model of two" : "two convolutions, the model of three") +
           " (model.name)";
  const std::vector<int64_t> blocks = stages(file), own_blocks = stages(model);
  if (blocks != own_blocks && !blocks.empty() && !own_blocks.empty())
    return "the file has blocks " + shown(blocks) + ", model.blocks is " + shown(own_blocks);
  return "";
}

/// Words for tensors in whose names `part` occurs; where it begins with ^, at the beginning.
struct Words {
  std::string_view part, what, key;
};
constexpr std::array kWords{
    Words{".norm1.running_mean", "batch norm", ""},
    Words{"running_", "batch norm's running statistics", ""},
    Words{"^dist_token", "a distillation token", ""},
    Words{"^head_dist.", "a distillation token", ""},
    Words{"relative_position", "relative positions", ""},
    Words{"rel_pos", "relative positions", ""},
    Words{"rope.", "rotary positions", ""},
    Words{".ls1.", "layer scale", "model.layer_scale"},
    Words{".ls2.", "layer scale", "model.layer_scale"},
    Words{".gamma_1", "layer scale", ""},
    Words{"layer_scale", "layer scale", ""},
    Words{".attn.q_norm.", "norms of queries and keys", "model.qk_norm"},
    Words{".attn.k_norm.", "norms of queries and keys", "model.qk_norm"},
    Words{".attn.norm.", "a norm inside of attention", ""},
    Words{".mlp.norm.", "a norm inside of the MLPs", ""},
    Words{".mlp.w12.", "gated MLPs (SwiGLU)", ""},
    Words{".mlp.w1.", "gated MLPs (SwiGLU)", ""},
    Words{".mlp.fc1_g.", "gated MLPs (SwiGLU)", ""},
    Words{"^reg_token", "register tokens", "model.registers"},
    Words{"^norm_pre.", "a norm in front of the blocks", "model.pre_norm"},
    Words{"^attn_pool.", "attention pooling", "model.pool = map"},
    Words{"^pre_logits.", "a tanh layer in front of the classifier", "model.representation"},
    Words{"^fc_norm.", "a norm of what is pooled", "model.norm = pooled"},
    Words{"^norm.", "a norm behind the blocks", "model.norm = tokens"},
    Words{"^cls_token", "a class token", "model.class_token"},
    Words{"^pos_embed", "position embeddings", ""},
    Words{"^conv1.0.", "a stem of three convolutions", "model.stem = deep"},
    Words{".downsample.", "convolutions as shortcuts", "model.shortcut"},
    Words{".se.", "squeeze-and-excitation", ""},
    Words{".aa.", "anti-aliasing", ""},
    Words{".filt", "anti-aliasing", ""},
    Words{"decoder", "a decoder", ""},
    Words{"^text", "a text tower", ""},
    Words{"logit_scale", "a text tower", ""},
    Words{"^head.noise.v_bias", "noise in the head with a bias of its free factor", "head.kind, head.factor_bias"},
    Words{"^head.noise.", "noise in the head", "head.kind"},
    Words{"^head.temperature.", "a learned temperature", "head.learn_temperature"},
    Words{"^head.", "a classifier", ""},
    Words{".attn.qkv.bias", "biases of queries, keys and values", ""},
    Words{".bias", "biases", ""},
    Words{"", "layers", ""},
};

const Words& words_for(std::string_view name) {
  return *std::ranges::find_if(kWords, [&](const Words& words) {
    return words.part.starts_with('^') ? name.starts_with(words.part.substr(1)) : name.find(words.part) != name.npos;
  });
}

/// `the file's network has layer scale (blocks.0.ls1.gamma and 3 more), the model has not (model.layer_scale)`, for the
/// first of the names in the order of the words.
std::string in_words(const Mismatch& c) {
  const bool theirs = !c.unused.empty();
  const std::vector<std::string>& names = theirs ? c.unused : c.missing;
  const std::string& first = *std::ranges::min_element(names, {}, [](const auto& name) { return &words_for(name); });
  const Words& words = words_for(first);
  const auto count = std::ranges::count_if(names, [&](const auto& name) { return words_for(name).what == words.what; });
  std::ostringstream text;
  text << (theirs ? "the file's network has " : "the model has ") << words.what << " ("
       << excerpt(theirs ? c.file.find(first)->given : first);
  if (count > 1) text << " and " << count - 1 << " more";
  text << (theirs ? "), the model has not" : "), the file's network has not");
  if (!words.key.empty()) text << " (" << words.key << ")";
  return text.str();
}

}  // namespace

std::string difference(const Mismatch& c) {
  Shapes file;
  for (const auto& [name, tensor] : c.file.tensors) file.emplace(name, tensor.shape);
  const std::string_view theirs = kind(file), ours = kind(c.model);
  std::ostringstream text;
  if (theirs != ours && !theirs.empty() && !ours.empty()) {
    text << "the file has " << theirs << ", the model is " << ours << " (model.name)";
    return text.str();
  }
  if (std::ranges::none_of(file, [&](const auto& tensor) { return c.model.contains(tensor.first); })) {
    text << "no tensor of the model is in it; the file has "
         << (file.empty() ? "none" : excerpt(c.file.tensors.begin()->second.given) + " ...") << ", the model "
         << (c.model.empty() ? "none" : c.model.begin()->first + " ...");
    return text.str();
  }
  if (std::string size = sizes(file, c.model); !size.empty()) return size;
  if (!c.unused.empty() || !c.missing.empty()) return in_words(c);
  if (c.unlike.empty()) return "";
  const ForeignTensor& other = *c.file.find(c.unlike.front());
  text << excerpt(other.given) << " is (" << shown(other.shape) << ") in the file and ("
       << shown(c.model.at(c.unlike.front())) << ") in the model";
  return text.str();
}

}  // namespace sked

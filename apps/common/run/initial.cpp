#include "apps/common/run/initial.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/difference.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/grid.h"
#include "apps/common/run/head_rows.h"
#include "apps/common/run/towers.h"
#include "autograd/state.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// Of an axis of a tensor there may be; 0 where there is none.
int64_t extent(const ForeignTensor* tensor, size_t axis) {
  return tensor != nullptr && axis < tensor->shape.size() ? tensor->shape[axis] : 0;
}

std::vector<int64_t> extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// What a load is to do: checked for every tensor before the first is copied.
class Loading {
 public:
  Loading(const TensorFile& file, const std::string& path, const Module& model, const InitialOptions& options,
          bool whole);
  /// Throws unless the file fits.
  void check();
  InitialReport copy();

 private:
  void consider(const SharedTensor& wanted);
  std::optional<Tensor> fitting(const SharedTensor& wanted, const ForeignTensor& given);
  std::optional<Tensor> position_embedding(const Tensor& given, const Tensor& wanted);
  bool may_be_missing(const std::string& name) const;
  bool may_be_unused(const std::string& name, const ForeignTensor& tensor) const;

  const std::string path_;
  const InitialOptions options_;
  bool whole_;  // the head too
  ForeignWeights given_;
  std::vector<SharedTensor> wanted_;
  Shapes shapes_;  // of what is wanted
  HeadRows head_;
  std::string positions_apart_;
  std::vector<std::pair<SharedTensor, SharedTensor>> copies_;  // to, from
  std::set<std::string> used_, unlike_;
  InitialReport report_;
};

Loading::Loading(const TensorFile& file, const std::string& path, const Module& model, const InitialOptions& options,
                 bool whole)
    : path_(path), options_(options), whole_(whole), given_(own_names(file, path)) {
  for (const NamedVar& p : model.parameters()) wanted_.push_back({p.name, p.var.value(), detail::share_of(p)});
  for (const auto& [name, buffer] : model.buffers()) wanted_.push_back({name, *buffer});
  for (const SharedTensor& t : wanted_) shapes_.emplace(t.name, extents(t.whole_shape()));
  // What training kept in a checkpoint of this program is no part of its network.
  std::erase_if(given_.tensors,
                [](const auto& t) { return t.first.starts_with("optimizer.") || t.first.starts_with("raw."); });
  head_ = HeadRows(given_, shapes_, path, options);
}

InitialReport Loading::copy() {
  for (auto& [to, from] : copies_) detail::copy_share(from, to);
  report_.loaded = static_cast<int64_t>(copies_.size());
  for (const auto& [name, given] : given_.tensors) {
    if (!used_.contains(name)) report_.unused.push_back(given.given);
  }
  std::ranges::sort(report_.unused);
  report_.head_replaced = head_.replaced();
  report_.head_mapped = head_.mapped();
  report_.classifier = head_.about();
  report_.notes = head_.notes();
  return std::move(report_);
}

void Loading::consider(const SharedTensor& wanted) {
  const ForeignTensor* found = given_.find(wanted.name);
  const bool taken = found != nullptr && !(wanted.name.starts_with("head.") && head_.is_new(wanted.name));
  const std::optional<Tensor> from = taken ? fitting(wanted, *found) : std::nullopt;
  if (!from) {
    report_.not_found.push_back(wanted.name);
    if (taken) unlike_.insert(wanted.name);
    return;
  }
  used_.insert(wanted.name);
  require(all_finite(*from), "init", path_, ": ", excerpt(found->given), " has values that are not finite");
  copies_.emplace_back(wanted, SharedTensor{wanted.name, *from});
}

std::optional<Tensor> Loading::fitting(const SharedTensor& wanted, const ForeignTensor& given) {
  const Shape& shape = wanted.whole_shape();
  const bool readable = given.tensor.defined() && given.is_weight();
  require(readable || options_.partial, "init", path_, ": ", excerpt(given.given), " is ",
          given.tensor.defined() ? name(given.tensor.dtype()) : given.skipped_dtype,
          ", expected a weight in F32, F16, BF16 or F64");
  if (!readable) return std::nullopt;
  Tensor tensor = given.tensor.dtype() == wanted.tensor.dtype() ? given.tensor : given.tensor.to(wanted.tensor.dtype());
  if (wanted.name.starts_with("head.")) tensor = head_.rows_of(wanted.name, tensor);
  if (tensor.shape() == shape) return tensor;
  if (wanted.name == "pos_embed" && tensor.ndim() == 3 && tensor.dim(0) == 1 && tensor.dim(2) == shape[2])
    return position_embedding(tensor, wanted.tensor);
  return std::nullopt;
}

/// The layout of a position embedding: rows in front of a square grid of patches.
struct Positions {
  int64_t prefix, edge;
};

/// Of `tokens` rows where `prefix` tokens are in front of the patches: with rows of their own, or without. Two in an
/// odd case such as 9 rows with a class token and 4 registers.
std::vector<Positions> layouts(int64_t tokens, int64_t prefix) {
  std::vector<Positions> possible;
  for (const int64_t rows : {prefix, int64_t{0}}) {
    if (const std::optional<int64_t> edge = square_root(tokens - rows)) possible.push_back({rows, *edge});
    if (prefix == 0) break;
  }
  return possible;
}

/// Nothing, and why in positions_apart_, where the grids do not become each other.
std::optional<Tensor> Loading::position_embedding(const Tensor& given, const Tensor& wanted) {
  const bool token = given_.has("cls_token"), own_token = shapes_.contains("cls_token");
  const int64_t theirs = (token ? 1 : 0) + extent(given_.find("reg_token"), 1),
                ours = (own_token ? 1 : 0) + (shapes_.contains("reg_token") ? shapes_.at("reg_token").at(1) : 0);
  const std::vector<Positions> from = layouts(given.dim(1), theirs), to = layouts(wanted.dim(1), ours);
  std::vector<std::pair<Positions, Positions>> pairs;
  for (const Positions& f : from)
    for (const Positions& t : to)
      if ((f.prefix == theirs) == (t.prefix == ours) || options_.partial) pairs.emplace_back(f, t);
  if (pairs.empty() || (pairs.size() > 1 && !options_.partial)) {
    positions_apart_ = "pos_embed of " + std::to_string(given.dim(1)) + " tokens does not become one of " +
                       std::to_string(wanted.dim(1)) + ": " +
                       (from.empty()     ? "the file's patches are no square grid"
                        : to.empty()     ? "the model's patches are no square grid"
                        : !pairs.empty() ? "either may have positions of the patches alone or of all tokens"
                                         : "one has positions of the patches alone, one of all tokens "
                                           "(model.positions)");
    return std::nullopt;
  }
  const auto [f, t] = pairs.front();
  report_.interpolated.push_back("pos_embed");
  const int64_t width = wanted.dim(2);
  const Tensor rows = given.reshape({given.dim(1), width});
  Tensor result = Tensor::empty({wanted.dim(1), width});
  result.copy_from(wanted.reshape(result.shape()));
  const int64_t kept = f.prefix == t.prefix ? f.prefix
                       : token && own_token ? std::min({int64_t{1}, f.prefix, t.prefix})
                                            : 0;
  if (kept > 0) result.rows(0, kept).copy_from(rows.rows(0, kept));
  result.rows(t.prefix, result.dim(0)).copy_from(resample_grid(rows.rows(f.prefix, rows.dim(0)), f.edge, t.edge));
  return result.reshape(wanted.shape());
}

bool Loading::may_be_missing(const std::string& name) const {
  return !whole_ && name.starts_with("head.") && head_.is_new(name);
}

bool Loading::may_be_unused(const std::string& name, const ForeignTensor& tensor) const {
  if (!tensor.is_weight() || name == "mask_token" || name.ends_with(".num_batches_tracked")) return true;
  return !whole_ && name.starts_with("head.") && head_.may_be_left_out(name);
}

void Loading::check() {
  for (const SharedTensor& wanted : wanted_) consider(wanted);
  require(!whole_ || !head_.replaced(), "init", path_, ": expected the model's classifier: ", head_.why_new());
  Mismatch apart{given_, shapes_, {}, {}, {unlike_.begin(), unlike_.end()}};
  for (const auto& [name, tensor] : given_.tensors) {
    if (!used_.contains(name) && !unlike_.contains(name) && !may_be_unused(name, tensor)) apart.unused.push_back(name);
  }
  for (const std::string& name : report_.not_found) {
    if (!unlike_.contains(name) && !may_be_missing(name)) apart.missing.push_back(name);
  }
  const bool same = apart.unused.empty() && apart.missing.empty() && apart.unlike.empty();
  if (!copies_.empty() && (same || options_.partial)) return;
  const bool positions_alone = apart.unused.empty() && apart.missing.empty() && !positions_apart_.empty();
  fail("init", path_, ": ", positions_alone ? positions_apart_ : difference(apart),
       whole_ || copies_.empty() ? "" : "; train.init_partial=true begins with what fits");
}

InitialReport loaded(Loading loading) {
  loading.check();
  return loading.copy();
}

/// The tensors whose names begin with `prefix`, without it.
TensorFile part_of(const TensorFile& file, const std::string& prefix) {
  TensorFile part;
  part.metadata = file.metadata;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with(prefix)) part.tensors.push_back({name.substr(prefix.size()), tensor});
  for (SkippedTensor skipped : file.skipped)
    if (skipped.name.starts_with(prefix)) {
      skipped.name.erase(0, prefix.size());
      part.skipped.push_back(skipped);
    }
  return part;
}

constexpr const char* kVisual = "visual.";
constexpr const char* kText = "text.";
constexpr const char* kContrast = "contrast.";

/// What `part`'s report has to say of the whole.
void add(InitialReport& whole, const InitialReport& part, const std::string& prefix) {
  whole.loaded += part.loaded;
  const auto append = [&](std::vector<std::string>& to, const std::vector<std::string>& names) {
    for (const std::string& name : names) to.push_back(prefix + name);
  };
  append(whole.unused, part.unused);
  append(whole.not_found, part.not_found);
  append(whole.interpolated, part.interpolated);
}

/// How the file's text tower is another than that of `config`; empty: it is not.
std::string text_apart(const RunConfig& file, const RunConfig& config, bool same_vocabulary) {
  RunConfig theirs = file, ours = config;
  std::vector<std::string> keys = differing_fields(fields_of(theirs.text), fields_of(ours.text));
  std::erase_if(keys, [](const std::string& key) {  // no part of its function
    return key == "vocabulary" || key == "pieces" || key == "truncate" || key == "dropout" || key == "recompute";
  });
  if (!same_vocabulary) return "its vocabulary is not " + config.text.vocabulary + " (text.vocabulary)";
  return differences(fields_of(theirs.text), fields_of(ours.text), keys, kText);
}

/// The head of two towers, `contrast.*`, beside a file's.
class ContrastHeadLoading {
 public:
  ContrastHeadLoading(const TensorFile& file, const ContrastiveConfig& theirs, const ContrastiveConfig& ours,
                      const ContrastiveHead& head);
  /// Throws Error naming `path` for a tensor that its configuration promises and that is not there.
  void check(const std::string& path, bool partial);
  InitialReport copy();

 private:
  bool is_new(const std::string& name) const {
    return (name.find("_projection.") != std::string::npos && !projections_.empty()) ||
           (name.starts_with("noise.") && !noise_.empty()) || (name == "temperature.t" && temperature_.is_new);
  }

  std::map<std::string, Tensor> given_;
  std::vector<NamedVar> wanted_;
  std::string projections_, noise_;  // why they are new; empty: they are not
  TemperatureBeginning temperature_;
  std::vector<std::pair<Tensor, Tensor>> copies_;  // to, from
  InitialReport report_;
};

ContrastHeadLoading::ContrastHeadLoading(const TensorFile& file, const ContrastiveConfig& theirs,
                                         const ContrastiveConfig& ours, const ContrastiveHead& head)
    : wanted_(head.parameters()) {
  for (const auto& [name, tensor] : file.tensors) given_.emplace(name, tensor);
  ContrastiveConfig a = theirs, b = ours;
  if (theirs.width != ours.width) projections_ = differences(fields_of(a), fields_of(b), {"width"}, kContrast);
  const bool noisy = ours.kind != ContrastKind::det;
  if (noisy && theirs.kind == ContrastKind::det)
    noise_ = "the file has none";
  else if (noisy)
    noise_ = noise_differences(fields_of(a), fields_of(b), kContrast,
                               theirs.noise.factors != Factors::diagonal || ours.noise.factors != Factors::diagonal);
  const auto t = given_.find("temperature.t");
  temperature_ = begin_temperature(t == given_.end() ? nullptr : &t->second, theirs.temperature, ours.temperature,
                                   head.temperature());
  if (!projections_.empty()) report_.notes.push_back("the projections are new: " + projections_);
  if (!noise_.empty()) report_.notes.push_back("the noise is new: " + noise_);
  if (theirs.kind != ContrastKind::det && !noisy)
    report_.notes.emplace_back("the noise of the file's head is left out: this head has none (contrast.kind)");
  if (!temperature_.note.empty()) report_.notes.push_back(temperature_.note);
}

void ContrastHeadLoading::check(const std::string& path, bool partial) {
  for (const NamedVar& p : wanted_) {
    const auto found = given_.find(p.name);
    const bool fits =
        found != given_.end() && found->second.shape() == p.var.shape() && found->second.dtype() == p.var.dtype();
    const bool fresh = is_new(p.name) || (partial && !fits);
    if (fresh) {
      report_.not_found.push_back(p.name);
      continue;
    }
    require(fits, "init", path, ": ", kContrast, p.name, " expected ", p.var.shape(), " f32, got ",
            found == given_.end() ? "none" : found->second.shape().str() + " " + name(found->second.dtype()));
    require(all_finite(found->second), "init", path, ": ", kContrast, p.name, " has values that are not finite");
    copies_.emplace_back(p.var.value(), found->second);
    given_.erase(found);
  }
}

InitialReport ContrastHeadLoading::copy() {
  for (auto& [to, from] : copies_) to.copy_from(from);
  report_.loaded = static_cast<int64_t>(copies_.size());
  for (const auto& [name, tensor] : given_) report_.unused.push_back(name);
  return std::move(report_);
}

}  // namespace

InitialReport load_initial(const TensorFile& file, const std::string& path, const Module& model,
                           const InitialOptions& options) {
  if (!is_two_towers(file, path)) return loaded(Loading(file, path, model, options, false));
  InitialReport report = loaded(Loading(image_tower(file), path, model, options, false));
  report.notes.insert(report.notes.begin(),
                      "a run of build/contrast: its image tower is taken; its text tower and projections are left out");
  return report;
}

bool is_two_towers(const TensorFile& file, const std::string& path) {
  return is_checkpoint(file) && config_of(file, path).task == TaskKind::contrastive;
}

TensorFile image_tower(const TensorFile& file) { return part_of(file, kVisual); }

InitialReport load_towers(const TensorFile& file, const RunConfig& config, TwoTowers& model) {
  const std::string& path = config.train.init;
  const bool partial = config.train.init_partial;
  const RunConfig theirs = config_of(file, path);
  const bool same_vocabulary = config.text.vocabulary.empty() ||
                               vocabulary_of(file, path, {}).bytes() == Tokenizer::load(config.text.vocabulary).bytes();
  const std::string text = text_apart(theirs, config, same_vocabulary);
  require_usage(text.empty() || partial, "init", path, ": its text tower is another: ", text,
                "; train.init_partial=true begins with a new one");
  Loading image(image_tower(file), path, model.image(), {.partial = partial}, false);
  std::optional<Loading> texts;
  if (text.empty()) texts.emplace(part_of(file, kText), path, model.text(), InitialOptions{}, false);
  ContrastHeadLoading head(part_of(file, kContrast), theirs.contrast, config.contrast, model.head());
  image.check();
  if (texts) texts->check();
  head.check(path, partial);
  InitialReport report;
  add(report, image.copy(), kVisual);
  InitialReport said = head.copy();
  if (texts) {
    add(report, texts->copy(), kText);
  } else {
    said.notes.insert(said.notes.begin(), "the text tower is new: " + text);
    for (const NamedVar& p : model.text().parameters()) report.not_found.push_back(kText + p.name);
    for (const NamedTensor& t : part_of(file, kText).tensors) report.unused.push_back(kText + t.name);
  }
  add(report, said, kContrast);
  report.notes = std::move(said.notes);
  return report;
}

std::vector<std::string> load_foreign(const TensorFile& file, const std::string& path, const Classifier& model) {
  const InitialReport report = loaded(Loading(file, path, model, {}, true));
  std::vector<std::string> lines;
  for (const std::string& name : report.interpolated) lines.push_back(name + " is resampled to the grid of this model");
  if (!report.classifier.empty()) lines.push_back(report.classifier);
  return lines;
}

}  // namespace sked

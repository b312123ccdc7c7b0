#include "apps/common/run/initial.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/difference.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/grid.h"
#include "apps/common/run/head_rows.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// Of an axis of a tensor there may be; 0 where there is none.
int64_t extent(const ForeignTensor* tensor, size_t axis) {
  return tensor != nullptr && axis < tensor->shape.size() ? tensor->shape[axis] : 0;
}

std::vector<int64_t> extents(const Tensor& tensor) { return {tensor.shape().begin(), tensor.shape().end()}; }

/// What a load is to do: checked for every tensor before the first is copied.
class Loading {
 public:
  Loading(const TensorFile& file, const std::string& path, const Module& model, const InitialOptions& options,
          bool whole);
  InitialReport run();

 private:
  void consider(const NamedTensor& wanted);
  std::optional<Tensor> fitting(const NamedTensor& wanted, const ForeignTensor& given);
  std::optional<Tensor> position_embedding(const Tensor& given, const Tensor& wanted);
  bool may_be_missing(const std::string& name) const;
  bool may_be_unused(const std::string& name, const ForeignTensor& tensor) const;
  void check() const;

  const std::string& path_;
  const InitialOptions& options_;
  bool whole_;  // the head too
  ForeignWeights given_;
  std::vector<NamedTensor> wanted_;
  Shapes shapes_;  // of what is wanted
  HeadRows head_;
  std::string positions_apart_;
  std::vector<std::pair<Tensor, Tensor>> copies_;  // to, from
  std::set<std::string> used_, unlike_;
  InitialReport report_;
};

Loading::Loading(const TensorFile& file, const std::string& path, const Module& model, const InitialOptions& options,
                 bool whole)
    : path_(path), options_(options), whole_(whole), given_(own_names(file, path)) {
  for (const NamedVar& p : model.parameters()) wanted_.push_back({p.name, p.var.value()});
  for (const auto& [name, buffer] : model.buffers()) wanted_.push_back({name, *buffer});
  for (const auto& [name, tensor] : wanted_) shapes_.emplace(name, extents(tensor));
  // What training kept in a checkpoint of this program is no part of its network.
  std::erase_if(given_.tensors,
                [](const auto& t) { return t.first.starts_with("optimizer.") || t.first.starts_with("raw."); });
  head_ = HeadRows(given_, shapes_, path, options);
}

InitialReport Loading::run() {
  for (const NamedTensor& wanted : wanted_) consider(wanted);
  check();
  for (auto& [to, from] : copies_) to.copy_from(from);
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

void Loading::consider(const NamedTensor& wanted) {
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
  copies_.emplace_back(wanted.tensor, *from);
}

std::optional<Tensor> Loading::fitting(const NamedTensor& wanted, const ForeignTensor& given) {
  const Shape& shape = wanted.tensor.shape();
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

void Loading::check() const {
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

}  // namespace

InitialReport load_initial(const TensorFile& file, const std::string& path, const Module& model,
                           const InitialOptions& options) {
  require(!is_checkpoint(file) || config_of(file, path).task == TaskKind::classification, "init", path,
          ": a run of build/contrast, an image and a text tower: expected a classifier, of build/train say");
  return Loading(file, path, model, options, false).run();
}

std::vector<std::string> load_foreign(const TensorFile& file, const std::string& path, const Classifier& model) {
  const InitialReport report = Loading(file, path, model, {}, true).run();
  std::vector<std::string> lines;
  for (const std::string& name : report.interpolated) lines.push_back(name + " is resampled to the grid of this model");
  if (!report.classifier.empty()) lines.push_back(report.classifier);
  return lines;
}

}  // namespace sked

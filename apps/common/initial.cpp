#include "apps/common/initial.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// The name the model has for a tensor of the file.
std::string own_name(const std::string& name) {
  for (const std::string prefix : {"fc.", "head.fc.", "classifier."}) {
    if (name.starts_with(prefix)) return "head." + name.substr(prefix.size());
  }
  return name;
}

bool is_classifier(const std::string& name) { return name == "head.weight" || name == "head.bias"; }

/// Keys' kernel with a = -1/2.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/// (to, from): each output's normalised weights, as wide as the scale where the grid shrinks.
std::vector<double> weights(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), filter = std::max(scale, 1.0);
  std::vector<double> w(static_cast<size_t>(from * to), 0.0);
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max(int64_t{0}, static_cast<int64_t>(center - 2 * filter + 0.5));
    const auto end = std::min(from, static_cast<int64_t>(center + 2 * filter + 0.5));
    double sum = 0;
    for (int64_t k = begin; k < end; ++k)
      sum += w[static_cast<size_t>(i * from + k)] = cubic((static_cast<double>(k) - center + 0.5) / filter);
    for (int64_t k = begin; k < end; ++k) w[static_cast<size_t>(i * from + k)] /= sum;
  }
  return w;
}

std::optional<int64_t> square_root(int64_t n) {
  const auto root = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n))));
  return root > 0 && root * root == n ? std::optional(root) : std::nullopt;
}

/// What a load is to do: checked for every tensor before the first is copied.
class Loading {
 public:
  Loading(const TensorFile& file, const std::string& path, const Module& model) : path_(path) {
    for (const auto& [name, tensor] : file.tensors) given_.emplace(own_name(name), std::pair(name, tensor));
    for (const NamedVar& p : model.parameters()) wanted_.push_back({p.name, p.var.value()});
    for (const auto& [name, buffer] : model.buffers()) wanted_.push_back({name, *buffer});
    for (const auto& [name, tensor] : wanted_) own_token_ = own_token_ || name == "cls_token";
  }

  InitialReport run();

 private:
  void consider(const NamedTensor& wanted);
  std::optional<Tensor> fitting(const NamedTensor& wanted, const Tensor& given);
  Tensor position_embedding(const Tensor& given, const Tensor& wanted) const;

  std::string path_;
  std::map<std::string, std::pair<std::string, Tensor>> given_;  // by the model's name
  std::vector<NamedTensor> wanted_;
  bool own_token_ = false;
  std::vector<std::pair<Tensor, Tensor>> copies_;  // to, from
  std::set<std::string> used_;
  InitialReport report_;
};

InitialReport Loading::run() {
  for (const NamedTensor& wanted : wanted_) consider(wanted);
  require(!copies_.empty(), "init", path_, ": no tensor of the model is in it; the file has ",
          given_.empty() ? "none" : given_.begin()->second.first + " …", ", the model ", wanted_.front().name, " …");
  for (auto& [to, from] : copies_) to.copy_from(from);
  report_.loaded = static_cast<int64_t>(copies_.size());
  for (const auto& [name, given] : given_) {
    if (!used_.contains(name)) report_.unused.push_back(given.first);
  }
  return std::move(report_);
}

void Loading::consider(const NamedTensor& wanted) {
  const auto found = given_.find(wanted.name);
  const std::optional<Tensor> from = found == given_.end() ? std::nullopt : fitting(wanted, found->second.second);
  if (!from) {
    report_.not_found.push_back(wanted.name);
    return;
  }
  used_.insert(wanted.name);
  copies_.emplace_back(wanted.tensor, *from);
}

std::optional<Tensor> Loading::fitting(const NamedTensor& wanted, const Tensor& given) {
  const Shape& shape = wanted.tensor.shape();
  Tensor tensor = given.dtype() == wanted.tensor.dtype() ? given : given.to(wanted.tensor.dtype());
  // A classifier as 1×1 convolution.
  if (is_classifier(wanted.name) && tensor.ndim() == 4 && tensor.dim(2) == 1 && tensor.dim(3) == 1)
    tensor = tensor.reshape({tensor.dim(0), tensor.dim(1)});
  if (tensor.shape() == shape) return tensor;
  if (is_classifier(wanted.name) && tensor.ndim() == shape.ndim() && tensor.shape().without(0) == shape.without(0)) {
    report_.head_replaced = true;
    return std::nullopt;
  }
  if (wanted.name == "pos_embed" && tensor.ndim() == 3 && tensor.dim(0) == 1 && tensor.dim(2) == shape[2]) {
    report_.interpolated.push_back(wanted.name);
    return position_embedding(tensor, wanted.tensor);
  }
  fail("init", path_, ": ", wanted.name, " expected ", shape, ", got ", given);
}

Tensor Loading::position_embedding(const Tensor& given, const Tensor& wanted) const {
  const bool token = given_.contains("cls_token");
  const int64_t width = wanted.dim(2), had = given.dim(1) - (token ? 1 : 0), has = wanted.dim(1) - (own_token_ ? 1 : 0);
  const std::optional<int64_t> from = square_root(had), to = square_root(has);
  require(from && to && (token || !own_token_), "init", path_, ": pos_embed of ", given.dim(1),
          " tokens cannot be resampled to ", wanted.dim(1), ": expected square grids of patches",
          own_token_ ? " and a class token" : "");
  const Tensor rows = given.reshape({given.dim(1), width});
  const Tensor grid = resample_grid(rows.rows(token ? 1 : 0, rows.dim(0)), *from, *to);
  Tensor result = Tensor::empty({wanted.dim(1), width});
  if (own_token_) result.rows(0, 1).copy_from(rows.rows(0, 1));
  result.rows(own_token_ ? 1 : 0, wanted.dim(1)).copy_from(grid);
  return result.reshape(wanted.shape());
}

}  // namespace

Tensor resample_grid(const Tensor& tokens, int64_t from, int64_t to) {
  const int64_t width = tokens.dim(1);
  const std::vector<double> w = weights(from, to);
  const float* in = tokens.data<float>();
  std::vector<double> half(static_cast<size_t>(from * to * width), 0.0);  // (from rows, to columns, D)
  for (int64_t r = 0; r < from; ++r)
    for (int64_t c = 0; c < to; ++c)
      for (int64_t k = 0; k < from; ++k)
        for (int64_t d = 0; d < width; ++d)
          half[static_cast<size_t>((r * to + c) * width + d)] +=
              w[static_cast<size_t>(c * from + k)] * static_cast<double>(in[(r * from + k) * width + d]);
  Tensor out = Tensor::empty({to * to, width});
  for (int64_t r = 0; r < to; ++r)
    for (int64_t i = 0; i < to * width; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < from; ++k)
        sum += w[static_cast<size_t>(r * from + k)] * half[static_cast<size_t>(k * to * width + i)];
      out.data<float>()[r * to * width + i] = static_cast<float>(sum);
    }
  return out;
}

InitialReport load_initial(const TensorFile& file, const std::string& path, const Module& model) {
  return Loading(file, path, model).run();
}

}  // namespace sked

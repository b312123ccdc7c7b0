#include "apps/common/run/head_rows.h"

#include <map>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

bool is_noise(const std::string& name) { return name.starts_with("head.noise."); }
bool is_temperature(const std::string& name) { return name.starts_with("head.temperature."); }
bool is_classifier(const std::string& name) { return name == "head.weight" || name == "head.bias"; }

/// The place of each name; empty where one stands twice.
std::map<std::string, int64_t> places(const std::vector<std::string>& names) {
  std::map<std::string, int64_t> places;
  for (const std::string& name : names) places.emplace(name, static_cast<int64_t>(places.size()));
  return places.size() == names.size() ? places : std::map<std::string, int64_t>{};
}

}  // namespace

HeadRows::HeadRows(const ForeignWeights& file, const Shapes& model, const std::string& path,
                   const InitialOptions& options) {
  const std::vector<std::string>& file_class_names = options.file_class_names;
  const auto own = model.find("head.weight");
  const ForeignTensor* weight = file.find("head.weight");
  model_has_one_ = own != model.end();
  if (!model_has_one_) return;
  if (weight == nullptr || weight->shape.empty()) {
    why_new_ = "the file has none";
  } else {
    classes_ = own->second.at(0);
    file_classes_ = weight->shape[0];
    require(file_class_names.empty() || static_cast<int64_t>(file_class_names.size()) == file_classes_, "init", path,
            ": expected a name of each of its ", file_classes_, " classes, got ", file_class_names.size());
    compare_classes(options.class_names, file_class_names);
  }
  compare_noise(file, model);
  noise_is_new_ = noise_is_new_ || !options.same_noise;
  temperature_is_new_ = !file.has("head.temperature.t");
}

void HeadRows::compare_classes(const std::vector<std::string>& names, const std::vector<std::string>& file_names) {
  if (names.empty() || file_names.empty()) {
    if (classes_ != file_classes_)
      why_new_ = std::to_string(file_classes_) + " classes in the file, " + std::to_string(classes_) + " here";
    else if (file_names.empty())
      about_ = "the file does not say which its classes are: taken to be those of the data";
    return;
  }
  if (names == file_names) return;
  const std::map<std::string, int64_t> theirs = places(file_names);
  if (theirs.empty() || places(names).empty()) {
    why_new_ = "other classes, and one name stands for two of them";
    return;
  }
  for (const std::string& name : names) {
    const auto found = theirs.find(name);
    if (found == theirs.end()) {
      rows_.clear();
      why_new_ = "other classes: " + excerpt(name) + " is not among the file's " + std::to_string(file_classes_);
      return;
    }
    rows_.push_back(found->second);
  }
  about_ = "the classifier's rows are those of the same names among the file's " + std::to_string(file_classes_) +
           " classes";
}

/// Noise on logits has a row per class as the classifier has, noise on φ has none. It is taken as a whole or not at
/// all.
void HeadRows::compare_noise(const ForeignWeights& file, const Shapes& model) {
  const ForeignTensor *weight = file.find("head.weight"), *bias = file.find("head.noise.diagonal.bias");
  if (weight == nullptr || weight->shape.size() < 2 || bias == nullptr || bias->shape.size() != 1) {
    noise_is_new_ = true;
    return;
  }
  const int64_t coordinates = bias->shape[0], width = weight->shape[1];
  noise_per_class_ = coordinates == file_classes_;
  noise_is_new_ = noise_per_class_ && (replaced() || (mapped() && coordinates == width));  // then it may be on φ
  const auto fits = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto own = model.find(name);
    if (!shape.empty() && noise_per_class_ && mapped()) shape[0] = shape[0] / file_classes_ * classes_;
    return own != model.end() && own->second == shape;
  };
  for (const auto& [name, tensor] : file.tensors)
    if (is_noise(name)) noise_is_new_ = noise_is_new_ || !fits(name, tensor.shape);
  for (const auto& [name, shape] : model)
    if (is_noise(name)) noise_is_new_ = noise_is_new_ || !file.has(name);
}

bool HeadRows::is_new(const std::string& name) const {
  return (is_classifier(name) && replaced()) || (is_noise(name) && noise_is_new_) ||
         (is_temperature(name) && temperature_is_new_);
}

bool HeadRows::may_be_left_out(const std::string& name) const {
  return !model_has_one_ || is_new(name) || is_temperature(name);
}

Tensor HeadRows::rows_of(const std::string& name, const Tensor& tensor) const {
  if (is_temperature(name) || tensor.ndim() == 0) return tensor;
  const bool convolution = is_classifier(name) && tensor.ndim() == 4 && tensor.dim(2) == 1 && tensor.dim(3) == 1;
  const Tensor all = convolution ? tensor.reshape({tensor.dim(0), tensor.dim(1)}) : tensor;
  if (!mapped() || (is_noise(name) && !noise_per_class_)) return all;
  const int64_t each = all.dim(0) / file_classes_;  // rows of a class: full factors have one for each of their ranks
  if (each == 0 || all.dim(0) % file_classes_ != 0) return all;
  Tensor rows = Tensor::empty(all.shape().with(0, classes_ * each), all.dtype());
  for (int64_t k = 0; k < classes_; ++k) {
    const int64_t from = rows_[static_cast<size_t>(k)] * each;
    rows.rows(k * each, (k + 1) * each).copy_from(all.rows(from, from + each));
  }
  return rows;
}

}  // namespace sked

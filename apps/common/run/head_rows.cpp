#include "apps/common/run/head_rows.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "apps/common/config/config.h"
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

TemperatureBeginning begin_temperature(const Tensor* t, const TemperatureConfig& file, const TemperatureConfig& here,
                                       double now) {
  const bool learned = t != nullptr && t->defined() && is_floating(t->dtype()) && t->numel() == 1;
  if (file.learn != learned) return {.is_new = t == nullptr};  // not what its configuration says
  if (learned && here.learn && file.lo == here.lo && file.hi == here.hi) return {.is_new = false};
  const auto between = [](const TemperatureConfig& c, double at) { return c.lo + (c.hi - c.lo) / (1 + std::exp(-at)); };
  const double before = learned ? between(file, t->to(DType::f64).item()) : file.value;
  if (std::abs(before - now) <= 1e-6 * now) return {};
  std::ostringstream text;
  text << "the temperature is " << before << " in the file, here it begins at " << now;
  return {.note = text.str()};
}

std::string noise_differences(const std::vector<Field>& file, const std::vector<Field>& here,
                              const std::string& section, bool ranked) {
  static const std::set<std::string> kOthers{"link",       "train_samples", "test_samples",      "antithetic",
                                             "likelihood", "sample_chunk",  "learn_temperature", "bias_init",
                                             "lock_image", "features",      "retrieval",         "shard_classes"};
  std::vector<std::string> keys = differing_fields(file, here);
  std::erase_if(keys, [&](const std::string& key) {
    return kOthers.contains(key) || key.starts_with("temperature") || key.starts_with("noise_init") ||
           (key == "rank" && !ranked);
  });
  return differences(file, here, keys, section);
}

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
  compare_noise(file, model, options);
  compare_temperature(file, options);
  if (options.file_head && options.file_head->link != options.head.link && !replaced())
    notes_.push_back(std::string("the classifier was trained with link ") + name_of(options.file_head->link) +
                     ", here it is " + name_of(options.head.link) +
                     ": the logits are the file's, their probabilities are not");
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

int64_t HeadRows::rows_per_class(int64_t rows) const { return rows % file_classes_ == 0 ? rows / file_classes_ : 0; }

std::string HeadRows::noise_apart(const ForeignWeights& file, const Shapes& model, const InitialOptions& options) {
  const ForeignTensor *weight = file.find("head.weight"), *bias = file.find("head.noise.diagonal.bias");
  if (weight == nullptr || weight->shape.size() < 2 || bias == nullptr || bias->shape.size() != 1)
    return "the file has no classifier that it belongs to";
  HeadConfig theirs = options.file_head.value_or(options.head), ours = options.head;
  const bool ranked = theirs.noise.factors != Factors::diagonal || ours.noise.factors != Factors::diagonal;
  if (std::string apart = noise_differences(fields_of(theirs), fields_of(ours), "head.", ranked); !apart.empty())
    return apart;
  const int64_t coordinates = bias->shape[0], width = weight->shape[1];
  const bool known = options.file_head.has_value();
  noise_per_class_ = file_classes_ > 0 && (known ? theirs.kind == HeadKind::het : coordinates == file_classes_);
  if (noise_per_class_ && replaced()) return "it is one of each class, and the classifier is new";
  if (noise_per_class_ && mapped() && !known && coordinates == width)
    return "it may be one of each class or of each feature";
  const auto fits = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto own = model.find(name);
    if (!shape.empty() && noise_per_class_ && mapped() && rows_per_class(shape[0]) > 0)
      shape[0] = rows_per_class(shape[0]) * classes_;
    return own != model.end() && own->second == shape;
  };
  bool same = true;
  for (const auto& [name, tensor] : file.tensors) same = same && (!is_noise(name) || fits(name, tensor.shape));
  for (const auto& [name, shape] : model) same = same && (!is_noise(name) || file.has(name));
  return same ? "" : "its tensors are of other sizes";
}

void HeadRows::compare_noise(const ForeignWeights& file, const Shapes& model, const InitialOptions& options) {
  const auto noisy = [](const auto& tensors) {
    return std::ranges::any_of(tensors, [](const auto& tensor) { return is_noise(tensor.first); });
  };
  const bool theirs = noisy(file.tensors), ours = noisy(model);
  noise_is_new_ = true;
  if (!ours) {
    if (theirs) notes_.emplace_back("the noise of the file's head is left out: this head has none (head.kind)");
    return;
  }
  const std::string why = theirs ? noise_apart(file, model, options) : "the file has none";
  noise_is_new_ = !why.empty();
  if (noise_is_new_) notes_.push_back("the noise is new: " + why);
}

void HeadRows::compare_temperature(const ForeignWeights& file, const InitialOptions& options) {
  const ForeignTensor* t = file.find("head.temperature.t");
  temperature_is_new_ = t == nullptr;
  if (!options.file_head) return;
  const auto [is_new, note] = begin_temperature(t == nullptr ? nullptr : &t->tensor, options.file_head->temperature,
                                                options.head.temperature, options.temperature);
  temperature_is_new_ = is_new;
  if (!note.empty() && !replaced()) notes_.push_back(note);
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
  const int64_t each = rows_per_class(all.dim(0));
  if (each == 0) return all;
  Tensor rows = Tensor::empty(all.shape().with(0, classes_ * each), all.dtype());
  for (int64_t k = 0; k < classes_; ++k) {
    const int64_t from = rows_[static_cast<size_t>(k)] * each;
    rows.rows(k * each, (k + 1) * each).copy_from(all.rows(from, from + each));
  }
  return rows;
}

}  // namespace sked

#include "data/relabeled.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

using Names = std::vector<std::string>;

/// Labels, targets, distributions and covariances in other numbers.
class Relabelled final : public DatasetView {
 public:
  Relabelled(std::shared_ptr<const Dataset> base, Names names, std::vector<int64_t> number)
      : DatasetView(std::move(base), std::move(names)), number_(std::move(number)) {}

  int64_t classes() const override { return static_cast<int64_t>(class_names().size()); }
  int64_t label(int64_t i) const override { return number_[static_cast<size_t>(base().label(i))]; }
  Tensor target(int64_t i) const override { return renumbered(base().target(i)); }
  Tensor distribution(int64_t i) const override { return renumbered(base().distribution(i)); }
  /// Nothing is known of classes that the data does not have.
  bool has_covariances() const override { return base().has_covariances() && number_.size() == class_names().size(); }
  Tensor covariance(int64_t i) const override {
    if (!has_covariances()) return Dataset::covariance(i);
    const Tensor sigma = base().covariance(i);
    Tensor all = Tensor::empty(sigma.shape());
    for (size_t a = 0; a < number_.size(); ++a)
      for (size_t b = 0; b < number_.size(); ++b)
        all.data<float>()[number_[a] * classes() + number_[b]] = sigma.data<float>()[a * number_.size() + b];
    return all;
  }

 private:
  Tensor renumbered(const Tensor& shares) const {
    Tensor all = Tensor::zeros({classes()});
    for (size_t k = 0; k < number_.size(); ++k) all.data<float>()[number_[k]] = shares.data<float>()[k];
    return all;
  }

  std::vector<int64_t> number_;  // of the base's class k
};

/// The first few names that `names` has and `others` has not.
std::string missing_from(const Names& others, const Names& names) {
  constexpr size_t kShown = 5;
  const std::set<std::string> there(others.begin(), others.end());
  Names missing;
  size_t count = 0;
  for (const std::string& name : names) {
    if (there.contains(name)) continue;
    if (++count <= kShown) missing.push_back("\"" + excerpt(name) + "\"");
  }
  return join(missing) + (count > kShown ? " and " + std::to_string(count - kShown) + " more" : "");
}

}  // namespace

std::vector<std::string> numbered_classes(int64_t classes) {
  Names names;
  for (int64_t k = 0; k < classes; ++k) names.push_back("class " + std::to_string(k));
  return names;
}

std::string class_difference(const Names& got, const Names& expected) {
  if (got == expected) return "";
  std::string text = std::to_string(got.size()) + " classes, expected " + std::to_string(expected.size());
  const std::string extra = missing_from(expected, got), lacking = missing_from(got, expected);
  if (!extra.empty()) text += "; " + extra + " not expected";
  if (!lacking.empty()) text += "; no " + lacking;
  if (extra.empty() && lacking.empty()) text += ", in another order or named twice";
  return text;
}

std::shared_ptr<const Dataset> with_classes(std::shared_ptr<const Dataset> data, const Names& wanted,
                                            const std::string& whose) {
  require(data != nullptr, "classes", "expected a dataset, got none");
  const Names& names = data->class_names();
  if (names == wanted) return data;
  std::vector<int64_t> number(names.size());
  std::map<std::string, int64_t> index;
  for (size_t k = 0; k < wanted.size(); ++k) index.emplace(wanted[k], static_cast<int64_t>(k));
  const bool unique = index.size() == wanted.size() && std::set(names.begin(), names.end()).size() == names.size();
  bool all = unique;
  for (size_t k = 0; all && k < names.size(); ++k) {
    const auto found = index.find(names[k]);
    all = found != index.end();
    if (all) number[k] = found->second;
  }
  require(all, "classes", data->size() > 0 ? data->source(0) + " ..." : data->name(), ": other classes than those of ",
          whose, ": ", class_difference(names, wanted));
  return std::make_shared<Relabelled>(std::move(data), wanted, std::move(number));
}

}  // namespace sked

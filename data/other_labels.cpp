#include "data/other_labels.h"

#include <utility>

#include "core/error.h"
#include "core/npy.h"

namespace sked {
namespace {

class WithLabels final : public DatasetView {
 public:
  WithLabels(std::shared_ptr<const Dataset> base, Tensor labels, const std::string& source)
      : DatasetView(std::move(base)), labels_(std::move(labels)) {
    check_labels(labels_, classes(), source);
    require(labels_.dim(0) == size(), "labels", source, ": expected ", size(), " labels, one for each example of ",
            name(), ", got ", labels_.dim(0));
  }

  int64_t label(int64_t i) const override {
    check_index(i);
    return labels_.data<int64_t>()[i];
  }
  bool has_targets() const override { return false; }
  Tensor target(int64_t i) const override { return Dataset::target(i); }
  void add_identity(int64_t i, Fingerprint& f) const override {
    DatasetView::add_identity(i, f);
    Dataset::add_identity(i, f);
  }

 private:
  Tensor labels_;
};

class WithDistributions final : public DatasetView {
 public:
  WithDistributions(std::shared_ptr<const Dataset> base, std::function<Tensor(int64_t)> distribution)
      : DatasetView(std::move(base)), distribution_(std::move(distribution)) {}

  bool has_distributions() const override { return true; }
  Tensor distribution(int64_t i) const override {
    check_index(i);
    return distribution_(i);
  }

 private:
  std::function<Tensor(int64_t)> distribution_;
};

class WithCovariances final : public DatasetView {
 public:
  WithCovariances(std::shared_ptr<const Dataset> base, std::function<Tensor(int64_t)> covariance)
      : DatasetView(std::move(base)), covariance_(std::move(covariance)) {}

  bool has_covariances() const override { return true; }
  Tensor covariance(int64_t i) const override {
    check_index(i);
    return covariance_(i);
  }

 private:
  std::function<Tensor(int64_t)> covariance_;
};

}  // namespace

std::shared_ptr<const Dataset> with_labels(std::shared_ptr<const Dataset> base, Tensor labels,
                                           const std::string& source) {
  return std::make_shared<WithLabels>(std::move(base), std::move(labels), source);
}

std::shared_ptr<const Dataset> with_distributions(std::shared_ptr<const Dataset> base,
                                                  std::function<Tensor(int64_t)> distribution) {
  return std::make_shared<WithDistributions>(std::move(base), std::move(distribution));
}

std::shared_ptr<const Dataset> with_covariances(std::shared_ptr<const Dataset> base,
                                                std::function<Tensor(int64_t)> covariance) {
  return std::make_shared<WithCovariances>(std::move(base), std::move(covariance));
}

Tensor load_labels(const std::string& path) {
  const StoredArray file = open_npy(path);
  require(file.shape().ndim() == 1, "labels", path, ": expected labels (N), got ", file.shape());
  Tensor labels = Tensor::empty(file.shape(), DType::i64);
  file.read(0, file.rows(), labels.data<int64_t>());
  return labels;
}

Tensor labels_of(const Dataset& data) {
  Tensor labels = Tensor::empty({data.size()}, DType::i64);
  for (int64_t i = 0; i < data.size(); ++i) labels.data<int64_t>()[i] = data.label(i);
  return labels;
}

}  // namespace sked

#include "data/feature_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace sked {

FeatureStatistics feature_statistics(const Dataset& data) {
  require(holds_features(data) && data.size() > 0, "statistics", data.name(), ": expected vectors, one or more");
  const int64_t width = data.image_shape()[0];
  const auto count = static_cast<double>(data.size());
  std::vector<float> first(static_cast<size_t>(width)), x(first.size());
  std::vector<double> sum(first.size(), 0), squares(first.size(), 0);
  data.read_features(0, first.data());
  for (int64_t i = 0; i < data.size(); ++i) {
    data.read_features(i, x.data());
    for (size_t d = 0; d < x.size(); ++d) {
      const double difference = static_cast<double>(x[d]) - first[d];
      sum[d] += difference;
      squares[d] += difference * difference;
    }
  }
  FeatureStatistics statistics{Tensor::empty({width}), Tensor::empty({width})};
  for (size_t d = 0; d < x.size(); ++d) {
    const double mean = sum[d] / count, variance = std::max(0.0, squares[d] / count - mean * mean);
    statistics.mean.data<float>()[d] = static_cast<float>(first[d] + mean);
    statistics.deviation.data<float>()[d] = static_cast<float>(std::sqrt(variance));
  }
  return statistics;
}

}  // namespace sked

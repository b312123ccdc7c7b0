#include "apps/replicate/reliability.h"

namespace sked {

Series reliability(const std::vector<const Measures*>& runs, const std::string& name) {
  Series series{.name = name};
  for (size_t bin = 0; bin < kReliabilityBins; ++bin) {
    double count = 0, confidence = 0, right = 0;
    for (const Measures* run : runs) {
      const ReliabilityBin& b = run->bins[bin];
      count += static_cast<double>(b.count);
      confidence += static_cast<double>(b.count) * b.confidence;
      right += static_cast<double>(b.count) * b.accuracy;
    }
    if (count == 0) continue;
    series.x.push_back(confidence / count);
    series.y.push_back(right / count);
  }
  return series;
}

}  // namespace sked

#pragma once
// What it is worth to know which predictions are uncertain (layers/heads/METHOD.md, "Measures").

#include <array>
#include <cstdint>
#include <vector>

namespace sked {

/// A prediction: its confidence, and whether it is right (1 or 0; between them where equal classes share the chance).
struct Graded {
  double confidence = 0, right = 0;
};

/// Shares of the predictions kept, in percent, the most confident first; the others are declined, or given to an
/// oracle.
inline constexpr std::array<int, 5> kCoverages = {50, 80, 90, 95, 99};

/// Predictions of equal confidence are kept in random order, of which every measure is the expectation; for AURC, whose
/// thresholds are the confidences, they are kept together.
struct Selective {
  int64_t count = 0;
  double aurc = 0;    // area under the risk-coverage curve: mean over predictions i of the share of wrong ones among
                      // those at least as confident as i (Geifman et al., arXiv 1805.08206)
  double e_aurc = 0;  // what of it is not inevitable: aurc less that of the same predictions, all wrong ones last
  std::array<double, kCoverages.size()> accuracy{};  // of the ⌈c N⌉ most confident, c of kCoverages
  std::array<double, kCoverages.size()> oracle{};  // of all, the other ⌊(1−c) N⌋ being answered by an oracle that is
                                                   // always right: oracle-collaborative accuracy (Kivlichan et al.,
                                                   // arXiv 2107.04212)
};

/// All 0 for none.
Selective selective(std::vector<Graded> graded);

/// Σ_bins count/N · |accuracy − confidence| over `bins` bins of equally many predictions: bin i holds ⌊i N/bins⌋ …
/// ⌊(i+1) N/bins⌋ − 1 of them in order of falling confidence, equal ones in random order (in expectation of each bin's
/// accuracy). Bins that nothing falls in count nothing; 0 for none.
double equal_mass_calibration_error(std::vector<Graded> graded, int bins);

}  // namespace sked

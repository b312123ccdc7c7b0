#pragma once
// How well a score tells examples out of distribution from those in it (layers/heads/METHOD.md, "Measures").

#include <vector>

namespace sked {

/// Area under the ROC curve of telling `positives` from `negatives` by score: P(score⁺ > score⁻) + ½ P(equal), from
/// ranks (Mann–Whitney U). Throws Error when either is empty or a score is not a number.
double auroc(const std::vector<double>& positives, const std::vector<double>& negatives);

/// All of one score, of which greater values mean further out of distribution; equal scores are one threshold, as in
/// scikit-learn.
struct Detection {
  double auroc = 0;
  double auprc = 0;     // average precision Σ_n (R_n − R_{n−1}) P_n, out of distribution being positive (AUPR-OUT)
  double auprc_in = 0;  // the same with in distribution being positive, by the negated score (AUPR-IN)
  double fpr95 = 0;     // share of the examples out of distribution at or below the least threshold that has at least
                        // 95 % of those in distribution at or below it (Liang et al., arXiv 1706.02690)
};

/// Scores of examples in distribution and out of it. Throws Error as auroc does.
Detection detection(const std::vector<double>& in, const std::vector<double>& out);

}  // namespace sked

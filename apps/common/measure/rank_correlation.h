#pragma once
// Do two quantities rise together?

#include <vector>

namespace sked {

/// Ranks from 1 on, equal values sharing the mean of theirs.
std::vector<double> average_ranks(const std::vector<double>& values);

/// Spearman's rank correlation: Pearson's of the average ranks, −1 … 1. NaN where it is not defined: for fewer than two
/// pairs, and where either side is constant. Throws Error for unequal lengths or a value that is not a number.
double rank_correlation(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace sked

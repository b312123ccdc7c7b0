#pragma once
// Reading and checking what configurations of heads have in common. `section` is where it stands in a configuration
// file ("head", "contrast"); every error is a UsageError that names section and key.

#include <string>
#include <vector>

#include "layers/heads/head.h"

namespace sked::detail {

/// The position of `value` in `names`; else an error with the nearest of them.
size_t position(const std::string& value, const std::vector<std::string>& names, const std::string& key);

/// full | efficient | diagonal.
Factors factors_of(const HeadConfig& config, const std::string& section);

/// τ > 0 and, when it is learned, 0 < lo < hi.
void check_temperature(const HeadConfig& config, const std::string& section);

/// What noise of these factors on so many coordinates needs: rank, samples, likelihood and its chunk, initial scale.
void check_noise(const HeadConfig& config, Factors factors, int64_t coordinates, const std::string& section);

}  // namespace sked::detail

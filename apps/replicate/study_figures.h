#pragma once
// The figures of a claim.

#include <string>

#include "apps/replicate/judged.h"

namespace sked {

/// All that the claim asks for and its results have something for, as HTML; a line says which of them are left out for
/// want of results.
std::string figures_html(const JudgedClaim& claim);

}  // namespace sked

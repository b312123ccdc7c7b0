#pragma once
// study.html: the claims of plans with their answers, one self-contained page, and the same in a few lines.

#include <string>
#include <vector>

#include "apps/replicate/judged.h"

namespace sked {

inline constexpr const char* kStudyPage = "study.html";

/// Is a file a page of these, which a later one may replace? Throws Error where it cannot be read.
bool is_study_page(const std::string& file);

/// `command` made the page. Everything else is from the results: every comparison, every cell, what was tried, what is
/// missing.
std::string study_html(const std::vector<StudyResults>& studies, const std::vector<JudgedClaim>& claims,
                       const std::string& command);

/// A line for each claim, with its verdict.
std::string study_table(const std::vector<JudgedClaim>& claims);

}  // namespace sked

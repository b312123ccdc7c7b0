#pragma once
// What frames the report: its style, tables, what its words mean, where it comes from.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// From the doctype to the heading, with the style: light or dark as the reader's system is, for phones and A4 too.
std::string page_beginning(const std::string& title);

/// A table of HTML cells, its first row and column headers, in a frame that scrolls sideways by itself. `best`: cells
/// (row, column) that are marked. `words`: cells are
/// text, which wraps.
struct HtmlTable {
  std::string caption = {};
  std::vector<std::vector<std::string>> rows = {};
  std::vector<std::pair<size_t, size_t>> best = {};
  bool words = false;
};
std::string html_table(const HtmlTable& table);

/// Folded away until it is asked for.
std::string folded(const std::string& title, const std::string& html);

/// What NLL, ECE, Brier, tau, sigma and p(y|x) are, a sentence each.
std::string explanations();

/// A paragraph on what made results; empty for those of earlier versions, which do not know.
std::string machine(const Provenance& made_by);

/// Where the numbers come from: command, date, device, links to the runs' folders, the configuration.
std::string page_end(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out);

}  // namespace sked

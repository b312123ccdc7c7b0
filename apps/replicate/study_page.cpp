#include "apps/replicate/study_page.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "apps/common/measure/html.h"
#include "apps/replicate/page.h"
#include "apps/replicate/study_figures.h"
#include "apps/replicate/study_grid.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kMark = "<!-- skedastic study -->";  // behind the style

std::string anchor(size_t claim) { return "claim-" + std::to_string(claim + 1); }

/// `+0.0123`, in the metric's unit and digits; one more digit than tables have.
std::string signed_text(double value, const Metric& metric) {
  char text[64];
  std::snprintf(text, sizeof text, "%+.*f", metric.digits + 1, value * metric.scale);
  return text;
}

std::string unsigned_text(double value, const Metric& metric) { return signed_text(value, metric).substr(1); }

std::string interval(double mean, double half, const Metric& metric) {
  return signed_text(mean - half, metric) + "&nbsp;… " + signed_text(mean + half, metric);
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g %%", 100 * share);
  return text;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Of one metric's comparisons that have an interval.
std::vector<double> of_metric(const JudgedClaim& claim, const Metric* metric, double (*get)(const Judgment&)) {
  std::vector<double> values;
  for (const JudgedComparison& c : claim.comparisons)
    if (c.claimed->metric == metric && c.judgment.why_open.empty()) values.push_back(get(c.judgment));
  return values;
}

std::string counts_text(const Counts& counts) {
  return std::to_string(counts.as_claimed) + " of " + counted(counts.all(), "comparison") + " came out as claimed, " +
         std::to_string(counts.other_way) + " the other way, " + std::to_string(counts.no_difference) +
         " without a difference that matters, " + std::to_string(counts.open) + " open";
}

/// The answer in a sentence, and what could have been seen in another.
std::string answer(const JudgedClaim& claim) {
  std::string verdict = name_of(claim.verdict), medians, seen;
  verdict[0] = static_cast<char>(verdict[0] - 'a' + 'A');
  for (const Metric* metric : claim.metrics()) {
    const auto differences = of_metric(claim, metric, [](const Judgment& j) { return j.difference.mean; });
    const auto detectable = of_metric(claim, metric, [](const Judgment& j) { return j.detectable; });
    if (differences.empty()) continue;
    medians += (medians.empty() ? "" : ", ") + metric->title + " " + signed_text(median(differences), *metric);
    seen += (seen.empty() ? "" : "; ") + metric->title + " " + unsigned_text(median(detectable), *metric) +
            " in the median comparison, " + unsigned_text(std::ranges::max(detectable), *metric) + " in the worst";
  }
  std::string text = "<p><strong>Answer.</strong> " + verdict + ": " + counts_text(claim.counts);
  if (!medians.empty()) text += "; median difference (+ as claimed): " + escaped(medians);
  text += ".</p>\n";
  if (!seen.empty())
    text +=
        "<p>The smallest difference that these seeds could have seen, with 80 % power: " + escaped(seen) + ".</p>\n";
  return text;
}

std::string comparison_table(const JudgedClaim& claim) {
  HtmlTable table{.caption = "Every comparison; differences are positive where they are as claimed",
                  .rows = {{"comparison", "outcome", "metric", "expected", "worth", "seeds", "difference",
                            "95 % interval", percent(claim.level()) + " interval", "could have seen"}},
                  .words = true};
  for (const JudgedComparison& c : claim.comparisons) {
    const Metric& metric = *c.claimed->metric;
    const Judgment& j = c.judgment;
    std::string name = c.name();
    if (c.sweep_cost > 0) name += " (the sweep's training: " + estimate({c.sweep_cost}).text(1) + " times the head's)";
    const std::string why = j.why_open.empty() ? "" : ": " + j.why_open;
    std::vector<std::string> row{escaped(name),
                                 escaped(name_of(j.outcome) + why),
                                 escaped(metric.title),
                                 name_of(c.claimed->expect),
                                 unsigned_text(c.claimed->worth, metric),
                                 std::to_string(c.seeds)};
    if (why.empty())
      for (const std::string& text :
           {signed_text(j.difference.mean, metric), interval(j.difference.mean, j.half_95, metric),
            interval(j.difference.mean, j.half, metric), unsigned_text(j.detectable, metric)})
        row.push_back(text);
    row.resize(table.rows[0].size(), "-");
    table.rows.push_back(std::move(row));
  }
  return html_table(table);
}

std::string code_line(const std::string& command) {
  return command.empty() ? "" : "<pre>" + escaped(command) + "</pre>\n";
}

/// `12 of 14 as claimed, 2 open`
std::string short_counts(const Counts& counts) {
  std::string text = std::to_string(counts.as_claimed) + " of " + std::to_string(counts.all()) + " as claimed";
  for (const auto& [n, outcome] : {std::pair(counts.other_way, Outcome::other_way),
                                   {counts.no_difference, Outcome::no_difference},
                                   {counts.open, Outcome::open}})
    if (n > 0) text += ", " + std::to_string(n) + " " + name_of(outcome);
  return text;
}

std::string summary_table(const std::vector<JudgedClaim>& claims) {
  HtmlTable table{.rows = {{"claim", "verdict", "comparisons"}}, .words = true};
  for (size_t i = 0; i < claims.size(); ++i) {
    const Claim& claim = *claims[i].claim;
    table.rows.push_back({"<a href=\"#" + anchor(i) + "\">" + escaped(claim.claim + " " + claim.title) +
                              "</a><br><span class=\"muted\">" + escaped(claim.question) + "</span>",
                          "<strong>" + std::string(name_of(claims[i].verdict)) + "</strong>",
                          short_counts(claims[i].counts)});
  }
  return html_table(table);
}

constexpr const char* kRule = R"(<h2>The rule</h2>
<p>Questions, comparisons, the side that is claimed and what difference is worth speaking of stand in the plans, which
were written before the runs. A comparison is the mean over seeds of the difference of two heads with the same seed, in
one setting and one metric, with Student's t-interval. Of a claim's m comparisons each is judged by its interval at
1 − 0.05/m (Bonferroni), so that one wrong judgment in the claim has a chance of at most 5 %.</p>
<ul>
<li><strong>as claimed</strong>: the interval lies wholly on the claimed side (of no worse: above −worth);
<strong>the other way</strong>: wholly on the other; <strong>no difference</strong>: neither, and wholly within ±worth;
<strong>open</strong>: all else, and what is missing.</li>
<li>A claim of n comparisons is <strong>replicated</strong> where those as claimed less those the other way are more
than n/2; <strong>not replicated</strong> where those the other way and without a difference are more than n/2, or
those the other way are at least as many as those as claimed, and any; else <strong>undecided at this
size</strong>.</li>
</ul>
)";

std::string claim_section(const JudgedClaim& claim, size_t index, std::optional<size_t> grid_at) {
  const Claim& said = *claim.claim;
  std::string text = "<section>\n<h2 id=\"" + anchor(index) + "\">" + escaped(said.claim + " " + said.title) +
                     " <span class=\"verdict\">" + name_of(claim.verdict) + "</span></h2>\n<p class=\"muted\">" +
                     escaped(claim.results->plan.title) + "</p>\n<p><strong>" + escaped(said.question) +
                     "</strong></p>\n<p><strong>Expected beforehand.</strong> " + escaped(said.expectation) + "</p>\n" +
                     answer(claim);
  text += figures_html(claim) + comparison_table(claim);
  if (grid_at)
    text += "<p>All cells of this plan and what was tuned: with <a href=\"#" + anchor(*grid_at) +
            "\">an earlier claim</a>.</p>\n";
  else
    text += grid_html(*claim.results) + tuning_html(*claim.results);
  return text + code_line(claim.results->command) + "</section>\n";
}

}  // namespace

bool is_study_page(const std::string& file) {
  std::string begin(16384, '\0');
  begin.resize(InputFile(file).read_some(begin.data(), begin.size()));
  return begin.find(kMark) != begin.npos;
}

std::string study_html(const std::vector<StudyResults>& studies, const std::vector<JudgedClaim>& claims,
                       const std::string& command) {
  size_t comparisons = 0;
  for (const JudgedClaim& claim : claims) comparisons += claim.comparisons.size();
  std::string page = page_beginning("Replication study") + kMark + "\n<p>" + counted(claims.size(), "claim") + " by " +
                     counted(studies.size(), "plan") + ", " + counted(comparisons, "comparison") + " in all.</p>\n" +
                     summary_table(claims);
  for (const StudyResults& results : studies) page += missing_runs(results);
  page += kRule + explanations();
  for (size_t i = 0; i < claims.size(); ++i) {
    std::optional<size_t> grid_at;
    for (size_t before = i; before-- > 0;)
      if (claims[before].results == claims[i].results) grid_at = before;
    page += claim_section(claims[i], i, grid_at);
  }
  page += "<footer>\n<h2>Where the numbers come from</h2>\n";
  for (const StudyResults& results : studies) page += origin_html(results);
  return page + "<p>This page: <code>" + escaped(command) + "</code></p>\n</footer>\n</body></html>\n";
}

std::string study_table(const std::vector<JudgedClaim>& claims) {
  std::string text;
  for (const JudgedClaim& claim : claims) {
    text += printable(claim.claim->claim + " " + claim.claim->title) + ": " + name_of(claim.verdict) + "\n    " +
            counts_text(claim.counts) + "\n";
  }
  return text;
}

}  // namespace sked

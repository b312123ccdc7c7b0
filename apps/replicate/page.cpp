#include "apps/replicate/page.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "apps/common/config/config.h"
#include "apps/common/measure/html.h"
#include "apps/common/run/run_folder.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr const char* kStyle = R"(<style>
:root { color-scheme: light dark; --text: #222; --page: #fff; --muted: #595959; --line: #ddd; --best: #e3f1e3;
  --link: #1a5fb4; }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --page: #16181b; --muted: #a0a0a0; --line: #3a3d42;
  --best: #1f3a26; --link: #8ab4f8; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: clamp(1.4rem, 5vw, 2rem); line-height: 1.25; }
a { color: var(--link); } .muted, footer { color: var(--muted); } footer { font-size: 14px; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 14px; } caption { text-align: left; color: var(--muted); }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tbody th { font-weight: 400; }
.words th, .words td { text-align: left; vertical-align: top; white-space: normal; overflow-wrap: normal;
  padding: .3rem .5rem; }
.words tbody th { min-width: 8rem; }
.verdict { border: 1px solid; border-radius: 4px; padding: 0 .4em; font-size: .8em; white-space: nowrap; }
.best { font-weight: 600; background: var(--best); }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { width: 560px; max-width: 100%; height: auto; }
.charts { display: flex; flex-wrap: wrap; align-items: start; gap: 1.5rem; }
.charts svg { width: 420px; max-width: 100%; height: auto; }
.images { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 112px; font-size: 12px; line-height: 1.25; }
figure img { width: 112px; image-rendering: pixelated; }
pre { overflow-x: auto; font-size: 12px; } details { margin: .5rem 0; } summary { cursor: pointer; }
@page { size: A4; margin: 15mm; }
@media print { :root { --text: #000; --page: #fff; --muted: #444; --line: #bbb; --best: #eee; color-scheme: light; }
  body { font-size: 10px; margin: 0; padding: 0; max-width: none; } table { font-size: 7.5px; width: 100%; }
  footer { font-size: 9px; } pre { font-size: 7px; columns: 3; }
  th, td { white-space: normal; padding: .15rem .25rem; overflow-wrap: normal; } .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }  /* what is folded on the screen */
  tr, figure, svg { break-inside: avoid; } h2, h3, h3 + p { break-after: avoid; }
  .plots svg, .charts svg { width: 48%; } }
</style>)";

/// The day the last of the runs was finished, as its files say; empty where they are gone.
std::string last_day(const std::vector<Cell>& cells, const std::filesystem::path& out) {
  std::filesystem::file_time_type last{};
  bool any = false;
  for (const Cell& cell : cells) {
    for (const FinishedRun& run : cell.runs) {
      std::error_code error;
      const auto time = std::filesystem::last_write_time(RunFolder{out / run.plan.folder}.summary(), error);
      if (!error) last = any ? std::max(last, time) : time, any = true;
    }
  }
  if (!any) return "";
  const auto system = std::chrono::file_clock::to_sys(last);
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(system));
  std::tm utc{};
  char text[32];
  gmtime_r(&seconds, &utc);
  std::strftime(text, sizeof text, "%Y-%m-%d", &utc);
  return text;
}

}  // namespace

std::string page_beginning(const std::string& title) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>" +
         escaped(title) + "</title>\n" + kStyle + "</head><body>\n<h1>" + escaped(title) + "</h1>\n";
}

std::string html_table(const HtmlTable& table) {
  std::string text =
      "<div class=\"scroll\" tabindex=\"0\"><table" + std::string(table.words ? " class=\"words\">" : ">");
  if (!table.caption.empty()) text += "<caption>" + escaped(table.caption) + "</caption>";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    text += i == 0 ? "<thead><tr>" : "<tr>";
    for (size_t j = 0; j < table.rows[i].size(); ++j) {
      const bool best = std::ranges::find(table.best, std::pair(i, j)) != table.best.end();
      const std::string& cell = table.rows[i][j];
      if (i == 0)
        text += "<th scope=\"col\">" + cell + "</th>";
      else if (j == 0)
        text += "<th scope=\"row\">" + cell + "</th>";
      else
        text += (best ? "<td class=\"best\">" : "<td>") + cell + "</td>";
    }
    text += i == 0 ? "</tr></thead>\n<tbody>" : "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string folded(const std::string& title, const std::string& html) {
  return "<details><summary>" + escaped(title) + "</summary>\n" + html + "</details>\n";
}

std::string explanations() {
  return folded("What the words mean", R"(<dl>
<dt>NLL</dt><dd>Mean of −log of the probability that was given to the image's label; lower is better.</dd>
<dt>ECE</dt><dd>How far confidence and accuracy differ, mean over 15 bins of confidence; 0 is calibrated.</dd>
<dt>Brier</dt><dd>Mean squared distance of the probabilities from the label as 0 and 1; lower is better.</dd>
<dt>τ</dt><dd>The temperature that logits and their noise are divided by before the softmax or sigmoid.</dd>
<dt>σ</dt><dd>The predicted noise of an image: the mean standard deviation of the head's noise.</dd>
<dt>p(y|x)</dt><dd>How probable each label y is for an image x: known where noise was made, or people's votes.</dd>
</dl>
)");
}

std::string machine(const Provenance& made_by) {
  if (made_by.version.empty()) return "";
  return "<p>Machine " + escaped(made_by.host) + ": " + escaped(made_by.processor) + ", " +
         std::to_string(made_by.threads) + " threads. Skedastic " + escaped(made_by.version) + " by " +
         escaped(made_by.compiler) + (made_by.libraries.empty() ? "" : ", " + escaped(join(made_by.libraries))) +
         ".</p>\n";
}

std::string page_end(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out) {
  std::string text = "<footer>\n";
  if (!cells.empty()) {
    const Summary& first = cells.front().runs.front().summary;
    const std::string day = last_day(cells, out);
    text += "<p>Trained on " + escaped(first.device) + " (" + escaped(first.precision) + ")" +
            (day.empty() ? "" : ", finished on " + day) + " by <code>" + escaped(first.command) + "</code></p>\n" +
            machine(first.made_by);
    std::string links;
    for (const Cell& cell : cells)
      for (const FinishedRun& run : cell.runs)
        links += "<li><a href=\"" + escaped(run.plan.folder) + "/\">" + escaped(run.plan.folder) + "</a></li>\n";
    text += folded("Folders of the runs", "<ul>\n" + links + "</ul>\n");
  }
  std::string configuration;
  const std::string lines = config_text(plan.base) + "\n";
  for (size_t begin = 0, end = 0; (end = lines.find('\n', begin)) != std::string::npos; begin = end + 1)
    configuration += escaped(lines.substr(begin, end - begin)) + "\n";
  text += folded("Configuration that the heads and settings change", "<pre>" + configuration + "</pre>\n");
  return text + "</footer>\n</body></html>\n";
}

}  // namespace sked

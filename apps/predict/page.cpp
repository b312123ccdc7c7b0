#include "apps/predict/page.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "apps/common/measure/html.h"
#include "apps/common/measure/picture.h"
#include "core/text.h"
#include "data/image_file.h"

namespace sked {
namespace {

constexpr const char* kMark = "<meta name=\"generator\" content=\"skedastic predict\">";

constexpr const char* kHead = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
)";

constexpr const char* kStyle = R"(
<title>Predictions</title>
<style>
:root { color-scheme: light dark; --text: #222; --muted: #5c5c5c; --line: #d8d8d8; --track: #e9ecf1; --bar: #2f6db5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --muted: #a6a6a6; --line: #444; --track: #2d3138; --bar: #6ea8e8; }
  body { background: #16181c; }
}
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--text); max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1rem; margin: 0 0 .3rem; }
h1, h2, p, th, td, li, code { overflow-wrap: anywhere; }
p { margin: .3rem 0; } .muted { color: var(--muted); font-size: .875rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); gap: 0 2rem; }
article { display: flex; gap: 1rem; padding: 1rem 0; border-top: 1px solid var(--line); break-inside: avoid; }
article > div { flex: 1; min-width: 0; }
figure { margin: 0; flex: 0 0 9rem; }
img { display: block; width: 100%; height: auto; max-height: 18rem; object-fit: contain; }
img.icon { image-rendering: pixelated; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { padding: .15rem .5rem .15rem 0; text-align: left; vertical-align: top; font-weight: normal; }
thead th { color: var(--muted); }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th:last-child, td:last-child { padding-right: 0; }
td.share { width: 26%; padding-top: .45rem; } td.with { padding: 0 0 .4rem 1rem; }
.track { display: block; height: .6rem; background: var(--track); border-radius: .15rem; }
.bar { display: block; height: 100%; min-width: 1px; background: var(--bar); border-radius: .15rem; }
.track, .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
tbody tr:first-child th { font-weight: 600; }
@media (max-width: 36rem) { article { flex-direction: column; } figure { flex-basis: auto; width: 12rem; } }
@media print { @page { size: A4; margin: 15mm; } body { padding: 0; font-size: 12px; } main { display: block; } }
</style>
</head>
<body>
<h1>Predictions</h1>
)";

std::string number(const char* pattern, double value) {
  char text[48];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

/// Of a large JPEG file no more than is shown is decoded.
Tensor picture_of(const std::string& path) {
  constexpr int64_t kSide = 320;
  const std::string bytes = read_file(path, uint64_t{1} << 30);
  const std::span<const uint8_t> file{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const Shape stored = image_size(file, path);
  int shrink = 8;
  while (shrink > 1 && std::max(stored[0], stored[1]) < kSide * shrink) shrink /= 2;
  return thumbnail(decode_image(file, path, 3, shrink), kSide);
}

/// A name in a script of any direction.
std::string isolated(const std::string& name) { return "<bdi>" + escaped(name) + "</bdi>"; }

std::string row_of(const Answer::Class& c, const std::vector<std::string>& names) {
  std::string row = "<tr><th scope=\"row\">" + isolated(names[static_cast<size_t>(c.k)]);
  row += "</th><td class=\"share\"><span class=\"track\"><span class=\"bar\" style=\"width:" +
         number("%.2f", std::clamp(100 * c.probability, 0.0, 100.0)) + "%\"></span></span></td><td class=\"number\">" +
         number("%.2f", 100 * c.probability) + " %</td>";
  if (c.deviation) row += "<td class=\"number\">±" + number("%.3f", *c.deviation) + "</td>";
  row += "</tr>\n";
  if (c.with.empty()) return row;
  return row + "<tr><td class=\"with muted\" colspan=\"4\">with " + isolated(correlated_text(c, names)) +
         "</td></tr>\n";
}

}  // namespace

Page::Page(const std::string& path, PageAbout about, std::vector<std::string> names)
    : file_(path), about_(std::move(about)), names_(std::move(names)) {
  std::string text = std::string(kHead) + kMark + kStyle;
  text += "<p>Each image with its likeliest classes, by " + isolated(about_.model) + ".</p>\n<p class=\"muted\">";
  if (about_.zero_shot)
    text += "The classes are phrases; probabilities are among them alone.";
  else if (about_.deterministic)
    text += "The head predicts no noise: logits do not move (±0).";
  else
    text +=
        "±: how far the class's logit moves under the predicted noise (standard deviation of the samples). "
        "“with”: the classes whose logits move together with it (correlation, −1 to 1). Predicted noise: the mean "
        "standard deviation of the noise, larger where a label would be less certain.";
  text += "</p>\n<p class=\"muted\"><code>" + escaped(about_.command) + "</code></p>\n<main>\n";
  file_.write(text);
}

void Page::add(const Answer& answer) {
  const Tensor image = picture_of(answer.path);
  const std::string name = answer.path.substr(answer.path.find_last_of('/') + 1);
  const Answer::Class& first = answer.top.front();
  std::string text = "<article><figure><img loading=\"lazy\"";
  if (std::max(image.dim(0), image.dim(1)) < 100) text += " class=\"icon\"";
  text += " width=\"" + std::to_string(image.dim(1)) + "\" height=\"" + std::to_string(image.dim(0)) + "\" alt=\"" +
          escaped(name) + ", most likely " + escaped(names_[static_cast<size_t>(first.k)]) + " (" +
          number("%.1f", 100 * first.probability) + " %)\" src=\"" + picture_uri(image) + "\"></figure>\n<div><h2>" +
          isolated(name) + "</h2>\n";
  if (name != answer.path) text += "<p class=\"muted\">" + isolated(answer.path) + "</p>\n";
  if (answer.noise && !about_.deterministic) text += "<p>predicted noise " + number("%.4f", *answer.noise) + "</p>\n";
  text += "<table><thead><tr><th scope=\"col\">class</th><th scope=\"col\" colspan=\"2\">probability</th>";
  if (first.deviation) text += "<th scope=\"col\" class=\"number\">± logit</th>";
  text += "</tr></thead><tbody>\n";
  for (const Answer::Class& c : answer.top) text += row_of(c, names_);
  file_.write(text + "</tbody></table></div></article>\n");
}

void Page::finish(const std::vector<std::string>& refused) {
  std::string text = "</main>\n";
  if (!refused.empty()) text += "<h2>Without an answer</h2>\n<ul>\n";
  for (const std::string& why : refused) text += "<li>" + escaped(why) + "</li>\n";
  if (!refused.empty()) text += "</ul>\n";
  file_.write(text + "</body>\n</html>\n");
  file_.commit();
}

bool is_page(const std::string& path) {
  std::string begin(1024, '\0');
  begin.resize(InputFile(path).read_some(begin.data(), begin.size()));
  return begin.find(kMark) != std::string::npos;
}

}  // namespace sked

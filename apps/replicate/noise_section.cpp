#include "apps/replicate/noise_section.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string_view>

#include "apps/common/measure/estimate.h"
#include "apps/common/measure/heat_map.h"
#include "apps/common/measure/html.h"
#include "apps/replicate/noisy_images.h"
#include "apps/replicate/page.h"

namespace sked {
namespace {

constexpr int kNoisyImages = 24;
constexpr size_t kBins = 20;

/// A path as a link has it: bytes with a meaning there, or beyond ASCII, as %XX.
std::string link_text(const std::string& path) {
  constexpr std::string_view kPlain = "-._~/";
  std::string text;
  for (const char c : path) {
    char code[8];
    std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    const bool plain = static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) != 0;
    text += plain || kPlain.find(c) != std::string_view::npos ? std::string(1, c) : code;
  }
  return text;
}

/// The file's name, a link from the page in `out` where it is there: relative, so that both can be moved together.
std::string file_html(const std::string& path, const std::filesystem::path& out) {
  if (path.empty()) return "";
  const std::string name = escaped(std::filesystem::path(path).filename().string());
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "<br>" + name;
  const auto place = [](const std::filesystem::path& p) { return std::filesystem::absolute(p).lexically_normal(); };
  // As a browser goes up: by names, whatever they are links to.
  const std::filesystem::path relative = place(path).lexically_relative(place(out / kReport).parent_path());
  return "<br><a href=\"" + link_text(relative.string()) + "\">" + name + "</a>";
}

std::string pictures(const std::vector<NoisyImage>& images, const std::filesystem::path& out) {
  std::string text = "<div class=\"images\">\n";
  for (const NoisyImage& image : images) {
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, " (%.2f)<br><span class=\"muted\">σ %.3f</span>", image.probability,
                  image.noise);
    text += "<figure><img src=\"" + image.picture + "\" alt=\"" +
            escaped(image.label + ", predicted " + image.prediction) + "\"><figcaption>" + escaped(image.label) +
            "<br>→ " + escaped(image.prediction) + numbers + file_html(image.path, out) + "</figcaption></figure>\n";
  }
  return text + "</div>\n";
}

/// Means of both over equally many images, in order of the known noise.
Series binned(const NoiseStudy& study) {
  std::vector<size_t> order(study.known.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return study.known[i]; });
  Series series{.name = "mean ± standard error, 1/20 of images"};
  for (size_t bin = 0; bin < kBins; ++bin) {
    std::vector<double> x, y;
    for (size_t i = bin * order.size() / kBins; i < (bin + 1) * order.size() / kBins; ++i)
      x.push_back(study.known[order[i]]), y.push_back(study.predicted[order[i]]);
    if (x.empty()) continue;
    const Estimate e = estimate(y);
    series.x.push_back(estimate(x).mean);
    series.y.push_back(e.mean);
    series.error.push_back(std::isfinite(e.standard_error) ? e.standard_error : 0);
  }
  return series;
}

std::string against_known(const NoiseStudy& study, const Summary& summary, const DrawPlot& draw) {
  const auto [least, most] = std::ranges::minmax_element(study.known);
  if (study.known.empty() || *most - *least < 1e-6) return "";
  std::string title = "Predicted noise against known noise";
  if (const double rho = summary.test.against.noise_correlation; std::isfinite(rho)) {
    char text[64];
    std::snprintf(text, sizeof text, ", rank correlation %.3f", rho);
    title += text;
  }
  return draw({.title = title,
               .x_label = "entropy of p(y|x), nats",
               .y_label = "predicted noise σ",
               .series = {binned(study)}});
}

double largest(const Tensor& values) {
  double most = 0;
  for (int64_t i = 0; i < values.numel(); ++i)
    most = std::max(most, std::abs(static_cast<double>(values.data<float>()[i])));
  return most;
}

/// Which classes' logits move together, and who is taken for whom in the labels.
std::string heat_maps(const NoiseStudy& study, const Summary& summary) {
  std::string maps;
  if (study.logits.images > 0) {
    maps += heat_map_svg(
        {.title = "Correlation of sampled logits", .names = study.classes, .values = study.logits.correlation});
    if (const double limit = largest(study.logits.covariance); limit > 0)
      maps += heat_map_svg({.title = "Covariance of sampled logits",
                            .names = study.classes,
                            .values = study.logits.covariance,
                            .limit = limit});
  }
  if (study.confusion.defined())
    maps += heat_map_svg(
        {.title = summary.test.distribution == "human" ? "Votes: p(y|x) by class" : "Known noise: p(y|x) by class",
         .names = study.classes,
         .values = study.confusion,
         .below_zero = false});
  return maps;
}

}  // namespace

std::string noise_section(const Plan& plan, const Cell& cell, const std::filesystem::path& out, const DrawPlot& draw) {
  const FinishedRun& run = cell.runs.front();
  if (run.plan.config.task != TaskKind::classification || run.summary.head == "det") return "";
  const std::string folder = (out / run.plan.folder).string(), name = plan.heads[cell.head].name;
  if (!std::filesystem::exists(weights_of(run, folder))) return "";  // removed to save space
  const NoiseStudy study = study_noise(run, folder, kNoisyImages);
  const std::string maps = heat_maps(study, run.summary) + against_known(study, run.summary, draw);
  std::string text;
  const std::string of = escaped(name) + ", seed " + std::to_string(run.plan.seed);
  if (!maps.empty())
    text += "<h3>The noise of " + of + "</h3>\n<p class=\"muted\">" +
            (study.logits.images > 0
                 ? "Which classes' logits u/τ move together, mean over " + std::to_string(study.logits.images) +
                       " of the examples measured, " + std::to_string(study.logits.samples) +
                       " samples each (a shift of all classes is left out)."
                 : "") +
            (study.confusion.defined() ? " p(y|x): which labels the examples of each class (row) get." : "") +
            "</p>\n" + "<div class=\"plots\">\n" + maps + "</div>\n";
  if (!study.noisiest.empty())
    text += "<h3>Noisiest images according to " + of + "</h3>\n" + pictures(study.noisiest, out);
  if (!study.by_class.empty())
    text += folded("The noisiest images of each class according to " + name, pictures(study.by_class, out));
  return text;
}

}  // namespace sked

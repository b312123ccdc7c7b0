#include "apps/predict/answer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/file.h"
#include "core/kernels/reduce.h"
#include "core/text.h"
#include "data/image_file.h"

namespace sked {

Answer likeliest(const Tensor& probabilities, int64_t b, int64_t count) {
  const Shape shown{1, std::min(count, probabilities.dim(1))};
  Tensor p = Tensor::empty(shown), k = Tensor::empty(shown, DType::i64);
  kernel::top_k(probabilities.rows(b, b + 1), p, k);
  Answer answer;
  for (int64_t i = 0; i < shown[1]; ++i)
    answer.top.push_back({k.data<int64_t>()[i], p.data<float>()[i], std::nullopt, {}});
  return answer;
}

static std::string with_text(const Answer::Class& c, const std::vector<std::string>& names) {
  std::string text;
  for (const Correlated& other : c.with) {
    char number[32];
    std::snprintf(number, sizeof number, " %+.2f", other.correlation);
    text += (text.empty() ? "" : ", ") + printable(names[static_cast<size_t>(other.k)]) + number;
  }
  return text;
}

/// A name in 28 columns, or as many as it needs up to 60.
static std::string column(const std::string& name) {
  constexpr size_t kNarrow = 28;
  std::string text = cut_to_columns(printable(name), 60);
  return text.append(kNarrow - std::min(kNarrow, display_width(text)), ' ');
}

std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names) {
  std::vector<std::string> lines;
  for (const Answer::Class& c : answer.top) {
    char text[48];
    std::snprintf(text, sizeof text, "%6.2f %%  ", 100 * c.probability);
    lines.push_back(text + column(names[static_cast<size_t>(c.k)]));
    if (c.deviation) {
      std::snprintf(text, sizeof text, "  ±%.3f", *c.deviation);
      lines.back() += text;
    }
    if (!c.with.empty()) lines.back() += "  with " + with_text(c, names);
  }
  return lines;
}

Json json_of(const Answer& answer, const std::vector<std::string>& names, const char* key) {
  Json top = Json::array();
  for (const Answer::Class& c : answer.top) {
    Json entry{{"class", c.k}, {"name", names[static_cast<size_t>(c.k)]}, {"probability", c.probability}};
    if (c.deviation) {
      entry["logit_deviation"] = *c.deviation;
      Json& with = entry["correlated"] = Json::array();
      for (const Correlated& other : c.with)
        with.push_back(
            {{"class", other.k}, {"name", names[static_cast<size_t>(other.k)]}, {"correlation", other.correlation}});
    }
    top.push_back(std::move(entry));
  }
  Json json{{key, valid_utf8(answer.path)}};
  if (answer.noise) json["noise"] = *answer.noise;
  json["top"] = std::move(top);
  return json;
}

void write_annotated(const std::string& folder, const Answer& answer, const std::vector<std::string>& names) {
  const std::string bytes = read_file(answer.path, uint64_t{1} << 30);
  const Tensor image = decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, answer.path);
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min<size_t>(3, answer.top.size()); ++i) {
    char percent[32];
    std::snprintf(percent, sizeof percent, "%.1f %% ", 100 * answer.top[i].probability);
    lines.push_back(percent + cut_to_columns(printable(names[static_cast<size_t>(answer.top[i].k)]), 60));
  }
  if (answer.noise) {
    char noise[48];
    std::snprintf(noise, sizeof noise, "predicted noise %.3f", *answer.noise);
    lines.emplace_back(noise);
  }
  // A name that leaves room for the number, the ending and that of a file being written.
  const std::string stem = cut_to_columns(printable(std::filesystem::path(answer.path).stem().string()), 40);
  write_png(folder + "/" + std::to_string(answer.number) + "-" + stem + ".png", captioned(image, lines));
}

}  // namespace sked

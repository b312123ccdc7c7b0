#include "apps/predict/answer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/file.h"
#include "data/image_file.h"

namespace sked {

using Json = nlohmann::ordered_json;

Answer likeliest(const Tensor& probabilities, int64_t b, int64_t count) {
  const int64_t classes = probabilities.dim(1);
  const float* p = probabilities.data<float>() + b * classes;
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto shown = std::min(count, classes);
  std::partial_sort(order.begin(), order.begin() + shown, order.end(),
                    [p](int64_t x, int64_t y) { return p[x] != p[y] ? p[x] > p[y] : x < y; });
  Answer answer;
  for (int64_t i = 0; i < shown; ++i) {
    const int64_t k = order[static_cast<size_t>(i)];
    answer.top.push_back({k, p[k], std::nullopt, {}});
  }
  return answer;
}

static std::string with_text(const Answer::Class& c, const std::vector<std::string>& names) {
  std::string text;
  for (const Correlated& other : c.with) {
    char number[32];
    std::snprintf(number, sizeof number, " %+.2f", other.correlation);
    text += (text.empty() ? "" : ", ") + names[static_cast<size_t>(other.k)] + number;
  }
  return text;
}

std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names) {
  std::vector<std::string> lines;
  for (const Answer::Class& c : answer.top) {
    char text[160];
    std::snprintf(text, sizeof text, "%6.2f %%  %-28.60s", 100 * c.probability,
                  names[static_cast<size_t>(c.k)].c_str());
    lines.emplace_back(text);
    if (c.deviation) {
      std::snprintf(text, sizeof text, "  ±%.3f", *c.deviation);
      lines.back() += text;
    }
    if (!c.with.empty()) lines.back() += "  with " + with_text(c, names);
  }
  return lines;
}

Json json_of(const Answer& answer, const std::vector<std::string>& names) {
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
  Json json{{"image", answer.path}};
  if (answer.noise) json["noise"] = *answer.noise;
  json["top"] = std::move(top);
  return json;
}

void write_annotated(const std::string& folder, size_t number, const Answer& answer,
                     const std::vector<std::string>& names) {
  const std::string bytes = read_file(answer.path, uint64_t{1} << 30);
  const Tensor image = decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, answer.path);
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min<size_t>(3, answer.top.size()); ++i) {
    char text[96];
    std::snprintf(text, sizeof text, "%.1f %% %s", 100 * answer.top[i].probability,
                  names[static_cast<size_t>(answer.top[i].k)].c_str());
    lines.emplace_back(text);
  }
  if (answer.noise) {
    char noise[48];
    std::snprintf(noise, sizeof noise, "predicted noise %.3f", *answer.noise);
    lines.emplace_back(noise);
  }
  std::filesystem::create_directories(folder);
  const std::string name = std::to_string(number) + "-" + std::filesystem::path(answer.path).stem().string() + ".png";
  write_png(folder + "/" + name, captioned(image, lines));
}

}  // namespace sked

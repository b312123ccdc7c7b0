#include "apps/predict/answer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "core/kernels/reduce.h"
#include "core/text.h"

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

std::string correlated_text(const Answer::Class& c, const std::vector<std::string>& names) {
  std::string text;
  for (const Correlated& other : c.with) {
    char number[32];
    std::snprintf(number, sizeof number, " %+.2f", other.correlation);
    text += (text.empty() ? "" : ", ") + printable(names[static_cast<size_t>(other.k)]) + number;
  }
  return text;
}

std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names) {
  constexpr size_t kNarrow = 28, kWide = 60;
  std::vector<std::string> column, lines;
  size_t width = kNarrow;
  for (const Answer::Class& c : answer.top) {
    column.push_back(cut_to_columns(printable(names[static_cast<size_t>(c.k)]), kWide));
    width = std::max(width, display_width(column.back()));
  }
  for (size_t i = 0; i < answer.top.size(); ++i) {
    const Answer::Class& c = answer.top[i];
    char text[48];
    std::snprintf(text, sizeof text, "%6.2f %%  ", 100 * c.probability);
    lines.push_back(text + column[i].append(width - display_width(column[i]), ' '));
    if (c.deviation) {
      std::snprintf(text, sizeof text, "  ±%.3f", *c.deviation);
      lines.back() += text;
    }
    if (!c.with.empty()) lines.back() += "  with " + correlated_text(c, names);
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

namespace {

/// Does a spreadsheet take this for a formula (OWASP, "CSV Injection")? A number is none.
bool is_formula(const std::string& text) {
  if (text.empty() || std::string_view("=+-@\t\r").find(text.front()) == std::string_view::npos) return false;
  char* end = nullptr;
  std::strtod(text.c_str(), &end);
  return *end != '\0';
}

std::string number_field(std::optional<double> value) {
  char text[32] = "";
  if (value) std::snprintf(text, sizeof text, "%.6g", *value);
  return text;
}

std::string name_field(const std::string& name) {
  return quoted_field((is_formula(name) ? "'" : "") + valid_utf8(name));
}

}  // namespace

std::string csv_header(int64_t count, const char* key) {
  std::string line = std::string(key) + ",class,name,probability,logit_deviation,noise";
  for (int64_t i = 2; i <= count; ++i) {
    const std::string n = std::to_string(i);
    line += ",class_" + n + ",name_" + n + ",probability_" + n + ",logit_deviation_" + n;
  }
  return line + "\r\n";
}

std::string csv_row(const Answer& answer, const std::vector<std::string>& names, const char* key) {
  const bool is_path = std::string_view(key) == "image";
  std::string line =
      is_path && is_formula(answer.path) ? quoted_field("./" + valid_utf8(answer.path)) : name_field(answer.path);
  for (const Answer::Class& c : answer.top) {
    line += "," + std::to_string(c.k) + "," + name_field(names[static_cast<size_t>(c.k)]) + "," +
            number_field(c.probability) + "," + number_field(c.deviation);
    if (&c == &answer.top.front()) line += "," + number_field(answer.noise);
  }
  return line + "\r\n";
}

}  // namespace sked

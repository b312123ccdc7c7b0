#pragma once
// What is said of one image, and how it is written: lines of a table, JSON, a row of CSV.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/measure/uncertainty.h"
#include "core/json.h"
#include "core/tensor.h"

namespace sked {

struct Answer {
  std::string path;             // of a vector its id
  std::optional<double> noise;  // predicted, of a classifier
  struct Class {
    int64_t k;
    double probability;
    std::optional<double> deviation;  // of the class's sampled logits
    std::vector<Correlated> with;
  };
  std::vector<Class> top;  // likeliest first
};

/// The `count` likeliest classes of row b of probabilities f32 (B,K) on the CPU; among equal ones the lowest first.
Answer likeliest(const Tensor& probabilities, int64_t b, int64_t count);

/// `Sandal +0.42, Bag -0.10`, names as printable() has them; empty where nothing moves together.
std::string correlated_text(const Answer::Class& c, const std::vector<std::string>& names);

/// The lines of the table. Names come from data sets and may be any bytes: shown as printable() has them, at most 60
/// columns of a terminal each.
std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names);

/// {image, noise, top [...]}; `key`: id instead of image.
Json json_of(const Answer& answer, const std::vector<std::string>& names, const char* key = "image");

/// `image,class,name,probability,logit_deviation,noise`, and for what comes second to `count`-th
/// `class_2,name_2,probability_2,logit_deviation_2` …: with a line end (RFC 4180). `key`: id instead of image.
std::string csv_header(int64_t count, const char* key);
/// The row below it; what a model does not say is empty. What a spreadsheet would compute is kept from being a formula:
/// a path `=a.jpg` becomes `./=a.jpg`, a name `=a` becomes `'=a`. Numbers have six digits.
std::string csv_row(const Answer& answer, const std::vector<std::string>& names, const char* key);

}  // namespace sked

#pragma once
// What is said of one image, and how it is shown: a table, JSON, a picture with a caption.

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
  size_t number = 0;            // of the image among those asked for, from 1
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

/// The lines of the table. Names come from data sets and may be any bytes: shown as printable() has them.
std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names);
/// {image, noise, top [...]}; `key`: id instead of image.
Json json_of(const Answer& answer, const std::vector<std::string>& names, const char* key = "image");
/// `<folder>/<number>-<file name>.png`: the image with the three likeliest classes below.
void write_annotated(const std::string& folder, const Answer& answer, const std::vector<std::string>& names);

}  // namespace sked

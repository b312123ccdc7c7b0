#include "apps/scale/ranks_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/text.h"

namespace sked::scale {
namespace {

/// The whole text; otherwise nothing.
template <class T>
std::optional<T> number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

std::vector<int64_t> counts(const char* option, const std::vector<std::string>& texts, int64_t most) {
  std::vector<int64_t> values;
  for (const std::string& text : texts) {
    const std::optional<int64_t> value = number<int64_t>(text);
    require_usage(value && *value >= 1 && *value <= most, option, "expected integers from 1 to ", most, ", got ",
                  excerpt(text));
    values.push_back(*value);
  }
  return values;
}

double positive(const char* option, const char* unit, const std::string& text) {
  const std::optional<double> value = number<double>(text);
  require_usage(value && std::isfinite(*value) && *value > 0, option, "expected ", unit, " above 0, got ",
                excerpt(text));
  return *value;
}

double between(const char* option, const char* what, const std::string& text, double least, double most) {
  const std::optional<double> value = number<double>(text);
  require_usage(value && *value >= least && *value <= most, option, "expected ", what, " from ", least, " to ", most,
                ", got ", excerpt(text));
  return *value;
}

}  // namespace

std::vector<Option> options_of(RanksOptions& o) {
  return {{"--ranks", &o.ranks, "Numbers of ranks: what a training step on so many costs"},
          {.name = "--global-batch",
           .target = &o.batches,
           .help = "Images of a step, of all ranks together",
           .shows_default = true},
          {.name = "--model", .target = &o.model, .help = "Backbone, as in model.name", .shows_default = true},
          {.name = "--image",
           .target = &o.image,
           .help = "Edge of its images in pixels",
           .in = {{1, 100000}},
           .shows_default = true},
          {.name = "--images-at-once",
           .target = &o.at_once,
           .help = "A rank with more images computes them in parts (train.accumulate)",
           .in = {{1, 1 << 20}},
           .shows_default = true},
          {.name = "--activations",
           .target = &o.activations,
           .help = "What networks keep their activations in (bf16; with --measure f32)",
           .one_of = {"f32", "bf16"}},
          {.name = "--rate",
           .target = &o.rate,
           .help = "Operations a second of a rank's forward and backward passes",
           .value = "NUMBER",
           .shows_default = true},
          {.name = "--link",
           .target = &o.link,
           .help = "Bytes a second from a rank to the others",
           .value = "NUMBER",
           .shows_default = true},
          {.name = "--latency",
           .target = &o.latency,
           .help = "Seconds that a message takes at least",
           .value = "NUMBER",
           .shows_default = true},
          {.name = "--memory",
           .target = &o.memory,
           .help = "Bytes a second of operands in an optimizer's step",
           .value = "NUMBER",
           .shows_default = true},
          {.name = "--hidden",
           .target = &o.hidden,
           .help = "Share of the gradients' exchange that goes on behind the backward pass, where that is long enough",
           .value = "NUMBER",
           .shows_default = true}};
}

RanksCase ranks_case(const RanksOptions& o, const std::vector<HeadKindConfig>& heads, int64_t classes, bool measure) {
  RanksCase c{
      .heads = heads,
      .step = {.model = {.name = o.model},
               .image = o.image,
               .classes = classes,
               .activations = (o.activations.empty() ? !measure : o.activations == "bf16") ? DType::bf16 : DType::f32},
      .batches = counts("--global-batch", o.batches, 1 << 24),
      .ranks = counts("--ranks", o.ranks, 1 << 16),
      .at_once = o.at_once,
      .machine = {.rate = positive("--rate", "operations a second", o.rate),
                  .link = positive("--link", "bytes a second", o.link),
                  .latency = between("--latency", "seconds", o.latency, 0, 1),
                  .memory = positive("--memory", "bytes a second", o.memory),
                  .hidden = between("--hidden", "a share", o.hidden, 0, 1)}};
  const int64_t most = std::ranges::max(c.ranks), least = std::ranges::min(c.batches);
  require_usage(least >= most, "--global-batch", "expected an image for each of ", most, " ranks, got ", least);
  return c;
}

}  // namespace sked::scale

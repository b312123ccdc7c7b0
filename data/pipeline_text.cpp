// Pipeline::parse: from `random_crop(32,4)|flip|value_range(0,1)` to stages.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/text.h"
#include "data/transforms.h"

namespace sked {
namespace {

/// `name(1, 2 3)`: arguments are lists of numbers, here {1} and {2, 3}.
struct StageText {
  std::string_view text, name;
  std::vector<std::vector<double>> arguments;
};

/// Where in a pipeline a stage may stand.
enum class Place { geometry, value_range, normalize };

struct StageKind {
  std::string_view name, usage;
  Place place;
  size_t arguments;
  /// Numbers in each argument; 0 means one or more.
  size_t numbers;
};
constexpr std::array kKinds{StageKind{"random_crop", "random_crop(n, pad)", Place::geometry, 2, 1},
                            StageKind{"flip", "flip", Place::geometry, 0, 0},
                            StageKind{"value_range", "value_range(lo, hi)", Place::value_range, 2, 1},
                            StageKind{"normalize", "normalize(means, stds)", Place::normalize, 2, 0}};

class RandomCrop final : public ByteStage {
 public:
  RandomCrop(int64_t size, int64_t pad) : size_(size), pad_(pad) {}

  Shape output_shape(const Shape& in) const override {
    require(size_ <= in[0] + 2 * pad_ && size_ <= in[1] + 2 * pad_, "random_crop", "a window of ", size_,
            " does not fit an image ", in, " padded by ", pad_);
    return {size_, size_, in[2]};
  }
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    const int64_t top = rng.below(static_cast<uint32_t>(shape[0] + 2 * pad_ - size_ + 1));
    const int64_t left = rng.below(static_cast<uint32_t>(shape[1] + 2 * pad_ - size_ + 1));
    crop(in, shape, top - pad_, left - pad_, size_, out);
  }

 private:
  int64_t size_, pad_;
};

class RandomFlip final : public ByteStage {
 public:
  Shape output_shape(const Shape& in) const override { return in; }
  void apply(const uint8_t* in, const Shape& shape, Rng& rng, uint8_t* out) const override {
    if (rng.below(2) == 1) {
      flip(in, shape, out);
    } else {
      std::copy_n(in, shape.numel(), out);
    }
  }
};

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

/// The pieces between separators, trimmed; never empty.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const size_t end = text.find(separator);
    pieces.push_back(trim(text.substr(0, end)));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

std::vector<double> parse_numbers(std::string_view list, std::string_view stage) {
  std::vector<double> numbers;
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find_first_of(" \t\n"));
    double value = 0.0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    require_usage(error == std::errc{} && end == word.data() + word.size() && std::isfinite(value), "pipeline", stage,
                  ": expected a number, got `", word, "`");
    numbers.push_back(value);
    rest = trim(rest.substr(word.size()));
  }
  return numbers;
}

StageText parse_stage(std::string_view text) {
  const size_t open = text.find('(');
  StageText stage{text, trim(text.substr(0, open)), {}};
  if (open == std::string_view::npos) return stage;
  require_usage(text.ends_with(')'), "pipeline", text, ": expected `name(arguments)`");
  for (const std::string_view list : split(text.substr(open + 1, text.size() - open - 2), ',')) {
    stage.arguments.push_back(parse_numbers(list, text));
  }
  return stage;
}

const StageKind& kind_of(const StageText& stage) {
  std::vector<std::string> names;
  for (const StageKind& kind : kKinds) {
    if (kind.name == stage.name) return kind;
    names.emplace_back(kind.name);
  }
  require_usage(!stage.name.empty(), "pipeline", "expected a stage, got `", stage.text, "`; known: ", join(names));
  const std::string near = nearest(stage.name, names);
  detail::throw_error<UsageError>("pipeline", "unknown stage `", stage.name, "`; nearest: ", near,
                                  "; known: ", join(names));
}

void check_arguments(const StageText& stage, const StageKind& kind) {
  bool ok = stage.arguments.size() == kind.arguments;
  for (const auto& argument : stage.arguments) {
    ok = ok && !argument.empty() && (kind.numbers == 0 || argument.size() == kind.numbers);
  }
  require_usage(ok, "pipeline", stage.text, ": expected ", kind.usage);
}

std::shared_ptr<const ByteStage> make_stage(const StageText& stage) {
  if (stage.name == "flip") return std::make_shared<RandomFlip>();
  const double size = stage.arguments[0][0], pad = stage.arguments[1][0];
  constexpr double kMost = 1 << 15;
  require_usage(
      size >= 1 && size <= kMost && pad >= 0 && pad <= kMost && size == std::floor(size) && pad == std::floor(pad),
      "pipeline", stage.text, ": expected whole numbers, n in 1 … ", kMost, " and pad in 0 … ", kMost);
  return std::make_shared<RandomCrop>(static_cast<int64_t>(size), static_cast<int64_t>(pad));
}

void check_normalize(const StageText& stage) {
  const auto &means = stage.arguments[0], &stds = stage.arguments[1];
  require_usage(means.size() == stds.size(), "pipeline", stage.text, ": expected as many means as stds, got ",
                means.size(), " and ", stds.size());
  require_usage(std::ranges::all_of(stds, [](double s) { return s > 0.0; }), "pipeline", stage.text,
                ": expected stds > 0");
}

}  // namespace

Pipeline Pipeline::parse(std::string_view text) {
  Pipeline pipeline;
  pipeline.text_ = text;
  double lo = 0.0, hi = 1.0;
  std::vector<double> means{0.0}, stds{1.0};
  Place reached = Place::geometry;
  for (const std::string_view piece : split(text, '|')) {
    const StageText stage = parse_stage(piece);
    const StageKind& kind = kind_of(stage);
    check_arguments(stage, kind);
    const bool in_order = kind.place == Place::geometry ? reached == Place::geometry
                                                        : static_cast<int>(kind.place) == static_cast<int>(reached) + 1;
    require_usage(in_order, "pipeline", "`", piece, "` stands out of order in `", text,
                  "`: expected random_crop and flip, then value_range once, then normalize at most once");
    reached = kind.place;
    if (kind.place == Place::geometry) pipeline.stages_.push_back(make_stage(stage));
    if (kind.place == Place::value_range) {
      lo = stage.arguments[0][0];
      hi = stage.arguments[1][0];
      require_usage(lo < hi, "pipeline", piece, ": expected lo < hi");
    }
    if (kind.place == Place::normalize) {
      check_normalize(stage);
      means = stage.arguments[0];
      stds = stage.arguments[1];
    }
  }
  require_usage(reached != Place::geometry, "pipeline", "`", text, "` has no value_range(lo, hi): expected it once");
  pipeline.make_table(lo, hi, means, stds);
  return pipeline;
}

}  // namespace sked

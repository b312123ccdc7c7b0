// Pipeline::parse: from `random_crop(32,4)|flip|value_range(0,1)` to stages.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/text.h"
#include "data/stages.h"

namespace sked {
namespace {

/// Where in a pipeline a stage may stand.
enum class Place { decode, bytes, value_range, normalize, batch };

struct StageKind {
  std::string_view name, usage;
  Place place;
  size_t arguments;
  /// Numbers in each argument; 0 means one or more.
  size_t numbers;
  /// Arguments that may follow, all or none.
  size_t optional = 0;
};
constexpr std::array kKinds{
    StageKind{"decode", "decode, decode(as_stored), decode(full) or decode(as_stored, full)", Place::decode, 0, 0},
    StageKind{"resize", "resize(n)", Place::bytes, 1, 1},
    StageKind{"resize_small", "resize_small(n)", Place::bytes, 1, 1},
    StageKind{"central_crop", "central_crop(n)", Place::bytes, 1, 1},
    StageKind{"inception_crop", "inception_crop(n) or inception_crop(n, lo, hi)", Place::bytes, 1, 1, 2},
    StageKind{"random_crop", "random_crop(n, pad)", Place::bytes, 2, 1},
    StageKind{"flip", "flip", Place::bytes, 0, 0},
    StageKind{"color_jitter", "color_jitter(brightness, contrast, saturation, hue)", Place::bytes, 4, 1},
    StageKind{"randaugment", "randaugment(n, magnitude)", Place::bytes, 2, 1},
    StageKind{"value_range", "value_range(lo, hi)", Place::value_range, 2, 1},
    StageKind{"normalize", "normalize(means, stds)", Place::normalize, 2, 0},
    StageKind{"mixup", "mixup(alpha)", Place::batch, 1, 1},
    StageKind{"cutmix", "cutmix(alpha)", Place::batch, 1, 1}};

/// The pieces between separators, trimmed; never empty.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const size_t end = text.find(separator);
    pieces.push_back(trimmed(text.substr(0, end)));
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
    rest = trimmed(rest.substr(word.size()));
  }
  return numbers;
}

StageText parse_stage(std::string_view text) {
  const size_t open = text.find('(');
  StageText stage{text, trimmed(text.substr(0, open)), {}, {}};
  if (open == std::string_view::npos) return stage;
  require_usage(text.ends_with(')'), "pipeline", text, ": expected `name(arguments)`");
  const std::string_view inside = text.substr(open + 1, text.size() - open - 2);
  if (stage.name == "decode") {
    stage.words = split(inside, ',');
    const auto known = [](std::string_view word) { return word == "as_stored" || word == "full"; };
    const bool ok = std::ranges::all_of(stage.words, known) && std::ranges::count(stage.words, stage.words[0]) == 1;
    require_usage(ok, "pipeline", text, ": expected ", kKinds[0].usage);
    return stage;
  }
  for (const std::string_view list : split(inside, ',')) {
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
  detail::throw_error<UsageError>("pipeline", "unknown stage `", excerpt(stage.name), "`",
                                  did_you_mean(stage.name, names), "; known: ", join(names));
}

bool has_word(const StageText& stage, std::string_view word) { return std::ranges::count(stage.words, word) > 0; }

void check_arguments(const StageText& stage, const StageKind& kind) {
  const size_t count = stage.arguments.size();
  bool ok = count == kind.arguments || count == kind.arguments + kind.optional;
  for (const auto& argument : stage.arguments) {
    ok = ok && !argument.empty() && (kind.numbers == 0 || argument.size() == kind.numbers);
  }
  require_usage(ok, "pipeline", stage.text, ": expected ", kind.usage);
}

void check_normalize(const StageText& stage) {
  const auto &means = stage.arguments[0], &stds = stage.arguments[1];
  require_usage(means.size() == stds.size(), "pipeline", stage.text, ": expected as many means as stds, got ",
                means.size(), " and ", stds.size());
  require_usage(std::ranges::all_of(stds, [](double s) { return s > 0.0; }), "pipeline", stage.text,
                ": expected stds > 0");
}

Mixing mixing_of(const StageText& stage) {
  const double alpha = stage.arguments[0][0];
  require_usage(alpha > 0 && alpha <= 1000, "pipeline", stage.text, ": expected alpha in (0, 1000], got ", alpha);
  return {stage.name == "mixup" ? Mixing::Kind::mixup : Mixing::Kind::cutmix, alpha};
}

/// May a stage stand at `place` behind one at `reached`? Several of bytes may; of the others one each, and what comes
/// behind value_range needs it.
bool in_order(Place reached, Place place) {
  if (place == Place::bytes) return reached <= Place::bytes;
  if (place == Place::value_range) return reached < Place::value_range;
  return place > Place::bytes && reached >= Place::value_range && reached < place;
}

}  // namespace

std::vector<std::string> Pipeline::stages() {
  std::vector<std::string> usages;
  for (const StageKind& kind : kKinds) usages.emplace_back(kind.usage);
  return usages;
}

Pipeline Pipeline::parse(std::string_view text) {
  Pipeline pipeline;
  pipeline.text_ = text;
  double lo = 0.0, hi = 1.0;
  std::vector<double> means{0.0}, stds{1.0};
  Place reached = Place::decode;
  bool first = true;
  for (const std::string_view piece : split(text, '|')) {
    const StageText stage = parse_stage(piece);
    const StageKind& kind = kind_of(stage);
    check_arguments(stage, kind);
    require_usage(kind.place == Place::decode ? first : in_order(reached, kind.place), "pipeline", "`", piece,
                  "` stands out of order in `", text,
                  "`: expected decode first, stages on bytes, value_range once, then normalize and one of mixup and "
                  "cutmix at most once");
    first = false;
    reached = kind.place;
    switch (kind.place) {
      case Place::decode:
        pipeline.decodes_ = true;
        pipeline.turning_ = has_word(stage, "as_stored") ? Turning::as_stored : Turning::upright;
        pipeline.full_size_ = has_word(stage, "full");
        break;
      case Place::bytes:
        pipeline.stages_.push_back(make_stage(stage));
        break;
      case Place::value_range:
        lo = stage.arguments[0][0];
        hi = stage.arguments[1][0];
        require_usage(lo < hi, "pipeline", piece, ": expected lo < hi");
        break;
      case Place::normalize:
        check_normalize(stage);
        means = stage.arguments[0];
        stds = stage.arguments[1];
        break;
      case Place::batch:
        pipeline.mixing_ = mixing_of(stage);
    }
  }
  require_usage(reached >= Place::value_range, "pipeline", "`", text, "` has no value_range(lo, hi): expected it once");
  pipeline.make_values(lo, hi, means, stds);
  return pipeline;
}

}  // namespace sked

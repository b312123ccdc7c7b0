#include "apps/common/measure/few_shot.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "apps/common/measure/features.h"
#include "apps/common/measure/resized.h"
#include "apps/common/measure/ridge.h"
#include "core/error.h"
#include "core/text.h"
#include "data/held_out.h"
#include "data/image_file.h"
#include "data/loader.h"
#include "data/other_labels.h"

namespace sked {
namespace {

/// The class with the fewest images, and how many.
struct Rarest {
  int64_t k, images;

  Rarest(const std::vector<int64_t>& labels, int64_t classes) {
    std::vector<int64_t> counts(static_cast<size_t>(classes), 0);
    for (const int64_t label : labels)
      if (label >= 0) ++counts[static_cast<size_t>(label)];
    k = std::min_element(counts.begin(), counts.end()) - counts.begin();
    images = counts[static_cast<size_t>(k)];
  }
};

std::string class_of(const Dataset& data, int64_t k) {
  return "class " + std::to_string(k) + ", " + printable(data.class_names()[static_cast<size_t>(k)]) + ", has ";
}

/// One model and one data set.
class Asking {
 public:
  Asking(Backbone& tower, const FewShotData& data, const RunConfig& config, Device device, const Say& say,
         Communicator& ranks)
      : tower_(tower),
        data_(data),
        config_(config),
        device_(device),
        say_(say),
        ranks_(ranks),
        labels_(labels_of(*data.splits.train).to_vector<int64_t>()) {}

  FewShotMeasures measure(const std::vector<int64_t>& shots);

 private:
  bool lose_corrupt(const std::vector<int64_t>& drawn);
  std::optional<LabeledFeatures> train_features(int64_t shots);
  LabeledFeatures features_of(const std::shared_ptr<const Dataset>& images, const char* which) {
    return labeled_features(tower_, images, config_, device_, say_,
                            "few-shot on " + printable(data_.name) + ", " + which + " images", ranks_);
  }

  Backbone& tower_;
  const FewShotData& data_;
  const RunConfig& config_;
  const Device device_;
  const Say& say_;
  Communicator& ranks_;
  std::vector<int64_t> labels_;  // of the training images; -1: lost
};

/// Takes the labels of those of `drawn` that are corrupt, each named. Is any? Each rank reads some.
bool Asking::lose_corrupt(const std::vector<int64_t>& drawn) {
  const Span own = span_of(std::ssize(drawn), ranks_.rank(), ranks_.size());
  std::vector<Skipped> corrupt;
  for (int64_t n = own.begin; n < own.end; ++n) {
    const int64_t i = drawn[static_cast<size_t>(n)];
    try {
      data_.splits.train->image(i);
    } catch (const ImageError& error) {
      corrupt.push_back({i, error.what()});
    }
  }
  corrupt = all_gather_skipped(ranks_, corrupt);
  for (const Skipped& image : corrupt) {
    tell(say_, "left out: " + image.message);
    labels_[static_cast<size_t>(image.index)] = -1;
  }
  return !corrupt.empty();
}

/// Of `shots` training images of every class; nothing where a class has not enough of them. Throws Error where more are
/// lost than data.skip_limit allows.
std::optional<LabeledFeatures> Asking::train_features(int64_t shots) {
  const std::shared_ptr<const Dataset>& train = data_.splits.train;
  const int64_t limit = config_.data.corrupt_limit();
  while (Rarest(labels_, train->classes()).images >= shots) {
    const std::vector<int64_t> drawn = draw_of_each_class(labels_, train->classes(), shots);
    if (limit == 0 || !lose_corrupt(drawn)) return features_of(std::make_shared<Subset>(train, drawn), "training");
    const auto lost = std::ranges::count(labels_, -1);
    require(lost <= limit, "few_shot", data_.name, ": ", lost,
            " of the training images drawn are corrupt; data.skip_limit is ", limit);
  }
  return std::nullopt;
}

FewShotMeasures Asking::measure(const std::vector<int64_t>& shots) {
  const std::vector<double> candidates{0x1p-10, 0x1p-5, 1, 0x1p5, 0x1p10};
  const int64_t classes = data_.splits.train->classes();
  const LabeledFeatures test = features_of(data_.splits.test, "test");
  FewShotMeasures measures{.dataset = data_.name, .count = test.labels.dim(0), .results = {}};
  for (const int64_t s : shots) {
    const std::optional<LabeledFeatures> train = train_features(s);
    if (!train) {
      const Rarest rarest(labels_, classes);
      measures.results.push_back(
          {.shots = s,
           .missing = class_of(*data_.splits.train, rarest.k) + std::to_string(rarest.images) + " training images"});
      continue;
    }
    const double lambda = choose_lambda(train->phi, train->labels, classes, s, candidates);
    measures.results.push_back(
        {s, lambda, few_shot_accuracy(train->phi, train->labels, test.phi, test.labels, classes, lambda)});
  }
  return measures;
}

void visit_fields(FieldList& fields, FewShotAccuracy& a) {
  fields("shots", a.shots);
  fields("lambda", a.lambda);
  fields("accuracy", a.accuracy);
}

std::vector<Field> list_of(FewShotAccuracy& a) {
  FieldList list;
  visit_fields(list, a);
  return list.take();
}

}  // namespace

FewShotData few_shot_data(const std::string& name, const std::string& root, const Shape& shape) {
  FewShotData data{name, other_splits(name, root, shape)};
  if (data.splits.test == nullptr) {
    constexpr double kShare = 0.2;
    hold_out(data.splits, std::shared_ptr(data.splits.train), kShare, 0);
    data.splits.test = data.splits.validation;
    note(name + " has no test images: a fifth of each class, " + std::to_string(data.splits.test->size()) +
         " images, is held out for few-shot");
  }
  const Dataset& train = *data.splits.train;
  require_usage(train.classes() > 1, "few_shot", name, ": expected images of two or more classes, got ",
                train.classes());
  const Rarest rarest(labels_of(train).to_vector<int64_t>(), train.classes());
  require(rarest.images > 0, "few_shot", name, ": ", class_of(train, rarest.k), "no training image");
  return data;
}

std::vector<FewShotData> few_shot_data(const RunConfig& config, const Shape& shape) {
  std::vector<FewShotData> all;
  for (const std::string& name : config.few_shot.data) {
    try {
      all.push_back(few_shot_data(name, config.data.root, shape));
    } catch (const UsageError& error) {
      require_usage(false, "config", "few_shot.data: ", error.what());
    } catch (const Error& error) {
      fail("config", "few_shot.data: ", error.what());
    }
  }
  return all;
}

FewShotMeasures few_shot(Backbone& tower, const FewShotData& data, const std::vector<int64_t>& shots,
                         const RunConfig& config, Device device, const Say& say, Communicator& ranks) {
  return Asking(tower, data, config, device, say, ranks).measure(shots);
}

std::vector<int64_t> draw_of_each_class(const std::vector<int64_t>& labels, int64_t classes, int64_t shots) {
  std::vector<int64_t> found(static_cast<size_t>(classes), 0), positions;
  for (const int64_t i : shuffled_order(static_cast<int64_t>(labels.size()), 0, 0)) {
    const int64_t k = labels[static_cast<size_t>(i)];
    if (k >= 0 && found[static_cast<size_t>(k)]++ < shots) positions.push_back(i);
  }
  for (int64_t k = 0; k < classes; ++k) {
    require(found[static_cast<size_t>(k)] >= shots, "few_shot", "expected ", shots, " images of class ", k, ", got ",
            found[static_cast<size_t>(k)]);
  }
  return positions;
}

Json few_shot_json(const FewShotMeasures& measures) {
  Json results = Json::array();
  for (FewShotAccuracy a : measures.results)
    if (a.missing.empty()) results.push_back(write_fields(list_of(a)));
  return {{"dataset", valid_utf8(measures.dataset)}, {"count", measures.count}, {"results", results}};
}

Json few_shot_json(const std::vector<FewShotMeasures>& measures) {
  Json list = Json::array();
  for (const FewShotMeasures& m : measures) list.push_back(few_shot_json(m));
  return list;
}

std::vector<FewShotMeasures> read_few_shot(const Json& list, const std::string& source) {
  std::vector<FewShotMeasures> all;
  require_usage(list.is_array(), "config", source, ": few_shot: expected a list");
  for (const Json& entry : list.elements()) {
    require_usage(entry.is_object() && entry.contains("dataset") && entry.at("dataset").is_string() &&
                      entry.contains("count") && entry.at("count").as_int64() && entry.contains("results") &&
                      entry.at("results").is_array(),
                  "config", source, ": few_shot: expected dataset, count and results");
    FewShotMeasures m{entry.at("dataset").string(), *entry.at("count").as_int64(), {}};
    for (const Json& result : entry.at("results").elements()) {
      FewShotAccuracy a;
      read_fields(result, list_of(a), source + ": few_shot");
      m.results.push_back(a);
    }
    all.push_back(std::move(m));
  }
  return all;
}

std::string few_shot_table(const FewShotMeasures& measures) {
  std::string text = "few-shot on " + printable(measures.dataset) + ", " + std::to_string(measures.count) +
                     " test images: ridge regression on the representation, λ chosen on held-out folds\n";
  for (const FewShotAccuracy& a : measures.results) {
    char line[80];
    std::snprintf(line, sizeof line, "  %2lld shots: ", static_cast<long long>(a.shots));
    text += line;
    std::snprintf(line, sizeof line, "%.2f %%  (λ = %g)", 100 * a.accuracy, a.lambda);
    text.append(a.missing.empty() ? line : "none, " + a.missing).append("\n");
  }
  return text;
}

std::string few_shot_line(const FewShotMeasures& measures) {
  std::string shots, accuracies;
  for (const FewShotAccuracy& a : measures.results) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f %%", 100 * a.accuracy);
    shots.append(shots.empty() ? "" : "/").append(std::to_string(a.shots));
    accuracies.append(accuracies.empty() ? "" : "  ").append(a.missing.empty() ? text : "none");
  }
  return "few-shot on " + measures.dataset + ", " + shots + " images of each class: " + accuracies;
}

}  // namespace sked

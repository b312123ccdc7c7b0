#include "apps/common/run/asked.h"

#include <algorithm>

#include "apps/common/run/task.h"
#include "core/error.h"

namespace sked {
namespace {

/// Are these the images, the labels and the classes of `like`?
bool wants_data_of(const Subject& subject, const Asked& like) {
  const auto only_prepares = [](const std::string& key) { return key.ends_with("_pipeline"); };
  RunConfig here = subject.config, there = like.config();
  std::vector<std::string> keys = differing_fields(fields_of(here.data), fields_of(there.data));
  std::erase_if(keys, only_prepares);
  const bool same_classes =
      subject.data ? like.subject.data && subject.data->classes == like.subject.data->classes : !like.subject.data;
  return keys.empty() && same_classes;
}

/// `gray` or `color`; empty where they are vectors.
std::string color_of(const DataSpec& data) {
  const Shape image = data.name == "embeddings" ? Shape{1} : image_shape_of(data);
  return image.ndim() != 3 ? "" : image[2] == 1 ? "gray" : "color";
}

/// Images of a network of its own have the colors of those it was trained on.
void check_channels(const Subject& subject) {
  if (subject.foreign) return;
  const DataConfig &now = subject.config.data, then = config_of(subject.file, subject.path).data;
  const std::string color = color_of(now), trained = color_of(then);
  require_usage(color == trained || color.empty() || trained.empty(), "evaluate", subject.path, " was trained on ",
                trained, " images (", then.name, "), those of ", now.name, " are ", color, ": --ood or --few-shot ",
                now.name, " make them ", trained);
}

}  // namespace

Asked load_asked(const std::string& given, std::optional<int64_t> samples, const CommonOptions& common,
                 const Asked* like, Communicator& ranks) {
  Asked a{.subject = load_subject(given, common), .splits = {}, .model = {}, .predict = {}};
  const RunConfig& config = a.config();
  check_channels(a.subject);
  require_usage(config.task == TaskKind::classification, "evaluate", a.subject.path, ": task: ", name_of(config.task),
                " is measured by build/contrast --evaluate");
  a.splits = like != nullptr && wants_data_of(a.subject, *like) ? like->splits : load_data(a.subject);
  const Dataset& test = *a.splits.test;
  const Shape shape = Pipeline::parse(config.data.eval_pipeline).output_shape(test.image_shape());
  a.model = classifier_of(a.subject, shape, test.classes(), common.device);
  a.predict = {.samples = samples.value_or(config.head.test_samples),
               .batch_size = config.train.part_size(),
               .seed = config.seed,
               .device = common.device,
               .skip_limit = config.data.corrupt_limit(),
               .ranks = &ranks};
  return a;
}

CalibrationSet calibration_set(const Asked& s, const std::shared_ptr<const Dataset>& images,
                               const std::function<void(const Prediction&)>& also) {
  CalibrationSet set(images->classes(), s.config().head.link == Link::sigmoid);
  for_each_prediction(*s.model, images, s.config().data.eval_pipeline, s.predict, [&](const Prediction& p) {
    set.add(p.probabilities, p.batch.labels, p.batch.targets);
    if (also) also(p);
  });
  return set;
}

std::string measured_split(const Splits& splits, const std::string& asked) {
  return splits.without_test && asked == "test" ? "validation" : asked;
}

std::shared_ptr<const Dataset> choose_split(const Splits& splits, const std::string& name) {
  const auto& chosen = name == "train" ? splits.train : name == "validation" ? splits.validation : splits.test;
  require_usage(chosen != nullptr, "evaluate", "--split ", name,
                ": this configuration holds no images out for validation");
  return chosen;
}

}  // namespace sked

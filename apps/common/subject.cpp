#include "apps/common/subject.h"

#include "apps/common/evaluation.h"
#include "apps/common/follow_file.h"
#include "apps/common/initial.h"
#include "apps/common/progress.h"
#include "apps/common/task.h"
#include "core/error.h"
#include "data/relabelled.h"

namespace sked {
Subject load_subject(const std::string& given, const CommonOptions& common) {
  Subject s{.path = checkpoint_path(given), .file = {}, .config = {}, .data = {}, .foreign = false};
  s.file = load_safetensors(s.path);
  s.foreign = !s.file.metadata.contains("config");
  require_usage(
      !s.foreign || !common.config.empty(), "checkpoint", s.path,
      ": not a checkpoint of this program: expected --config FILE, which says what network and data it is for");
  s.config = common.config.empty() ? config_of(s.file, s.path) : read_config(common.config);
  apply_options(common, s.config);
  if (s.foreign) {
    const Shape shape = evaluation_pipeline(s.config.data.eval_pipeline).output_shape(image_shape_of(s.config.data));
    for (const std::string& line : follow_file(s.config.model, s.file, s.path, shape))
      note("as " + s.path + " has it: " + line);
  } else {
    s.data = identity_of(s.file, s.path);
    note(what_is_unknown(s.file, s.path, s.config));
  }
  return s;
}

Splits load_data(const Subject& subject) {
  return subject.data ? load_data(subject.config, subject.data->classes, subject.path) : load_data(subject.config);
}

Splits load_data(const RunConfig& config, const std::vector<std::string>& classes, const std::string& whose) {
  Splits splits = load_data(config);
  const bool others = splits.train->class_names() != classes;
  for (auto* images : {&splits.train, &splits.validation, &splits.test}) {
    if (*images != nullptr) *images = with_classes(*images, classes, whose);
  }
  if (others) note("the data has the classes of " + whose + " in another order, or not all of them: matched by name");
  return splits;
}

void note_changed_images(const Subject& subject, const Dataset& images, const std::string& split) {
  if (!subject.data) return;
  RunConfig now = subject.config, then = config_of(subject.file, subject.path);
  if (!differing_fields(fields_of(now.data), fields_of(then.data)).empty()) return;  // other data were asked for
  const ImageSet& known = split == "train"        ? subject.data->train
                          : split == "validation" ? subject.data->validation
                                                  : subject.data->test;
  const std::string changed = image_difference(split.c_str(), known, image_set(images));
  if (!changed.empty()) note("since " + subject.path + " was trained: " + changed);
}

std::unique_ptr<Classifier> classifier_of(const Subject& subject, const Shape& image_shape, int64_t classes,
                                          Device device) {
  auto classifier = make_classifier(subject.config, image_shape, classes, device);
  if (subject.foreign) {
    for (const std::string& line : load_foreign(subject.file, subject.path, *classifier)) note(line);
  } else {
    restore_weights(subject.file, subject.path, *classifier);
  }
  return classifier;
}

}  // namespace sked

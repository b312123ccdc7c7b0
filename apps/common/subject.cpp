#include "apps/common/subject.h"

#include <cstdio>

#include "apps/common/evaluation.h"
#include "apps/common/task.h"
#include "core/error.h"
#include "data/relabelled.h"

namespace sked {
namespace {

void note(const std::string& line) {
  if (!line.empty()) std::fprintf(stderr, "note: %s\n", line.c_str());
}

}  // namespace

Subject load_subject(const std::string& given, const CommonOptions& common) {
  Subject s{.path = checkpoint_path(given), .file = {}, .config = {}, .data = {}};
  s.file = load_safetensors(s.path);
  s.config = common.config.empty() ? config_of(s.file, s.path) : read_config(common.config);
  apply_options(common, s.config);
  s.data = identity_of(s.file, s.path);
  note(what_is_unknown(s.file, s.path, s.config));
  return s;
}

Splits load_data(const Subject& subject) {
  Splits splits = load_data(subject.config);
  if (!subject.data) return splits;
  const std::vector<std::string>& classes = subject.data->classes;
  const bool others = splits.train->class_names() != classes;
  for (auto* images : {&splits.train, &splits.validation, &splits.test}) {
    if (*images != nullptr) *images = with_classes(*images, classes, subject.path);
  }
  if (others)
    note("the data has the classes of " + subject.path + " in another order, or not all of them: matched by name");
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
  restore_weights(subject.file, subject.path, *classifier);
  return classifier;
}

}  // namespace sked

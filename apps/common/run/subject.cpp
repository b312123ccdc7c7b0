#include "apps/common/run/subject.h"

#include <filesystem>

#include "apps/common/config/progress.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/initial.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "core/error.h"
#include "core/text.h"
#include "data/relabeled.h"

namespace sked {
namespace {

/// The configuration of a checkpoint of this program with what the command line says. --config may bring other data;
/// the network is the checkpoint's, and only a temperature that --set asks for may be another.
RunConfig own_config(const RunConfig& own, const std::string& path, const CommonOptions& common) {
  RunConfig config = own;
  const auto check = [&](const std::vector<std::string>& keys) {
    require_usage(keys.empty(), "checkpoint", path,
                  " is of another network than the configuration asks for: ", join(keys),
                  keys.size() == 1 ? " differs" : " differ");
  };
  if (!common.config.empty()) {
    config = read_config(common.config);
    require_usage(config.task == own.task, "checkpoint", path, ": task: ", name_of(own.task),
                  ", the configuration's is ", name_of(config.task));
    config.model = filled_in(config.model, own.model);
    config.head = filled_in(config.head, own.head);
    check(differing_network(config, own));
  }
  apply_options(common, config);
  std::vector<std::string> keys = differing_network(config, own);
  std::erase(keys, "head.temperature");
  check(keys);
  return config;
}

/// Do both speak of the same images, before some are held out?
bool same_source(const DataConfig& a, const DataConfig& b) {
  return a.name == b.name && a.path == b.path && a.labels == b.labels && a.noise == b.noise &&
         (a.noise == LabelNoise::none || (a.noise_rate == b.noise_rate && a.noise_seed == b.noise_seed));
}

/// Which weights of a run folder are looked at, where they are not those of its summary; else empty.
std::string which_weights(const std::string& given, const std::string& path, bool holds_out) {
  if (!std::filesystem::is_directory(given)) return "";
  const RunFolder folder{given};
  const bool best = path == folder.best();
  if (!std::filesystem::exists(folder.summary()))
    return given + " is not finished: " +
           (best        ? "its best weights so far"
            : holds_out ? "its last weights, since it was not evaluated yet,"
                        : "its last weights") +
           " are used";
  if (best || !holds_out) return "";
  return given + " has no best.safetensors any more: its last weights are used, not those of its summary";
}

}  // namespace

Subject load_subject(const std::string& given, const CommonOptions& common) {
  Subject s{.path = checkpoint_path(given), .file = {}, .config = {}, .data = {}, .foreign = false};
  s.file = load_weights(s.path);
  s.foreign = !is_checkpoint(s.file);
  require_usage(
      !s.foreign || !common.config.empty(), "checkpoint", s.path,
      ": not a checkpoint of this program: expected --config FILE, which says what network and data it is for");
  if (s.foreign) {
    s.config = load_config(common);
    const Shape shape = evaluation_pipeline(s.config.data.eval_pipeline).output_shape(image_shape_of(s.config.data));
    for (const std::string& line : follow_file(s.config.model, s.file, s.path, shape))
      note("as " + s.path + " has it: " + line);
  } else {
    const RunConfig own = config_of(s.file, s.path);
    s.config = own_config(own, s.path, common);
    s.data = identity_of(s.file, s.path);
    note(what_is_unknown(s.file, s.path, s.config));
    note(which_weights(given, s.path, chooses_best(s.file, s.path)));
  }
  print_if_asked(common, config_text(s.config));
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

void check_images(const Subject& subject, const Dataset& images, const std::string& split) {
  if (!subject.data || !same_source(subject.config.data, config_of(subject.file, subject.path).data)) return;
  const ImageSet& known = split == "train"        ? subject.data->train
                          : split == "validation" ? subject.data->validation
                                                  : subject.data->test;
  const std::string changed = image_difference(split, known, image_set(images));
  require(changed.empty() || split != "validation", "checkpoint", subject.path,
          " was trained with other images held out: ", changed, "; it has seen some of these");
  if (!changed.empty()) note("since " + subject.path + " was trained: " + changed);
}

std::unique_ptr<Classifier> classifier_of(const Subject& subject, const Shape& image_shape, int64_t classes,
                                          Device device) {
  auto classifier = make_classifier(subject.config, image_shape, classes, Init::blank(device));
  if (subject.foreign) {
    for (const std::string& line : load_foreign(subject.file, subject.path, *classifier)) note(line);
  } else {
    restore_weights(subject.file, subject.path, *classifier);
  }
  return classifier;
}

}  // namespace sked

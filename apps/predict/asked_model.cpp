#include "apps/predict/asked_model.h"

#include <algorithm>

#include "apps/common/measure/covariance.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/run/foreign_names.h"
#include "apps/predict/vectors.h"
#include "core/error.h"
#include "core/text.h"
#include "data/catalog.h"
#include "data/relabeled.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

/// Of its data; those of vectors need not be there: the weights know D.
Shape shape_of_examples(const Subject& subject) {
  const std::string& name = subject.config.model.name;
  if (name != "none" && name != "mlp") return image_shape_of(subject.config.data);
  const ForeignWeights weights = own_names(subject.file, subject.path);
  for (const char* tensor : {"layers.0.linear.weight", "head.weight"}) {
    const ForeignTensor* found = weights.find(tensor);
    if (found && found->shape.size() == 2 && found->shape[1] > 0) return {found->shape[1]};
  }
  return image_shape_of(subject.config.data);
}

/// The vectors asked about. Throws Error where they are not the model's.
std::shared_ptr<const Dataset> load_vectors(const AskedModel& s, const PredictArguments& wanted) {
  require_usage(wanted.html.empty(), "predict", "--html ", wanted.html,
                ": the model is for vectors, which are no pictures");
  require_usage(wanted.list.empty(), "predict", "--list ", wanted.list,
                ": the model is for vectors: expected one file or folder of them");
  require_usage(wanted.images.size() == 1, "predict", "expected one file or folder of vectors, got ",
                wanted.images.size());
  std::shared_ptr<const Dataset> vectors = vectors_of(wanted.images[0]);
  require(vectors->image_shape() == s.image_shape, "predict", wanted.images[0], ": expected vectors ", s.image_shape,
          " as the model's, got ", vectors->image_shape());
  return vectors;
}

/// The classes of a classifier: those it was trained on; of one that does not know them the data set's, where there are
/// as many; else numbers.
std::vector<std::string> names_of(const AskedModel& s) {
  const ForeignWeights weights = own_names(s.subject.file, s.subject.path);
  const ForeignTensor* classifier = weights.find("head.weight");
  require(classifier != nullptr && !classifier->shape.empty() && classifier->shape[0] > 0, "predict", s.subject.path,
          ": expected a classifier, head.weight (K, D), got none");
  const int64_t classes = classifier->shape[0];
  const std::vector<std::string> names = s.subject.data ? s.subject.data->classes : class_names_of(s.config().data);
  return static_cast<int64_t>(names.size()) == classes ? names : numbered_classes(classes);
}

/// Of `a cat,a dog`: what the images may show, as it will be put to the text tower.
std::vector<std::string> phrases_of(const std::string& list) {
  std::vector<std::string> phrases;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    std::string phrase = list.substr(begin, end - begin);
    phrase.erase(0, phrase.find_first_not_of(' '));
    phrase.erase(phrase.find_last_not_of(' ') + 1);
    check_caption(phrase, "--zero-shot, phrase " + std::to_string(phrases.size() + 1));
    require_usage(std::ranges::find(phrases, phrase) == phrases.end(), "predict", "--zero-shot: \"", excerpt(phrase),
                  "\" is there twice");
    phrases.push_back(std::move(phrase));
    begin = end + 1;
  }
  return phrases;
}

void check_usage(const AskedModel& s, const PredictArguments& wanted) {
  require_usage(s.contrastive() != wanted.zero_shot.empty(), "predict", wanted.checkpoint,
                s.contrastive() ? " was trained on captions: expected --zero-shot \"a cat,a dog,...\""
                                : " is a classifier with its own classes: --zero-shot is for runs of build/contrast");
  require_usage(!s.contrastive() || wanted.calibrated.empty(), "predict", "--calibrated ", wanted.calibrated,
                ": expected a classifier, got a run of build/contrast");
  require_usage(!s.contrastive() || wanted.covariance.empty(), "predict", "--covariance ", wanted.covariance,
                ": expected a classifier, got a run of build/contrast");
}

}  // namespace

AskedModel load_asked_model(const PredictArguments& wanted, const CommonOptions& common, Communicator& ranks) {
  AskedModel s{.subject = load_subject(wanted.checkpoint, common),
               .image_shape = {},
               .shape = {},
               .device = common.device,
               .ranks = ranks,
               .vectors = {},
               .names = {}};
  s.image_shape = shape_of_examples(s.subject);
  s.shape = evaluation_pipeline(s.config().data.eval_pipeline).output_shape(s.image_shape);
  check_usage(s, wanted);
  s.names = s.contrastive() ? phrases_of(wanted.zero_shot) : names_of(s);
  if (!wanted.covariance.empty())
    check_covariance(s.config().head, static_cast<int64_t>(s.names.size()), kCovarianceSamples);
  if (s.image_shape.ndim() == 1) s.vectors = load_vectors(s, wanted);
  return s;
}

}  // namespace sked

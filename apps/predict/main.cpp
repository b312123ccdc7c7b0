// predict: image files, or vectors, in; the likeliest classes, how noisy their label would be, and what they would be
// taken for.

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <optional>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/predictions.h"
#include "apps/common/measure/resized.h"
#include "apps/common/measure/uncertainty.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/stored_calibration.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/towers.h"
#include "apps/predict/answer.h"
#include "apps/predict/vectors.h"
#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"
#include "core/precision.h"
#include "core/text.h"
#include "data/catalog.h"
#include "data/image_collection.h"
#include "data/relabeled.h"

namespace sked {
namespace {

using OnSkip = std::function<void(const Skipped&)>;
constexpr int64_t kCorrelated = 3;  // classes listed beside each

struct PredictArguments {
  std::string checkpoint, json, png, zero_shot, calibrated;
  std::vector<std::string> images;
  int64_t top = 5, rows = 10;
  std::optional<int64_t> samples;
  PredictionsWanted predictions;
};

/// An image file that can be read, or a vector.
struct ImageFile {
  std::string path;  // of a vector its id
  size_t number;     // among those asked for, from 1
  int64_t address;   // of its noise: its bytes, so that an image gets the same answer wherever it stands
};

/// One unreadable image takes nothing from the others.
void refuse(const std::string& why) { std::fprintf(stderr, "error: %s\n", printable(why).c_str()); }

int64_t address_of(const void* bytes, size_t count) {
  Fingerprint f;
  f.add(bytes, count);
  return static_cast<int64_t>((f.value() ^ f.value() >> 32) & 0xFFFFFFFFu);  // 32 bits count
}

std::vector<ImageFile> readable(const std::vector<std::string>& paths) {
  std::vector<ImageFile> files;
  for (size_t i = 0; i < paths.size(); ++i) {
    try {
      const std::string bytes = read_file(paths[i], uint64_t{1} << 30);
      files.push_back({paths[i], i + 1, address_of(bytes.data(), bytes.size())});
    } catch (const Error& error) {
      refuse(error.what());
    }
  }
  return files;
}

std::vector<ImageFile> rows_of(const Dataset& vectors) {
  std::vector<ImageFile> rows;
  for (int64_t i = 0; i < vectors.size(); ++i) {
    const Tensor x = vectors.image(i);
    rows.push_back({vectors.id(i), static_cast<size_t>(i) + 1, address_of(x.raw(), x.bytes())});
  }
  return rows;
}

/// A checkpoint, and what its images must look like.
struct Asked {
  Subject subject;
  const RunConfig& config = subject.config;
  Shape image_shape;  // of its data set; H = W = 0: the pipeline takes any; (D): vectors
  Shape shape;        // of the pipeline's images
  Device device;
  std::shared_ptr<const Dataset> vectors;  // to predict from; null where they are images
};

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

Asked load_asked(const PredictArguments& wanted, const CommonOptions& common) {
  Asked a{.subject = load_subject(wanted.checkpoint, common),
          .image_shape = {},
          .shape = {},
          .device = common.device,
          .vectors = {}};
  a.image_shape = shape_of_examples(a.subject);
  a.shape = evaluation_pipeline(a.config.data.eval_pipeline).output_shape(a.image_shape);
  return a;
}

/// The vectors asked about. Throws Error where they are not the model's.
std::shared_ptr<const Dataset> load_vectors(const Asked& s, const PredictArguments& wanted) {
  require_usage(wanted.png.empty(), "predict", "--png ", wanted.png,
                ": the model is for vectors, which are no pictures");
  require_usage(wanted.images.size() == 1, "predict", "expected one file or folder of vectors, got ",
                wanted.images.size());
  std::shared_ptr<const Dataset> vectors = vectors_of(wanted.images[0]);
  require(vectors->image_shape() == s.image_shape, "predict", wanted.images[0], ": expected vectors ", s.image_shape,
          " as the model's, got ", vectors->image_shape());
  return vectors;
}

/// The files in the shape the model's data set has. Fixed sizes are met before the pipeline, which need not decode
/// then: its images are bytes.
std::shared_ptr<const Dataset> images_for(const Asked& s, const std::vector<ImageFile>& files,
                                          const std::vector<std::string>& classes) {
  if (s.vectors) return s.vectors;
  std::vector<std::string> paths;
  for (const ImageFile& file : files) paths.push_back(file.path);
  return resized(listed_images("predict", classes, paths), s.image_shape);
}

/// The row b of a batch of `files`.
const ImageFile& file_of(const Batch& batch, int64_t b, const std::vector<ImageFile>& files) {
  return files[static_cast<size_t>(batch.indices.data<int64_t>()[b])];
}

/// What the file of predictions calls the images of a batch of `files`: as they were asked for.
std::vector<std::string> paths_of(const Batch& batch, const std::vector<ImageFile>& files) {
  std::vector<std::string> paths;
  for (int64_t b = 0; b < batch.indices.numel(); ++b) paths.push_back(file_of(batch, b, files).path);
  return paths;
}

/// The classes of a classifier: those it was trained on; of one that does not know them the data set's, where there are
/// as many; else numbers.
std::vector<std::string> names_of(const Asked& s) {
  const ForeignWeights weights = own_names(s.subject.file, s.subject.path);
  const ForeignTensor* classifier = weights.find("head.weight");
  require(classifier != nullptr && !classifier->shape.empty() && classifier->shape[0] > 0, "predict", s.subject.path,
          ": expected a classifier, head.weight (K, D), got none");
  const int64_t classes = classifier->shape[0];
  const std::vector<std::string> names = s.subject.data ? s.subject.data->classes : class_names_of(s.config.data);
  return static_cast<int64_t>(names.size()) == classes ? names : numbered_classes(classes);
}

std::vector<Answer> classify(const Asked& s, const PredictArguments& wanted, const std::vector<ImageFile>& given,
                             const std::vector<std::string>& names, const OnSkip& on_skip,
                             std::optional<Predictions>& predictions) {
  constexpr int64_t kCovarianceSamples = 256, kBatch = 16, kSmallBatch = 128;  // small: their logits, of few classes
  constexpr size_t kFewClasses = 1000;
  const auto classifier = classifier_of(s.subject, s.shape, static_cast<int64_t>(names.size()), s.device);
  const int64_t samples = wanted.samples.value_or(s.config.head.test_samples);
  const auto files = images_for(s, given, names);
  std::optional<Calibration> calibration;
  if (!wanted.calibrated.empty()) {
    const StoredCalibration stored =
        stored_calibration(s.subject, *classifier, static_cast<int64_t>(names.size()), samples);
    std::printf("calibrated: %s\n", described(stored, wanted.calibrated).c_str());
    calibration = stored.named(wanted.calibrated);
  }
  std::vector<int64_t> addresses;
  for (const ImageFile& file : given) addresses.push_back(file.address);
  std::vector<Answer> all;
  for_each_prediction(*classifier, files, s.config.data.eval_pipeline,
                      {.samples = samples,
                       .batch_size = s.vectors && names.size() <= kFewClasses ? kSmallBatch : kBatch,
                       .seed = s.config.seed,
                       .device = s.device,
                       .skip_limit = files->size(),
                       .on_skip = on_skip,
                       .addresses = addresses,
                       .calibration = calibration},
                      [&](const Prediction& p) {
                        Head& head = classifier->head();
                        const Tensor logits = sampled_logits(head, p.phi, kCovarianceSamples,
                                                             s.config.head.link == Link::sigmoid, p.context);
                        const Tensor noise = head.noise_scale(p.phi).to(Device::cpu);
                        require_finite(noise, p.batch, *files, "its predicted noise");
                        for (int64_t b = 0; b < p.probabilities.dim(0); ++b) {
                          Answer answer = likeliest(p.probabilities, b, wanted.top);
                          for (Answer::Class& c : answer.top) {
                            c.deviation = logit_deviation(logits, b, c.k);
                            c.with = most_correlated(logits, b, c.k, kCorrelated);
                          }
                          const ImageFile& file = file_of(p.batch, b, given);
                          answer.path = file.path;
                          answer.number = file.number;
                          answer.noise = static_cast<double>(noise.data<float>()[b]);
                          all.push_back(std::move(answer));
                        }
                        if (predictions)
                          predictions->add(paths_of(p.batch, given), p.probabilities, nullptr,
                                           said_by_head(wanted.predictions, head, p.phi));
                      });
  if (predictions)
    std::printf("%s", predictions
                          ->write({{"checkpoint", valid_utf8(s.subject.path)},
                                   {"samples", samples},
                                   {"temperature", classifier->head().temperature()},
                                   {"calibration", calibration ? wanted.calibrated : "as trained"}})
                          .c_str());
  return all;
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

std::vector<Answer> match(const Asked& s, const PredictArguments& wanted, const std::vector<ImageFile>& given,
                          const std::vector<std::string>& phrases, const OnSkip& on_skip,
                          std::optional<Predictions>& predictions) {
  Towers towers = make_towers(s.config, vocabulary_of(s.subject.file, s.subject.path, s.config), s.shape, s.device);
  restore_weights(s.subject.file, s.subject.path, *towers.model);
  const Tensor texts = embed_captions(towers, phrases, s.config, s.device);
  std::vector<Answer> all;
  const auto files = images_for(s, given, phrases);
  const auto answer = [&](const Batch& batch) {
    const Var phi =
        towers.model->image().forward(Var(batch.images.to(s.device)), {.activations = activation_dtype(s.device)});
    const Tensor images = towers.model->head().embed_images(phi.value()).to(Device::cpu);
    require_finite(images, batch, *files, "its embedding");
    const Tensor p = zero_shot_probabilities(images, texts, towers.model->head().temperature());
    for (int64_t b = 0; b < p.dim(0); ++b) {
      const ImageFile& file = file_of(batch, b, given);
      all.push_back(likeliest(p, b, wanted.top));
      all.back().path = file.path;
      all.back().number = file.number;
    }
    std::vector<NamedTensor> more;
    if (wanted.predictions.has("representation")) more.push_back({"representation", phi.value().to(Device::cpu)});
    if (predictions) predictions->add(paths_of(batch, given), p, nullptr, more);
  };
  for_each_batch(files, s.config.data.eval_pipeline, 16, files->size(), answer, on_skip);
  if (predictions)
    std::printf("%s", predictions
                          ->write({{"checkpoint", valid_utf8(s.subject.path)},
                                   {"temperature", towers.model->head().temperature()}})
                          .c_str());
  return all;
}

/// Those of the files that are images; the others are refused.
std::vector<Answer> answers(const Asked& s, const PredictArguments& wanted, const std::vector<ImageFile>& files,
                            const std::vector<std::string>& names, std::optional<Predictions>& predictions) {
  size_t refused = 0;
  const auto on_skip = [&](const Skipped& image) {
    refuse(image.message);
    ++refused;
  };
  try {
    if (files.empty()) return {};
    return s.config.task == TaskKind::contrastive ? match(s, wanted, files, names, on_skip, predictions)
                                                  : classify(s, wanted, files, names, on_skip, predictions);
  } catch (const Error&) {
    if (refused < files.size()) throw;
    return {};  // what it says is said of each
  }
}

/// The first `count` of them.
void print(const std::vector<Answer>& all, const std::vector<std::string>& names, size_t count) {
  for (size_t i = 0; i < std::min(count, all.size()); ++i) {
    const Answer& answer = all[i];
    std::printf("%s", printable(answer.path).c_str());
    if (answer.noise) std::printf("  (predicted noise %.4f)", *answer.noise);
    std::printf("\n");
    for (const std::string& line : lines_of(answer, names)) std::printf("  %s\n", line.c_str());
  }
  if (count < all.size())
    std::printf("the first %zu of %zu rows (--rows shows more, --json and --predictions have all)\n", count,
                all.size());
}

void check_outputs(const PredictArguments& wanted, const char* key) {
  check_predictions(wanted.predictions);
  for (const std::string& what : wanted.predictions.with)
    require_usage(wanted.zero_shot.empty() || what == "representation", "predict", "--with ", what,
                  ": expected representation beside --zero-shot, which compares with texts and has no noise");
  if (!wanted.json.empty()) check_results({wanted.json}, key);
  if (wanted.png.empty()) return;
  RunFolder{wanted.png}.create();
  check_writable(wanted.png + "/1.png");
}

/// Has every image an answer?
bool predict(const PredictArguments& wanted, const CommonOptions& common) {
  Asked s = load_asked(wanted, common);
  const bool contrastive = s.config.task == TaskKind::contrastive;
  require_usage(contrastive != wanted.zero_shot.empty(), "predict", wanted.checkpoint,
                contrastive ? " was trained on captions: expected --zero-shot \"a cat,a dog,...\""
                            : " is a classifier with its own classes: --zero-shot is for runs of build/contrast");
  require_usage(!contrastive || wanted.calibrated.empty(), "predict", "--calibrated ", wanted.calibrated,
                ": expected a classifier, got a run of build/contrast");
  const std::vector<std::string> names = contrastive ? phrases_of(wanted.zero_shot) : names_of(s);
  if (s.image_shape.ndim() == 1) s.vectors = load_vectors(s, wanted);
  check_outputs(wanted, s.vectors ? "id" : "image");
  const std::vector<ImageFile> files = s.vectors ? rows_of(*s.vectors) : readable(wanted.images);
  auto predictions = predictions_for(wanted.predictions, contrastive ? HeadConfig() : s.config.head, names,
                                     static_cast<int64_t>(files.size()));
  const std::vector<Answer> all = answers(s, wanted, files, names, predictions);
  if (!wanted.json.empty()) {
    Json json = Json::array();
    for (const Answer& answer : all) json.push_back(json_of(answer, names, s.vectors ? "id" : "image"));
    write_file(wanted.json, json_text(json));
  }
  print(all, names, s.vectors ? static_cast<size_t>(wanted.rows) : all.size());
  std::fflush(stdout);
  bool complete = all.size() == (s.vectors ? files.size() : wanted.images.size());
  for (const Answer& answer : all) {
    if (wanted.png.empty()) break;
    try {
      write_annotated(wanted.png, answer, names);
    } catch (const Error& error) {
      refuse(error.what());
      complete = false;
    }
  }
  return complete;
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{"predict",
                           "Says of image files which classes they are likely of, how noisy a label would be, and "
                           "which classes' logits move "
                           "together with them (correlations of the sampled logits, common shifts left out).",
                           "build/predict runs/first cat.jpg dog.png --top 3 --json answers.json --png annotated\n"
                           "  prints a table; ± is the deviation of a class's sampled logit",
                           {"--graph", "--out"}};
  sked::PredictArguments wanted;
  std::vector<sked::Option> own{
      {.name = "checkpoint",
       .target = &wanted.checkpoint,
       .help = "Run folder, or a safetensors or .npz file (one without a configuration inside needs --config)",
       .required = true,
       .exists = true},
      {.name = "images",
       .target = &wanted.images,
       .help = "Image files; of a model of vectors one file: .safetensors with features and perhaps ids, or .npy",
       .value = "FILE ...",
       .required = true},
      {.name = "--rows",
       .target = &wanted.rows,
       .help = "Vectors shown in the table",
       .in = {{0, 1000000000}},
       .shows_default = true},
      {.name = "--top",
       .target = &wanted.top,
       .help = "Classes listed for each image",
       .in = {{1, 1000}},
       .shows_default = true},
      {.name = "--samples",
       .target = &wanted.samples,
       .help = "Monte Carlo samples of the probabilities; default: as trained",
       .value = "N",
       .in = {{0, 1000000}}},
      {"--zero-shot", &wanted.zero_shot, "Of a run of build/contrast: what the images may show", "\"a cat,a dog,...\""},
      {.name = "--calibrated",
       .target = &wanted.calibrated,
       .help = "Probabilities as calibration.json calibrates them (build/evaluate --calibrate)",
       .value = "temperature|shift",
       .one_of = {"temperature", "shift"}},
      {"--json", &wanted.json, "Also as JSON", "FILE"},
      {"--png", &wanted.png, "Also the images with their classes below", "DIR"}};
  std::ranges::move(sked::predictions_options(wanted.predictions), std::back_inserter(own));
  bool complete = true;
  const int code = sked::run_app(argc, argv, text, own,
                                 [&](const sked::CommonOptions& common) { complete = sked::predict(wanted, common); });
  return code == 0 && !complete ? 1 : code;
}

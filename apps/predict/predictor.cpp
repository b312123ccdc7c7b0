#include "apps/predict/predictor.h"

#include <omp.h>

#include <algorithm>
#include <span>
#include <utility>

#include "apps/common/config/progress.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/resized.h"
#include "apps/common/measure/uncertainty.h"
#include "apps/common/run/stored_calibration.h"
#include "apps/common/run/towers.h"
#include "autograd/shape.h"
#include "core/error.h"
#include "core/precision.h"
#include "core/text.h"
#include "data/image_collection.h"

namespace sked {
namespace {

constexpr int64_t kCorrelated = 3;  // classes listed beside each

/// The files in the shape the model's data set has. Fixed sizes are met before the pipeline, which need not decode
/// then: its images are bytes.
std::shared_ptr<const Dataset> images_for(const AskedModel& s, const std::vector<ImageFile>& files) {
  if (s.vectors) return s.vectors;
  std::vector<std::string> paths;
  for (const ImageFile& file : files) paths.push_back(file.path);
  return resized(listed_images("predict", s.names, paths), s.image_shape);
}

/// Is each image computed by itself? A product's rounding may depend on the rows beside it, and on a CPU an image is to
/// have the same answer, to the last digit, whatever stands beside it.
bool apart(const AskedModel& s) { return !s.vectors && s.device == Device::cpu; }

/// Images of a batch, of which each rank has as many.
int64_t batch_size(const AskedModel& s) {
  constexpr int64_t kImages = 16, kVectors = 128;  // not more: the logits of as many samples are kept
  constexpr size_t kFewClasses = 1000;
  if (s.vectors && s.names.size() <= kFewClasses) return kVectors * s.ranks.size();
  return (apart(s) ? std::max<int64_t>(kImages, 2 * omp_get_max_threads()) : kImages) * s.ranks.size();
}

/// For weights that stay as they are: kernels prepare them once, not for every image.
void keep_prepared(const Module& model) {
  for (const NamedVar& parameter : model.parameters()) Tensor(parameter.var.value()).keep_prepared();
}

/// What the file of predictions calls the images of a batch of `files`: as they were asked for.
std::vector<std::string> paths_of(const Batch& batch, const std::vector<ImageFile>& files) {
  std::vector<std::string> paths;
  for (int64_t b = 0; b < batch.indices.numel(); ++b)
    paths.push_back(files[static_cast<size_t>(batch.indices.data<int64_t>()[b])].path);
  return paths;
}

class ClassifierPredictor final : public Predictor {
 public:
  ClassifierPredictor(const AskedModel& s, const PredictArguments& wanted, Exports& exports, const Say& say)
      : Predictor(exports),
        s_(s),
        wanted_(wanted),
        classifier_(classifier_of(s.subject, s.shape, classes(), s.device)),
        samples_(wanted.samples.value_or(s.config().head.test_samples)) {
    keep_prepared(*classifier_);
    if (wanted.calibrated.empty()) return;
    const StoredCalibration stored = stored_calibration(s.subject, *classifier_, classes(), samples_);
    say("calibrated: " + described(stored, wanted.calibrated));
    calibration_ = stored.named(wanted.calibrated);
  }

  Json about() const override {
    return {{"checkpoint", valid_utf8(s_.subject.path)},
            {"samples", samples_},
            {"temperature", classifier_->head().temperature()},
            {"calibration", calibration_ ? wanted_.calibrated : "as trained"}};
  }

 private:
  int64_t classes() const { return static_cast<int64_t>(s_.names.size()); }

  void predict(const std::vector<ImageFile>& given, const OnSkip& on_skip, const Give& give) override {
    const auto files = images_for(s_, given);
    std::vector<int64_t> addresses;
    for (const ImageFile& file : given) addresses.push_back(file.address);
    for_each_prediction(*classifier_, files, s_.config().data.eval_pipeline,
                        {.samples = samples_,
                         .batch_size = batch_size(s_),
                         .seed = s_.config().seed,
                         .device = s_.device,
                         .skip_limit = files->size(),
                         .on_skip = on_skip,
                         .addresses = std::move(addresses),
                         .calibration = calibration_,
                         .apart = apart(s_),
                         .ranks = &s_.ranks},
                        [&](const Prediction& p) { give(answers_of(p, paths_of(p.batch, given), *files)); });
  }

  std::vector<Answer> answers_of(const Prediction& p, const std::vector<std::string>& paths, const Dataset& files) {
    Head& head = classifier_->head();
    std::vector<Answer> all;
    for (int64_t b = 0; b < p.probabilities.dim(0); ++b) {
      all.push_back(likeliest(p.probabilities, b, wanted_.top));
      all.back().path = paths[static_cast<size_t>(b)];
    }
    if (s_.config().head.kind != HeadKind::det) add_noise(p, files, all, paths);
    if (!exports_.predictions) return all;
    const std::vector<NamedTensor> more = said_by_head(wanted_.predictions, head, p.phi, p.rows, apart(s_));
    if (s_.ranks.rank() == 0) exports_.predictions->add(paths, p.probabilities, nullptr, more);
    return all;
  }

  /// To the answers about p's images.
  void add_noise(const Prediction& p, const Dataset& files, std::span<Answer> answers,
                 const std::vector<std::string>& paths) {
    Head& head = classifier_->head();
    const Span own = p.rows.mine();
    const TensorList made = computed_rows(p.phi.dim(0), apart(s_), [&](int64_t begin, int64_t end) {
      const Tensor phi = p.phi.rows(begin, end);
      const Tensor logits = sampled_logits(head, phi, kCovarianceSamples, s_.config().head.link == Link::sigmoid,
                                           context_of(p.context, begin, end));  // (S,B,K)
      for (int64_t b = begin; b < std::min(end, own.size()); ++b) {
        for (Answer::Class& c : answers[static_cast<size_t>(own.begin + b)].top) {
          c.deviation = logit_deviation(logits, b - begin, c.k);
          c.with = most_correlated(logits, b - begin, c.k, kCorrelated);
        }
      }
      TensorList rows{head.noise_scale(phi)};
      if (exports_.covariance) rows.push_back(permute(Var(logits), {1, 0, 2}).value());
      return rows;
    });
    const Tensor noise = p.rows.gathered(made[0]);
    require_finite(noise, p.batch.indices, files, "its predicted noise");
    for (int64_t b = 0; b < noise.dim(0); ++b)
      answers[static_cast<size_t>(b)].noise = static_cast<double>(noise.data<float>()[b]);
    if (s_.ranks.size() > 1) share_noise(p.rows, answers);
    if (exports_.covariance) exports_.covariance->add(permute(Var(made[1]), {1, 0, 2}).value(), p.rows, paths);
  }

  /// What this rank knows of its images' classes becomes known to all: their deviations, and what moves together.
  static void share_noise(const BatchRows& rows, std::span<Answer> answers) {
    constexpr int64_t kNumbers = 2 + 2 * kCorrelated;  // the deviation, how many correlated, and these
    const auto classes = std::ssize(answers.front().top);
    const Span own = rows.mine();
    Tensor mine = Tensor::zeros({std::max<int64_t>(1, own.size()), classes, kNumbers}, DType::f64);
    const auto numbers_of = [&](Tensor& all, int64_t row, int64_t i) {
      return all.data<double>() + (row * classes + i) * kNumbers;
    };
    for (int64_t b = own.begin; b < own.end; ++b) {
      for (int64_t i = 0; i < classes; ++i) {
        const Answer::Class& c = answers[static_cast<size_t>(b)].top[static_cast<size_t>(i)];
        double* numbers = numbers_of(mine, b - own.begin, i);
        *numbers++ = *c.deviation;
        *numbers++ = static_cast<double>(c.with.size());
        for (const Correlated& other : c.with) {
          *numbers++ = static_cast<double>(other.k);
          *numbers++ = other.correlation;
        }
      }
    }
    Tensor all = rows.gathered(mine);
    for (int64_t b = 0; b < rows.total(); ++b) {
      for (int64_t i = 0; i < classes; ++i) {
        Answer::Class& c = answers[static_cast<size_t>(b)].top[static_cast<size_t>(i)];
        const double* numbers = numbers_of(all, b, i);
        c.deviation = *numbers++;
        c.with.resize(static_cast<size_t>(*numbers++));
        for (Correlated& other : c.with) {
          other.k = static_cast<int64_t>(*numbers++);
          other.correlation = *numbers++;
        }
      }
    }
  }

  const AskedModel& s_;
  const PredictArguments& wanted_;
  std::unique_ptr<Classifier> classifier_;
  int64_t samples_;
  std::optional<Calibration> calibration_;
};

/// Which of the phrases fits an image.
class ZeroShotPredictor final : public Predictor {
 public:
  ZeroShotPredictor(const AskedModel& s, const PredictArguments& wanted, Exports& exports)
      : Predictor(exports),
        s_(s),
        wanted_(wanted),
        towers_(make_towers(s.config(), vocabulary_of(s.subject.file, s.subject.path, s.config()), s.shape,
                            Init::blank(s.device))) {
    restore_weights(s.subject.file, s.subject.path, *towers_.model);
    texts_ = embed_captions(towers_, s.names, s.config(), s.device, s.ranks);
    keep_prepared(*towers_.model);  // behind the texts, which are read this once
  }

  Json about() const override {
    return {{"checkpoint", valid_utf8(s_.subject.path)}, {"temperature", towers_.model->head().temperature()}};
  }

 private:
  void predict(const std::vector<ImageFile>& given, const OnSkip& on_skip, const Give& give) override {
    const auto files = images_for(s_, given);
    const auto answer = [&](const Batch& batch, const BatchRows& rows) {
      const Tensor images = batch.images.to(s_.device);
      ContrastiveHead& head = towers_.model->head();
      const TensorList made = computed_rows(images.dim(0), apart(s_), [&](int64_t begin, int64_t end) {
        const Var phi =
            towers_.model->image().forward(Var(images.rows(begin, end)), {.activations = activation_dtype(s_.device)});
        const Tensor embedded = head.embed_images(phi.value()).to(Device::cpu);
        const Tensor p = zero_shot_probabilities(embedded, texts_, head.temperature());
        return TensorList{phi.value(), embedded, p};
      });
      require_finite(rows.gathered(made[1]), batch.indices, *files, "its embedding");
      const Tensor p = rows.gathered(made[2]);
      const std::vector<std::string> paths = paths_of(batch, given);
      std::vector<Answer> all;
      for (int64_t b = 0; b < p.dim(0); ++b) {
        all.push_back(likeliest(p, b, wanted_.top));
        all.back().path = paths[static_cast<size_t>(b)];
      }
      std::vector<NamedTensor> more;
      if (wanted_.predictions.has("representation")) more.push_back({"representation", rows.gathered(made[0])});
      if (exports_.predictions && s_.ranks.rank() == 0) exports_.predictions->add(paths, p, nullptr, more);
      give(std::move(all));
    };
    for_each_batch(files, s_.config().data.eval_pipeline,
                   {.batch_size = batch_size(s_), .skip_limit = files->size(), .on_skip = on_skip, .ranks = &s_.ranks},
                   answer);
  }

  const AskedModel& s_;
  const PredictArguments& wanted_;
  Towers towers_;
  Tensor texts_;
};

}  // namespace

void Predictor::answer(const std::vector<ImageFile>& files, const Refuse& refuse, const Give& give) {
  size_t refused = 0;
  const auto on_skip = [&](const Skipped& image) {
    refuse(image.message);
    ++refused;
  };
  try {
    if (!files.empty()) predict(files, on_skip, give);
  } catch (const Error&) {
    if (refused < files.size()) throw;  // otherwise what it says is said of each
  }
}

std::unique_ptr<Predictor> make_predictor(const AskedModel& s, const PredictArguments& wanted, Exports& exports,
                                          const Say& say) {
  if (s.contrastive()) return std::make_unique<ZeroShotPredictor>(s, wanted, exports);
  return std::make_unique<ClassifierPredictor>(s, wanted, exports, say);
}

}  // namespace sked

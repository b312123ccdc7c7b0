#pragma once
// A classifier's predictions on a dataset, and their measures.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/measure/batch_rows.h"
#include "apps/common/measure/calibration.h"
#include "apps/common/measure/covariance_recovery.h"
#include "apps/common/measure/metrics.h"
#include "apps/common/measure/retrieval.h"
#include "core/communicator.h"
#include "core/json.h"
#include "data/loader.h"
#include "layers/classifier.h"

namespace sked {

/// How predictions are made. The same options give the same numbers, at any batch size up to rounding.
struct PredictOptions {
  int64_t samples = 0;  // Monte Carlo samples; 0: link((Wφ + b)/τ)
  int64_t batch_size = 128;
  uint64_t seed = 0;  // of the Monte Carlo noise, which no training step draws
  Device device = Device::cpu;
  int64_t skip_limit = 0;                            // corrupt images left out; one more is an error
  std::function<void(const Skipped&)> on_skip = {};  // called for each; where there is none, stderr names it
  std::vector<int64_t> addresses = {};               // of each image's noise; its index where there are none
  std::optional<Calibration> calibration = {};       // of the probabilities; else they are as trained
  bool representations = false;                      // the data set's vectors are φ already
  bool apart = false;                                // each image as computed_rows() has it
  Communicator* ranks = nullptr;                     // each computes some rows of every batch; null: this process all
};

/// The pipeline of that text. Throws UsageError where it would mix images.
Pipeline evaluation_pipeline(const std::string& text);

/// A batch and what the classifier makes of it. Every rank knows the whole batch and its probabilities; the rest it
/// has of its own rows alone: what is made of that is `rows`.gathered(). Everything but phi and context.examples lies
/// on the CPU.
struct Prediction {
  const Batch& batch;
  const BatchRows& rows;
  const Context& context;       // what the noise of this rank's rows was drawn with
  const Tensor& phi;            // (B/N,D) of this rank's rows, on the device
  const Tensor& probabilities;  // f32 (B,K)
};

/// Builds the classifier of a configuration, initialized by its seed, or as `init` has it. With head.shard_classes its
/// classes are divided among `ranks`.
std::unique_ptr<Classifier> make_classifier(const RunConfig& config, const Shape& image_shape, int64_t classes,
                                            Device device, Communicator& ranks = alone());
std::unique_ptr<Classifier> make_classifier(const RunConfig& config, const Shape& image_shape, int64_t classes,
                                            Init init, Communicator& ranks = alone());

/// Throws Error naming the image for the first of `rows` (B,…), `what` of each of the images `indices` i64 (B), with a
/// number that is not finite: whatever is made of it, a measure or a picture, would look like an answer.
void require_finite(const Tensor& rows, const Tensor& indices, const Dataset& dataset, const char* what);

/// How a data set is walked over.
struct BatchOptions {
  int64_t batch_size = 128;
  int64_t skip_limit = 0;                            // corrupt images left out; one more is an error
  std::function<void(const Skipped&)> on_skip = {};  // called for each; where there is none, stderr names it
  int64_t first_batch = 0;
  int threads = 1;                // that prepare batches beside this one
  Communicator* ranks = nullptr;  // each prepares its rows of every batch; null: this process has them all
};

/// Tensors of n rows each that f(begin, end) computes of rows [begin, end). `apart`: f(i, i + 1) on one thread for each
/// i, several at a time, off the tape; a row's numbers are then the same, to the last digit, whatever stands beside it
/// and however many threads there are. Else f(0, n).
TensorList computed_rows(int64_t n, bool apart, const std::function<TensorList(int64_t begin, int64_t end)>& f);

/// Calls `visit` for every batch of `dataset`, in order, each image prepared by `pipeline`, off the tape: on every rank
/// with the same batch, but for the images, of which it has its own rows. A dataset without images is an error. Throws
/// Interrupted, on all ranks, on Ctrl-C on any.
void for_each_batch(std::shared_ptr<const Dataset> dataset, const std::string& pipeline, const BatchOptions& options,
                    const std::function<void(const Batch&, const BatchRows&)>& visit);

/// For rows [begin, end) of what `context` is for.
Context context_of(Context context, int64_t begin, int64_t end);

/// The same with what the classifier makes of each batch: finite representations and probabilities, or an Error naming
/// the image.
void for_each_prediction(Classifier& classifier, std::shared_ptr<const Dataset> dataset, const std::string& pipeline,
                         const PredictOptions& options, const std::function<void(const Prediction&)>& visit);

struct NamedClass {
  std::string name;
  ClassMeasures measures;
};

/// Measures on one dataset; with `distribution` also against the label distributions it has.
struct Evaluation {
  Measures measures;
  std::string distribution;  // human | noisy, or "" where the dataset has none
  DistributionMeasures against;
  std::vector<NamedClass> classes;     // none where images have several labels, or soft ones
  Retrieval retrieval;                 // of contrastive training
  UnseenClasses unseen;                // likewise, where captions leave classes out
  CovarianceRecovery covariance = {};  // of a head with noise, where the logits' covariances are known
};

/// What the label distributions of this configuration's test set are: `human` votes, or those of `noisy` labels.
std::string distribution_name(const RunConfig& config);

/// Gathers an evaluation batch by batch, wherever the probabilities come from.
class EvaluationAccumulator {
 public:
  /// Of images of `dataset` as `config` measures them.
  EvaluationAccumulator(const Dataset& dataset, const RunConfig& config);
  /// probabilities f32 (B,K) of the images of the batch, noise f32 (B) that a head predicts for them, where it does.
  /// Throws Error as MetricsAccumulator does.
  void add(const Tensor& probabilities, const Batch& batch, const Tensor& noise = {});
  /// Throws Error where nothing was added.
  Evaluation evaluation() const;

 private:
  std::string distribution_;
  std::vector<std::string> names_;
  MetricsAccumulator metrics_;
};

/// `also` is called with what is measured. A collective of options.ranks, with the same result on each. Where classes
/// are divided among them, no covariance of logits is compared.
Evaluation evaluate(Classifier& classifier, std::shared_ptr<const Dataset> dataset, const RunConfig& config,
                    const PredictOptions& options, const std::function<void(const Prediction&)>& also = {});

/// {nll, accuracy, top5, ece, adaptive_ece, brier, count [, human|noisy {cross_entropy, entropy, entropy_correlation,
/// noise_correlation, count}] [, covariance {count, correlation, scale, error, correlation_shuffled, error_shuffled}]
/// [, retrieval {count, captions, image_to_text_1, … [, equal_captions {count,
/// image_to_text_1, …}]}] [, unseen {…}]}, and `in_full` selective {count, aurc, e_aurc, accuracy_50, oracle_50, …},
/// classes [{name, count, predicted, recall, precision, confidence, nll} …] and reliability […]. What nothing was
/// measured for, an empty bin or no image of a seen class, has its count only, and what is not defined is not there.
Json evaluation_json(const Evaluation& evaluation, bool in_full);
/// Of the bins of a reliability diagram [{count, confidence, accuracy} …], an empty one {count}.
Json reliability_json(const Measures& measures);
/// The way back. Throws UsageError naming `source` for keys or types that do not fit.
Evaluation read_evaluation(Json object, const std::string& source);

}  // namespace sked

#pragma once
// What one training run is: everything that decides its numbers, bound to JSON by the descriptions below.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/fields.h"
#include "autograd/optimizer.h"
#include "autograd/schedule.h"
#include "data/captions.h"
#include "data/catalog.h"
#include "data/transforms.h"
#include "layers/heads/contrastive.h"
#include "layers/heads/options.h"
#include "layers/models/model.h"
#include "layers/models/text.h"

namespace sked {

/// Which images, which labels, and how they become floats (data/transforms.h has the language of pipelines).
struct DataConfig : DataSpec {
  int64_t validation = 0;    // images held out from the training set
  int64_t train_subset = 0;  // training images used; 0: all that are not held out
  std::string train_pipeline = kDefaultPipeline;
  std::string eval_pipeline = kDefaultPipeline;
};

/// Learning rate over the run; Schedule (autograd/schedule.h) has the formula.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0.1;  // learning rate after the warm-up
  double floor = 0;   // last learning rate, as a share of the peak
  double warmup_epochs = 0;
  int64_t warmup_steps = 0;    // > 0: instead of warmup_epochs
  double timescale = 10000;    // of rsqrt, in steps
  int64_t cooldown_steps = 0;  // last steps, over which the learning rate falls to 0, whatever the kind
};

struct TrainConfig {
  int64_t batch_size = 128;      // images of a step
  int64_t accumulate = 1;        // classification: parts of a batch, computed one after the other for one step
  double epochs = 10;            // may be a fraction; 0: train.init is only measured
  int64_t steps = 0;             // > 0: instead of epochs
  int64_t log_every = 50;        // steps between two lines of training loss in metrics.jsonl
  double eval_every = 1;         // epochs between two evaluations; 0: only at the end
  int64_t eval_samples = 64;     // Monte Carlo samples of those; the final test uses head.test_samples
  int64_t checkpoint_every = 0;  // steps between two checkpoints; 0: at the end of each epoch
  double time_limit = 0;         // > 0: seconds from the program's start after which it stops as by Ctrl-C, exit 124
  double label_smoothing = 0;    // classification: share of every target spread over all classes, in training only
  double on_value = 1;           // sigmoid link: what training has for a target of 1,
  double off_value = 0;          // and of 0 (the upstream recipe of ViT and HET on ImageNet-21k: 0.9999 and 0.0001)
  double ema_decay = 0;          // > 0: evaluate and save an exponential moving average of the weights
  std::string init = "";         // safetensors or .npz file to begin with (initial.h): fine-tuning
  bool init_partial = false;     // begin with what fits of it, whatever else it or the model has
  bool lock_backbone = false;    // classification: the backbone stays as init made it, a new head is trained
  std::string features = "runs/features";  // folder where a locked backbone's representations are kept
  int64_t loader_threads = 1;              // does not change any number

  /// Images of the largest part: what memory is known to hold, so that evaluations compute as many at once.
  int64_t part_size() const { return (batch_size - 1) / accumulate + 1; }
};

/// Few-shot classification on the way: how well the representation tells the classes of other data sets
/// (measure/few_shot.h).
struct FewShotConfig {
  std::vector<std::string> data;                // data sets, each `name` or `name:path`
  std::vector<int64_t> shots = {1, 5, 10, 25};  // training images of each class
  int64_t every = 1;                            // evaluations from one measurement to the next; 0: only the final one
};

/// The text tower, and what its tokens are.
struct TextTowerConfig : TextConfig {
  std::string vocabulary = "";  // SentencePiece model file; empty: a vocabulary is learned from the training captions
  int64_t pieces = 1000;        // at most, of a learned vocabulary
  bool truncate = false;        // cut captions that are longer than the context, instead of refusing them
};

/// The shared space, its noise and loss, and how it is measured.
struct ContrastiveConfig : ContrastConfig {
  bool lock_image = false;                 // LiT: the image tower stays as train.init made it
  std::string features = "runs/features";  // folder where a locked tower's representations are kept
  int64_t retrieval = 1000;                // test images that retrieval searches among, with all their captions
};

/// Which kind of learning a run is.
enum class TaskKind { classification, contrastive };
constexpr std::array<const char*, 2> names_of(TaskKind) { return {"classification", "contrastive"}; }

/// One training run.
struct RunConfig {
  JsonText about;                            // free: the command, the expected result, the run time
  TaskKind task = TaskKind::classification;  // which of the sections below there are
  DataConfig data;
  ModelConfig model;           // the image tower of contrastive training
  HeadConfig head;             // classification
  CaptionSpec captions;        // contrastive
  TextTowerConfig text;        // contrastive
  ContrastiveConfig contrast;  // contrastive
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  FewShotConfig few_shot;
  uint64_t seed = 0;
};

void visit_fields(FieldList& fields, MadeEmbeddingsSpec& c);
void visit_fields(FieldList& fields, DataConfig& c);
void visit_fields(FieldList& fields, ModelConfig& c);
void visit_fields(FieldList& fields, HeadConfig& c);
void visit_fields(FieldList& fields, CaptionSpec& c);
void visit_fields(FieldList& fields, TextTowerConfig& c);
void visit_fields(FieldList& fields, ContrastiveConfig& c);
void visit_fields(FieldList& fields, OptimizerConfig& c);
void visit_fields(FieldList& fields, ScheduleConfig& c);
void visit_fields(FieldList& fields, TrainConfig& c);
void visit_fields(FieldList& fields, FewShotConfig& c);
/// The sections that config.task has.
void visit_fields(FieldList& fields, RunConfig& c);

/// Overwrites what `object` says; its `task` first, which decides the other keys. Throws UsageError like read_fields.
void read_config_fields(const Json& object, RunConfig& config, const std::string& source);

/// Overwrites one key from `key.path=value` (set_field). Throws UsageError.
void set_config_field(const std::string& assignment, RunConfig& config);

/// Reads a file over the defaults. Throws Error when it cannot be read, UsageError naming file and key for what is
/// wrong in it.
RunConfig read_config(const std::string& path);
/// Reads a text; `source` names it in messages.
RunConfig parse_config(const std::string& text, const std::string& source);

/// The fully resolved configuration as an indented JSON text: what `config.json` of a run holds.
std::string config_text(const RunConfig& config);

/// Throws UsageError naming the key for a number out of range. Names (of a dataset, a head …) are checked where they
/// are used.
void validate(const RunConfig& config);

/// `given` with the values of `chosen` where it has the defaults.
ModelConfig filled_in(const ModelConfig& given, const ModelConfig& chosen);
HeadConfig filled_in(const HeadConfig& given, const HeadConfig& chosen);

/// Keys whose values differ and that decide the function a network computes when it is used: of `model` all but dropout
/// and memory, of `head` all but samples and how the likelihood is computed. Temperature is one.
std::vector<std::string> differing_network(const RunConfig& a, const RunConfig& b);

/// Keys whose values differ and that may change a number of the run: all but `about`, `data.root`, `data.skip_limit`
/// (it says what a run may lose, not what it loses), `train.loader_threads`, `train.time_limit` and
/// `train.features`, `contrast.features`.
std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b);

}  // namespace sked

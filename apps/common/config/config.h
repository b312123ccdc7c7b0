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

// What each member means, and the values it may have, is said in descriptions.cpp.

/// Which images, which labels, and how they become floats (data/transforms.h has the language of pipelines).
struct DataConfig : DataSpec {
  double validation = 0;  // images, or below 1 a share of them
  int64_t train_subset = 0;
  std::string train_pipeline = kDefaultPipeline;
  std::string eval_pipeline = kDefaultPipeline;
};

/// Learning rate over the run; Schedule (autograd/schedule.h) has the formula.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0.1;
  double floor = 0;
  double warmup_epochs = 0;
  int64_t warmup_steps = 0;
  double timescale = 10000;
  int64_t cooldown_steps = 0;
};

struct TrainConfig {
  int64_t batch_size = 128;
  int64_t accumulate = 1;
  double epochs = 10;
  int64_t steps = 0;
  int64_t log_every = 50;
  double eval_every = 1;
  int64_t eval_samples = 64;
  int64_t checkpoint_every = 0;
  int64_t keep_checkpoints = 0;
  double time_limit = 0;
  bool tensorboard = true;
  double label_smoothing = 0;
  double on_value = 1, off_value = 0;
  double ema_decay = 0;
  std::string init = "";
  bool init_partial = false;
  std::vector<std::string> freeze = {};
  bool lock_backbone = false;
  std::string features = "runs/features";
  int64_t loader_threads = 1;

  /// Images of the largest part: what memory is known to hold, so that evaluations compute as many at once.
  int64_t part_size() const { return (batch_size - 1) / accumulate + 1; }
};

/// Few-shot classification on the way: how well the representation tells the classes of other data sets
/// (measure/few_shot.h).
struct FewShotConfig {
  std::vector<std::string> data;
  std::vector<int64_t> shots = {1, 5, 10, 25};
  int64_t every = 1;
};

/// The text tower, and what its tokens are.
struct TextTowerConfig : TextConfig {
  std::string vocabulary = "";
  int64_t pieces = 1000;
  bool truncate = false;
};

/// The shared space, its noise and loss, and how it is measured.
struct ContrastiveConfig : ContrastConfig {
  bool lock_image = false;
  std::string features = "runs/features";
  int64_t retrieval = 1000;
};

/// Which kind of learning a run is.
enum class TaskKind { classification, contrastive };
constexpr std::array<const char*, 2> names_of(TaskKind) { return {"classification", "contrastive"}; }

/// One training run.
struct RunConfig {
  JsonText about;
  TaskKind task = TaskKind::classification;
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

/// Throws UsageError naming the key for a number out of range, and for keys that do not go together. Names (of a
/// dataset, a model …) are checked where they are used.
void validate(const RunConfig& config);

/// `given` with the values of `chosen` where it has the defaults.
ModelConfig filled_in(const ModelConfig& given, const ModelConfig& chosen);
HeadConfig filled_in(const HeadConfig& given, const HeadConfig& chosen);

/// Keys whose values differ and that decide the function a network computes when it is used: of `model` all but
/// dropout, batch_norm and memory, of `head` all but samples and how the likelihood is computed. Temperature is one.
std::vector<std::string> differing_network(const RunConfig& a, const RunConfig& b);

/// Keys whose values differ and that may change a number of the run: all but `about`, `data.root`, `data.skip_limit`
/// (it says what a run may lose, not what it loses), `train.loader_threads`, `train.time_limit`,
/// `train.keep_checkpoints`, `train.tensorboard`, `train.features`, `contrast.features`, and what is divided among
/// ranks: `optimizer.shard`, `head.shard_classes`.
std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b);
/// The same without its length, `train.epochs` and `train.steps`, which may change when a run goes on.
std::vector<std::string> differing_but_length(const RunConfig& a, const RunConfig& b);

}  // namespace sked

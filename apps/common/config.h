#pragma once
// What one training run is: everything that decides its numbers, bound to JSON by the descriptions below.

#include <cstdint>
#include <string>

#include "apps/common/fields.h"
#include "autograd/optimizer.h"
#include "data/catalog.h"
#include "layers/heads/head.h"
#include "layers/models/model.h"

namespace sked {

/// Which images, which labels, and how they become floats (data/transforms.h has the language of pipelines).
struct DataConfig : DataSpec {
  int64_t validation = 0;    // images held out from the training set
  int64_t train_subset = 0;  // training images used; 0: all that are not held out
  int64_t skip_limit = 0;    // corrupt images left out of training, and of each evaluation; one more is an error
  std::string train_pipeline = "value_range(-1,1)";
  std::string eval_pipeline = "value_range(-1,1)";
};

/// Learning rate over the run; Schedule (autograd/optimizer.h) has the formula.
struct ScheduleConfig {
  std::string kind = "cosine";  // constant | linear | cosine
  double peak = 0.1;            // learning rate after the warm-up
  double floor = 0;             // last learning rate, as a share of the peak
  double warmup_epochs = 0;
  int64_t warmup_steps = 0;  // > 0: instead of warmup_epochs
};

struct TrainConfig {
  int64_t batch_size = 128;
  double epochs = 10;            // may be a fraction
  int64_t steps = 0;             // > 0: instead of epochs
  int64_t log_every = 50;        // steps between two lines of training loss in metrics.jsonl
  double eval_every = 1;         // epochs between two evaluations; 0: only at the end
  int64_t eval_samples = 64;     // Monte Carlo samples of those; the final test uses head.test_samples
  int64_t checkpoint_every = 0;  // steps between two checkpoints; 0: at the end of each epoch
  double ema_decay = 0;          // > 0: evaluate and save an exponential moving average of the weights
  std::string init = "";         // safetensors file to begin with (initial.h): fine-tuning
  int64_t loader_threads = 1;    // does not change any number
};

/// One training run.
struct RunConfig {
  JsonText about;  // free: the command, the expected result, the run time
  DataConfig data;
  ModelConfig model;
  HeadConfig head;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  uint64_t seed = 0;
};

void visit_fields(FieldList& fields, DataConfig& c);
void visit_fields(FieldList& fields, ModelConfig& c);
void visit_fields(FieldList& fields, HeadConfig& c);
void visit_fields(FieldList& fields, OptimizerConfig& c);
void visit_fields(FieldList& fields, ScheduleConfig& c);
void visit_fields(FieldList& fields, TrainConfig& c);
void visit_fields(FieldList& fields, RunConfig& c);

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

/// Keys whose values differ and that may change a number of the run: all but `about`, `data.root` and
/// `train.loader_threads`.
std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b);

}  // namespace sked

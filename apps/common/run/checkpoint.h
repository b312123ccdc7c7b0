#pragma once
// Checkpoints: one safetensors file each, so that weights, optimizer, trainer state, configuration and what is known of
// the data can never be of two moments.
//
//   plain names   weights and buffers as evaluations use them (the average's where there is one), as timm / torchvision
//   optimizer.*   momenta                                       } in last.safetensors only
//   raw.*         as trained, where an average is kept          }
//   metadata      format = "pt"; config, state, data and files (identity.h) as JSON; checksums (core/safetensors.h)

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/run/identity.h"
#include "autograd/optimizer.h"
#include "autograd/weight_average.h"
#include "core/safetensors.h"
#include "layers/module.h"

namespace sked {

/// Where a training run stands; with the tensors of last.safetensors it is all a resumed run needs.
struct TrainerState {
  int64_t step = 0;             // optimizer steps done
  int64_t evaluated_step = 0;   // the last step whose periodic evaluation is done
  int64_t optimizer_steps = 0;  // of Optimizer::State
  int64_t metrics_bytes = 0;    // length of metrics.jsonl at this moment
  int64_t best_step = -1;       // of best.safetensors; -1: none yet
  double best_nll = 0;
  double loss_sum = 0;  // of the steps since the last line in metrics.jsonl
  int64_t loss_count = 0;
  double train_seconds = 0;  // in training steps, waiting for data included
  double wait_seconds = 0;   // of those, waiting for data
  uint64_t peak_memory_bytes = 0;
  int64_t threads = 0;         // that computed it on the CPU; 0: not known
  std::string precision = {};  // of its products; empty: not known
};
void visit_fields(FieldList& fields, TrainerState& s);

/// Numbers of a training that are not finite any more.
class DivergedError : public Error {
 public:
  using Error::Error;
};

/// Everything that is trained, as a checkpoint sees it. Pointers to what the caller owns; average may be null.
struct Trained {
  const Module* model = nullptr;
  Optimizer* optimizer = nullptr;
  WeightAverage* average = nullptr;
  Communicator* ranks = &alone();  // that train it
};

/// What every checkpoint of a run says of it.
struct RunIdentity {
  RunConfig config;
  DataIdentity data;
  FileIdentity files = {};
};

/// Writes weights and buffers only. Throws Error naming the file when it cannot be written, DivergedError where a value
/// is not finite; the old file is then untouched. All ranks that train the model call it, and rank 0 writes: the file
/// is the same however many they are, and whatever is divided among them.
void save_weights(const std::string& path, const Module& model, const RunIdentity& run, TrainerState state,
                  Communicator& ranks = alone());
/// Writes all of it, likewise. `state.optimizer_steps` is filled in. `before` is called by who writes when all of it is
/// known to be good, before the file is written.
void save_checkpoint(const std::string& path, const Trained& trained, const RunIdentity& run, TrainerState state,
                     const std::function<void()>& before = {});

/// A file of weights, of this program or others: safetensors, or NumPy's .npz as flax programs write (core/npz.h).
TensorFile load_weights(const std::string& path);

/// Was this file written by this program? Others have a `config` in their metadata too.
bool is_checkpoint(const TensorFile& file);

/// The configuration a checkpoint carries. Throws Error naming `path` where there is none or it is not valid.
RunConfig config_of(const TensorFile& file, const std::string& path);

/// A checkpoint read from disk.
struct Checkpoint {
  std::string path;
  TensorFile file;
  RunConfig config;
  std::optional<DataIdentity> data;  // none in one written before checkpoints carried it
  FileIdentity files = {};           // likewise
  TrainerState state;
};

/// Throws Error naming the file where it is not a whole safetensors file or carries no (valid) configuration or state.
Checkpoint read_checkpoint(const std::string& path);
/// The same without the tensors, whose bytes are not looked at.
Checkpoint read_checkpoint_header(const std::string& path);

/// Does the run of this checkpoint of ours choose its best weights by held-out images, and measure others? Without test
/// images it measures the held-out ones, and chooses nothing by them.
bool chooses_best(const TensorFile& file, const std::string& path);

/// A run folder stands for the weights its own summary tests: the best on the validation images, the last where there
/// are none, or where it was stopped before the first evaluation; where the last were removed to save space, the best
/// unless the test images chose them. A file stands for itself. Throws Error for a folder that is not a run's, naming
/// one below it that is, and for a name alone where there is nothing of that name.
std::string checkpoint_path(const std::string& given);

/// What cannot be known of a checkpoint that is older than what it should carry, as one line for people; empty where it
/// carries everything.
std::string what_is_unknown(const TensorFile& file, const std::string& path, const RunConfig& config);

/// Copies weights and buffers into `model`. Throws Error naming `path` and the tensor for one that is missing, unknown,
/// of another shape or dtype, or not finite; the model is then unchanged. What is divided among ranks gets its share.
void restore_weights(const TensorFile& file, const std::string& path, const Module& model);
/// Restores all of it, under the same conditions.
void restore(const Checkpoint& checkpoint, const Trained& trained);

}  // namespace sked

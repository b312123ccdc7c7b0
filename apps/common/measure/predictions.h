#pragma once
// Predictions that leave the program: what a classifier says of every example, gathered batch by batch for one file.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/common/measure/batch_rows.h"
#include "apps/common/measure/predictions_file.h"
#include "core/safetensors.h"
#include "data/loader.h"
#include "layers/heads/head.h"

namespace sked {

/// What of them is asked for: --predictions, --top-k, --with.
struct PredictionsWanted {
  std::string file;              // "": none
  std::optional<int64_t> top_k;  // classes of each example; default: all of up to 1,000, of more the best 20
  std::vector<std::string> with;

  /// Is "noise", "logits" or "representation" asked for?
  bool has(const std::string& what) const;
};

/// The options that say so.
std::vector<Option> predictions_options(PredictionsWanted& wanted);

/// Throws UsageError for the other options without --predictions, and what check_predictions_file() throws.
void check_predictions(const PredictionsWanted& wanted);

/// What a head says of the noise of φ, this rank's rows of a batch, and what else is asked for, of the whole batch, on
/// the CPU, under the names it has in a file. `apart` as of computed_rows(). A collective.
///   noise_variance (B)  tr Σ(x)            noise_deviation (B,J), noise_factors (B,J,R)  d(x), V(x): with noise
///   logits (B,K)  Wφ + b: with logits      representation (B,D)  φ: with representation
std::vector<NamedTensor> said_by_head(const PredictionsWanted& wanted, Head& head, const Tensor& phi,
                                      const BatchRows& rows, bool apart = false);

/// The names that examples of a batch have in their data.
std::vector<std::string> ids_of(const Dataset& dataset, const Batch& batch);

/// Rows in memory until they are written, at most 4 GB of them, and in an .npz file as much again.
class Predictions {
 public:
  /// Of at most `rows` examples. Throws UsageError where the head has no noise and its parts are asked for, and where
  /// the probabilities alone would not fit.
  Predictions(const PredictionsWanted& wanted, const HeadConfig& head, std::vector<std::string> class_names,
              int64_t rows);

  /// Adds B examples: ids; labels i64 (B), label_distribution and targets f32 (B,K) of `truth`, where it is given and
  /// has them; probabilities f32 (B,K) and entropy (B), or of many classes top_classes i64 and top_probabilities (B,k),
  /// likeliest first, with label_probability (B) in place of all that has K numbers; then `more`. Every batch has the
  /// same columns. Throws Error naming the example for what is not finite; UsageError where it all would not fit.
  void add(const std::vector<std::string>& ids, const Tensor& probabilities, const Batch* truth,
           const std::vector<NamedTensor>& more = {});

  /// Writes the file, unless nothing was added; `about` is what is known of the predictions beside the head. Returns
  /// what is to be said: a line, or none.
  std::string write(const Json& about) const;

 private:
  bool in_full() const { return best_ >= classes(); }
  int64_t classes() const { return static_cast<int64_t>(class_names_.size()); }
  void require_room(double bytes) const;
  void add_truth(const Batch& truth, const Tensor& probabilities);
  void add_probabilities(const Tensor& probabilities);
  void put(const std::string& name, const Tensor& rows, Cells cells = Cells::numbers);

  std::string file_;
  HeadConfig head_;
  std::vector<std::string> class_names_;
  int64_t rows_, best_, count_ = 0;
  double bytes_ = 0;
  std::vector<std::string> ids_;
  std::vector<PredictionColumn> columns_;
};

/// None where no file is asked for.
std::optional<Predictions> predictions_for(const PredictionsWanted& wanted, const HeadConfig& head,
                                           const std::vector<std::string>& class_names, int64_t rows);

}  // namespace sked

#pragma once
// What of a file's head a model can begin with.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/fields.h"
#include "apps/common/run/difference.h"
#include "apps/common/run/foreign_names.h"
#include "apps/common/run/initial_options.h"

namespace sked {

/// How a model's temperature begins beside that of a file.
struct TemperatureBeginning {
  bool is_new = true;     // as configured: `t` is not the file's
  std::string note = {};  // what there is to say: it is another
};
/// `t`: the file's, or null; `now`: τ of the model as initialized. It is taken where both learn it within the same
/// bounds.
TemperatureBeginning begin_temperature(const Tensor* t, const TemperatureConfig& file, const TemperatureConfig& here,
                                       double now);

/// Why one head's noise is not another's, by the settings of `section` that decide what it is (differences()); empty
/// where they are the same. Without factors (`ranked` false) there is no rank.
std::string noise_differences(const std::vector<Field>& file, const std::vector<Field>& here,
                              const std::string& section, bool ranked);

/// The classifier `head.weight`, `head.bias` (a row per class), and around it `head.noise.*` and `head.temperature.*`.
///
///   classifier   as it is where the classes are the same, or as many and the names of the file's not known; by rows
///                where the model's are known to be among the file's; else the model's own stays. Another link takes
///                nothing from it: the logits are the file's, and the line says that their probabilities are not.
///   noise        as a whole or not at all: where its kind (on logits, on the representation) and all sizes are the
///                model's. That on logits goes with the classifier, row by row; where that is new, so is it.
///   temperature  where both learn it, within the same bounds; else the model's own, and a line where it is another.
class HeadRows {
 public:
  HeadRows() = default;
  /// Throws Error naming `path` where the file has not as many names as classes.
  HeadRows(const ForeignWeights& file, const Shapes& model, const std::string& path, const InitialOptions& options);

  /// Does the model's tensor of this name stay as initialized?
  bool is_new(const std::string& name) const;
  /// May the file's tensor of this name be left alone?
  bool may_be_left_out(const std::string& name) const;
  /// The rows of the model's classes of a tensor that is not new; a classifier of 1×1 convolutions becomes a matrix.
  Tensor rows_of(const std::string& name, const Tensor& tensor) const;

  bool replaced() const { return !why_new_.empty(); }
  /// Why the classifier is replaced.
  const std::string& why_new() const { return why_new_; }
  bool mapped() const { return !rows_.empty(); }
  /// What there is to say about the classifier.
  std::string about() const { return replaced() ? "the classifier is new: " + why_new_ : about_; }
  /// And about the rest of the head: a line each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  void compare_classes(const std::vector<std::string>& names, const std::vector<std::string>& file_names);
  /// Why the noise is not the file's; empty where it is.
  std::string noise_apart(const ForeignWeights& file, const Shapes& model, const InitialOptions& options);
  void compare_noise(const ForeignWeights& file, const Shapes& model, const InitialOptions& options);
  void compare_temperature(const ForeignWeights& file, const InitialOptions& options);
  /// Of a tensor with `rows` rows, those of a class: full factors have one for each of their ranks. 0: it has none.
  int64_t rows_per_class(int64_t rows) const;

  bool model_has_one_ = false;
  bool noise_is_new_ = false, noise_per_class_ = false, temperature_is_new_ = false;
  int64_t classes_ = 0, file_classes_ = 0;
  std::vector<int64_t> rows_;  // of the file for each class of the model; empty: as they are
  std::string why_new_, about_;
  std::vector<std::string> notes_;
};

}  // namespace sked

#pragma once
// Few-shot classification: how well a frozen representation tells the classes of other data sets from a few images of
// each, after big_vision's few-shot evaluator (layers/heads/METHOD.md, "Measures").

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/config/progress.h"
#include "core/json.h"
#include "data/catalog.h"
#include "layers/backbone.h"

namespace sked {

/// A data set to be asked about: `name` or `name:path`.
struct FewShotData {
  std::string name;
  Splits splits;  // its training and test images, in the shape of the model's
};

/// Loads one as other_splits() does. Throws UsageError for a data set of fewer than two classes, Error where a class
/// has no training image.
FewShotData few_shot_data(const std::string& name, const std::string& root, const Shape& shape);
/// Those of few_shot.data. Errors name that key.
std::vector<FewShotData> few_shot_data(const RunConfig& config, const Shape& shape);

/// The images of each class in evaluations of finished models.
inline const std::vector<int64_t> kShots{1, 5, 10, 25};

/// Accuracy on all test images by `shots` training images of every class.
struct FewShotAccuracy {
  int64_t shots = 0;
  double lambda = 0, accuracy = 0;
  std::string missing = {};  // not empty: nothing was measured, `class 1, dog, has 5 training images`
};
struct FewShotMeasures {
  std::string dataset;  // as asked for
  int64_t count = 0;    // test images
  std::vector<FewShotAccuracy> results;
};

/// Ridge regression on φ, which `tower` makes of images prepared by data.eval_pipeline, without noise (ridge.h): λ is
/// one of 2⁻¹⁰, 2⁻⁵, 1, 2⁵, 2¹⁰, chosen on held-out folds of the training images. Those are drawn as
/// draw_of_each_class() does; one that is corrupt loses its place to the next of its class, as many as
/// data.skip_limit allows, and `say`, else stderr, is told of each, and how far work is that takes long. Throws Error
/// for φ that is not finite, Interrupted on Ctrl-C. A collective: each rank computes some of φ, and gets the measures.
FewShotMeasures few_shot(Backbone& tower, const FewShotData& data, const std::vector<int64_t>& shots,
                         const RunConfig& config, Device device, const Say& say = {}, Communicator& ranks = alone());

/// Positions of `shots` examples of every class, drawn at random but the same for every model (a data set's first may
/// be of one day or camera), in the order drawn: those of fewer shots are among those of more. A label of -1 leaves an
/// example aside and moves no other. Throws Error naming a class with fewer.
std::vector<int64_t> draw_of_each_class(const std::vector<int64_t>& labels, int64_t classes, int64_t shots);

/// {dataset, count, results [{shots, lambda, accuracy} …]}, of what was measured.
Json few_shot_json(const FewShotMeasures& measures);
/// A list of these, and the way back: throws UsageError naming `source` for what does not fit.
Json few_shot_json(const std::vector<FewShotMeasures>& measures);
std::vector<FewShotMeasures> read_few_shot(const Json& list, const std::string& source);

/// For people: a table, or one line.
std::string few_shot_table(const FewShotMeasures& measures);
std::string few_shot_line(const FewShotMeasures& measures);

}  // namespace sked

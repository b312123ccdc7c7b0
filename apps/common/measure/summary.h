#pragma once
// summary.json: what a finished run came to.

#include <cstdint>
#include <string>

#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/provenance.h"

namespace sked {

struct Summary {
  std::string head, link, dataset, backbone;
  uint64_t seed = 0;
  int64_t params_total = 0, params_head_extra = 0;
  double temperature = 1;                 // τ of the evaluated weights
  Evaluation test;                        // of the images of `measured`
  std::string measured = "test";          // or `validation`, those held out, where there are no test images
  std::vector<FewShotMeasures> few_shot;  // of the same weights, where the configuration asks for it
  std::string
      weights;  // which weights the test measured: `best` on the validation images, or `last` where there are none
  int64_t steps = 0, best_step = 0;
  double epochs = 0, best_nll = 0;  // best_nll: of the periodic evaluations
  int64_t training_images = 0;
  std::string training_data, measured_data;             // fingerprints of these, and of the measured (identity.h)
  double noisy_share = 0;                               // share of the training labels that are not the clean ones
  int64_t pairs_left_out = 0, test_pairs_left_out = 0;  // image-text pairs that lack a half
  double images_per_second = 0;                         // of the training steps
  double train_seconds = 0, wait_seconds = 0;           // in training steps; of those, waiting for data
  double test_seconds = 0;
  uint64_t peak_memory_bytes = 0;  // of tensors on the device
  std::string device, precision;   // what trained it, and what its products were computed in
  std::string command;
  Provenance made_by;
};

/// `test`, under the name of `measured`, as evaluation_json has it in full, but for the classes where there are more
/// than 100; `few_shot` as few_shot_json; older ones have none.
Json summary_json(const Summary& summary);
/// The same as the text of a file.
std::string summary_text(const Summary& summary);
/// The way back. Throws Error naming `source` for what is not a summary.
Summary summary_of(Json json, const std::string& source);
/// Throws Error naming the file where it cannot be read or is not a summary.
Summary read_summary(const std::string& path);

}  // namespace sked

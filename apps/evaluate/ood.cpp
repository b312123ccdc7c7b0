#include "apps/evaluate/ood.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/text.h"

namespace sked {
namespace {

std::vector<double> top_probabilities(Classifier& model, const RunConfig& config, const PredictOptions& options,
                                      const std::shared_ptr<const Dataset>& dataset) {
  std::vector<double> top;
  for_each_prediction(model, dataset, config.data.eval_pipeline, options, [&](const Prediction& p) {
    const int64_t classes = p.probabilities.dim(1);
    const float* row = p.probabilities.data<float>();
    for (int64_t i = 0; i < p.probabilities.dim(0); ++i, row += classes)
      top.push_back(*std::max_element(row, row + classes));
  });
  return top;
}

}  // namespace

Json report_ood(Classifier& model, const RunConfig& config, const PredictOptions& options,
                const std::shared_ptr<const Dataset>& own, const std::shared_ptr<const Dataset>& other,
                const std::string& name) {
  const std::vector<double> own_top = top_probabilities(model, config, options, own),
                            top = top_probabilities(model, config, options, other);
  const double area = auroc(own_top, top);
  std::printf("out of distribution, %s, %zu images: AUROC %.4f by maximum probability\n", printable(name).c_str(),
              top.size(), area);
  return {{"dataset", name}, {"auroc", area}, {"count", top.size()}};
}

}  // namespace sked

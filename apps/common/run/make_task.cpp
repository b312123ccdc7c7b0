#include "apps/common/run/make_task.h"

#include "apps/common/run/classification.h"
#include "apps/common/run/contrastive.h"

namespace sked {

std::unique_ptr<Task> make_task(const RunConfig& config, Splits splits, Device device, const Beginning& from) {
  if (config.task == TaskKind::contrastive)
    return std::make_unique<ContrastiveTask>(config, std::move(splits), device, from);
  return std::make_unique<ClassificationTask>(config, std::move(splits), device, from);
}

}  // namespace sked

#include "apps/common/run/make_task.h"

#include "apps/common/run/classification.h"
#include "apps/common/run/contrastive.h"
#include "apps/common/run/parameter_groups.h"

namespace sked {

std::unique_ptr<Task> make_task(const RunConfig& config, Splits splits, Device device, const Beginning& from,
                                Communicator& ranks) {
  std::unique_ptr<Task> task;
  if (config.task == TaskKind::contrastive)
    task = std::make_unique<ContrastiveTask>(config, std::move(splits), device, from, ranks);
  else
    task = std::make_unique<ClassificationTask>(config, std::move(splits), device, from, ranks);
  freeze(task->model(), task->tower(), config.train.freeze);
  return task;
}

}  // namespace sked

#include "apps/common/run/timetable.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sked {
namespace {

int64_t at_least_one(double count) { return std::max<int64_t>(1, std::llround(count)); }

}  // namespace

Timetable timetable(const TrainConfig& config, int64_t epoch_steps) {
  const auto steps = static_cast<double>(epoch_steps);
  Timetable t{.epoch_steps = epoch_steps};
  t.total = config.steps > 0 ? config.steps : config.epochs > 0 ? at_least_one(config.epochs * steps) : 0;
  t.evaluation =
      config.eval_every > 0 ? at_least_one(config.eval_every * steps) : at_least_one(static_cast<double>(t.total));
  t.checkpoint = config.checkpoint_every > 0 ? config.checkpoint_every : epoch_steps;
  return t;
}

Schedule schedule(const ScheduleConfig& config, const Timetable& timetable) {
  const Schedule schedule{.kind = config.kind,
                          .peak = config.peak,
                          .floor = config.floor,
                          .warmup = config.warmup_steps > 0 ? config.warmup_steps
                                                            : std::llround(config.warmup_epochs *
                                                                           static_cast<double>(timetable.epoch_steps)),
                          .total = std::max<int64_t>(timetable.total, 1),
                          .timescale = config.timescale,
                          .cooldown = config.cooldown_steps};
  require_usage(timetable.total == 0 || config.cooldown_steps <= timetable.total, "config",
                "schedule.cooldown_steps: expected at most the ", timetable.total, " steps of the training, got ",
                config.cooldown_steps);
  schedule.at(0);  // refuses what it cannot be
  return schedule;
}

}  // namespace sked

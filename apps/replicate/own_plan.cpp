#include "apps/replicate/own_plan.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace sked {

Plan own_plan(const CommonOptions& options, OwnImages own, const std::string& heads, int64_t seeds) {
  Plan plan;
  plan.path = "--images " + own.images;
  std::string head;
  for (std::istringstream list(heads); std::getline(list, head, ',');) {
    head = trimmed(head);
    const auto same = [&](const Variation& other) { return other.name == head; };
    require_usage(std::ranges::none_of(plan.heads, same), "plan", "--heads: ", head, " is there twice");
    plan.heads.push_back({head, head_settings(head, "--heads")});
  }
  require_usage(!plan.heads.empty(), "plan", "--heads: expected names such as det,het-xl");
  for (int64_t seed = 0; seed < seeds; ++seed) plan.seeds.push_back(static_cast<uint64_t>(seed));
  plan.base = configured(options, own);
  plan.base.seed = RunConfig{}.seed;
  const std::string name = valid_utf8(name_of_images(own.images));
  std::vector<std::string> names;
  for (const Variation& variation : plan.heads) names.push_back(variation.name);
  plan.title = name + ": " + join(names) + " on " + plan.base.model.name;
  plan.settings = {{name}};
  return plan;
}

}  // namespace sked

#include "layers/heads/options.h"

#include <algorithm>

#include "core/text.h"

namespace sked::detail {

size_t position(const std::string& value, const std::vector<std::string>& names, const std::string& key) {
  const auto at = std::find(names.begin(), names.end(), value);
  require_usage(at != names.end(), key, "expected one of ", join(names), ", got \"", value, "\" (did you mean \"",
                nearest(value, names), "\"?)");
  return static_cast<size_t>(at - names.begin());
}

}  // namespace sked::detail

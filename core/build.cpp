#include "core/build.h"

#include <algorithm>

namespace sked {

static std::vector<std::string>& registered() {
  static std::vector<std::string> names;
  return names;
}

WithLibrary::WithLibrary(const std::string& name) { registered().push_back(name); }

std::vector<std::string> libraries() {
  std::vector<std::string> names = registered();  // in the order of linking
  std::ranges::sort(names);
  return names;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__) + "." +
         std::to_string(__clang_patchlevel__);
#else
  return "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + "." +
         std::to_string(__GNUC_PATCHLEVEL__);
#endif
}

}  // namespace sked

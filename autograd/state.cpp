#include "autograd/state.h"

#include <map>

#include "core/error.h"

namespace sked::detail {

void load_named(std::vector<NamedTensor> to, const std::vector<NamedTensor>& from, std::string_view where) {
  std::map<std::string, Tensor> found;
  for (const auto& [name, tensor] : from) found.emplace(name, tensor);
  for (const auto& [name, tensor] : to) {
    const auto entry = found.find(name);
    require(entry != found.end(), where, "expected state for ", name, ", got none");
    require_shape(entry->second, tensor.shape(), where, name);
    require(entry->second.dtype() == tensor.dtype(), where, name, " expected ", tensor, ", got ", entry->second);
  }
  require(from.size() == to.size(), where, "expected state of ", to.size(), " tensors, got ", from.size());
  for (auto& [name, tensor] : to) tensor.copy_from(found.at(name));
}

}  // namespace sked::detail

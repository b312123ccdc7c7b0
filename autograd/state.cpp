#include "autograd/state.h"

#include <map>

#include "core/error.h"

namespace sked::detail {

void load_named(std::vector<SharedTensor> to, const std::vector<SharedTensor>& from, std::string_view where) {
  std::map<std::string, const SharedTensor*> found;
  for (const SharedTensor& tensor : from) found.emplace(tensor.name, &tensor);
  for (const SharedTensor& t : to) {
    const auto entry = found.find(t.name);
    require(entry != found.end(), where, "expected state for ", t.name, ", got none");
    const SharedTensor& given = *entry->second;
    require(given.whole_shape() == t.whole_shape() && given.tensor.dtype() == t.tensor.dtype(), where, t.name,
            " expected ", t.whole_shape(), ' ', t.tensor.dtype(), ", got ", given.tensor);
    require(!given.share.divided || (given.share.first == t.share.first && given.tensor.numel() == t.tensor.numel()),
            where, t.name, " expected the same share, got another");
  }
  require(from.size() == to.size(), where, "expected state of ", to.size(), " tensors, got ", from.size());
  for (SharedTensor& t : to) copy_share(*found.at(t.name), t);
}

void copy_share(const SharedTensor& from, SharedTensor& to) {
  if (!to.share.divided || from.share.divided) return to.tensor.copy_from(from.tensor);
  const Tensor elements = from.tensor.reshape({-1});
  Tensor into = to.tensor.reshape({-1});
  if (into.numel() > 0) into.copy_from(elements.rows(to.share.first, to.share.first + into.numel()));
}

ElementShare share_of(const NamedVar& parameter) {
  if (!parameter.shard.divided()) return {};
  const Shape shape = parameter.var.shape();
  return {shape.with(0, parameter.shard.total), parameter.shard.first * shape.product(1, shape.ndim()), true};
}

}  // namespace sked::detail

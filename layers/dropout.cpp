#include "layers/dropout.h"

#include "autograd/random.h"

namespace sked {

namespace {

double probability(double p, std::string_view where) {
  require_usage(p >= 0 && p < 1, where, "expected a probability in [0, 1), got ", p);
  return p;
}

/// Where a layer draws in this step.
RngAddress address_of(const Context& context, uint64_t stream) { return {context.seed, stream, context.step}; }

}  // namespace

Dropout::Dropout(Init& init, double p) : p_(probability(p, "dropout")), stream_(init.next_stream()) {}

Var Dropout::forward(const Var& x, const Context& context) const {
  if (!drops(context)) return x;
  return dropout(x, p_, address_of(context, stream_), context.first_row);
}

DropPath::DropPath(Init& init, double p) : p_(probability(p, "drop_path")), stream_(init.next_stream()) {}

Var DropPath::forward(const Var& x, const Context& context) const {
  if (!context.training || p_ == 0) return x;
  return drop_path(x, p_, address_of(context, stream_), context.first_row);
}

}  // namespace sked

#include "layers/dropout.h"

#include "autograd/random.h"

namespace sked {

namespace {

double probability(double p, std::string_view where) {
  require_usage(p >= 0 && p < 1, where, "expected a probability in [0, 1), got ", p);
  return p;
}

}  // namespace

Dropout::Dropout(Init& init, double p) : p_(probability(p, "dropout")), stream_(init.next_stream()) {}

Var Dropout::forward(const Var& x, const Context& context) const {
  if (!drops(context)) return x;
  return dropout(x, p_, {context.seed, stream_, context.step});
}

DropPath::DropPath(Init& init, double p) : p_(probability(p, "drop_path")), stream_(init.next_stream()) {}

Var DropPath::forward(const Var& x, const Context& context) const {
  if (!context.training || p_ == 0) return x;
  return drop_path(x, p_, {context.seed, stream_, context.step});
}

}  // namespace sked

// From a configuration to a head.

#include "layers/heads/head.h"

#include <array>
#include <cmath>

#include "layers/heads/deterministic.h"
#include "layers/heads/heteroscedastic.h"
#include "layers/heads/options.h"

namespace sked {

std::unique_ptr<Head> make_head(const HeadConfig& config, int64_t width, int64_t classes, Init& init) {
  constexpr std::array kinds = {HeadKind::det, HeadKind::het, HeadKind::het_xl};
  constexpr std::array links = {Link::softmax, Link::sigmoid};
  const HeadKind kind = kinds[detail::position(config.kind, {"det", "het", "het-xl"}, "head.kind")];
  const Factors factors = detail::factors_of(config, "head");
  const Link link = links[detail::position(config.link, {"softmax", "sigmoid"}, "head.link")];
  const int64_t least = link == Link::softmax ? 2 : 1;
  require_usage(width >= 1, "head", "expected a width of 1 or more, got ", width);
  require_usage(classes >= least, "head.link", "expected ", least, " or more classes for the ", config.link,
                " link, got ", classes);
  require_usage(std::isfinite(config.bias_init), "head.bias_init", "expected a finite value, got ", config.bias_init);
  detail::check_temperature(config, "head");
  if (kind == HeadKind::det) return std::make_unique<Deterministic>(config, link, width, classes, init);
  detail::check_noise(config, factors, kind == HeadKind::het ? classes : width, "head");
  return std::make_unique<Heteroscedastic>(config, kind, factors, link, width, classes, init);
}

}  // namespace sked

#include "data/held_out.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/loader.h"

namespace sked {
namespace {

using Images = std::vector<std::vector<int64_t>>;  // examples of each

int64_t room(const std::vector<int64_t>& part, int64_t size) { return size - std::ssize(part); }

/// How many images of each class a share of all is.
std::vector<int64_t> quotas(const std::vector<int64_t>& counts, double share) {
  const int64_t all = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  int64_t left = std::llround(share * static_cast<double>(all));
  std::vector<int64_t> quota(counts.size()), by_remainder(counts.size());
  std::vector<double> remainder(counts.size());
  for (size_t k = 0; k < counts.size(); ++k) {
    const double exact = share * static_cast<double>(counts[k]);
    quota[k] = std::min(static_cast<int64_t>(exact), std::max(counts[k] - 1, int64_t{0}));
    remainder[k] = exact - std::floor(exact);
    left -= quota[k];
  }
  std::iota(by_remainder.begin(), by_remainder.end(), 0);
  std::ranges::stable_sort(by_remainder, std::greater{}, [&](int64_t k) { return remainder[static_cast<size_t>(k)]; });
  for (const int64_t k : by_remainder) {
    const auto at = static_cast<size_t>(k);
    if (left <= 0) break;
    if (quota[at] + 1 < counts[at]) ++quota[at], --left;
  }
  return quota;
}

/// Takes a share of the images out of `images`: their examples.
std::vector<int64_t> take_share(const Dataset& all, Images& images, const std::vector<int64_t>& order, double share) {
  std::vector<int64_t> counts(static_cast<size_t>(std::max(all.classes(), int64_t{1}))), held;
  const auto class_of = [&](const std::vector<int64_t>& image) { return static_cast<size_t>(all.label(image[0])); };
  for (const std::vector<int64_t>& image : images) ++counts[class_of(image)];
  std::vector<int64_t> quota = quotas(counts, share);
  for (size_t g = order.size(); g-- > 0;) {
    std::vector<int64_t>& image = images[static_cast<size_t>(order[g])];
    if (quota[class_of(image)] == 0) continue;
    --quota[class_of(image)];
    held.insert(held.end(), image.begin(), image.end());
    image.clear();
  }
  require_usage(!held.empty(), "load_splits", "data.validation: a share of ", share, " of ", all.size(),
                " training images is no image, or the last one of its class");
  return held;
}

/// Takes so many examples out of `images`: those of whole images. What would exceed the size stays in training, later
/// ones may still fit.
std::vector<int64_t> take_count(Images& images, const std::vector<int64_t>& order, int64_t size) {
  std::vector<int64_t> held;
  for (size_t g = order.size(); g-- > 0;) {
    std::vector<int64_t>& image = images[static_cast<size_t>(order[g])];
    if (std::ssize(image) > room(held, size)) continue;
    held.insert(held.end(), image.begin(), image.end());
    image.clear();
  }
  require_usage(size == 0 || !held.empty(), "load_splits", "data.validation: expected at least the ",
                "captions of one image, got ", size);
  return held;
}

}  // namespace

void check_validation(double validation) {
  require_usage(validation >= 0 && validation < 9e15 && (validation < 1 || validation == std::floor(validation)),
                "config", "data.validation: expected a number of images, or a share of them below 1, got ", validation);
}

void hold_out(Splits& splits, const std::shared_ptr<const Dataset>& all, double validation, int64_t train_size) {
  check_validation(validation);
  const int64_t count = all->size(), size = validation < 1 ? 0 : static_cast<int64_t>(validation);
  require_usage(size < count, "load_splits", "data.validation: expected 0 to ", count - 1, " of the ", count,
                " training images, got ", size);
  splits.train = all;
  if (validation == 0 && train_size == 0) return;
  Images images = examples_by_image(*all);
  const std::vector<int64_t> order = shuffled_order(std::ssize(images), 0, 0);
  std::vector<int64_t> held =
      validation > 0 && validation < 1 ? take_share(*all, images, order, validation) : take_count(images, order, size);
  const int64_t rest = count - (size > 0 ? size : std::ssize(held));
  require_usage(train_size >= 0 && train_size <= rest, "load_splits", "data.train_subset: expected 0 (all) to ", rest,
                " images, got ", train_size);
  std::vector<int64_t> kept;
  for (const int64_t g : order) {
    const std::vector<int64_t>& image = images[static_cast<size_t>(g)];
    const int64_t taken = train_size == 0 ? std::ssize(image) : std::min(std::ssize(image), room(kept, train_size));
    kept.insert(kept.end(), image.begin(), image.begin() + taken);
  }
  std::ranges::sort(held);
  std::ranges::sort(kept);
  splits.train = std::make_shared<Subset>(all, std::move(kept));
  if (validation > 0) splits.validation = std::make_shared<Subset>(all, std::move(held));
}

}  // namespace sked

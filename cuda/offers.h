#pragma once
// The ways in which a library says it can do one problem.

#include <cstddef>
#include <utility>
#include <vector>

namespace sked::cuda {

/// Offers, best first. A library may still refuse one when it is called: the first that it carries out is taken from
/// then on.
template <class Offer>
class Offers {
 public:
  explicit Offers(std::vector<Offer> list = {}) : list_(std::move(list)) {}

  bool any() const { return first_ < list_.size(); }
  /// Calls attempt(offer) until it returns true; those before are not tried again. False: none is left.
  template <class F>
  bool take(F&& attempt) {
    for (; any(); ++first_)
      if (attempt(list_[first_])) return true;
    return false;
  }
  const std::vector<Offer>& list() const { return list_; }

 private:
  std::vector<Offer> list_;
  size_t first_ = 0;
};

}  // namespace sked::cuda

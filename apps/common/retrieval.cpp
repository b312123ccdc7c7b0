#include "apps/common/retrieval.h"

#include <algorithm>
#include <array>

#include "autograd/matmul.h"
#include "core/error.h"

namespace sked {
namespace {

constexpr std::array<int64_t, 3> kDepths{1, 5, 10};

/// Of each query row, how many keys outside its group are more similar than the most similar one of its group: less
/// than n of them is a hit at depth n.
std::array<double, 3> recalls(const Tensor& queries, const Tensor& keys, const std::vector<int64_t>& groups) {
  constexpr int64_t kRows = 256;
  const NoGrad no_tape;
  const int64_t n = queries.dim(0);
  std::array<int64_t, 3> hits{};
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t end = std::min(first + kRows, n);
    const Tensor similar = matmul(Var(queries.rows(first, end)), Var(keys), false, true).value();  // (rows,N)
    for (int64_t i = first; i < end; ++i) {
      const float* row = similar.data<float>() + (i - first) * n;
      int64_t best = -1;
      for (int64_t j = 0; j < n; ++j) {
        if (groups[static_cast<size_t>(j)] == groups[static_cast<size_t>(i)] && (best < 0 || row[j] > row[best]))
          best = j;
      }
      int64_t before = 0;
      for (int64_t j = 0; j < n; ++j) {
        if (groups[static_cast<size_t>(j)] != groups[static_cast<size_t>(i)])
          before += row[j] > row[best] || (row[j] == row[best] && j < best);
      }
      for (size_t d = 0; d < kDepths.size(); ++d) hits[d] += before < kDepths[d];
    }
  }
  std::array<double, 3> shares{};
  for (size_t d = 0; d < kDepths.size(); ++d) shares[d] = static_cast<double>(hits[d]) / static_cast<double>(n);
  return shares;
}

}  // namespace

Retrieval retrieval(const Tensor& images, const Tensor& texts, const std::vector<int64_t>& groups) {
  const int64_t n = images.dim(0);
  require(images.shape() == texts.shape() && groups.size() == static_cast<size_t>(n), "retrieval",
          "expected as many images, texts and groups, got ", images, ", ", texts, " and ", groups.size());
  if (n == 0) return {};
  const auto forth = recalls(images, texts, groups), back = recalls(texts, images, groups);
  return {n, forth[0], forth[1], forth[2], back[0], back[1], back[2]};
}

UnseenGatherer::UnseenGatherer(int64_t classes, const std::vector<int64_t>& unseen)
    : unseen_(static_cast<size_t>(classes), false) {
  for (int64_t k : unseen) unseen_.at(static_cast<size_t>(k)) = true;
}

void UnseenGatherer::add(const Tensor& probabilities, const Tensor& labels) {
  const auto classes = static_cast<int64_t>(unseen_.size());
  require_shape(probabilities, {labels.dim(0), classes}, "unseen", "probabilities");
  for (int64_t b = 0; b < labels.dim(0); ++b) {
    const float* p = probabilities.data<float>() + b * classes;
    const int64_t label = labels.data<int64_t>()[b];
    const int64_t first = std::max_element(p, p + classes) - p;
    if (!unseen_.at(static_cast<size_t>(label))) {
      ++seen_count_;
      seen_right_ += first == label;
      continue;
    }
    int64_t between = -1;
    for (int64_t k = 0; k < classes; ++k) {
      if (unseen_[static_cast<size_t>(k)] && (between < 0 || p[k] > p[between])) between = k;
    }
    ++unseen_count_;
    right_ += first == label;
    right_between_ += between == label;
  }
}

UnseenClasses UnseenGatherer::measures() const {
  const auto share = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  return {unseen_count_, share(right_, unseen_count_), share(right_between_, unseen_count_),
          share(seen_right_, seen_count_)};
}

}  // namespace sked

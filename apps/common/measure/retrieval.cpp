#include "apps/common/measure/retrieval.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "autograd/matmul.h"
#include "core/error.h"

namespace sked {
namespace {

constexpr std::array<int64_t, 3> kDepths{1, 5, 10};
constexpr int64_t kBlock = int64_t{1} << 22;  // similarities computed at once

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// The different rows of a tensor, and which of them each row is. A product may round equal rows differently, depending
/// on where they lie: so each is computed once, and equal rows are equally similar to everything.
struct DistinctRows {
  Tensor rows;  // f32 (R,D)
  std::vector<int64_t> which;

  explicit DistinctRows(const Tensor& all) {
    const int64_t n = all.dim(0), width = all.dim(1);
    std::unordered_map<std::string_view, int64_t> known;
    std::vector<int64_t> first;
    for (int64_t i = 0; i < n; ++i) {
      const auto* bytes = reinterpret_cast<const char*>(all.data<float>() + i * width);
      const std::string_view key(bytes, at(width) * sizeof(float));
      const auto [found, fresh] = known.emplace(key, static_cast<int64_t>(first.size()));
      if (fresh) first.push_back(i);
      which.push_back(found->second);
    }
    rows = Tensor::empty({static_cast<int64_t>(first.size()), width});
    for (size_t r = 0; r < first.size(); ++r) {
      const auto to = static_cast<int64_t>(r);
      rows.rows(to, to + 1).copy_from(all.rows(first[r], first[r] + 1));
    }
  }
};

/// Calls visit(q, similarities to every key row) for each query row.
template <class F>
void for_each_similarity(const Tensor& queries, const Tensor& keys, F&& visit) {
  const NoGrad no_tape;
  const int64_t n = queries.dim(0), width = keys.dim(0), step = std::max<int64_t>(1, kBlock / width);
  for (int64_t first = 0; first < n; first += step) {
    const int64_t end = std::min(first + step, n);
    const Tensor similar = matmul(Var(queries.rows(first, end)), Var(keys), false, true).value();
    for (int64_t q = first; q < end; ++q) visit(q, similar.data<float>() + (q - first) * width);
  }
}

/// The chances of a hit at each depth, summed over queries.
struct Hits {
  std::array<double, 3> sum{};
  int64_t queries = 0;

  /// `similar(k)` and `own(k)` of each of n keys.
  template <class Similar, class Own>
  void add(int64_t n, Similar&& similar, Own&& own) {
    float best = -std::numeric_limits<float>::infinity();
    for (int64_t k = 0; k < n; ++k)
      if (own(k)) best = std::max(best, similar(k));
    int64_t before = 0, tied = 0, own_tied = 0;
    for (int64_t k = 0; k < n; ++k) {
      before += similar(k) > best;
      tied += similar(k) == best;
      own_tied += similar(k) == best && own(k);
    }
    for (size_t d = 0; d < kDepths.size(); ++d) sum[d] += chance_among_first(kDepths[d], before, tied, own_tied);
    ++queries;
  }
  double share(size_t d) const { return sum[d] / static_cast<double>(queries); }
};

void check(const CaptionedImages& s) {
  const auto matrix = [](const Tensor& t) { return t.defined() && t.ndim() == 2 && t.dtype() == DType::f32; };
  require(matrix(s.images) && matrix(s.texts) && s.images.dim(1) == s.texts.dim(1), "retrieval",
          "expected images (M, D) and texts (T, D), got ", s.images, " and ", s.texts);
  const int64_t images = s.images.dim(0), texts = s.texts.dim(0);
  require(images > 0, "retrieval", "expected images to search, got none");
  for (const Tensor* t : {&s.images, &s.texts})
    for (int64_t i = 0; i < t->numel(); ++i)
      require(std::isfinite(t->data<float>()[i]), "retrieval", t == &s.texts ? "text " : "image ", i / t->dim(1),
              ": expected a finite embedding, got ", t->data<float>()[i]);
  require(s.owners.size() == s.said.size() && s.groups.size() == at(images), "retrieval",
          "expected an image and a text of each caption and a group of each of ", images, " images, got ",
          s.owners.size(), ", ", s.said.size(), " and ", s.groups.size());
  std::vector<bool> has_caption(at(images), false);
  for (size_t c = 0; c < s.owners.size(); ++c) {
    require(s.owners[c] >= 0 && s.owners[c] < images && s.said[c] >= 0 && s.said[c] < texts, "retrieval", "caption ", c,
            ": expected an image in 0 to ", images - 1, " and a text in 0 to ", texts - 1, ", got ", s.owners[c],
            " and ", s.said[c]);
    has_caption[at(s.owners[c])] = true;
  }
  const auto bare = std::ranges::find(has_caption, false) - has_caption.begin();
  require(bare == images, "retrieval", "image ", bare, ": expected a caption, got none");
}

/// Which texts a group's captions say, and of which groups each text is. Lists without repetition.
struct Sayings {
  std::unordered_map<int64_t, std::vector<int64_t>> texts_of_group;
  std::vector<std::vector<int64_t>> groups_of_text, captions_of_text;
  int64_t equal_captions = 0;

  explicit Sayings(const CaptionedImages& s) : groups_of_text(at(s.texts.dim(0))), captions_of_text(groups_of_text) {
    for (size_t c = 0; c < s.said.size(); ++c) {
      const int64_t text = s.said[c], group = s.groups[at(s.owners[c])];
      texts_of_group[group].push_back(text);
      groups_of_text[at(text)].push_back(group);
      captions_of_text[at(text)].push_back(static_cast<int64_t>(c));
    }
    for (auto& [group, texts] : texts_of_group) keep_different(texts);
    for (std::vector<int64_t>& groups : groups_of_text) keep_different(groups);
    for (const int64_t text : s.said) equal_captions += groups_of_text[at(text)].size() > 1;
  }

 private:
  static void keep_different(std::vector<int64_t>& list) {
    std::ranges::sort(list);
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
};

Recalls recalls_of(const Hits& forth, const Hits& back) {
  return {forth.share(0), forth.share(1), forth.share(2), back.share(0), back.share(1), back.share(2)};
}

}  // namespace

Retrieval retrieval(const CaptionedImages& s) {
  check(s);
  const auto images = s.images.dim(0), captions = static_cast<int64_t>(s.owners.size());
  const Sayings sayings(s);
  const DistinctRows image_rows(s.images), text_rows(s.texts);
  const auto group_of = [&](int64_t caption) { return s.groups[at(s.owners[at(caption)])]; };
  const bool compare = sayings.equal_captions > 0;
  Hits forth, back, forth_alike, back_alike;
  std::vector<bool> alike(at(s.texts.dim(0)), false);  // texts that the query's group says
  for_each_similarity(s.images, text_rows.rows, [&](int64_t i, const float* row) {
    const int64_t group = s.groups[at(i)];
    const auto similar = [&](int64_t c) { return row[text_rows.which[at(s.said[at(c)])]]; };
    forth.add(captions, similar, [&](int64_t c) { return group_of(c) == group; });
    if (!compare) return;
    for (const int64_t text : sayings.texts_of_group.at(group)) alike[at(text)] = true;
    forth_alike.add(captions, similar, [&](int64_t c) { return alike[at(s.said[at(c)])]; });
    for (const int64_t text : sayings.texts_of_group.at(group)) alike[at(text)] = false;
  });
  for_each_similarity(s.texts, image_rows.rows, [&](int64_t text, const float* row) {
    const auto similar = [&](int64_t i) { return row[image_rows.which[at(i)]]; };
    const std::vector<int64_t>& groups = sayings.groups_of_text[at(text)];
    const auto says_it = [&](int64_t i) { return std::ranges::binary_search(groups, s.groups[at(i)]); };
    for (const int64_t c : sayings.captions_of_text[at(text)]) {
      back.add(images, similar, [&](int64_t i) { return s.groups[at(i)] == group_of(c); });
      if (compare) back_alike.add(images, similar, says_it);
    }
  });
  Retrieval result;
  static_cast<Recalls&>(result) = recalls_of(forth, back);
  result.count = images;
  result.captions = captions;
  result.equal_captions = sayings.equal_captions;
  if (compare) result.alike = recalls_of(forth_alike, back_alike);
  return result;
}

Measures measure_by_captions(const CaptionedImages& s, double temperature) {
  check(s);
  const int64_t images = s.images.dim(0);
  const DistinctRows texts(s.texts);
  std::vector<std::vector<int64_t>> own(at(images));  // texts, in one order, so that equal ones have equal sums
  for (size_t c = 0; c < s.owners.size(); ++c) own[at(s.owners[c])].push_back(texts.which[at(s.said[c])]);
  for (std::vector<int64_t>& list : own) std::ranges::sort(list);
  MetricsAccumulator accumulator(images, false, Ties::shared);
  Tensor p = Tensor::empty({1, images}), label = Tensor::empty({1}, DType::i64);
  std::vector<double> of_text(at(texts.rows.dim(0))), of_image(at(images));
  for_each_similarity(s.images, texts.rows, [&](int64_t i, const float* row) {
    const double greatest = *std::max_element(row, row + of_text.size());
    for (size_t t = 0; t < of_text.size(); ++t) of_text[t] = std::exp((row[t] - greatest) / temperature);
    double total = 0;
    for (size_t k = 0; k < own.size(); ++k) {
      of_image[k] = 0;
      for (const int64_t text : own[k]) of_image[k] += of_text[at(text)];
      total += of_image[k];
    }
    for (size_t k = 0; k < own.size(); ++k) p.data<float>()[k] = static_cast<float>(of_image[k] / total);
    label.data<int64_t>()[0] = i;
    accumulator.add(p, label);
  });
  return accumulator.measures();
}

UnseenAccumulator::UnseenAccumulator(int64_t classes, const std::vector<int64_t>& unseen)
    : unseen_(static_cast<size_t>(classes), false) {
  for (int64_t k : unseen) unseen_.at(static_cast<size_t>(k)) = true;
}

void UnseenAccumulator::add(const Tensor& probabilities, const Tensor& labels) {
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

UnseenClasses UnseenAccumulator::measures() const {
  const auto share = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  return {unseen_count_, share(right_, unseen_count_), share(right_between_, unseen_count_), seen_count_,
          share(seen_right_, seen_count_)};
}

}  // namespace sked

// The tile kernels of the streaming likelihood: their formulas written out, on tiles at the corner, in the middle and
// at the end of what they are cut from.

#include "core/kernels/likelihood.h"

#include <cmath>
#include <limits>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Observed below 2e-6.
constexpr Tolerance kTiles{8e-6, "exp and log round to 2^-23 of values up to e^8; sums of up to 2,000 terms"};
constexpr Tolerance kTilesOnGpu{8e-6, kTiles.reason, 1};
constexpr Tolerance kWeights{8e-6, "sums of terms of up to 10, which cancel", 10};
constexpr Tolerance kNoise{8e-6, "three products of numbers of size 2"};
constexpr Tolerance kNoiseOnGpu{2e-6, kNoise.reason, 1};

/// A tile of C samples and K classes at `at`, of S samples and `classes` classes.
struct Cut {
  int64_t B, C, K, S, classes;
  TileOrigin at;

  Shape tile() const { return {B, C, K}; }
  Shape by_sample() const { return {B, S}; }
  Shape by_class() const { return {B, classes}; }
  Shape by_column() const { return {S, classes}; }
  std::string str() const {
    return tile().str() + " at " + std::to_string(at.sample) + ", " + std::to_string(at.class_index);
  }
  /// f(index in the tile, index by sample, index by class, b, class) for each element of the tile.
  template <class F>
  void for_each(F&& f) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t s = 0; s < C; ++s)
        for (int64_t k = 0; k < K; ++k)
          f((b * C + s) * K + k, b * S + at.sample + s, b * classes + at.class_index + k, b, at.class_index + k);
  }
  /// The index by (sample, class) of the tile's element i, whose class is k.
  int64_t column_of(int64_t i, int64_t k) const { return (at.sample + i / K % C) * classes + k; }
};

/// Its tensors, by (example, sample), (example, class) or (sample, class).
struct Tile : Cut {
  Tensor a, lse, log_p, log_not_p, share, rest, weight, labels, column_lse, column_weight, sums;

  explicit Tile(const Cut& c, float size = 4)
      : Cut(c),
        a(hash_tensor(tile(), 1, size)),
        lse(hash_tensor(by_sample(), 2, 1, size)),
        log_p(hash_tensor(by_class(), 3, 1, -1)),
        log_not_p(hash_tensor(by_class(), 4, 1, -1)),
        share(hash_tensor(by_class(), 5)),
        rest(hash_tensor(by_class(), 6)),
        weight(hash_tensor(by_sample(), 7)),
        labels(hash_labels(B, classes, 8)),
        column_lse(hash_tensor(by_column(), 9, 1, size)),
        column_weight(hash_tensor(by_column(), 10)),
        sums(hash_tensor({classes}, 11)) {}
};

double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double log_of(ClassLog log, double a, double lse) {
  return log == ClassLog::softmax ? a - lse : log_sigmoid(log == ClassLog::sigmoid ? a : -a);
}

/// log Σ exp of what is there and of what joins it, however large.
struct LogSum {
  Values max, sum;

  explicit LogSum(const Values& start) : max(start), sum(start.size()) {
    for (size_t i = 0; i < max.size(); ++i) sum[i] = max[i] == -kInfinity ? 0 : 1;
  }
  void join(int64_t i, double v) {
    if (std::isnan(v) || std::isnan(max[i])) {
      max[i] = std::nan("");
    } else if (v > max[i]) {
      sum[i] = sum[i] * std::exp(max[i] - v) + 1;
      max[i] = v;
    } else if (v > -kInfinity) {
      sum[i] += std::exp(v - max[i]);
    }
  }
  Values logarithms() const {
    Values y = max;
    for (size_t i = 0; i < y.size(); ++i) y[i] += sum[i] > 0 ? std::log(sum[i]) : 0;
    return y;
  }
};

// ---- sums over a tile -----------------------------------------------------------------------------------------------

/// Labels may be undefined.
void add_label_forward(KernelCases& cases, const Cut& c, const Tensor& a, const Tensor& labels, const Tensor& before) {
  const bool labeled = labels.defined();
  cases.push_back(case_of(kernel::label_tile_forward, c.str(), {a, labels},
                          {before, labeled ? Tensor::full(c.by_sample(), 7) : Tensor()}, c.at)
                      .gives(
                          [=](const auto& in, const auto& start) {
                            LogSum lse(start[0]);
                            Values target = start[1];
                            c.for_each([&](int64_t i, int64_t s, int64_t, int64_t b, int64_t k) {
                              lse.join(s, in[0][i]);
                              if (labeled && static_cast<int64_t>(in[1][b]) == k) target[s] = in[0][i];
                            });
                            return ValueLists{lse.logarithms(), target};
                          },
                          kTiles)
                      .on_gpu(kTilesOnGpu)
                      .stored_in_bf16({0}, {}));
}

void add_class_forward(KernelCases& cases, const Cut& c, const Tensor& a, const Tensor& lse, const Tensor& before,
                       ClassLog log) {
  const bool softmax = log == ClassLog::softmax;
  cases.push_back(case_of(kernel::class_tile_forward, c.str() + " " + std::to_string(static_cast<int>(log)),
                          {a, softmax ? lse : Tensor()}, {before}, log, c.at)
                      .gives(
                          [=](const auto& in, const auto& start) {
                            LogSum log_p(start[0]);
                            c.for_each([&](int64_t i, int64_t s, int64_t k, int64_t, int64_t) {
                              log_p.join(k, log_of(log, in[0][i], softmax ? in[1][s] : 0));
                            });
                            return ValueLists{log_p.logarithms()};
                          },
                          kTiles)
                      .on_gpu(kTilesOnGpu)
                      .stored_in_bf16({0}, {}));
}

void add_column_forward(KernelCases& cases, const Cut& c, const Tensor& a, const Tensor& before) {
  cases.push_back(case_of(kernel::column_tile_forward, c.str(), {a}, {before}, c.at)
                      .gives(
                          [=](const auto& in, const auto& start) {
                            LogSum lse(start[0]);
                            c.for_each([&](int64_t i, int64_t, int64_t, int64_t, int64_t k) {
                              lse.join(c.column_of(i, k), in[0][i]);
                            });
                            return ValueLists{lse.logarithms()};
                          },
                          kTiles)
                      .on_gpu(kTilesOnGpu)
                      .stored_in_bf16({0}, {}));
}

void add_soft_weights(KernelCases& cases, const Tile& t) {
  cases.push_back(case_of(kernel::soft_tile_weights, t.str(), {t.a, t.lse, t.log_p, t.share}, {t.weight}, t.at)
                      .gives(
                          [c = Cut(t)](const auto& in, const auto& before) {
                            Values total = before[0];
                            c.for_each([&](int64_t i, int64_t s, int64_t k, int64_t, int64_t) {
                              total[s] += in[3][k] * std::exp(in[0][i] - in[1][s] - in[2][k]);
                            });
                            return ValueLists{total};
                          },
                          kWeights)
                      .on_gpu(kTilesOnGpu)
                      .stored_in_bf16({0}, {}));
}

// ---- gradients ------------------------------------------------------------------------------------------------------

/// A kernel that overwrites the tile by its gradient g(in, a, places of an element), with and without its sums.
template <class K, class G>
void add_gradient(KernelCases& cases, const K& kernel, const Tile& t, const TensorList& inputs, const Tensor& sums,
                  G g) {
  cases.push_back(case_of(kernel, t.str() + (sums.defined() ? " and sums" : ""), inputs, {t.a, sums}, t.at)
                      .gives(
                          [=, c = Cut(t)](const auto& in, const auto& before) {
                            Values gradient = before[0], total = before[1];
                            c.for_each([&](int64_t i, int64_t s, int64_t k, int64_t b, int64_t class_index) {
                              gradient[i] = g(in, before[0][i], i, s, k, b, class_index);
                              if (!total.empty()) total[class_index] += gradient[i];
                            });
                            return ValueLists{gradient, total};
                          },
                          kTiles)
                      .on_gpu(kTilesOnGpu)
                      .stored_in_bf16({}, {0}));
}

using In = const ValueLists&;
double own(const Values& labels, int64_t b, int64_t k) { return static_cast<int64_t>(labels[b]) == k ? 1 : 0; }

void add_gradients(KernelCases& cases, const Tile& t, const Tensor& sums) {
  add_gradient(cases, kernel::label_tile_backward, t, {t.labels, t.lse, t.weight}, sums,
               [](In in, double a, int64_t, int64_t s, int64_t, int64_t b, int64_t k) {
                 return in[2][s] * (std::exp(a - in[1][s]) - own(in[0], b, k));
               });
  add_gradient(cases, kernel::soft_tile_backward, t, {t.lse, t.log_p, t.share, t.weight}, sums,
               [](In in, double a, int64_t, int64_t s, int64_t k, int64_t, int64_t) {
                 return std::exp(a - in[0][s]) * in[3][s] - in[2][k] * std::exp(a - in[0][s] - in[1][k]);
               });
  add_gradient(cases, kernel::pair_tile_backward, t, {t.labels, t.lse, t.weight, t.column_lse, t.column_weight}, sums,
               [c = Cut(t)](In in, double a, int64_t i, int64_t s, int64_t, int64_t b, int64_t k) {
                 const int64_t column = c.column_of(i, k);
                 return in[2][s] * (std::exp(a - in[1][s]) - own(in[0], b, k)) +
                        in[4][column] * (std::exp(a - in[3][column]) - own(in[0], b, k));
               });
}

void add_sigmoid_gradient(KernelCases& cases, const Tile& t, const Tensor& sums) {
  add_gradient(cases, kernel::sigmoid_tile_backward, t, {t.log_p, t.log_not_p, t.share, t.rest}, sums,
               [](In in, double a, int64_t, int64_t, int64_t k, int64_t, int64_t) {
                 return in[3][k] * std::exp(log_sigmoid(-a) - in[1][k]) * sigmoid(a) -
                        in[2][k] * std::exp(log_sigmoid(a) - in[0][k]) * sigmoid(-a);
               });
}

/// Logits far out. One sample, so log p = log σ(a): elsewhere exp(log σ − log p) may be anything.
Tile far_out(const Cut& c) {
  Tile t(c, 60);
  c.for_each([&](int64_t i, int64_t, int64_t k, int64_t, int64_t) {
    const double x = t.a.data<float>()[i];
    t.log_p.data<float>()[k] = static_cast<float>(log_sigmoid(x));
    t.log_not_p.data<float>()[k] = static_cast<float>(log_sigmoid(-x));
  });
  return t;
}

// ---- noise ----------------------------------------------------------------------------------------------------------

/// Diagonal factors (neither), full ones (q) and efficient ones (both).
void add_noise(KernelCases& cases, const Cut& c, bool has_q, bool has_v) {
  const Tensor center = hash_tensor(c.by_class(), 1), d = hash_tensor(c.by_class(), 2),
               eps = hash_tensor(c.tile(), 3, 2), dz = hash_tensor(c.tile(), 6);
  const Tensor v = has_v ? hash_tensor(c.by_class(), 4) : Tensor(), q = has_q ? hash_tensor(c.tile(), 5) : Tensor();
  const std::string what = c.str() + (has_v ? " efficient" : (has_q ? " full" : " diagonal"));
  cases.push_back(case_of(kernel::noise_forward, what, {center, d, eps, v, q}, {unset(c.tile())}, c.at.class_index)
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values z = in[2];
                            c.for_each([&](int64_t i, int64_t, int64_t k, int64_t, int64_t) {
                              z[i] = in[0][k] + in[1][k] * z[i];
                              if (has_q) z[i] += (has_v ? in[3][k] : 1) * in[4][i];
                            });
                            return ValueLists{z};
                          },
                          kNoise)
                      .on_gpu(kNoiseOnGpu));
  // Where v is defined q is overwritten by its gradient; without v it must stay as it is, or is not there.
  cases.push_back(case_of(kernel::noise_backward, what, {dz, eps, v}, {q, center, d, v}, c.at.class_index)
                      .gives(
                          [=](const auto& in, const auto& before) {
                            ValueLists y = before;
                            c.for_each([&](int64_t i, int64_t, int64_t k, int64_t, int64_t) {
                              y[1][k] += in[0][i];
                              y[2][k] += in[0][i] * in[1][i];
                              if (!has_v) return;
                              y[3][k] += in[0][i] * before[0][i];
                              y[0][i] = in[0][i] * in[2][k];
                            });
                            return y;
                          },
                          kNoise)
                      .on_gpu(kNoiseOnGpu));
}

// ---- ends -----------------------------------------------------------------------------------------------------------

/// Logits of ±1e4 leave nothing undefined.
void add_large(KernelCases& cases) {
  const Cut c{1, 2, 3, 2, 3, {0, 0}};
  Tile t(c);
  t.a = Tensor::from<float>({1e4f, -1e4f, 0, -1e4f, -1e4f, -1e4f}, c.tile());
  t.lse = Tensor::from<float>({1e4f, static_cast<float>(-1e4 + std::log(3.0))}, c.by_sample());
  t.log_p =
      Tensor::from<float>({0, static_cast<float>(-std::log(3.0)), static_cast<float>(-std::log(3.0))}, c.by_class());
  t.column_lse = t.a.reshape(c.by_column());  // one example: each column's sum is its element
  const Tensor nothing = Tensor::full(c.by_sample(), -kInfinity), none;
  add_label_forward(cases, c, t.a, Tensor::from<int64_t>({1}, {1}), nothing);
  add_class_forward(cases, c, t.a, t.lse, Tensor::full(c.by_class(), -kInfinity), ClassLog::softmax);
  add_column_forward(cases, c, t.a, Tensor::full(c.by_column(), -kInfinity));
  const size_t first = cases.size();
  add_gradients(cases, t, none);
  constexpr Tolerance kLarge{2e-3, "f32 keeps a log-sum-exp near 1e4 to 5e-4"};
  for (size_t i = first; i < cases.size(); ++i) cases[i].within(kLarge).in_bf16.clear();
}

/// A NaN in the middle sample, in a tile that comes first, or before one that comes next.
void add_nan(KernelCases& cases) {
  for (const int64_t width : {1, 5, 70, 1500})
    for (const int64_t at : {int64_t{0}, width / 2, width - 1})
      for (const bool lone : {false, true}) {
        const Cut c{1, 3, width, 3, width, {0, 0}};
        Tensor bad = hash_tensor({3, width}, 3, 4).clone();
        if (lone) bad.rows(1, 2).fill(-kInfinity);
        bad.data<float>()[width + at] = std::nanf("");
        bad = bad.reshape(c.tile());
        const Tensor good = Tensor::full(c.tile(), 0.5), labels = Tensor::from<int64_t>({0}, {1});
        const auto tainted = [&](const Shape& shape, int64_t place, double rest) {
          Tensor t = Tensor::full(shape, rest);
          t.data<float>()[place] = std::nanf("");
          return t;
        };
        for (const Tensor& lse : {Tensor::full(c.by_sample(), -kInfinity), Tensor::full(c.by_sample(), 1)})
          add_label_forward(cases, c, bad, labels, lse);
        add_label_forward(cases, c, good, labels, tainted(c.by_sample(), 1, 1));
        for (const Tensor& lse : {Tensor::full(c.by_column(), -kInfinity), Tensor::full(c.by_column(), 1)})
          add_column_forward(cases, c, bad, lse);
        add_column_forward(cases, c, good, tainted(c.by_column(), width + at, 1));
        for (const ClassLog log : {ClassLog::softmax, ClassLog::sigmoid, ClassLog::sigmoid_complement}) {
          const Tensor lse = Tensor::full(c.by_sample(), 2);
          for (const double start : {-kInfinity, -1.0})
            add_class_forward(cases, c, bad, lse, Tensor::full(c.by_class(), start), log);
          add_class_forward(cases, c, good, lse, tainted(c.by_class(), at, -1), log);
        }
      }
}

void add_refusals(KernelCases& cases) {
  const Tensor tile = Tensor::zeros({2, 3, 4}), rows = Tensor::zeros({2, 3}), classes = Tensor::zeros({2, 4}), none;
  const Tensor labels = Tensor::zeros({2}, DType::i64);
  const TileOrigin corner, sample{1, 0}, column{0, 1};
  const auto add = [&](KernelCase c, std::vector<std::string> words) {
    cases.push_back(c.is_refused(std::move(words)));
  };
  add(case_of(kernel::label_tile_forward, "refused", {tile, labels}, {rows, rows}, sample),
      {"lse", "4 or more", "(2, 3)"});
  add(case_of(kernel::label_tile_backward, "refused", {classes, rows, rows}, {tile, none}, corner),
      {"labels", "(2, 4)"});
  add(case_of(kernel::class_tile_forward, "refused", {tile, rows}, {classes}, ClassLog::softmax, column),
      {"log_p", "5 or more"});
  add(case_of(kernel::soft_tile_weights, "refused", {tile, rows, classes, rows}, {rows}, corner), {"share"});
  add(case_of(kernel::sigmoid_tile_backward, "refused", {rows, rows, rows, rows}, {tile, none}, corner), {"log_p"});
  add(case_of(kernel::column_tile_forward, "refused", {tile}, {rows}, column), {"lse", "5 or more", "(2, 3)"});
  add(case_of(kernel::pair_tile_backward, "refused", {labels, rows, rows, classes, classes}, {tile, none}, corner),
      {"column_lse", "3 or more", "(2, 4)"});
  add(case_of(kernel::label_tile_backward, "refused", {labels, rows, rows}, {tile, rows}, corner),
      {"sums", "4 or more", "(2, 3)"});
  add(case_of(kernel::noise_forward, "refused", {classes, classes, tile, none, none}, {tile}, 1), {"center and d"});
  add(case_of(kernel::noise_backward, "refused", {tile, rows, none}, {none, classes, classes, none}, 0), {"eps"});
}

}  // namespace

KernelCases likelihood_cases() {
  KernelCases cases;
  const Cut cuts[] = {{1, 1, 1, 1, 1, {0, 0}},    {2, 3, 5, 3, 5, {0, 0}},    {3, 2, 70, 6, 100, {4, 30}},
                      {2, 4, 64, 4, 64, {0, 0}},  {5, 7, 13, 9, 40, {2, 20}}, {2, 3, 2000, 5, 2100, {2, 50}},
                      {70, 2, 33, 4, 40, {2, 4}}, {0, 2, 3, 2, 3, {0, 0}}};
  for (const Cut& c : cuts) {
    const Tile t(c);
    for (const Tensor& lse : {t.lse, Tensor::full(c.by_sample(), -kInfinity)})
      for (const Tensor& labels : {t.labels, Tensor()}) add_label_forward(cases, c, t.a, labels, lse);
    for (const ClassLog log : {ClassLog::softmax, ClassLog::sigmoid, ClassLog::sigmoid_complement})
      add_class_forward(cases, c, t.a, t.lse, t.log_p, log);
    for (const Tensor& lse : {t.column_lse, Tensor::full(c.by_column(), -kInfinity)})
      add_column_forward(cases, c, t.a, lse);
    add_soft_weights(cases, t);
    for (const Tensor& sums : {t.sums, Tensor()}) {
      add_gradients(cases, t, sums);
      add_sigmoid_gradient(cases, t, sums);
      if (c.C == 1) add_sigmoid_gradient(cases, far_out(c), sums);
    }
    add_noise(cases, c, false, false);
    add_noise(cases, c, true, false);
    add_noise(cases, c, true, true);
  }
  add_large(cases);
  add_nan(cases);
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test

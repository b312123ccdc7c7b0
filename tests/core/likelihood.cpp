// The tile kernels of the streaming likelihood against their formulas written out in double, on tiles at the corner,
// in the middle and at the end of what they are cut from.

#include "core/kernels/likelihood.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// exp and log round to 2^-23 of values up to e^8; sums of up to 70 terms. Observed below 2e-6.
constexpr double kTolerance = 8e-6;

/// A tile of C samples from `at.sample` on and K classes from `at.class_index` on, of S samples and `classes` classes.
struct Cut {
  int64_t B, C, K, S, classes;
  TileOrigin at;
};

const std::vector<Cut> kCuts = {
    {1, 1, 1, 1, 1, {0, 0}},    {2, 3, 5, 3, 5, {0, 0}},    {3, 2, 70, 6, 100, {4, 30}}, {2, 4, 64, 4, 64, {0, 0}},
    {5, 7, 13, 9, 40, {2, 20}}, {70, 2, 33, 4, 40, {2, 4}}, {0, 2, 3, 2, 3, {0, 0}},
};

/// A tile's tensors in double, by (example, sample) or (example, class).
struct Problem {
  Cut cut;
  Tensor a, lse, log_p, log_not_p, share, rest, weight, labels;
  Tensor column_lse, column_weight;  // by (sample, class)

  explicit Problem(const Cut& c, float size = 4)
      : cut(c),
        a(hash_tensor({c.B, c.C, c.K}, 1, size)),
        lse(hash_tensor({c.B, c.S}, 2, 1, size)),
        log_p(hash_tensor({c.B, c.classes}, 3, 1, -1)),
        log_not_p(hash_tensor({c.B, c.classes}, 4, 1, -1)),
        share(hash_tensor({c.B, c.classes}, 5)),
        rest(hash_tensor({c.B, c.classes}, 6)),
        weight(hash_tensor({c.B, c.S}, 7)),
        labels(hash_labels(c.B, c.classes, 8)),
        column_lse(hash_tensor({c.S, c.classes}, 9, 1, size)),
        column_weight(hash_tensor({c.S, c.classes}, 10)) {}

  /// f(index in the tile, index by sample, index by class, b, class) for each element of the tile.
  template <class F>
  void for_each(F&& f) const {
    for (int64_t b = 0; b < cut.B; ++b)
      for (int64_t s = 0; s < cut.C; ++s)
        for (int64_t k = 0; k < cut.K; ++k)
          f(static_cast<size_t>((b * cut.C + s) * cut.K + k), static_cast<size_t>(b * cut.S + cut.at.sample + s),
            static_cast<size_t>(b * cut.classes + cut.at.class_index + k), b, cut.at.class_index + k);
  }
  /// The index by (sample, class) of the tile's element i, whose class is k.
  size_t column_of(size_t i, int64_t k) const {
    const int64_t sample = static_cast<int64_t>(i) / cut.K % cut.C;
    return static_cast<size_t>((cut.at.sample + sample) * cut.classes + k);
  }
  /// What sums over rows start from (classes).
  Tensor sums() const { return hash_tensor({cut.classes}, 11); }
  /// That with the sums of gradients g (B,C,K) added.
  Tensor sums_with(const std::vector<double>& g) const {
    std::vector<double> total = sums().to_vector<double>();
    for_each([&](size_t i, size_t, size_t, int64_t, int64_t k) { total[static_cast<size_t>(k)] += g[i]; });
    return doubles(total, {cut.classes});
  }
  /// Holds a gradient kernel to g, with and without its sums; call(in, a, sums).
  template <class F>
  void check_gradient(const char* kernel, const TensorList& inputs, const std::vector<double>& g, F&& call) const {
    for (const bool summed : {true, false}) {
      check_kernel({.name = describe(kernel),
                    .inputs = inputs,
                    .expected = {doubles(g, a.shape()), summed ? sums_with(g) : Tensor()},
                    .call = [&](const TensorList& in, TensorList& out) { call(in, out[0], out[1]); },
                    .tolerance = kTolerance,
                    .before = {a, summed ? sums() : Tensor()}});
    }
  }
  std::string describe(const char* kernel) const {
    return std::string(kernel) + " " + a.str() + " at " + std::to_string(cut.at.sample) + ", " +
           std::to_string(cut.at.class_index);
  }
};

double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double log_of(ClassLog log, double a, double lse) {
  return log == ClassLog::softmax ? a - lse : log_sigmoid(log == ClassLog::sigmoid ? a : -a);
}

}  // namespace

TEST_CASE("label_tile_forward: joins a tile into the log-sum-exp and picks the label where it lies") {
  for (const Cut& cut : kCuts) {
    for (const bool fresh : {false, true}) {
      const Problem p(cut);
      const auto a = p.a.to_vector<double>();
      Tensor before = fresh ? Tensor::full(p.lse.shape(), -kInfinity) : p.lse;
      std::vector<double> sum = before.to_vector<double>(), target_logit(sum.size(), 7);
      for (double& v : sum) v = std::exp(v);
      const std::vector<int64_t> labels = p.labels.to_vector<int64_t>();
      p.for_each([&](size_t i, size_t s, size_t, int64_t b, int64_t k) {
        sum[s] += std::exp(a[i]);
        if (labels[static_cast<size_t>(b)] == k) target_logit[s] = a[i];
      });
      for (double& v : sum) v = std::log(v);
      check_kernel({.name = p.describe("label_tile_forward"),
                    .inputs = {p.a, p.labels},
                    .expected = {doubles(sum, p.lse.shape()), doubles(target_logit, p.lse.shape())},
                    .call = [&](const TensorList& in,
                                TensorList& out) { kernel::label_tile_forward(in[0], in[1], out[0], out[1], cut.at); },
                    .tolerance = kTolerance,
                    .before = {before, Tensor::full(p.lse.shape(), 7)}});
      check_kernel({.name = p.describe("label_tile_forward without labels"),
                    .inputs = {p.a},
                    .expected = {doubles(sum, p.lse.shape())},
                    .call =
                        [&](const TensorList& in, TensorList& out) {
                          Tensor none;
                          kernel::label_tile_forward(in[0], none, out[0], none, cut.at);
                        },
                    .tolerance = kTolerance,
                    .before = {before}});
    }
  }
}

TEST_CASE("label_tile_backward: weighted softmax minus the label") {
  for (const Cut& cut : kCuts) {
    const Problem p(cut);
    const auto a = p.a.to_vector<double>(), lse = p.lse.to_vector<double>(), w = p.weight.to_vector<double>();
    const std::vector<int64_t> labels = p.labels.to_vector<int64_t>();
    std::vector<double> g(a.size());
    p.for_each([&](size_t i, size_t s, size_t, int64_t b, int64_t k) {
      g[i] = w[s] * (std::exp(a[i] - lse[s]) - (labels[static_cast<size_t>(b)] == k));
    });
    p.check_gradient("label_tile_backward", {p.labels, p.lse, p.weight}, g,
                     [&](const TensorList& in, Tensor& tile, Tensor& sums) {
                       kernel::label_tile_backward(tile, in[0], in[1], in[2], sums, cut.at);
                     });
  }
}

TEST_CASE("class_tile_forward: joins the samples of a tile into each class, for every logarithm") {
  for (const Cut& cut : kCuts) {
    for (const ClassLog log : {ClassLog::softmax, ClassLog::sigmoid, ClassLog::sigmoid_complement}) {
      const Problem p(cut);
      const auto a = p.a.to_vector<double>(), lse = p.lse.to_vector<double>();
      std::vector<double> sum = p.log_p.to_vector<double>();
      for (double& v : sum) v = std::exp(v);
      p.for_each(
          [&](size_t i, size_t s, size_t c, int64_t, int64_t) { sum[c] += std::exp(log_of(log, a[i], lse[s])); });
      for (double& v : sum) v = std::log(v);
      check_kernel({.name = p.describe("class_tile_forward"),
                    .inputs = {p.a, log == ClassLog::softmax ? p.lse : Tensor()},
                    .expected = {doubles(sum, p.log_p.shape())},
                    .call = [&](const TensorList& in,
                                TensorList& out) { kernel::class_tile_forward(in[0], in[1], out[0], log, cut.at); },
                    .tolerance = kTolerance,
                    .before = {p.log_p}});
    }
  }
}

TEST_CASE("soft_tile_weights, soft_tile_backward: label distributions") {
  for (const Cut& cut : kCuts) {
    const Problem p(cut);
    const auto a = p.a.to_vector<double>(), lse = p.lse.to_vector<double>(), log_p = p.log_p.to_vector<double>();
    const auto q = p.share.to_vector<double>(), total = p.weight.to_vector<double>();
    std::vector<double> sums = total, g(a.size());
    p.for_each([&](size_t i, size_t s, size_t c, int64_t, int64_t) {
      const double w = std::exp(a[i] - lse[s] - log_p[c]);
      sums[s] += q[c] * w;
      g[i] = std::exp(a[i] - lse[s]) * total[s] - q[c] * w;
    });
    check_kernel(
        {.name = p.describe("soft_tile_weights"),
         .inputs = {p.a, p.lse, p.log_p, p.share},
         .expected = {doubles(sums, p.lse.shape())},
         .call = [&](const TensorList& in,
                     TensorList& out) { kernel::soft_tile_weights(in[0], in[1], in[2], in[3], out[0], cut.at); },
         .tolerance = kTolerance,
         .before = {p.weight},
         .scale = 10});
    p.check_gradient("soft_tile_backward", {p.lse, p.log_p, p.share, p.weight}, g,
                     [&](const TensorList& in, Tensor& tile, Tensor& sums) {
                       kernel::soft_tile_backward(tile, in[0], in[1], in[2], in[3], sums, cut.at);
                     });
  }
}

TEST_CASE("sigmoid_tile_backward: multi-label targets, logits far out too") {
  for (const Cut& cut : kCuts) {
    for (const float size : {4.0F, 60.0F}) {
      Problem p(cut, size);
      if (size > 4)  // one sample, so log p = log σ(a): elsewhere exp(log σ − log p) may be anything
        p.for_each([&](size_t i, size_t, size_t c, int64_t, int64_t) {
          const double x = p.a.data<float>()[i];
          p.log_p.data<float>()[c] = static_cast<float>(log_sigmoid(x));
          p.log_not_p.data<float>()[c] = static_cast<float>(log_sigmoid(-x));
        });
      if (size > 4 && cut.C > 1) continue;
      const auto a = p.a.to_vector<double>(), yes = p.log_p.to_vector<double>(), no = p.log_not_p.to_vector<double>();
      const auto q = p.share.to_vector<double>(), r = p.rest.to_vector<double>();
      std::vector<double> g(a.size());
      p.for_each([&](size_t i, size_t, size_t c, int64_t, int64_t) {
        g[i] = r[c] * std::exp(log_sigmoid(-a[i]) - no[c]) * sigmoid(a[i]) -
               q[c] * std::exp(log_sigmoid(a[i]) - yes[c]) * sigmoid(-a[i]);
      });
      p.check_gradient("sigmoid_tile_backward", {p.log_p, p.log_not_p, p.share, p.rest}, g,
                       [&](const TensorList& in, Tensor& tile, Tensor& sums) {
                         kernel::sigmoid_tile_backward(tile, in[0], in[1], in[2], in[3], sums, cut.at);
                       });
    }
  }
}

TEST_CASE("column_tile_forward: joins the examples of a tile into each sample's columns") {
  for (const Cut& cut : kCuts) {
    for (const bool fresh : {false, true}) {
      const Problem p(cut);
      const auto a = p.a.to_vector<double>();
      const Tensor before = fresh ? Tensor::full(p.column_lse.shape(), -kInfinity) : p.column_lse;
      std::vector<double> sum = before.to_vector<double>();
      for (double& v : sum) v = std::exp(v);
      p.for_each([&](size_t i, size_t, size_t, int64_t, int64_t k) { sum[p.column_of(i, k)] += std::exp(a[i]); });
      for (double& v : sum) v = std::log(v);
      check_kernel(
          {.name = p.describe("column_tile_forward"),
           .inputs = {p.a},
           .expected = {doubles(sum, before.shape())},
           .call = [&](const TensorList& in, TensorList& out) { kernel::column_tile_forward(in[0], out[0], cut.at); },
           .tolerance = kTolerance,
           .before = {before}});
    }
  }
}

TEST_CASE("pair_tile_backward: softmax along rows and down columns, each minus the label") {
  for (const Cut& cut : kCuts) {
    const Problem p(cut);
    const auto a = p.a.to_vector<double>(), lse = p.lse.to_vector<double>(), w = p.weight.to_vector<double>();
    const auto column_lse = p.column_lse.to_vector<double>(), column_w = p.column_weight.to_vector<double>();
    const std::vector<int64_t> labels = p.labels.to_vector<int64_t>();
    std::vector<double> g(a.size());
    p.for_each([&](size_t i, size_t s, size_t, int64_t b, int64_t k) {
      const size_t c = p.column_of(i, k);
      const double own = labels[static_cast<size_t>(b)] == k;
      g[i] = w[s] * (std::exp(a[i] - lse[s]) - own) + column_w[c] * (std::exp(a[i] - column_lse[c]) - own);
    });
    p.check_gradient("pair_tile_backward", {p.labels, p.lse, p.weight, p.column_lse, p.column_weight}, g,
                     [&](const TensorList& in, Tensor& tile, Tensor& sums) {
                       kernel::pair_tile_backward(tile, in[0], in[1], in[2], in[3], in[4], sums, cut.at);
                     });
  }
}

TEST_CASE("noise_forward, noise_backward: every form of the factors, any columns") {
  for (const Cut& cut : kCuts) {
    for (const char* form : {"diagonal", "full", "efficient"}) {
      const bool has_q = form != std::string("diagonal"), has_v = form == std::string("efficient");
      const Shape tile{cut.B, cut.C, cut.K}, row{cut.B, cut.classes};
      const int64_t first = cut.at.class_index;
      const Tensor center = hash_tensor(row, 1), d = hash_tensor(row, 2), eps = hash_tensor(tile, 3, 2), none;
      const Tensor v = has_v ? hash_tensor(row, 4) : none, q = has_q ? hash_tensor(tile, 5) : none;
      const Tensor dz = hash_tensor(tile, 6);
      const Problem p(cut);
      const auto c_ = center.to_vector<double>(), d_ = d.to_vector<double>(), e_ = eps.to_vector<double>();
      const auto v_ = has_v ? v.to_vector<double>() : std::vector<double>(c_.size(), 1);
      const auto q_ = has_q ? q.to_vector<double>() : std::vector<double>(e_.size());
      const auto g_ = dz.to_vector<double>();
      std::vector<double> z(e_.size()), dq(z), dc = c_, dd = d_, dv = v_;
      p.for_each([&](size_t i, size_t, size_t k, int64_t, int64_t) {
        z[i] = c_[k] + d_[k] * e_[i] + v_[k] * q_[i];
        dc[k] += g_[i];
        dd[k] += g_[i] * e_[i];
        dv[k] += g_[i] * q_[i];
        dq[i] = g_[i] * v_[k];
      });
      check_kernel(
          {.name = p.describe("noise_forward") + " " + form,
           .inputs = {center, d, eps, v, q},
           .expected = {doubles(z, tile)},
           .call = [&](const TensorList& in,
                       TensorList& out) { kernel::noise_forward(in[0], in[1], in[2], in[3], in[4], out[0], first); },
           .tolerance = kTolerance});
      check_kernel({.name = p.describe("noise_backward") + " " + form,
                    .inputs = {dz, eps, v},
                    .expected = {has_v ? doubles(dq, tile) : none, doubles(dc, row), doubles(dd, row),
                                 has_v ? doubles(dv, row) : none},
                    .call =
                        [&](const TensorList& in, TensorList& out) {
                          kernel::noise_backward(in[0], in[1], in[2], out[0], out[1], out[2], out[3], first);
                        },
                    .tolerance = kTolerance,
                    .before = {q, center, d, v}});
    }
  }
}

TEST_CASE("tile kernels: logits of ±1e4 and −∞ leave nothing undefined") {
  const Tensor a = Tensor::from<float>({1e4F, -1e4F, 0, -1e4F, -1e4F, -1e4F}, {1, 2, 3});
  Tensor lse = Tensor::full({1, 2}, -kInfinity), target_logit = Tensor::zeros({1, 2}), none;
  kernel::label_tile_forward(a, Tensor::from<int64_t>({1}, {1}), lse, target_logit, {});
  CHECK(lse.to_vector<double>() == std::vector<double>{1e4, static_cast<float>(-1e4 + std::log(3.0))});
  Tensor log_p = Tensor::full({1, 3}, -kInfinity);
  kernel::class_tile_forward(a, lse, log_p, ClassLog::softmax, {});
  for (const double v : log_p.to_vector<double>()) CHECK(std::isfinite(v));
  Tensor g = a.clone();
  kernel::soft_tile_backward(g, lse, log_p, Tensor::full({1, 3}, 1.0 / 3), Tensor::full({1, 2}, 1), none, {});
  for (const double v : g.to_vector<double>()) CHECK(std::isfinite(v));
  Tensor columns = Tensor::full({2, 3}, -kInfinity);
  kernel::column_tile_forward(a, columns, {});
  CHECK(columns.to_vector<double>() == a.to_vector<double>());  // one example: each column's sum is its element
  Tensor pairs = a.clone();
  const Tensor weights = Tensor::full({1, 2}, 1), column_weights = Tensor::full({2, 3}, 1);
  kernel::pair_tile_backward(pairs, Tensor::from<int64_t>({0}, {1}), lse, weights, columns, column_weights, none, {});
  for (const double v : pairs.to_vector<double>()) CHECK(std::isfinite(v));
}

TEST_CASE("tile kernels: shapes that do not fit are refused with their values") {
  Tensor tile = Tensor::zeros({2, 3, 4}), rows = Tensor::zeros({2, 3}), classes = Tensor::zeros({2, 4}), none;
  const Tensor labels = Tensor::zeros({2}, DType::i64);
  CHECK(one_line_with(error_of([&] {
                        kernel::label_tile_forward(tile, labels, rows, rows, {1, 0});
                      }),
                      "[label_tile_forward]", "lse", "4 or more", "(2, 3)"));
  CHECK(one_line_with(error_of([&] { kernel::label_tile_backward(tile, classes, rows, rows, none, {}); }),
                      "[label_tile_backward]", "labels", "(2, 4)"));
  CHECK(one_line_with(error_of([&] {
                        kernel::class_tile_forward(tile, rows, classes, ClassLog::softmax, {0, 1});
                      }),
                      "[class_tile_forward]", "log_p", "5 or more"));
  CHECK(one_line_with(error_of([&] { kernel::soft_tile_weights(tile, rows, classes, rows, rows, {}); }),
                      "[soft_tile_weights]", "share"));
  CHECK(one_line_with(error_of([&] { kernel::sigmoid_tile_backward(tile, rows, rows, rows, rows, none, {}); }),
                      "[sigmoid_tile_backward]", "log_p"));
  CHECK(one_line_with(error_of([&] {
                        kernel::column_tile_forward(tile, rows, {0, 1});
                      }),
                      "[column_tile_forward]", "lse", "5 or more", "(2, 3)"));
  CHECK(
      one_line_with(error_of([&] { kernel::pair_tile_backward(tile, labels, rows, rows, classes, classes, none, {}); }),
                    "[pair_tile_backward]", "column_lse", "3 or more", "(2, 4)"));
  CHECK(one_line_with(error_of([&] { kernel::label_tile_backward(tile, labels, rows, rows, rows, {}); }),
                      "[label_tile_backward]", "sums", "4 or more", "(2, 3)"));
  CHECK(one_line_with(error_of([&] { kernel::noise_forward(classes, classes, tile, none, none, tile, 1); }),
                      "[noise_forward]", "center and d"));
  CHECK(one_line_with(error_of([&] { kernel::noise_backward(tile, rows, none, none, classes, classes, none, 0); }),
                      "[noise_backward]", "eps"));
}

}  // namespace sked::test

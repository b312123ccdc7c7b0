// batch_norm_forward, batch_norm_backward, batch_norm_inference, layer_norm_forward, layer_norm_backward,
// group_norm_forward, group_norm_backward against one formula in double: statistics over sets of elements, each kernel
// being a way to form the sets. l2_normalize_forward, l2_normalize_backward against theirs.

#include "core/kernels/batch_norm.h"
#include "core/kernels/group_norm.h"
#include "core/kernels/l2_normalize.h"
#include "core/kernels/layer_norm.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// Two roundings of an f32 mean and variance of O(1) numbers; observed below 2e-6 of the largest element.
constexpr double kTolerance = 1e-5;
constexpr double kEps = 1e-3;
// Gradients are compared on the scale of their terms, O(1), which cancel where a set has one or two elements.
constexpr double kTerms = 1;

/// Element i of x belongs to set set[i] (whose statistics it is normalized by) and to channel[i] (whose γ and β it
/// takes).
struct Partition {
  std::vector<size_t> set, channel;
  size_t sets, channels;
};

struct Reference {
  std::vector<double> xhat, mean, var, rstd, count;

  Reference(const std::vector<double>& x, const Partition& p)
      : xhat(x.size()), mean(p.sets), var(p.sets), rstd(p.sets), count(p.sets) {
    for (size_t i = 0; i < x.size(); ++i) count[p.set[i]] += 1, mean[p.set[i]] += x[i];
    for (size_t s = 0; s < p.sets; ++s) mean[s] /= count[s];
    for (size_t i = 0; i < x.size(); ++i) var[p.set[i]] += std::pow(x[i] - mean[p.set[i]], 2) / count[p.set[i]];
    for (size_t s = 0; s < p.sets; ++s) rstd[s] = 1 / std::sqrt(var[s] + kEps);
    for (size_t i = 0; i < x.size(); ++i) xhat[i] = (x[i] - mean[p.set[i]]) * rstd[p.set[i]];
  }
};

struct Gradients {
  std::vector<double> dx, dgamma, dbeta;

  /// dx = rstd (g − mean g − x̂ mean(g x̂)), g = dy γ, means over each set: the derivative of (x − mean) rstd.
  Gradients(const std::vector<double>& dy, const std::vector<double>& gamma, const Reference& r, const Partition& p)
      : dx(dy.size()), dgamma(p.channels), dbeta(p.channels) {
    std::vector<double> mean_g(p.sets), mean_gx(p.sets);
    for (size_t i = 0; i < dy.size(); ++i) {
      const double g = dy[i] * gamma[p.channel[i]], n = r.count[p.set[i]];
      dgamma[p.channel[i]] += dy[i] * r.xhat[i];
      dbeta[p.channel[i]] += dy[i];
      mean_g[p.set[i]] += g / n;
      mean_gx[p.set[i]] += g * r.xhat[i] / n;
    }
    for (size_t i = 0; i < dy.size(); ++i) {
      const size_t s = p.set[i];
      dx[i] = r.rstd[s] * (dy[i] * gamma[p.channel[i]] - mean_g[s] - r.xhat[i] * mean_gx[s]);
    }
  }
};

/// x (N,P,C) in groups of channels, or, where `by_channel`, sets that span all images: batch norm.
Partition partition(int64_t N, int64_t P, int64_t C, int64_t groups, bool across_images) {
  Partition p;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t i = 0; i < P; ++i)
      for (int64_t c = 0; c < C; ++c) {
        p.channel.push_back(static_cast<size_t>(c));
        p.set.push_back(static_cast<size_t>((across_images ? 0 : n * groups) + c / (C / groups)));
      }
  p.channels = static_cast<size_t>(C);
  p.sets = static_cast<size_t>(across_images ? groups : N * groups);
  return p;
}

/// y = γ x̂ + β [+ residual], then ReLU.
std::vector<double> output(const Reference& r, const Partition& p, const Tensor& gamma, const Tensor& beta,
                           const Tensor& residual, bool relu) {
  std::vector<double> y = r.xhat;
  const auto scale = gamma.to_vector<double>(), shift = beta.to_vector<double>();
  const auto add = residual.defined() ? residual.to_vector<double>() : std::vector<double>(y.size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = scale[p.channel[i]] * y[i] + shift[p.channel[i]] + add[i];
    if (relu && y[i] < 0) y[i] = 0;
  }
  return y;
}

const int64_t kBatchShapes[][2] = {{2, 1}, {3, 5}, {35, 17}, {130, 64}, {4500, 3}};

TEST_CASE("batch_norm_forward: statistics, running averages, residual and ReLU") {
  for (const auto& [M, C] : kBatchShapes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        const Tensor x = hash_tensor({M, C}, 1, 2, 3), add = residual ? hash_tensor({M, C}, 2) : Tensor();
        const Tensor gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4), one = Tensor::full({C}, 1);
        const Partition p = partition(1, M, C, C, true);
        const Reference r(x.to_vector<double>(), p);
        std::vector<double> running_mean(p.channels), running_var(p.channels);
        for (size_t c = 0; c < p.channels; ++c) {
          running_mean[c] = 0.75 * 1 + 0.25 * r.mean[c];
          running_var[c] = 0.75 * 1 + 0.25 * r.var[c] * static_cast<double>(M) / static_cast<double>(M - 1);
        }
        check_kernel({.name = "batch_norm_forward " + x.str(),
                      .inputs = {x, add, gamma, beta},
                      .expected = {doubles(output(r, p, gamma, beta, add, relu), {M, C}), doubles(r.mean, {C}),
                                   doubles(r.rstd, {C}), doubles(running_mean, {C}), doubles(running_var, {C})},
                      .call =
                          [=](const TensorList& in, TensorList& out) {
                            kernel::batch_norm_forward(in[0], in[1], in[2], in[3], out[0], out[1], out[2], out[3],
                                                       out[4], 0.25, kEps, relu);
                          },
                      .tolerance = kTolerance,
                      .before = {Tensor(), Tensor(), Tensor(), one, one}});
      }
}

TEST_CASE("batch_norm_forward: a large common offset does not cancel the variance") {
  const Tensor x = hash_tensor({4096, 2}, 1, 1, 1000), gamma = Tensor::full({2}, 1), beta = Tensor::zeros({2});
  Tensor y = Tensor::like(x), mean = Tensor::like(beta), rstd = mean.clone(), rm = beta.clone(), rv = beta.clone();
  kernel::batch_norm_forward(x, {}, gamma, beta, y, mean, rstd, rm, rv, 0.1, 1e-5, false);
  // f32 keeps 6e-5 of an element near 1000, so the deviation of about 0.58 is known to 1e-4 of itself; E[x²] − E[x]²
  // would keep nothing.
  const Reference r(x.to_vector<double>(), partition(1, 4096, 2, 2, true));
  CHECK(rstd.to_vector<double>()[0] == doctest::Approx(1 / std::sqrt(r.var[0] + 1e-5)).epsilon(2e-4));
}

TEST_CASE("batch_norm_backward: dx, dγ, dβ and the residual's gradient, with and without ReLU") {
  for (const auto& [M, C] : kBatchShapes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        const Tensor x = hash_tensor({M, C}, 1, 2, 3), dy = hash_tensor({M, C}, 5), gamma = hash_tensor({C}, 3, 0.5, 1);
        const Tensor y = hash_tensor({M, C}, 6);  // its sign alone matters
        const Partition p = partition(1, M, C, C, true);
        const Reference r(x.to_vector<double>(), p);
        std::vector<double> g = dy.to_vector<double>();
        const auto sign = y.to_vector<double>();
        for (size_t i = 0; relu && i < g.size(); ++i) g[i] = sign[i] > 0 ? g[i] : 0;
        const Gradients d(g, gamma.to_vector<double>(), r, p);
        // Saved statistics arrive rounded to f32 in the f32 runs; in f64 they must be exact.
        check_kernel({.name = "batch_norm_backward " + x.str(),
                      .inputs = {dy, x, relu ? y : Tensor(), gamma},
                      .expected = {doubles(d.dx, {M, C}), residual ? doubles(g, {M, C}) : Tensor(),
                                   doubles(d.dgamma, {C}), doubles(d.dbeta, {C})},
                      .call =
                          [&](const TensorList& in, TensorList& out) {
                            const DType dtype = in[0].dtype();
                            kernel::batch_norm_backward(in[0], in[1], in[2], in[3], doubles(r.mean, {C}).to(dtype),
                                                        doubles(r.rstd, {C}).to(dtype), out[0], out[1], out[2], out[3],
                                                        relu);
                          },
                      .tolerance = kTolerance,
                      .scale = kTerms});
      }
}

TEST_CASE("batch_norm_inference: fixed statistics") {
  for (const bool relu : {false, true})
    for (const bool residual : {false, true}) {
      const Tensor x = hash_tensor({2, 3, 3, 7}, 1), add = residual ? hash_tensor(x.shape(), 2) : Tensor();
      const Tensor gamma = hash_tensor({7}, 3), beta = hash_tensor({7}, 4), mean = hash_tensor({7}, 5),
                   var = hash_tensor({7}, 6, 0.5, 1);
      const Partition p = partition(1, 18, 7, 7, true);
      Reference r(x.to_vector<double>(), p);
      const auto in = x.to_vector<double>(), m = mean.to_vector<double>(), v = var.to_vector<double>();
      for (size_t i = 0; i < in.size(); ++i) r.xhat[i] = (in[i] - m[i % 7]) / std::sqrt(v[i % 7] + kEps);
      check_kernel({.name = "batch_norm_inference",
                    .inputs = {x, add, gamma, beta, mean, var},
                    .expected = {doubles(output(r, p, gamma, beta, add, relu), x.shape())},
                    .call =
                        [&](const TensorList& list, TensorList& out) {
                          kernel::batch_norm_inference(list[0], list[1], list[2], list[3], list[4], list[5], out[0],
                                                       kEps, relu);
                        },
                    .tolerance = kTolerance});
    }
}

const int64_t kRowShapes[][2] = {{1, 1}, {3, 5}, {35, 17}, {4500, 3}, {70, 384}, {0, 4}};

TEST_CASE("layer_norm_forward: each row by itself, with and without γ and β") {
  for (const auto& [N, D] : kRowShapes)
    for (const bool affine : {false, true}) {
      const Tensor x = hash_tensor({N, D}, 1, 2, 3);
      const Tensor gamma = affine ? hash_tensor({D}, 2, 0.5, 1) : Tensor(),
                   beta = affine ? hash_tensor({D}, 3) : Tensor();
      const Partition p = partition(N, 1, D, 1, false);
      const Reference r(x.to_vector<double>(), p);
      const auto y = affine ? output(r, p, gamma, beta, {}, false) : r.xhat;
      check_kernel({.name = "layer_norm_forward " + x.str(),
                    .inputs = {x, gamma, beta},
                    .expected = {doubles(y, {N, D}), doubles(r.mean, {N}), doubles(r.rstd, {N})},
                    .call =
                        [](const TensorList& in, TensorList& out) {
                          kernel::layer_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], kEps);
                        },
                    .tolerance = kTolerance});
    }
}

TEST_CASE("layer_norm_backward: dx alone, with dγ and dβ, with a residual's gradient") {
  for (const auto& [N, D] : kRowShapes)
    for (const auto& [affine, added] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
      const Tensor x = hash_tensor({N, D}, 1, 2, 3), dy = hash_tensor({N, D}, 4);
      const Tensor residual = added ? hash_tensor({N, D}, 5, 3) : Tensor();
      const Tensor gamma = affine ? hash_tensor({D}, 2, 0.5, 1) : Tensor();
      const Partition p = partition(N, 1, D, 1, false);
      const Reference r(x.to_vector<double>(), p);
      Gradients d(dy.to_vector<double>(), affine ? gamma.to_vector<double>() : std::vector<double>(p.channels, 1.0), r,
                  p);
      if (added) {
        const auto terms = residual.to_vector<double>();
        for (size_t i = 0; i < terms.size(); ++i) d.dx[i] += terms[i];
      }
      check_kernel({.name = "layer_norm_backward " + x.str() + (added ? " + residual" : ""),
                    .inputs = {dy, x, gamma, residual},
                    .expected = {doubles(d.dx, {N, D}), affine ? doubles(d.dgamma, {D}) : Tensor(),
                                 affine ? doubles(d.dbeta, {D}) : Tensor()},
                    .call =
                        [&](const TensorList& in, TensorList& out) {
                          const DType dtype = in[0].dtype();
                          kernel::layer_norm_backward(in[0], in[1], in[2], doubles(r.mean, {N}).to(dtype),
                                                      doubles(r.rstd, {N}).to(dtype), in[3], out[0], out[1], out[2]);
                        },
                    .tolerance = kTolerance,
                    .scale = kTerms});
    }
}

const int64_t kGroupShapes[][4] = {{1, 1, 2, 1}, {2, 9, 6, 3}, {3, 5, 8, 8}, {2, 49, 32, 4}, {0, 4, 6, 2}};

TEST_CASE("group_norm_forward: one group, a few, one a channel") {
  for (const auto& [N, P, C, groups] : kGroupShapes) {
    const Tensor x = hash_tensor({N, P, C}, 1, 2, 3), gamma = hash_tensor({C}, 2, 0.5, 1), beta = hash_tensor({C}, 3);
    const Partition p = partition(N, P, C, groups, false);
    const Reference r(x.to_vector<double>(), p);
    check_kernel({.name = "group_norm_forward " + x.str(),
                  .inputs = {x, gamma, beta},
                  .expected = {doubles(output(r, p, gamma, beta, {}, false), x.shape()), doubles(r.mean, {N, groups}),
                               doubles(r.rstd, {N, groups})},
                  .call =
                      [groups = groups](const TensorList& in, TensorList& out) {
                        kernel::group_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], groups, kEps);
                      },
                  .tolerance = kTolerance});
  }
}

TEST_CASE("group_norm_backward: dx, dγ and dβ") {
  for (const auto& [N, P, C, groups] : kGroupShapes) {
    const Tensor x = hash_tensor({N, P, C}, 1, 2, 3), dy = hash_tensor({N, P, C}, 4),
                 gamma = hash_tensor({C}, 2, 0.5, 1);
    const Partition p = partition(N, P, C, groups, false);
    const Reference r(x.to_vector<double>(), p);
    const Gradients d(dy.to_vector<double>(), gamma.to_vector<double>(), r, p);
    check_kernel({.name = "group_norm_backward " + x.str(),
                  .inputs = {dy, x, gamma},
                  .expected = {doubles(d.dx, x.shape()), doubles(d.dgamma, {C}), doubles(d.dbeta, {C})},
                  .call =
                      [&, N = N, groups = groups](const TensorList& in, TensorList& out) {
                        const DType dtype = in[0].dtype();
                        kernel::group_norm_backward(in[0], in[1], in[2], doubles(r.mean, {N, groups}).to(dtype),
                                                    doubles(r.rstd, {N, groups}).to(dtype), out[0], out[1], out[2],
                                                    groups);
                      },
                  .tolerance = kTolerance,
                  .scale = kTerms});
  }
}

/// 1/sqrt(Σ_d x² + eps) of each row.
std::vector<double> row_scales(const Tensor& x, double eps) {
  const int64_t N = x.dim(0), D = x.dim(1);
  const auto v = x.to_vector<double>();
  std::vector<double> r(static_cast<size_t>(N), eps);
  for (size_t i = 0; i < v.size(); ++i) r[i / static_cast<size_t>(D)] += v[i] * v[i];
  for (double& s : r) s = 1 / std::sqrt(s);
  return r;
}

TEST_CASE("l2_normalize_forward: each row by its length, in place too") {
  for (const auto& [N, D] : kRowShapes)
    for (const bool in_place : {false, true}) {
      const Tensor x = hash_tensor({N, D}, 1, 2);
      const auto r = row_scales(x, kEps);
      auto y = x.to_vector<double>();
      for (size_t i = 0; i < y.size(); ++i) y[i] *= r[i / static_cast<size_t>(D)];
      check_kernel({.name = "l2_normalize_forward " + x.str(),
                    .inputs = {x},
                    .expected = {doubles(y, {N, D}), doubles(r, {N})},
                    .call =
                        [in_place](const TensorList& in, TensorList& out) {
                          kernel::l2_normalize_forward(in_place ? out[0] : in[0], out[0], out[1], kEps);
                        },
                    .tolerance = kTolerance,
                    .before = {in_place ? x : Tensor()}});
    }
}

TEST_CASE("l2_normalize_backward: what lies along the row is lost, in place too") {
  for (const auto& [N, D] : kRowShapes)
    for (const bool in_place : {false, true}) {
      const Tensor dy = hash_tensor({N, D}, 1, 2), y = hash_tensor({N, D}, 2), r = hash_tensor({N}, 3, 0.5, 1);
      const auto g = dy.to_vector<double>(), v = y.to_vector<double>(), scale = r.to_vector<double>();
      const auto width = static_cast<size_t>(D);
      std::vector<double> along(scale.size()), dx(g.size());
      for (size_t i = 0; i < g.size(); ++i) along[i / width] += g[i] * v[i];
      for (size_t i = 0; i < g.size(); ++i) dx[i] = scale[i / width] * (g[i] - v[i] * along[i / width]);
      check_kernel({.name = "l2_normalize_backward " + dy.str(),
                    .inputs = {dy, y, r},
                    .expected = {doubles(dx, {N, D})},
                    .call =
                        [in_place](const TensorList& in, TensorList& out) {
                          kernel::l2_normalize_backward(in_place ? out[0] : in[0], in[1], in[2], out[0]);
                        },
                    .tolerance = kTolerance,
                    .before = {in_place ? dy : Tensor()}});
    }
}

TEST_CASE("l2_normalize: a row of zeros stays zero, with a finite gradient") {
  const Tensor x = Tensor::zeros({1, 3}), dy = Tensor::from<float>({1, -2, 3}, {1, 3});
  Tensor y = Tensor::like(x), r = Tensor::empty({1}), dx = Tensor::like(x);
  kernel::l2_normalize_forward(x, y, r, kLengthEps);
  kernel::l2_normalize_backward(dy, y, r, dx);
  CHECK(y.to_vector<double>() == std::vector<double>(3, 0.0));
  const auto got = dx.to_vector<double>();
  for (size_t i = 0; i < 3; ++i) CHECK(got[i] == doctest::Approx(dy.to_vector<double>()[i] / std::sqrt(kLengthEps)));
}

TEST_CASE("batch_norm_forward, layer_norm_forward, group_norm_forward: wrong shapes are refused") {
  Tensor x = Tensor::zeros({4, 6}), y = Tensor::like(x), c = Tensor::zeros({6}), n = Tensor::zeros({4}),
         one = Tensor::zeros({1, 6});
  CHECK(one_line_with(error_of([&] { kernel::batch_norm_forward(x, {}, n, c, y, c, c, c, c, 0.1, kEps, false); }),
                      "[batch_norm_forward]", "(6)", "(4)"));
  CHECK(one_line_with(error_of([&] { kernel::batch_norm_forward(one, {}, c, c, one, c, c, c, c, 0.1, kEps, false); }),
                      "[batch_norm_forward]", "at least 2 rows", "(1, 6)"));
  CHECK(one_line_with(error_of([&] { kernel::batch_norm_inference(x, c, c, c, c, c, y, kEps, false); }),
                      "[batch_norm_inference]"));
  CHECK(one_line_with(error_of([&] { kernel::layer_norm_forward(x, n, n, y, n, n, kEps); }), "[layer_norm_forward]",
                      "(4)"));
  CHECK(one_line_with(error_of([&] { kernel::layer_norm_forward(x, c, c, y, c, n, kEps); }), "[layer_norm_forward]"));
  CHECK(one_line_with(error_of([&] { kernel::layer_norm_backward(x, x, c, n, n, {}, one, c, c); }),
                      "[layer_norm_backward]"));
  CHECK(one_line_with(error_of([&] { kernel::layer_norm_backward(x, x, c, n, n, one, y, c, c); }),
                      "[layer_norm_backward]", "(1, 6)"));
  CHECK(one_line_with(error_of([&] { kernel::l2_normalize_forward(x, y, c, kEps); }), "[l2_normalize_forward]", "(4)",
                      "(6)"));
  CHECK(one_line_with(error_of([&] { kernel::l2_normalize_backward(one, y, n, y); }), "[l2_normalize_backward]",
                      "(1, 6)"));
  Tensor image = Tensor::zeros({1, 4, 6}), stats = Tensor::zeros({1, 4});
  CHECK(one_line_with(error_of([&] { kernel::group_norm_forward(image, c, c, image, stats, stats, 4, kEps); }),
                      "[group_norm_forward]", "divisible", "4"));
}

}  // namespace
}  // namespace sked::test

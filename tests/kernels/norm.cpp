// Batch norm (batch_norm_forward, batch_norm_backward, batch_norm_inference) and its parts over ranks
// (batch_norm_moments, batch_norm_join, batch_norm_sums, batch_norm_input_gradient); layer_norm_forward,
// layer_norm_backward, group_norm_forward, group_norm_backward: one formula over sets of elements, each kernel being a
// way to form the sets.

#include "core/kernels/batch_norm.h"
#include "core/kernels/group_norm.h"
#include "core/kernels/layer_norm.h"

#include <cmath>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr double kEps = 1e-3;

// Observed below 2e-6 of the largest element.
constexpr Tolerance kNorms{1e-5, "two roundings of an f32 mean and variance of O(1) numbers"};
constexpr Tolerance kNormsOnGpu{1e-5, "means and variances of O(1) numbers", 1};
constexpr Tolerance kGradients{1e-5, "the terms, O(1), cancel where a set has one or two elements", 1};
// f32 keeps 6e-5 of an element near 1000, so the deviation of about 0.58 is known to 1e-4 of itself; E[x²] − E[x]²
// would keep nothing.
constexpr Tolerance kFarOff{2e-4, "numbers near 1000, which f32 keeps to 6e-5, with a deviation of 0.58", 0, 1e-9};
/// Sums of so many terms of size 1, which cancel, are compared on their own scale.
Tolerance sums_on_gpu(int64_t terms) {
  return {1e-5, "sums of terms of size 1, which cancel", std::sqrt(static_cast<double>(terms))};
}

/// x (N,P,C): which set an element is normalized with and which channel's γ and β it takes. Sets are groups of
/// channels of an image, or, across images, of all of them.
struct Sets {
  int64_t N, P, C, groups;
  bool across_images = false;

  int64_t channel(size_t i) const { return static_cast<int64_t>(i) % C; }
  int64_t operator()(size_t i) const {
    const int64_t image = across_images ? 0 : static_cast<int64_t>(i) / (P * C);
    return image * groups + channel(i) / (C / groups);
  }
  size_t count() const { return static_cast<size_t>(across_images ? groups : N * groups); }
  double size() const { return static_cast<double>(P * C / groups * (across_images ? N : 1)); }
};

struct Statistics {
  Values mean, var, rstd;

  Statistics(const Values& x, const Sets& set) : mean(set.count()), var(set.count()), rstd(set.count()) {
    for (size_t i = 0; i < x.size(); ++i) mean[set(i)] += x[i] / set.size();
    for (size_t i = 0; i < x.size(); ++i) var[set(i)] += std::pow(x[i] - mean[set(i)], 2) / set.size();
    for (size_t s = 0; s < rstd.size(); ++s) rstd[s] = 1 / std::sqrt(var[s] + kEps);
  }
};

Values normalized(const Values& x, const Values& mean, const Values& rstd, const Sets& set) {
  Values xhat = x;
  for (size_t i = 0; i < x.size(); ++i) xhat[i] = (x[i] - mean[set(i)]) * rstd[set(i)];
  return xhat;
}

/// γ x̂ + β [+ residual], then ReLU; what is empty takes no part.
Values output(Values y, const Sets& set, const Values& gamma, const Values& beta, const Values& residual = {},
              bool relu = false) {
  for (size_t i = 0; i < y.size(); ++i) {
    if (!gamma.empty()) y[i] = gamma[set.channel(i)] * y[i] + beta[set.channel(i)];
    if (!residual.empty()) y[i] += residual[i];
    if (relu && y[i] < 0) y[i] = 0;
  }
  return y;
}

struct Gradients {
  Values dx, dgamma, dbeta;

  /// dx = rstd (g − mean g − x̂ mean(g x̂)), g = dy γ, means over each set: the derivative of (x − mean) rstd.
  /// Without γ there are no dγ and dβ.
  Gradients(const Values& dy, const Values& gamma, const Values& xhat, const Values& rstd, const Sets& set)
      : dx(dy.size()), dgamma(gamma.size()), dbeta(gamma.size()) {
    Values g = dy, mean_g(set.count()), mean_gx(set.count());
    for (size_t i = 0; i < dy.size(); ++i) {
      if (!gamma.empty()) {
        g[i] *= gamma[set.channel(i)];
        dgamma[set.channel(i)] += dy[i] * xhat[i];
        dbeta[set.channel(i)] += dy[i];
      }
      mean_g[set(i)] += g[i] / set.size();
      mean_gx[set(i)] += g[i] * xhat[i] / set.size();
    }
    for (size_t i = 0; i < dy.size(); ++i) dx[i] = rstd[set(i)] * (g[i] - mean_g[set(i)] - xhat[i] * mean_gx[set(i)]);
  }
};

Tensor defined(bool wanted, const Tensor& t) { return wanted ? t : Tensor(); }

// ---- batch norm -----------------------------------------------------------------------------------------------------

KernelCase batch_forward(const Tensor& x, const Tensor& residual, bool relu) {
  const int64_t C = x.dim(-1), M = x.numel() / C;
  const Tensor gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4), one = Tensor::full({C}, 1);
  const std::string what = x.str() + (residual.defined() ? " + residual" : "") + (relu ? ", ReLU" : "");
  return case_of(kernel::batch_norm_forward, what, {x, residual, gamma, beta},
                 {unset(x.shape()), unset({C}), unset({C}), one, one}, 0.25, kEps, relu)
      .gives(
          [=](const auto& in, const auto& before) {
            const Sets set{1, M, C, C, true};
            const Statistics s(in[0], set);
            Values mean = before[3], var = before[4];
            for (size_t c = 0; c < mean.size(); ++c) {
              mean[c] = 0.75 * mean[c] + 0.25 * s.mean[c];
              var[c] = 0.75 * var[c] + 0.25 * s.var[c] * static_cast<double>(M) / static_cast<double>(M - 1);
            }
            const Values y = output(normalized(in[0], s.mean, s.rstd, set), set, in[2], in[3], in[1], relu);
            return ValueLists{y, s.mean, s.rstd, mean, var};
          },
          kNorms)
      .on_gpu(kNormsOnGpu)
      .stored_in_bf16({0, 1}, {0});
}

void add_batch_norm(KernelCases& cases, int64_t M, int64_t C, bool residual, bool relu) {
  const Tensor x = hash_tensor({M, C}, 1, 2, 3), dy = hash_tensor({M, C}, 5), gamma = hash_tensor({C}, 3, 0.5, 1);
  const Tensor y = hash_tensor({M, C}, 6);  // its sign alone matters
  const Sets set{1, M, C, C, true};
  const Statistics s(x.to_vector<double>(), set);
  const std::string what = x.str() + (residual ? " + residual" : "") + (relu ? ", ReLU" : "");
  cases.push_back(batch_forward(x, defined(residual, hash_tensor({M, C}, 2)), relu));
  cases.push_back(case_of(kernel::batch_norm_backward, what,
                          {dy, x, defined(relu, y), gamma, saved(s.mean, {C}), saved(s.rstd, {C})},
                          {unset({M, C}), defined(residual, unset({M, C})), unset({C}), unset({C})}, relu)
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values g = in[0];
                            for (size_t i = 0; relu && i < g.size(); ++i) g[i] = in[2][i] > 0 ? g[i] : 0;
                            const Gradients d(g, in[3], normalized(in[1], in[4], in[5], set), in[5], set);
                            return ValueLists{d.dx, residual ? g : Values(), d.dgamma, d.dbeta};
                          },
                          kGradients)
                      .on_gpu(sums_on_gpu(M))
                      .stored_in_bf16({0, 1, 2}, {0, 1}));
  const Tensor mean = hash_tensor({C}, 5, 0.1f, 3), var = hash_tensor({C}, 6, 0.5, 1);
  cases.push_back(case_of(kernel::batch_norm_inference, what,
                          {x, defined(residual, hash_tensor({M, C}, 2)), gamma, hash_tensor({C}, 4), mean, var},
                          {unset({M, C})}, kEps, relu)
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values rstd = in[5];
                            for (double& v : rstd) v = 1 / std::sqrt(v + kEps);
                            return ValueLists{
                                output(normalized(in[0], in[4], rstd, set), set, in[2], in[3], in[1], relu)};
                          },
                          kNorms)
                      .on_gpu(kNormsOnGpu)
                      .stored_in_bf16({0, 1}, {0}));
}

/// The parts of batch norm over ranks, each for a rank with some of M rows.
void add_parts(KernelCases& cases, int64_t M, int64_t C, bool residual, bool relu) {
  const Tensor x = hash_tensor({M, C}, 1, 2, 3), dy = hash_tensor({M, C}, 5), gamma = hash_tensor({C}, 3, 0.5, 1);
  const Tensor y = hash_tensor({M, C}, 6), mean = hash_tensor({C}, 7, 1, 3), rstd = hash_tensor({C}, 8, 0.3f, 0.8f);
  const Sets set{1, M, C, C, true};
  const std::string what = x.str() + (residual ? " + residual" : "") + (relu ? ", ReLU" : "");
  const auto rows = static_cast<size_t>(C);
  cases.push_back(case_of(kernel::batch_norm_moments, what, {x}, {unset({3, C})})
                      .gives(
                          [=](const auto& in, const auto&) {
                            const Statistics s(in[0], set);
                            Values moments = s.mean;
                            for (const double var : s.var) moments.push_back(var * static_cast<double>(M));
                            moments.resize(3 * rows, static_cast<double>(M));
                            return ValueLists{moments};
                          },
                          kNorms)
                      .on_gpu(sums_on_gpu(M))
                      .stored_in_bf16({0}, {}));
  const auto g = [=](const Values& up, const Values& out) {
    Values kept = up;
    for (size_t i = 0; relu && i < kept.size(); ++i) kept[i] = out[i] > 0 ? kept[i] : 0;
    return kept;
  };
  cases.push_back(case_of(kernel::batch_norm_sums, what, {dy, x, defined(relu, y), mean, rstd},
                          {defined(residual, unset({M, C})), unset({3, C})}, relu)
                      .gives(
                          [=](const auto& in, const auto&) {
                            const Values kept = g(in[0], in[2]);
                            const Gradients d(kept, Values(rows, 1), normalized(in[1], in[3], in[4], set), in[4], set);
                            Values sums = d.dbeta;
                            sums.insert(sums.end(), d.dgamma.begin(), d.dgamma.end());
                            sums.resize(3 * rows, static_cast<double>(M));
                            return ValueLists{residual ? kept : Values(), sums};
                          },
                          kGradients)
                      .on_gpu(sums_on_gpu(M))
                      .stored_in_bf16({0, 1, 2}, {0}));
  // Of more rows than these.
  Tensor sums = hash_tensor({3, C}, 9);
  sums.rows(2, 3).fill(static_cast<double>(2 * M + 1));
  cases.push_back(case_of(kernel::batch_norm_input_gradient, what, {dy, x, defined(relu, y), gamma, mean, rstd, sums},
                          {unset({M, C})}, relu)
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values dx = g(in[0], in[2]);
                            const Values xhat = normalized(in[1], in[4], in[5], set);
                            for (size_t i = 0; i < dx.size(); ++i) {
                              const size_t c = i % rows;
                              const double all = in[6][2 * rows + c];
                              dx[i] -= in[6][c] / all + xhat[i] * in[6][rows + c] / all;
                              dx[i] *= in[3][c] * in[5][c];
                            }
                            return ValueLists{dx};
                          },
                          kGradients)
                      .stored_in_bf16({0, 1, 2}, {0}));
}

/// Statistics of the rows of N ranks from moments (N,3,C).
Reference joined(int64_t N, int64_t C) {
  return [=](const auto& in, const auto& before) {
    ValueLists out{{}, {}, {}, {}, {}};  // mean, var, rstd, running mean and variance
    for (int64_t c = 0; c < C; ++c) {
      const auto at = [&](int64_t n, int64_t k) { return in[0][static_cast<size_t>((3 * n + k) * C + c)]; };
      double M = 0, mean = 0, var = 0;
      for (int64_t n = 0; n < N; ++n) M += at(n, 2);
      for (int64_t n = 0; n < N; ++n) mean += at(n, 2) / M * at(n, 0);
      for (int64_t n = 0; n < N; ++n) var += (at(n, 1) + at(n, 2) * std::pow(at(n, 0) - mean, 2)) / M;
      const auto channel = static_cast<size_t>(c);
      const double of_channel[] = {mean, var, 1 / std::sqrt(var + kEps), 0.75 * before[3][channel] + 0.25 * mean,
                                   0.75 * before[4][channel] + 0.25 * var * M / (M - 1)};
      for (size_t k = 0; k < out.size(); ++k) out[k].push_back(of_channel[k]);
    }
    return out;
  };
}

/// Ranks of 1, 1 + step, 1 + 2 step … rows; one alone has 7.
void add_join(KernelCases& cases, int64_t N, int64_t C, int64_t step, float offset) {
  Tensor moments = hash_tensor({N, 3, C}, 1, 1, offset);
  float* to = moments.data<float>();
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const auto rows = static_cast<float>(N == 1 ? 7 : 1 + n * step);
      to[(3 * n + 1) * C + c] = rows == 1 ? 0 : rows * (0.5F + 0.01F * static_cast<float>(c % 7));
      to[(3 * n + 2) * C + c] = rows;
    }
  const Tensor one = Tensor::full({C}, 1);
  cases.push_back(case_of(kernel::batch_norm_join, moments.str() + " by " + std::to_string(step), {moments},
                          {unset({C}), unset({C}), unset({C}), one, one}, 0.25, kEps)
                      .gives(joined(N, C), kNorms)
                      .on_gpu(kNormsOnGpu));
}

void add_batch_norms(KernelCases& cases) {
  // On the GPU threads that meet their channels again and again, also where blocks do not end with rows; packs that do
  // not fit.
  const int64_t shapes[][2] = {{2, 1},    {3, 5},     {18, 7},    {35, 17},  {130, 64}, {4500, 3},
                               {700, 40}, {1100, 72}, {300, 264}, {9, 2056}, {900, 44}, {70, 1000}};
  for (const auto& [M, C] : shapes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) {
        add_batch_norm(cases, M, C, residual, relu);
        add_parts(cases, M, C, residual, relu);
      }
  add_parts(cases, 1, 5, true, true);
  for (const int64_t N : {1, 2, 3, 7})
    for (const int64_t C : {1, 5, 300}) add_join(cases, N, C, 3, 1);
  add_join(cases, 5, 3, 0, 1);
  add_join(cases, 64, 33, 1000, 100);
  KernelCase far = batch_forward(hash_tensor({4096, 2}, 1, 1, 1000), {}, false);
  far.in_bf16.clear();
  far.within(kFarOff).on_cpu_alone();
  cases.push_back(far);
}

// ---- layer norm -----------------------------------------------------------------------------------------------------

/// Numbers of which bf16 holds the sum of two, too: what follows a sum that is rounded is another case's.
Tensor sixteenths(const Tensor& x) {
  Values v = x.to_vector<double>();
  for (double& value : v) value = std::round(16 * value) / 16;
  return saved(v, x.shape());
}

KernelCase layer_forward(int64_t N, int64_t D, bool affine, bool residual) {
  const Tensor x = hash_tensor({N, D}, 1, 2, 3), in = residual ? sixteenths(x) : x;
  return case_of(kernel::layer_norm_forward, x.str() + (residual ? " + residual" : "") + (affine ? ", affine" : ""),
                 {in, defined(residual, sixteenths(hash_tensor({N, D}, 5, 3))),
                  defined(affine, hash_tensor({D}, 2, 0.5, 1)), defined(affine, hash_tensor({D}, 3))},
                 {defined(residual, unset({N, D})), unset({N, D}), unset({N}), unset({N})}, kEps)
      .gives(
          [=](const auto& in, const auto&) {
            const Sets set{N, 1, D, 1};
            Values sum = in[0];
            for (size_t i = 0; i < in[1].size(); ++i) sum[i] += in[1][i];
            const Statistics s(sum, set);
            const Values y = output(normalized(sum, s.mean, s.rstd, set), set, in[2], in[3]);
            return ValueLists{residual ? sum : Values(), y, s.mean, s.rstd};
          },
          kNorms)
      .on_gpu(kNormsOnGpu)
      .stored_in_bf16({0, 1}, {0, 1});
}

KernelCase layer_backward(int64_t N, int64_t D, bool affine, bool residual) {
  const Tensor x = hash_tensor({N, D}, 1, 2, 3), dy = hash_tensor({N, D}, 4);
  const Sets set{N, 1, D, 1};
  const Statistics s(x.to_vector<double>(), set);
  return case_of(kernel::layer_norm_backward, x.str() + (affine ? ", affine" : "") + (residual ? " + residual" : ""),
                 {dy, x, defined(affine, hash_tensor({D}, 2, 0.5, 1)), saved(s.mean, {N}), saved(s.rstd, {N}),
                  defined(residual, hash_tensor({N, D}, 5, 3))},
                 {unset({N, D}), defined(affine, unset({D})), defined(affine, unset({D}))})
      .gives(
          [=](const auto& in, const auto&) {
            Gradients d(in[0], in[2], normalized(in[1], in[3], in[4], set), in[4], set);
            for (size_t i = 0; i < in[5].size(); ++i) d.dx[i] += in[5][i];
            return ValueLists{d.dx, d.dgamma, d.dbeta};
          },
          kGradients)
      .on_gpu(sums_on_gpu(N))
      .stored_in_bf16({0, 1, 5}, {0});
}

void add_layer_norms(KernelCases& cases) {
  // Every way the GPU cuts rows, with and without ends: packs of four up to 4096, single elements up to 1024, beyond.
  const int64_t rows[][2] = {{1, 1},   {3, 5},    {35, 17},   {4500, 3},  {12, 130}, {5, 1001}, {3, 2049}, {0, 4},
                             {9, 128}, {700, 64}, {33, 200},  {70, 384},  {6, 512},  {90, 768}, {21, 640}, {4, 776},
                             {9, 392}, {3, 1024}, {40, 1280}, {25, 2048}, {2, 3072}, {3, 4096}, {37, 4100}};
  for (const auto& [N, D] : rows)
    for (const bool affine : {false, true}) {
      for (const bool residual : {false, true}) {
        cases.push_back(layer_forward(N, D, affine, residual));
        cases.push_back(layer_backward(N, D, affine, residual));
      }
    }
}

// ---- group norm -----------------------------------------------------------------------------------------------------

/// One group, a few, one a channel.
void add_group_norms(KernelCases& cases) {
  // On the GPU packs within a group and across two; columns of one block and of several.
  const int64_t shapes[][4] = {{1, 1, 2, 1}, {2, 9, 6, 3},    {3, 5, 8, 8},    {2, 49, 32, 4},  {2, 49, 64, 4},
                               {0, 4, 6, 2}, {2, 300, 40, 8}, {2, 9, 264, 12}, {3, 170, 520, 8}};
  for (const auto& [N, P, C, groups] : shapes) {
    const Tensor x = hash_tensor({N, P, C}, 1, 2, 3), dy = hash_tensor({N, P, C}, 4),
                 gamma = hash_tensor({C}, 2, 0.5, 1);
    const Shape statistics{N, groups};
    const Sets set{N, P, C, groups};
    const Statistics s(x.to_vector<double>(), set);
    cases.push_back(
        case_of(kernel::group_norm_forward, x.str(), {x, gamma, hash_tensor({C}, 3)},
                {unset(x.shape()), unset(statistics), unset(statistics)}, groups, kEps)
            .gives(
                [=](const auto& in, const auto&) {
                  const Statistics t(in[0], set);
                  return ValueLists{output(normalized(in[0], t.mean, t.rstd, set), set, in[1], in[2]), t.mean, t.rstd};
                },
                kNorms)
            .on_gpu(kNormsOnGpu)
            .stored_in_bf16({0}, {0}));
    cases.push_back(case_of(kernel::group_norm_backward, x.str(),
                            {dy, x, gamma, saved(s.mean, statistics), saved(s.rstd, statistics)},
                            {unset(x.shape()), unset({C}), unset({C})}, groups)
                        .gives(
                            [=](const auto& in, const auto&) {
                              const Gradients d(in[0], in[2], normalized(in[1], in[3], in[4], set), in[4], set);
                              return ValueLists{d.dx, d.dgamma, d.dbeta};
                            },
                            kGradients)
                        .on_gpu(sums_on_gpu(N * P))
                        .stored_in_bf16({0, 1}, {0}));
  }
}

void add_refusals(KernelCases& cases) {
  const Tensor x = Tensor::zeros({4, 6}), c = Tensor::zeros({6}), n = Tensor::zeros({4}), one = Tensor::zeros({1, 6});
  const auto batch = [&](const Tensor& in, const Tensor& gamma, std::vector<std::string> words) {
    cases.push_back(
        case_of(kernel::batch_norm_forward, "refused", {in, {}, gamma, c}, {in, c, c, c, c}, 0.1, kEps, false)
            .is_refused(std::move(words)));
  };
  batch(x, n, {"(6)", "(4)"});
  batch(one, c, {"at least 2 rows", "(1, 6)"});
  cases.push_back(case_of(kernel::batch_norm_moments, "refused", {Tensor::zeros({0, 6})}, {Tensor::zeros({3, 6})})
                      .is_refused({"at least 1 row", "(0, 6)"}));
  cases.push_back(case_of(kernel::batch_norm_moments, "refused", {x}, {x}).is_refused({"(3, 6)", "(4, 6)"}));
  cases.push_back(
      case_of(kernel::batch_norm_join, "refused", {x}, {c, c, c, c, c}, 0.1, kEps).is_refused({"(N,3,C)", "(4, 6)"}));
  cases.push_back(case_of(kernel::batch_norm_sums, "refused", {x, x, {}, c, c}, {Tensor(), Tensor::zeros({3, 6})}, true)
                      .is_refused({"y under ReLU"}));
  cases.push_back(case_of(kernel::batch_norm_input_gradient, "refused", {x, x, {}, c, c, c, c}, {x}, false)
                      .is_refused({"(3, 6)", "(6)"}));
  cases.push_back(case_of(kernel::batch_norm_inference, "refused", {x, c, c, c, c, c}, {x}, kEps, false).is_refused());
  const auto layer = [&](const TensorList& in, const TensorList& out, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::layer_norm_forward, "refused", in, out, kEps).is_refused(std::move(words)));
  };
  layer({x, {}, n, n}, {{}, x, n, n}, {"(4)"});
  layer({x, {}, c, c}, {{}, x, c, n}, {""});
  layer({x, one, c, c}, {x, x, n, n}, {"(1, 6)"});
  layer({x, x, c, c}, {one, x, n, n}, {"(1, 6)"});
  layer({x, x, c, c}, {{}, x, n, n}, {"residual and sum"});
  cases.push_back(case_of(kernel::layer_norm_backward, "refused", {x, x, c, n, n, {}}, {one, c, c}).is_refused());
  cases.push_back(
      case_of(kernel::layer_norm_backward, "refused", {x, x, c, n, n, one}, {x, c, c}).is_refused({"(1, 6)"}));
  const Tensor image = Tensor::zeros({1, 4, 6}), statistics = Tensor::zeros({1, 4});
  cases.push_back(
      case_of(kernel::group_norm_forward, "refused", {image, c, c}, {image, statistics, statistics}, 4, kEps)
          .is_refused({"divisible", "4"}));
}

}  // namespace

KernelCases norm_cases() {
  KernelCases cases;
  add_batch_norms(cases);
  add_layer_norms(cases);
  add_group_norms(cases);
  add_refusals(cases);
  return cases;
}

KernelCases timed_norm() {
  const Tensor map = hash_tensor({64, 32, 32, 64}, 1, 2, 3);
  KernelCase layer = layer_forward(16 * 197, 384, true, false),
             batch = batch_forward(map, hash_tensor(map.shape(), 2), true);
  return {layer.timed({"layer_norm_forward 3152x384", 0, 2 * static_cast<double>(layer.inputs[0].bytes())}),
          batch.timed({"batch_norm_forward + residual + relu 65536x64", 0, 4 * static_cast<double>(map.bytes())})};
}

}  // namespace sked::test

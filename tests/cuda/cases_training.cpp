// Optimizer steps and the likelihood's tiles.

#include <doctest/doctest.h>

#include <limits>

#include "core/kernels/likelihood.h"
#include "core/kernels/optimizer.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

/// A scalar, an empty tensor, and sizes on both sides of a block's 4096 elements.
const Shape kShapes[] = {{3, 5}, {}, {4096}, {0}, {20000}, {130, 129}};
const std::vector<double> kDecay = {0.1, 0.0, 0.05, 0.1, 0.0, 0.2};

TensorList weights(uint32_t salt, float scale = 1, float offset = 0) {
  TensorList list;
  for (const Shape& shape : kShapes) list.push_back(hash_tensor(shape, salt++, scale, offset));
  return list;
}

TensorList joined(const TensorList& a, const TensorList& b) {
  TensorList all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

/// The `which`-th list of all.
TensorList part(const TensorList& all, size_t which) {
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(which * std::size(kShapes));
  return {first, first + static_cast<std::ptrdiff_t>(std::size(kShapes))};
}

/// Where f32 parameters are to be rounded, all but the last.
TensorList places_beside(const TensorList& p) {
  TensorList rounded(p.size());
  for (size_t i = 0; p[0].dtype() == DType::f32 && i + 1 < p.size(); ++i)
    rounded[i] = Tensor::full(p[i].shape(), 7, DType::bf16, p[i].device());
  return rounded;
}

/// Bit for bit what a cast makes of them.
void check_rounded_beside(const TensorList& p, const TensorList& rounded) {
  for (size_t i = 0; i < p.size(); ++i)
    if (rounded[i].defined()) CHECK(rounded[i].to_vector<float>() == p[i].to(DType::bf16).to_vector<float>());
}

}  // namespace

ParityCases optimizer_parity() {
  ParityCases cases;
  constexpr double kStep = 2e-6;  // a few roundings
  const Tensor half = Tensor::full({1}, 0.5);
  for (const bool nesterov : {false, true})
    for (const bool first : {false, true})
      cases.push_back({"sgd_step", nesterov ? "nesterov" : "momentum", joined(weights(10), {half}),
                       joined(weights(1), weights(20)),
                       [=](const TensorList& in, TensorList& out) {
                         TensorList p = part(out, 0), m = part(out, 1), rounded = places_beside(p);
                         kernel::sgd_step(p, part(in, 0), m, rounded, kDecay, in.back(), {0.1, 0.9, nesterov, first});
                         check_rounded_beside(p, rounded);
                       },
                       kStep});
  cases.push_back({"sgd_step", "plain", weights(10), weights(1),
                   [](const TensorList& in, TensorList& out) {
                     TensorList p = part(out, 0), none, rounded = places_beside(p);
                     kernel::sgd_step(p, in, none, rounded, kDecay, {}, {0.1, 0, false, true});
                     check_rounded_beside(p, rounded);
                   },
                   kStep});
  for (const bool decoupled : {false, true})
    cases.push_back(
        {"adam_step", decoupled ? "decoupled" : "coupled", joined(weights(10), {half}),
         joined(joined(weights(1), weights(20)), weights(30, 0.25f, 0.5f)),
         [=](const TensorList& in, TensorList& out) {
           TensorList p = part(out, 0), m = part(out, 1), v = part(out, 2), rounded = places_beside(p);
           kernel::adam_step(p, part(in, 0), m, v, rounded, kDecay, in.back(), {0.01, 0.9, 0.999, 1e-8, decoupled, 3});
           check_rounded_beside(p, rounded);
         },
         kStep});
  cases.push_back({"global_norm",
                   "all",
                   weights(1),
                   {unset({1})},
                   [](const TensorList& in, TensorList& out) { kernel::global_norm(in, out[0]); },
                   1e-6});
  cases.push_back({"ema_step", "all", weights(1), weights(10),
                   [](const TensorList& in, TensorList& out) { kernel::ema_step(out, in, 0.9); }, kStep});
  // More tensors than one launch takes.
  TensorList many, gradients;
  for (uint32_t i = 0; i < 1000; ++i)
    many.push_back(hash_tensor({3}, i)), gradients.push_back(hash_tensor({3}, 5000 + i));
  cases.push_back({"ema_step", "1000 tensors", gradients, many,
                   [](const TensorList& in, TensorList& out) { kernel::ema_step(out, in, 0.9); }, kStep});
  cases.push_back({"global_norm",
                   "1000 tensors",
                   many,
                   {unset({1})},
                   [](const TensorList& in, TensorList& out) { kernel::global_norm(in, out[0]); },
                   1e-6});
  return cases;
}

namespace {

/// A tile of C samples and K classes at `at`, of S samples and `classes` classes.
struct Cut {
  int64_t B, C, K, S, classes;
  TileOrigin at;
};

void add_noise(ParityCases& cases, const Cut& c, bool has_q, bool has_v) {
  const Shape tile{c.B, c.C, c.K}, rows{c.B, c.classes};
  const int64_t first = c.at.class_index;
  const Tensor eps = hash_tensor(tile, 1), q = has_q ? hash_tensor(tile, 2) : Tensor(),
               v = has_v ? hash_tensor(rows, 3) : Tensor();
  cases.push_back({"noise_forward",
                   eps.str(),
                   {hash_tensor(rows, 4), hash_tensor(rows, 5), eps, v, q},
                   {unset(tile)},
                   [=](const TensorList& in, TensorList& out) {
                     kernel::noise_forward(in[0], in[1], in[2], in[3], in[4], out[0], first);
                   },
                   1e-6,
                   1});
  if (has_q && !has_v) return;
  cases.push_back({"noise_backward",
                   eps.str(),
                   {hash_tensor(tile, 6), eps, v},
                   {q, hash_tensor(rows, 7), hash_tensor(rows, 8), has_v ? hash_tensor(rows, 9) : Tensor()},
                   [=](const TensorList& in, TensorList& out) {
                     kernel::noise_backward(in[0], in[1], in[2], out[0], out[1], out[2], out[3], first);
                   },
                   2e-6,
                   1});
}

constexpr double kTiles = 8e-6;  // exponentials of up to 2 ulp of numbers up to e^8, sums of 2,000

struct Tiles {
  Tensor a, lse, labels, log_p, log_not_p, share, rest, weight, sums;

  explicit Tiles(const Cut& c)
      : a(hash_tensor({c.B, c.C, c.K}, 1, 4)),
        lse(hash_tensor({c.B, c.S}, 2, 1, 4)),
        labels(hash_labels(c.B, c.classes, 8)),
        log_p(hash_tensor({c.B, c.classes}, 3, 1, -1)),
        log_not_p(hash_tensor({c.B, c.classes}, 4, 1, -1)),
        share(hash_tensor({c.B, c.classes}, 5)),
        rest(hash_tensor({c.B, c.classes}, 6)),
        weight(hash_tensor({c.B, c.S}, 7)),
        sums(hash_tensor({c.classes}, 11)) {}
};

void add_label_tiles(ParityCases& cases, const Cut& c) {
  const TileOrigin at = c.at;
  const auto [a, lse, labels, log_p, log_not_p, share, rest, weight, sums] = Tiles(c);
  const Tensor nothing = Tensor::full(lse.shape(), -std::numeric_limits<double>::infinity());
  for (const Tensor& start : {lse, nothing})
    cases.push_back(
        {"label_tile_forward",
         a.str(),
         {a, labels},
         {start, weight},
         [at](const TensorList& in, TensorList& out) { kernel::label_tile_forward(in[0], in[1], out[0], out[1], at); },
         kTiles,
         1,
         {0}});
  cases.push_back({"label_tile_backward",
                   a.str(),
                   {labels, lse, weight},
                   {a, sums},
                   [at](const TensorList& in, TensorList& out) {
                     kernel::label_tile_backward(out[0], in[0], in[1], in[2], out[1], at);
                   },
                   kTiles,
                   1,
                   {},
                   {0}});
  for (const ClassLog log : {ClassLog::softmax, ClassLog::sigmoid, ClassLog::sigmoid_complement})
    cases.push_back({"class_tile_forward",
                     a.str(),
                     {a, log == ClassLog::softmax ? lse : Tensor()},
                     {log_p},
                     [at, log](const TensorList& in, TensorList& out) {
                       kernel::class_tile_forward(in[0], in[1], out[0], log, at);
                     },
                     kTiles,
                     1,
                     {0}});
}

/// Every class has its own label or target.
void add_class_tiles(ParityCases& cases, const Cut& c) {
  const TileOrigin at = c.at;
  const auto [a, lse, labels, log_p, log_not_p, share, rest, weight, sums] = Tiles(c);
  cases.push_back({"soft_tile_weights",
                   a.str(),
                   {a, lse, log_p, share},
                   {weight},
                   [at](const TensorList& in, TensorList& out) {
                     kernel::soft_tile_weights(in[0], in[1], in[2], in[3], out[0], at);
                   },
                   kTiles,
                   1,
                   {0}});
  cases.push_back({"soft_tile_backward",
                   a.str(),
                   {lse, log_p, share, weight},
                   {a, sums},
                   [at](const TensorList& in, TensorList& out) {
                     kernel::soft_tile_backward(out[0], in[0], in[1], in[2], in[3], out[1], at);
                   },
                   kTiles,
                   1,
                   {},
                   {0}});
  cases.push_back({"sigmoid_tile_backward",
                   a.str(),
                   {log_p, log_not_p, share, rest},
                   {a, sums},
                   [at](const TensorList& in, TensorList& out) {
                     kernel::sigmoid_tile_backward(out[0], in[0], in[1], in[2], in[3], out[1], at);
                   },
                   kTiles,
                   1,
                   {},
                   {0}});
}

/// The classes choose among the examples too.
void add_pair_tiles(ParityCases& cases, const Cut& c) {
  const TileOrigin at = c.at;
  const Tensor a = hash_tensor({c.B, c.C, c.K}, 1, 4), lse = hash_tensor({c.B, c.S}, 2, 1, 4),
               weight = hash_tensor({c.B, c.S}, 7), column_lse = hash_tensor({c.S, c.classes}, 9, 1, 4),
               column_weight = hash_tensor({c.S, c.classes}, 10);
  for (const Tensor& start : {column_lse, Tensor::full(column_lse.shape(), -std::numeric_limits<double>::infinity())})
    cases.push_back({"column_tile_forward",
                     a.str(),
                     {a},
                     {start},
                     [at](const TensorList& in, TensorList& out) { kernel::column_tile_forward(in[0], out[0], at); },
                     kTiles,
                     1,
                     {0}});
  cases.push_back({"pair_tile_backward",
                   a.str(),
                   {hash_labels(c.B, c.classes, 8), lse, weight, column_lse, column_weight},
                   {a, hash_tensor({c.classes}, 11)},
                   [at](const TensorList& in, TensorList& out) {
                     kernel::pair_tile_backward(out[0], in[0], in[1], in[2], in[3], in[4], out[1], at);
                   },
                   kTiles,
                   1,
                   {},
                   {0}});
}

}  // namespace

ParityCases likelihood_parity() {
  ParityCases cases;
  const Cut cuts[] = {{1, 1, 1, 1, 1, {0, 0}},        {3, 2, 70, 6, 100, {4, 30}}, {2, 4, 64, 4, 64, {0, 0}},
                      {2, 3, 2000, 5, 2100, {2, 50}}, {70, 2, 33, 4, 40, {2, 4}},  {0, 2, 3, 2, 3, {0, 0}}};
  for (const Cut& c : cuts) {
    add_label_tiles(cases, c);
    add_class_tiles(cases, c);
    add_pair_tiles(cases, c);
    add_noise(cases, c, false, false);
    add_noise(cases, c, true, false);
    add_noise(cases, c, true, true);
  }
  return cases;
}

}  // namespace sked::test

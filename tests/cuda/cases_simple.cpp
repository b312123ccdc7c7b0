// Element-wise, memory, reduction, index and random kernels.

#include <limits>
#include <set>
#include <string>

#include "core/kernels/index.h"
#include "core/kernels/memory.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

// A few roundings of f32 (6e-8); functions of up to 4 ulp.
constexpr double kPointwise = 1e-6;
// Sums of up to 100,000 numbers, rounded to f32 at the end.
constexpr double kSums = 1e-5;

// Below a pack, no multiple of one, several blocks.
const int64_t kCounts[] = {0, 1, 7, 1024, 40003};

void add_filling(ParityCases& cases) {
  for (const int64_t n : kCounts) {
    const Tensor x = hash_tensor({n}, 1, 300), y = hash_tensor({n}, 2);
    cases.push_back({"fill",
                     x.str(),
                     {},
                     {unset({n})},
                     [](const TensorList&, TensorList& out) { out[0].fill(2.5); },
                     0,
                     0,
                     {},
                     {}});
    for (const DType to : {DType::i64, DType::u8, DType::f32})
      cases.push_back({"cast",
                       x.str() + " to " + name(to),
                       {x},
                       {to == DType::f32 ? unset({n}) : Tensor::zeros({n}, to)},
                       [](const TensorList& in, TensorList& out) { kernel::cast(in[0], out[0]); },
                       0});
    cases.push_back({"add_scaled",
                     x.str(),
                     {x},
                     {y},
                     [](const TensorList& in, TensorList& out) { kernel::add_scaled(in[0], out[0], 0.75); },
                     kPointwise,
                     0,
                     {0},
                     {0}});
  }
}

void add_rearranging(ParityCases& cases) {
  const std::pair<Shape, std::vector<int>> permutations[] = {{{5, 7}, {1, 0}},
                                                             {{2, 3, 4, 5}, {0, 2, 1, 3}},
                                                             {{2, 33, 65}, {0, 2, 1}},
                                                             {{3, 4, 5, 6}, {3, 2, 1, 0}},
                                                             {{2, 8, 8, 3}, {0, 3, 1, 2}},
                                                             {{1, 1}, {1, 0}},
                                                             {{6}, {0}},
                                                             {{4, 0, 2}, {2, 1, 0}}};
  for (const auto& [shape, perm] : permutations) {
    std::vector<int64_t> extents;
    for (const int axis : perm) extents.push_back(shape[axis]);
    cases.push_back({"permute",
                     shape.str(),
                     {hash_tensor(shape, 1)},
                     {unset(Shape(std::span<const int64_t>(extents)))},
                     [perm = perm](const TensorList& in, TensorList& out) { kernel::permute(in[0], out[0], perm); },
                     0,
                     0,
                     {},
                     {}});
  }
  for (const int axis : {0, 1, 2}) {
    const Shape whole{6, 10, 8}, part = whole.with(axis, 3);
    cases.push_back({"slice",
                     "axis " + std::to_string(axis),
                     {hash_tensor(whole, 1)},
                     {unset(part)},
                     [axis](const TensorList& in, TensorList& out) { kernel::slice(in[0], out[0], axis, 2); },
                     0});
    cases.push_back({"slice_insert",
                     "axis " + std::to_string(axis),
                     {hash_tensor(part, 1)},
                     {hash_tensor(whole, 2)},
                     [axis](const TensorList& in, TensorList& out) { kernel::slice_insert(in[0], out[0], axis, 2); },
                     0});
  }
  for (const auto& [from, to] :
       {std::pair<Shape, Shape>{{64}, {33, 64}}, {{33, 1}, {33, 64}}, {{}, {5}}, {{2, 1, 8}, {2, 3, 8}}})
    cases.push_back({"broadcast_to",
                     from.str() + to.str(),
                     {hash_tensor(from, 1)},
                     {unset(to)},
                     [](const TensorList& in, TensorList& out) { kernel::broadcast_to(in[0], out[0]); },
                     0});
}

}  // namespace

ParityCases memory_parity() {
  ParityCases cases;
  add_filling(cases);
  add_rearranging(cases);
  return cases;
}

ParityCases reduce_parity() {
  ParityCases cases;
  const ReduceView views[] = {{1, 1, 1},  {1, 100000, 1}, {300, 17, 1}, {5, 3000, 1}, {1, 5000, 40},
                              {7, 3, 65}, {2, 129, 3},    {40, 64, 2},  {0, 5, 3}};
  for (const ReduceView& v : views) {
    const Tensor x = hash_tensor({v.outer, v.n, v.inner}, 1);
    const Shape results{v.outer, v.inner};
    for (const Reduce op : {Reduce::sum, Reduce::mean, Reduce::max})
      cases.push_back({"reduce_forward",
                       std::string(name(op)) + " " + x.str(),
                       {x},
                       {unset(results)},
                       [op, v](const TensorList& in, TensorList& out) { kernel::reduce_forward(in[0], out[0], op, v); },
                       kSums,
                       1,
                       {0},
                       {0}});
    cases.push_back({"argmax",
                     x.str(),
                     {x},
                     {Tensor::zeros(results, DType::i64)},
                     [v](const TensorList& in, TensorList& out) { kernel::argmax(in[0], out[0], v); },
                     0});
    Tensor ties = hash_tensor(x.shape(), 2, 2), y = Tensor::empty(results);
    Tensor whole = Tensor::empty(x.shape(), DType::i64);
    kernel::cast(ties, whole);  // numbers −1, 0, 1: many ties
    ties = whole.to(DType::f32);
    kernel::reduce_forward(ties, y, Reduce::max, v);
    cases.push_back(
        {"reduce_max_backward",
         x.str(),
         {ties, y, hash_tensor(results, 3)},
         {unset(x.shape())},
         [v](const TensorList& in, TensorList& out) { kernel::reduce_max_backward(in[0], in[1], in[2], out[0], v); },
         kPointwise,
         0,
         {0, 1, 2},
         {0}});
  }
  return cases;
}

namespace {

void add_look_up(ParityCases& cases) {
  // On both sides of a thread's 16 bytes and a block's 16,384; a table that fits in shared memory, and one that does
  // not.
  const Shape images[] = {{1},      {0, 3},       {5, 3},    {2, 31, 33, 3}, {3, 64, 64, 3}, {7, 19, 19, 4},
                          {300, 5}, {9, 1001, 2}, {16384, 1}};
  for (const Shape& shape : images)
    for (const int64_t columns : std::set<int64_t>{1, shape[-1]}) {
      const Tensor bytes = hash_labels(shape.numel(), 256, 4).to(DType::u8).reshape(shape);
      cases.push_back({"look_up",
                       shape.str() + " by " + std::to_string(columns),
                       {bytes, hash_tensor({256, columns}, 5)},
                       {unset(shape)},
                       [](const TensorList& in, TensorList& out) { kernel::look_up(in[0], in[1], out[0]); },
                       0,
                       0,
                       {},
                       {0}});
    }
}

}  // namespace

ParityCases index_parity() {
  ParityCases cases;
  const int64_t tables[][3] = {{1, 1, 1}, {5, 3, 20}, {7, 100, 0}, {50, 64, 900}, {300, 33, 257}};
  for (const auto& [V, D, N] : tables) {
    const Tensor table = hash_tensor({V, D}, 1), ids = hash_labels(N, V, 2), dy = hash_tensor({N, D}, 3);
    cases.push_back({"gather_rows",
                     table.str(),
                     {table, ids},
                     {unset({N, D})},
                     [](const TensorList& in, TensorList& out) { kernel::gather_rows(in[0], in[1], out[0]); },
                     0,
                     0,
                     {0},
                     {0}});
    // up to 900 roundings of f32 in a row
    cases.push_back({"scatter_add_rows",
                     table.str(),
                     {dy, ids},
                     {table},
                     [](const TensorList& in, TensorList& out) { kernel::scatter_add_rows(in[0], in[1], out[0]); },
                     kSums});
  }
  add_look_up(cases);
  const int64_t picks[][3] = {{1, 1, 1}, {4, 3, 5}, {0, 3, 5}, {300, 20, 10}};
  for (const auto& [N, S, K] : picks) {
    const Tensor x = hash_tensor({N, S, K}, 1), index = hash_labels(N, K, 2), dy = hash_tensor({N, S}, 3);
    cases.push_back({"pick",
                     x.str(),
                     {x, index},
                     {unset({N, S})},
                     [](const TensorList& in, TensorList& out) { kernel::pick(in[0], in[1], out[0]); },
                     0,
                     0,
                     {0},
                     {0}});
    cases.push_back({"pick_backward",
                     x.str(),
                     {dy, index},
                     {unset({N, S, K})},
                     [](const TensorList& in, TensorList& out) { kernel::pick_backward(in[0], in[1], out[0]); },
                     0,
                     0,
                     {0},
                     {0}});
  }
  return cases;
}

ParityCases random_parity() {
  ParityCases cases;
  const RngAddress address{31, 32, 33};
  const Tensor ids = Tensor::from<int64_t>({0, 5, 1000000, 3, 5}, {5});
  for (const int64_t J : {1, 3, 4, 10, 257, 1024})
    for (const bool antithetic : {false, true})
      // The same f32 numbers: nothing may differ.
      cases.push_back({"gaussian_noise",
                       "J " + std::to_string(J),
                       {ids},
                       {unset({5, 6, J})},
                       [=](const TensorList& in, TensorList& out) {
                         kernel::gaussian_noise(in[0], out[0], address, {2, 8, antithetic});
                       },
                       0});
  for (const double p : {0.0, 0.3, 0.999})
    for (const int64_t n : kCounts) {
      const Tensor x = hash_tensor({n}, 1);
      // x / (1 − p) in f32 rounds the factor and the product
      cases.push_back({"dropout",
                       x.str(),
                       {x},
                       {unset({n})},
                       [=](const TensorList& in, TensorList& out) { kernel::dropout(in[0], out[0], address, p); },
                       3e-7,
                       0,
                       {0},
                       {0}});
    }
  // Rows of a warp and of a block, in packs and alone, in several pieces.
  const int64_t paths[][2] = {{0, 3},   {1, 1},    {7, 3},    {5, 0},    {1000, 2},  {37, 8},
                              {9, 100}, {6, 1024}, {3, 1025}, {5, 1032}, {2, 20000}, {3, 9001}};
  for (const double p : {0.0, 0.3, 0.999})
    for (const auto& [rows, width] : paths) {
      const Tensor x = hash_tensor({rows, width}, 1);
      cases.push_back({"drop_path",
                       x.str(),
                       {x},
                       {unset(x.shape())},
                       [=](const TensorList& in, TensorList& out) { kernel::drop_path(in[0], out[0], address, p); },
                       3e-7,
                       0,
                       {0},
                       {0}});
    }
  return cases;
}

}  // namespace sked::test

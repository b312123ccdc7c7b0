// gather_rows, scatter_add_rows, pick, pick_backward, look_up: one index after another.

#include "core/kernels/index.h"

#include <set>

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kSums{1e-5, "up to 900 roundings of f32 in a row", 1, 1e-13, true};
constexpr Tolerance kSumsOnGpu{1e-5, kSums.reason};

void add_rows(KernelCases& cases, int64_t V, int64_t D, int64_t N) {
  const Tensor table = hash_tensor({V, D}, 1, 2), ids = hash_labels(N, V, 2), dy = hash_tensor({N, D}, 3, 2);
  cases.push_back(case_of(kernel::gather_rows, table.str() + ids.str(), {table, ids}, {unset({N, D})})
                      .gives(
                          [D](const auto& in, const auto&) {
                            Values y;
                            for (const double id : in[1])
                              for (int64_t d = 0; d < D; ++d) y.push_back(in[0][static_cast<int64_t>(id) * D + d]);
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
  cases.push_back(case_of(kernel::scatter_add_rows, table.str() + ids.str(), {dy, ids}, {table})
                      .gives(
                          [=](const auto& in, const auto& before) {
                            Values sums = before[0];
                            for (int64_t n = 0; n < N; ++n)
                              for (int64_t d = 0; d < D; ++d)
                                sums[static_cast<int64_t>(in[1][n]) * D + d] += in[0][n * D + d];
                            return ValueLists{sums};
                          },
                          kSums)
                      .on_gpu(kSumsOnGpu));
}

void add_picks(KernelCases& cases, int64_t N, int64_t S, int64_t K) {
  const Tensor x = hash_tensor({N, S, K}, 1, 2), index = hash_labels(N, K, 2), dy = hash_tensor({N, S}, 3, 2);
  const auto place = [=](const Values& id, int64_t i) { return i * K + static_cast<int64_t>(id[i / S]); };
  cases.push_back(case_of(kernel::pick, x.str(), {x, index}, {unset({N, S})})
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values y;
                            for (int64_t i = 0; i < N * S; ++i) y.push_back(in[0][place(in[1], i)]);
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
  cases.push_back(case_of(kernel::pick_backward, x.str(), {dy, index}, {unset({N, S, K})})
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values dx(static_cast<size_t>(N * S * K));
                            for (int64_t i = 0; i < N * S; ++i) dx[place(in[1], i)] = in[0][i];
                            return ValueLists{dx};
                          },
                          kExact)
                      .stored_in_bf16({0}, {0}));
}

void add_look_up(KernelCases& cases, const Tensor& bytes, int64_t columns) {
  const int64_t channels = bytes.dim(-1);
  cases.push_back(case_of(kernel::look_up, bytes.str() + " by " + std::to_string(columns),
                          {bytes, hash_tensor({256, columns}, 5, 2)}, {unset(bytes.shape())})
                      .gives(
                          [=](const auto& in, const auto&) {
                            Values y = in[0];
                            for (size_t i = 0; i < y.size(); ++i) {
                              const int64_t channel = static_cast<int64_t>(i) % channels;
                              y[i] = in[1][static_cast<int64_t>(y[i]) * columns + (columns == 1 ? 0 : channel)];
                            }
                            return ValueLists{y};
                          },
                          kExact)
                      .stored_in_bf16({}, {0}));
}

/// Every byte in every channel; then both sides of a thread's 16 bytes and a block's 16,384, and tables that fit in
/// shared memory and that do not.
void add_look_ups(KernelCases& cases) {
  for (const int64_t channels : {1, 3, 5}) {
    Tensor x = Tensor::empty({256, channels}, DType::u8);
    for (int64_t i = 0; i < x.numel(); ++i)
      x.data<uint8_t>()[i] = static_cast<uint8_t>((i / channels * 7 + i % channels * 31) % 256);
    for (const int64_t columns : std::set<int64_t>{1, channels}) add_look_up(cases, x, columns);
  }
  const Shape images[] = {{1},      {0, 3},       {5, 3},    {2, 31, 33, 3}, {3, 64, 64, 3}, {7, 19, 19, 4},
                          {300, 5}, {9, 1001, 2}, {16384, 1}};
  for (const Shape& shape : images)
    for (const int64_t columns : std::set<int64_t>{1, shape[-1]})
      add_look_up(cases, hash_labels(shape.numel(), 256, 4).to(DType::u8).reshape(shape), columns);
}

void add_refusals(KernelCases& cases) {
  const Tensor table = Tensor::zeros({4, 2}), x = Tensor::zeros({2, 3, 4}), y = Tensor::zeros({2, 2}),
               picked = Tensor::zeros({2, 3});
  for (const int64_t bad : {int64_t{4}, int64_t{-1}}) {
    const Tensor ids = Tensor::from<int64_t>({0, bad}, {2});
    const std::string value = "got " + std::to_string(bad) + " in row 1";
    cases.push_back(case_of(kernel::gather_rows, "refused", {table, ids}, {y}).is_refused({"0 to 3", value}));
    cases.push_back(case_of(kernel::scatter_add_rows, "refused", {y, ids}, {table}).is_refused({value}));
    cases.push_back(case_of(kernel::pick, "refused", {x, ids}, {picked}).is_refused({value}));
    cases.push_back(case_of(kernel::pick_backward, "refused", {picked, ids}, {x}).is_refused({value}));
  }
  const auto gather = [&](const Tensor& ids, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::gather_rows, "refused", {table, ids}, {y}).is_refused(std::move(words)));
  };
  gather(Tensor::zeros({2}), {"i64", "f32"});
  gather(hash_labels(3, 4, 1), {"(2)", "(3)"});
  const Tensor bytes = Tensor::zeros({2, 3}, DType::u8), result = Tensor::zeros({2, 3});
  const auto look_up = [&](const Tensor& in, const Tensor& by, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::look_up, "refused", {in, by}, {result}).is_refused(std::move(words)));
  };
  look_up(bytes, Tensor::zeros({255, 3}), {"256 rows", "(255, 3)"});
  look_up(bytes, Tensor::zeros({256, 2}), {"1 or 3", "(256, 2)"});
  look_up(result, Tensor::zeros({256, 3}), {"u8", "f32"});
  look_up(Tensor::zeros({3, 2}, DType::u8), Tensor::zeros({256, 1}), {"(3, 2)", "(2, 3)"});
  look_up(bytes, Tensor::zeros({256, 3}, DType::f64), {"f32", "f64"});
}

}  // namespace

KernelCases index_cases() {
  KernelCases cases;
  const int64_t tables[][3] = {{1, 1, 1}, {5, 3, 20},     {7, 100, 0},   {50, 64, 900},
                               {3, 0, 2}, {300, 33, 257}, {7, 130, 1000}};
  for (const auto& [V, D, N] : tables) add_rows(cases, V, D, N);
  const int64_t picks[][3] = {{1, 1, 1}, {4, 3, 5}, {0, 3, 5}, {4, 0, 5}, {300, 20, 10}};
  for (const auto& [N, S, K] : picks) add_picks(cases, N, S, K);
  add_look_ups(cases);
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test

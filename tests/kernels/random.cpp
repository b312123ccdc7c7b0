// gaussian_noise, dropout, drop_path: one addressed draw at a time.

#include "core/kernels/random.h"

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr RngAddress kAddress{/*seed=*/31, /*stream=*/32, /*step=*/33};
constexpr Tolerance kScaled{2e-7, "x · (1 / (1 − p)) for x / (1 − p)", 1, 1e-15, true};
constexpr Tolerance kScaledOnGpu{3e-7, "x · (1 / (1 − p)) for x / (1 − p)"};

/// Whatever the shape and the cut: the same numbers for a row as for its parts.
KernelCase noise(const Tensor& examples, int64_t S, int64_t J, NoiseOrigin at) {
  const std::string what = std::to_string(S) + " x " + std::to_string(J) + " at " + std::to_string(at.sample) + ", " +
                           std::to_string(at.coordinate) + (at.antithetic ? ", antithetic" : "");
  return case_of(kernel::gaussian_noise, what, {examples}, {unset({examples.numel(), S, J})}, kAddress, at)
      .gives(
          [=](const auto& in, const auto&) {
            Values values;
            for (const double example : in[0])
              for (int64_t s = at.sample; s < at.sample + S; ++s)
                for (int64_t j = at.coordinate; j < at.coordinate + J; ++j) {
                  const auto words =
                      random_words(kAddress, static_cast<uint64_t>(example),
                                   static_cast<uint64_t>(at.antithetic ? s / 2 : s), static_cast<uint64_t>(j / 4));
                  const double drawn = static_cast<double>(normal4(words)[static_cast<size_t>(j % 4)]);
                  values.push_back(at.antithetic && s % 2 == 1 ? -drawn : drawn);
                }
            return ValueLists{values};
          },
          kExact);
}

void add_noise(KernelCases& cases) {
  const Tensor examples = Tensor::from<int64_t>({0, 5, 1000000, 3, 5}, {5});
  for (const int64_t J : {1, 2, 3, 4, 5, 10, 64, 255, 257, 1024}) {
    for (const int64_t S : {1, 3}) cases.push_back(noise(examples, S, J, 2));
    for (const bool antithetic : {false, true}) cases.push_back(noise(examples, 6, J, {2, 8, antithetic}));
  }
  // The whole, its last examples, its last samples, a block of its coordinates; pairs, and a part of them.
  const Tensor six = Tensor::from<int64_t>({3, 1, 4, 1, 5, 9}, {6}), two = six.rows(0, 2);
  cases.push_back(noise(six, 8, 10, 0));
  cases.push_back(noise(six.rows(2, 6), 8, 10, 0));
  cases.push_back(noise(six, 5, 10, 3));
  cases.push_back(noise(two, 3, 13, {2, 24}));
  cases.push_back(noise(two, 7, 10, {0, 0, true}));
  cases.push_back(noise(two, 3, 6, {4, 4, true}));
  for (const int64_t J : {10, 512}) cases.push_back(noise(hash_labels(50, 1000, 3), 9, J, 0));
  cases.push_back(noise(Tensor::zeros({0}, DType::i64), 2, 3, 0));
  cases.push_back(noise(two, 0, 3, 0));
  cases.push_back(noise(two, 3, 0, 0));
}

/// One draw for each `width` elements, from number `first` on.
Reference dropped(int64_t first, double p, int64_t width) {
  return [=](const auto& in, const auto&) {
    Values y = in[0];
    for (size_t i = 0; i < y.size(); ++i) {
      const uint64_t draw = static_cast<uint64_t>(first) + i / static_cast<size_t>(width), block = draw / 4;
      const auto words = random_words(kAddress, 0, block >> 32, block);
      const bool keep = static_cast<double>(uniform01(words[draw % 4])) >= p;
      y[i] = keep ? y[i] / (1 - p) : 0.0;
    }
    return ValueLists{y};
  };
}

using Dropping = Kernel<void(const Tensor&, Tensor&, RngAddress, int64_t, double)>;
void add_dropping(KernelCases& cases, const Dropping& kernel, const Shape& shape, int64_t width) {
  const Tensor x = hash_tensor(shape, 1, 2);
  const auto add = [&](int64_t first, double p) {
    const std::string what = x.str() + " from " + std::to_string(first) + " by " + std::to_string(p);
    cases.push_back(case_of(kernel, what, {x}, {unset(shape)}, kAddress, first, p)
                        .gives(dropped(first, p, width), kScaled)
                        .on_gpu(kScaledOnGpu)
                        .stored_in_bf16({0}, {0})
                        .also_in_place(0));
  };
  for (const double p : {0.0, 0.1, 0.3, 0.5, 0.999}) add(0, p);
  // Parts of a whole that begin anywhere, and where the blocks' numbers outgrow 32 bits.
  for (const int64_t first : {int64_t{1}, int64_t{4}, int64_t{254}, int64_t{1027}, (int64_t{1} << 34) - 3})
    add(first, 0.5);
}

void add_dropout(KernelCases& cases) {
  for (const int64_t n : {0, 1, 3, 7, 255, 256, 1000, 1024, 9001, 40003}) add_dropping(cases, kernel::dropout, {n}, 1);
  // An offset of one element: the pointers are not aligned to packs.
  KernelCase second = case_of(kernel::dropout, "from the second element", {hash_tensor({1001}, 1)}, {unset({1000})},
                              kAddress, int64_t{0}, 0.5);
  second.call = [](const TensorList& in, TensorList& out) {
    kernel::dropout(in[0].rows(1, 1001), out[0], kAddress, 0, 0.5);
  };
  cases.push_back(second
                      .gives(
                          [](const auto& in, const auto& before) {
                            return dropped(0, 0.5, 1)({Values(in[0].begin() + 1, in[0].end())}, before);
                          },
                          kScaled)
                      .on_gpu(kScaledOnGpu)
                      .stored_in_bf16({0}, {0}));
  // On the GPU rows of a warp and of a block, in packs and alone, in several pieces.
  for (const Shape& shape : {Shape{5, 7},
                             {600, 3, 2},
                             {9},
                             {0, 3},
                             {3, 0},
                             {1, 1},
                             {7, 3},
                             {5, 0},
                             {1000, 2},
                             {37, 8},
                             {9, 100},
                             {6, 1024},
                             {3, 1025},
                             {5, 1032},
                             {2, 20000},
                             {3, 9001},
                             {401, 101}})
    add_dropping(cases, kernel::drop_path, shape, std::max<int64_t>(1, shape.product(1, shape.ndim())));
}

void add_refusals(KernelCases& cases) {
  const Tensor ids = Tensor::from<int64_t>({0, 1}, {2}), negative = Tensor::from<int64_t>({0, -7}, {2});
  const auto noise = [&](const Tensor& examples, const Shape& shape, NoiseOrigin at, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::gaussian_noise, "refused", {examples}, {unset(shape)}, kAddress, at)
                        .is_refused(std::move(words)));
  };
  noise(ids.rows(0, 1), {2, 3, 4}, 0, {"(2)"});
  noise(ids, {2, 3, 4}, -1, {"3", "-1"});
  noise(ids, {2, 3, 4}, (int64_t{1} << 32) - 2, {"2^32"});
  noise(negative, {2, 3, 4}, 0, {"-7", "row 1"});
  noise(ids, {6, 4}, 0, {"(B, S, J)", "(6, 4)"});
  const Tensor two = Tensor::zeros({2}), scalar = Tensor::zeros({});
  for (const double p : {1.0, -0.1, std::nan("")})
    cases.push_back(case_of(kernel::dropout, "refused", {two}, {two}, kAddress, int64_t{0}, p).is_refused({"[0, 1)"}));
  cases.push_back(case_of(kernel::dropout, "refused", {Tensor::zeros({3})}, {two}, kAddress, int64_t{0}, 0.5)
                      .is_refused({"(3)", "(2)"}));
  cases.push_back(
      case_of(kernel::drop_path, "refused", {scalar}, {scalar}, kAddress, int64_t{0}, 0.5).is_refused({"first axis"}));
  for (const Dropping* kernel : {&kernel::dropout, &kernel::drop_path})
    cases.push_back(case_of(*kernel, "refused", {two}, {two}, kAddress, int64_t{-1}, 0.5).is_refused({"-1"}));
}

}  // namespace

KernelCases random_cases() {
  KernelCases cases;
  add_noise(cases);
  add_dropout(cases);
  add_refusals(cases);
  return cases;
}

KernelCases timed_random() {
  KernelCase c = noise(Tensor::zeros({64}, DType::i64), 64, 1024, 0);
  return {c.timed({"gaussian_noise 64x64x1024", 0, 64 * 64 * 1024 * 4.0})};
}

}  // namespace sked::test

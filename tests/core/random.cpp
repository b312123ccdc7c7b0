#include "core/kernels/random.h"

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::check_identical;
using test::error_of;
using test::one_line_with;
using test::random_tensor;

namespace {

const RngAddress kAddress{/*seed=*/31, /*stream=*/32, /*step=*/33};

/// The definition in core/kernels/random.h, one number at a time.
std::vector<double> noise_by_definition(const std::vector<int64_t>& examples, int64_t S, int64_t J,
                                        int64_t first_sample) {
  std::vector<double> values;
  for (int64_t example : examples) {
    for (int64_t s = 0; s < S; ++s) {
      for (int64_t j = 0; j < J; ++j) {
        const auto words = random_words(kAddress, static_cast<uint64_t>(example),
                                        static_cast<uint64_t>(first_sample + s), static_cast<uint64_t>(j / 4));
        values.push_back(static_cast<double>(normal4(words)[static_cast<size_t>(j % 4)]));
      }
    }
  }
  return values;
}

std::vector<double> dropped_by_definition(const Tensor& x, double p, int64_t width) {
  std::vector<double> values = x.to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t draw = i / static_cast<size_t>(width);
    const bool keep = static_cast<double>(uniform01(random_words(kAddress, 0, 0, draw / 4)[draw % 4])) >= p;
    values[i] = keep ? values[i] / (1 - p) : 0.0;
  }
  return values;
}

}  // namespace

TEST_CASE("gaussian_noise: bit for bit the addressed normals, whatever the shape") {
  for (int64_t J : {1, 2, 3, 4, 5, 10, 64, 255, 257, 1024}) {
    for (int64_t S : {1, 3}) {
      const std::vector<int64_t> examples = {0, 5, 1000000, 3, 5};
      const Tensor ids = Tensor::from(examples, {5});
      const std::vector<double> expected = noise_by_definition(examples, S, J, 2);
      for (DType dtype : {DType::f32, DType::f64}) {
        Tensor noise = Tensor::empty({5, S, J}, dtype);
        kernel::gaussian_noise(ids, noise, kAddress, 2);
        check_close(noise, expected, 0, "gaussian_noise");
      }
    }
  }
  Tensor empty = Tensor::empty({0, 2, 3});
  kernel::gaussian_noise(Tensor::from<int64_t>({}, {0}), empty, kAddress, 0);
  for (const Shape& shape : {Shape{2, 0, 3}, Shape{2, 3, 0}}) {
    empty = Tensor::empty(shape);
    kernel::gaussian_noise(Tensor::from<int64_t>({1, 2}, {2}), empty, kAddress, 0);
  }
}

TEST_CASE("gaussian_noise: a batch split in two, or its samples in two, draws the same numbers") {
  const Tensor ids = Tensor::from<int64_t>({3, 1, 4, 1, 5, 9}, {6});
  Tensor whole = Tensor::empty({6, 8, 10}), part = Tensor::empty({4, 8, 10}), late = Tensor::empty({6, 5, 10});
  kernel::gaussian_noise(ids, whole, kAddress, 0);
  kernel::gaussian_noise(ids.rows(2, 6), part, kAddress, 0);
  check_identical(part, whole.rows(2, 6), "split batch");
  kernel::gaussian_noise(ids, late, kAddress, 3);
  for (int64_t b = 0; b < 6; ++b) {
    const Tensor expected = whole.rows(b, b + 1).reshape({8, 10}).rows(3, 8);
    check_identical(late.rows(b, b + 1).reshape({5, 10}), expected, "split samples");
  }
}

TEST_CASE("gaussian_noise: a block of coordinates draws what the whole row would") {
  const Tensor ids = Tensor::from<int64_t>({3, 1}, {2});
  Tensor whole = Tensor::empty({2, 5, 50}), part = Tensor::empty({2, 3, 13});
  kernel::gaussian_noise(ids, whole, kAddress, 0);
  kernel::gaussian_noise(ids, part, kAddress, {2, 24});
  const auto all = whole.to_vector<double>(), some = part.to_vector<double>();
  for (size_t b = 0; b < 2; ++b)
    for (size_t s = 0; s < 3; ++s)
      for (size_t j = 0; j < 13; ++j) CHECK(some[(b * 3 + s) * 13 + j] == all[(b * 5 + s + 2) * 50 + j + 24]);
}

TEST_CASE("gaussian_noise: antithetic samples are pairs of one draw and its negative, however they are cut") {
  const Tensor ids = Tensor::from<int64_t>({3, 1}, {2});
  for (const DType dtype : {DType::f32, DType::f64}) {
    Tensor plain = Tensor::empty({2, 4, 10}, dtype), pairs = Tensor::empty({2, 7, 10}, dtype);
    Tensor late = Tensor::empty({2, 3, 6}, dtype);
    kernel::gaussian_noise(ids, plain, kAddress, 0);
    kernel::gaussian_noise(ids, pairs, kAddress, {0, 0, true});
    kernel::gaussian_noise(ids, late, kAddress, {4, 4, true});
    const auto single = plain.to_vector<double>(), both = pairs.to_vector<double>(), cut = late.to_vector<double>();
    for (size_t b = 0; b < 2; ++b)
      for (size_t s = 0; s < 7; ++s)
        for (size_t j = 0; j < 10; ++j) {
          const double drawn = single[(b * 4 + s / 2) * 10 + j];
          CHECK(both[(b * 7 + s) * 10 + j] == (s % 2 == 0 ? drawn : -drawn));
          if (s >= 4 && j >= 4) CHECK(cut[(b * 3 + s - 4) * 6 + j - 4] == both[(b * 7 + s) * 10 + j]);
        }
  }
}

TEST_CASE("gaussian_noise: errors") {
  Tensor noise = Tensor::empty({2, 3, 4});
  const Tensor ids = Tensor::from<int64_t>({0, 1}, {2});
  CHECK(one_line_with(error_of([&] { kernel::gaussian_noise(ids.rows(0, 1), noise, kAddress, 0); }), "[gaussian_noise]",
                      "(2)"));
  CHECK(one_line_with(error_of([&] { kernel::gaussian_noise(ids, noise, kAddress, -1); }), "3", "-1"));
  CHECK(one_line_with(error_of([&] { kernel::gaussian_noise(ids, noise, kAddress, (int64_t{1} << 32) - 2); }), "2^32"));
  const Tensor negative = Tensor::from<int64_t>({0, -7}, {2});
  CHECK(one_line_with(error_of([&] { kernel::gaussian_noise(negative, noise, kAddress, 0); }), "-7", "row 1"));
  Tensor flat = Tensor::empty({6, 4});
  CHECK(one_line_with(error_of([&] { kernel::gaussian_noise(ids, flat, kAddress, 0); }), "(B, S, J)", "(6, 4)"));
}

TEST_CASE("dropout and drop_path follow the addressed draws") {
  for (double p : {0.0, 0.1, 0.5, 0.999}) {
    for (DType dtype : {DType::f32, DType::f64}) {
      const double tolerance = dtype == DType::f32 ? 2e-7 : 1e-15;  // x · (1 / (1 − p)) for x / (1 − p)
      for (int64_t n : {0, 1, 3, 255, 256, 1000, 9001}) {
        const Tensor x = random_tensor({n}, dtype, 1);
        Tensor y = Tensor::like(x);
        kernel::dropout(x, y, kAddress, p);
        check_close(y, dropped_by_definition(x, p, 1), tolerance, "dropout");
        Tensor same = x.clone();
        kernel::dropout(same, same, kAddress, p);
        check_identical(same, y, "dropout in place");
      }
      for (const Shape& shape : {Shape{5, 7}, Shape{600, 3, 2}, Shape{9}, Shape{0, 3}, Shape{3, 0}}) {
        const Tensor x = random_tensor(shape, dtype, 2);
        Tensor y = Tensor::like(x);
        kernel::drop_path(x, y, kAddress, p);
        check_close(y, dropped_by_definition(x, p, std::max<int64_t>(1, shape.product(1, shape.ndim()))), tolerance,
                    "drop_path");
      }
    }
  }
}

TEST_CASE("dropout keeps a share of 1 − p and the mean") {
  const Tensor ones = Tensor::full({100000}, 1.0);
  Tensor y = Tensor::like(ones);
  kernel::dropout(ones, y, kAddress, 0.3);
  double mean = 0;
  for (double v : y.to_vector<double>()) mean += v / 100000;
  CHECK(std::abs(mean - 1) < 4 * std::sqrt(0.3 / 0.7 / 100000));  // four standard errors
}

TEST_CASE("dropout: errors") {
  Tensor y = Tensor::zeros({2});
  for (double p : {1.0, -0.1, std::nan("")}) {
    CHECK(one_line_with(error_of([&] { kernel::dropout(y, y, kAddress, p); }), "[dropout]", "[0, 1)"));
  }
  CHECK(one_line_with(error_of([&] { kernel::dropout(Tensor::zeros({3}), y, kAddress, 0.5); }), "(3)", "(2)"));
  Tensor scalar = Tensor::zeros({});
  CHECK(
      one_line_with(error_of([&] { kernel::drop_path(scalar, scalar, kAddress, 0.5); }), "[drop_path]", "first axis"));
}

TEST_CASE("random: the same bits for any number of threads") {
  const Tensor ids = test::random_indices(50, 1000, 3), x = random_tensor({401, 101}, DType::f32, 4);
  for (int64_t J : {10, 512}) {
    test::check_same_for_any_threads(
        [&] {
          Tensor noise = Tensor::empty({50, 9, J});
          kernel::gaussian_noise(ids, noise, kAddress, 0);
          return noise;
        },
        "gaussian_noise");
  }
  for (const auto* dropping : {&kernel::dropout, &kernel::drop_path}) {
    test::check_same_for_any_threads(
        [&] {
          Tensor y = Tensor::like(x);
          (*dropping)(x, y, kAddress, 0.2);
          return y;
        },
        dropping->name());
  }
}

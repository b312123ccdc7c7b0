#include "core/kernels/index.h"

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::error_of;
using test::one_line_with;
using test::random_indices;
using test::random_tensor;

TEST_CASE("gather_rows and scatter_add_rows against their definitions") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (auto [V, D, N] : {std::array<int64_t, 3>{1, 1, 1}, {5, 3, 20}, {7, 100, 0}, {50, 64, 900}, {3, 0, 2}}) {
      const Tensor table = random_tensor({V, D}, dtype, 1), dy = random_tensor({N, D}, dtype, 2),
                   ids = random_indices(N, V, 3);
      const std::vector<double> rows = table.to_vector<double>(), upstream = dy.to_vector<double>();
      const std::vector<int64_t> id = ids.to_vector<int64_t>();
      std::vector<double> gathered, sums = rows;
      for (int64_t n = 0; n < N; ++n) {
        for (int64_t d = 0; d < D; ++d) {
          const auto at = static_cast<size_t>(id[static_cast<size_t>(n)] * D + d);
          gathered.push_back(rows[at]);
          sums[at] += upstream[static_cast<size_t>(n * D + d)];
        }
      }
      Tensor y = Tensor::empty({N, D}, dtype), sum = table.clone();
      kernel::gather_rows(table, ids, y);
      kernel::scatter_add_rows(dy, ids, sum);
      check_close(y, gathered, 0, "gather_rows");
      check_close(sum, sums, dtype == DType::f32 ? 1e-5 : 1e-13,
                  "scatter_add_rows");  // up to 900 roundings of f32 in a row
    }
  }
}

TEST_CASE("pick and pick_backward against their definitions") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (auto [N, S, K] : {std::array<int64_t, 3>{1, 1, 1}, {4, 3, 5}, {0, 3, 5}, {4, 0, 5}, {300, 20, 10}}) {
      const Tensor x = random_tensor({N, S, K}, dtype, 4), dy = random_tensor({N, S}, dtype, 5),
                   index = random_indices(N, K, 6);
      const std::vector<double> values = x.to_vector<double>(), upstream = dy.to_vector<double>();
      const std::vector<int64_t> id = index.to_vector<int64_t>();
      std::vector<double> picked, gradient(values.size(), 0.0);
      for (int64_t i = 0; i < N * S; ++i) {
        const auto at = static_cast<size_t>(i * K + id[static_cast<size_t>(i / S)]);
        picked.push_back(values[at]);
        gradient[at] = upstream[static_cast<size_t>(i)];
      }
      Tensor y = Tensor::like(dy), dx = Tensor::full(x.shape(), 9.0, dtype);
      kernel::pick(x, index, y);
      kernel::pick_backward(dy, index, dx);
      check_close(y, picked, 0, "pick");
      check_close(dx, gradient, 0, "pick_backward");
    }
  }
}

TEST_CASE("index: an index out of range is named with its row") {
  const Tensor table = Tensor::zeros({4, 2}), x = Tensor::zeros({2, 3, 4});
  Tensor y = Tensor::zeros({2, 2}), picked = Tensor::zeros({2, 3});
  for (int64_t bad : {int64_t{4}, int64_t{-1}}) {
    const Tensor ids = Tensor::from<int64_t>({0, bad}, {2});
    const std::string value = "got " + std::to_string(bad) + " in row 1";
    CHECK(one_line_with(error_of([&] { kernel::gather_rows(table, ids, y); }), "[gather_rows]", "0 to 3", value));
    Tensor sum = table.clone();
    CHECK(one_line_with(error_of([&] { kernel::scatter_add_rows(y, ids, sum); }), "[scatter_add_rows]", value));
    CHECK(one_line_with(error_of([&] { kernel::pick(x, ids, picked); }), "[pick]", value));
    Tensor dx = x.clone();
    CHECK(one_line_with(error_of([&] { kernel::pick_backward(picked, ids, dx); }), "[pick_backward]", value));
  }
  const Tensor floats = Tensor::zeros({2});
  CHECK(one_line_with(error_of([&] { kernel::gather_rows(table, floats, y); }), "i64", "f32"));
  CHECK(one_line_with(error_of([&] { kernel::gather_rows(table, random_indices(3, 4, 1), y); }), "(2)", "(3)"));
}

TEST_CASE("scatter_add_rows: the same bits for any number of threads") {
  const Tensor dy = random_tensor({1000, 130}, DType::f32, 7), ids = random_indices(1000, 7, 8);
  test::check_same_for_any_threads(
      [&] {
        Tensor sum = Tensor::zeros({7, 130});
        kernel::scatter_add_rows(dy, ids, sum);
        return sum;
      },
      "scatter_add_rows");
}

TEST_CASE("look_up: every byte in every channel, and what does not fit") {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (const auto& [channels, columns] : {std::array<int64_t, 2>{3, 3}, {3, 1}, {1, 1}, {5, 5}}) {
      const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
      const Tensor table = random_tensor({256, columns}, wide, 1);
      Tensor x = Tensor::empty({256, channels}, DType::u8), y = Tensor::empty({256, channels}, dtype);
      for (int64_t i = 0; i < x.numel(); ++i)
        x.data<uint8_t>()[i] = static_cast<uint8_t>((i / channels * 7 + i % channels * 31) % 256);
      kernel::look_up(x, table, y);
      const std::vector<double> values = table.to_vector<double>();
      std::vector<double> expected;
      for (int64_t i = 0; i < x.numel(); ++i) {
        const double v =
            values[static_cast<size_t>(x.data<uint8_t>()[i] * columns + (columns == 1 ? 0 : i % channels))];
        expected.push_back(dtype == DType::bf16 ? static_cast<double>(static_cast<float>(bf16(static_cast<float>(v))))
                                                : v);
      }
      CHECK(y.to_vector<double>() == expected);
    }
  Tensor none = Tensor::empty({0, 3});
  kernel::look_up(Tensor::empty({0, 3}, DType::u8), Tensor::empty({256, 3}), none);
  const Tensor x = Tensor::zeros({2, 3}, DType::u8);
  Tensor y = Tensor::empty({2, 3});
  const auto refusal = [&](const Tensor& bytes, const Tensor& table) {
    return error_of([&] { kernel::look_up(bytes, table, y); });
  };
  CHECK(one_line_with(refusal(x, Tensor::zeros({255, 3})), "[look_up]", "256 rows", "(255, 3)"));
  CHECK(one_line_with(refusal(x, Tensor::zeros({256, 2})), "1 or 3", "(256, 2)"));
  CHECK(one_line_with(refusal(y, Tensor::zeros({256, 3})), "u8", "f32"));
  CHECK(one_line_with(refusal(Tensor::zeros({3, 2}, DType::u8), Tensor::zeros({256, 1})), "(3, 2)", "(2, 3)"));
  CHECK(one_line_with(refusal(x, Tensor::zeros({256, 3}, DType::f64)), "f32", "f64"));
}

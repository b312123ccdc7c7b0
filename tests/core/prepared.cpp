// What kernels prepare of weights: kept where it is asked for, as long as the weights stay as they are.

#include <doctest/doctest.h>
#include <omp.h>

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"
#include "core/threads.h"
#include "tests/common/compare.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"

namespace sked::test {

TEST_CASE("prepared: made once for each purpose and place, and anew when the weights may have changed") {
  Tensor w = hash_tensor({6, 4}, 1);
  int made = 0;
  const char purpose = 0, other = 0;
  const auto sum = [&](const Tensor& of, const void* how) {
    return of
        .prepared(how,
                  [&] {
                    ++made;
                    double total = 0;
                    for (const double x : of.to_vector<double>()) total += x;
                    return Tensor::full({1}, total, DType::f64);
                  })
        .item();
  };
  const auto is_made = [&](bool expected, const Tensor& of, const void* how) {
    const int before = made;
    double total = 0;
    for (const double x : of.to_vector<double>()) total += x;
    CHECK(sum(of, how) == total);
    CHECK((made > before) == expected);
  };
  CHECK_FALSE(w.keeps_prepared());
  is_made(true, w, &purpose);
  is_made(true, w, &purpose);  // nothing is kept
  w.keep_prepared();
  CHECK(w.keeps_prepared());
  CHECK_FALSE(w.clone().keeps_prepared());
  is_made(true, w, &purpose);
  is_made(false, w, &purpose);
  is_made(false, Tensor(w), &purpose);
  is_made(true, w, &other);
  is_made(true, w.rows(2, 4), &purpose);
  is_made(false, w.rows(2, 4), &purpose);
  is_made(true, w.rows(0, 2), &purpose);  // begins where w does
  is_made(true, w.reshape({4, 6}), &purpose);
  w.keep_prepared();
  is_made(false, w, &other);
  for (const std::function<void(Tensor&)>& write : std::vector<std::function<void(Tensor&)>>{
           [](Tensor& t) { t.fill(2); }, [](Tensor& t) { t.data<float>()[3] = 7; },
           [](Tensor& t) {
             t.copy_from(hash_tensor({6, 4}, 2));
           },
           [](Tensor& t) { t.rows(1, 2).fill(5); }}) {
    write(w);
    is_made(true, w, &purpose);
    is_made(true, w, &other);
    is_made(false, w, &purpose);
  }
  CHECK(one_line_with(error_of([] { Tensor().keep_prepared(); }), "defined"));
}

TEST_CASE("prepared: products and convolutions by weights that keep it are those of the definition, whatever changed") {
  struct Case {
    std::string name;
    Shape x, w, y;
    bool convolution;
  };
  const std::vector<Case> cases{{"few rows", {5, 32}, {48, 32}, {5, 48}, false},
                                {"many rows", {300, 32}, {48, 32}, {300, 48}, false},
                                {"1x1", {2, 5, 6, 32}, {16, 32, 1, 1}, {2, 5, 6, 16}, true},
                                {"3x3, few pixels", {1, 5, 6, 128}, {128, 128, 3, 3}, {1, 5, 6, 128}, true},
                                {"Winograd's", {2, 7, 6, 128}, {128, 128, 3, 3}, {2, 7, 6, 128}, true}};
  for (const Case& c : cases) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(c.name);
      CAPTURE(name(dtype));
      const ProductsIn precision(dtype == DType::bf16 ? Precision::bf16 : Precision::f32);
      const Tensor x = hash_tensor(c.x, 1).to(dtype);
      Tensor w = hash_tensor(c.w, 2, 0.1f), none;
      w.keep_prepared();
      const auto product = [&] {
        Tensor y = Tensor::empty(c.y, dtype);
        if (c.convolution)
          kernel::conv2d_forward(x, w, none, y, {c.w[2], 1, c.w[2] / 2});
        else
          kernel::linear_forward(x, w, none, y, none, Activation::none);
        return y;
      };
      for (int change = 0; change < 2; ++change) {
        const Tensor first = product();
        CHECK(same_bits(product(), first));
        const ReferenceOnly definition;
        check_close(c.name, first.to(DType::f32), product().to(DType::f32), dtype == DType::bf16 ? 3e-2 : 1e-5);
        w.copy_from(hash_tensor(c.w, 3, 0.1f));
      }
    }
  }
}

TEST_CASE("threads: each on one of them, with the first exception by number, and nothing else changed") {
  const Threads three(3);
  std::vector<int> calls(50, 0);
  std::atomic<int> team{0};
  each_on_one_thread(50, [&](int64_t i) {
    ++calls[static_cast<size_t>(i)];
    team = std::max(team.load(), omp_get_max_threads());
#pragma omp parallel
    team = std::max(team.load(), omp_get_num_threads());
  });
  CHECK(calls == std::vector<int>(50, 1));
  CHECK(team == 1);
  CHECK(omp_get_max_threads() == 3);
  each_on_one_thread(0, [](int64_t) { FAIL("called for nothing"); });
  const std::string error =
      error_of([] { each_on_one_thread(9, [](int64_t i) { require(i % 4 != 3, "test", "number ", i); }); });
  CHECK(one_line_with(error, "number 3"));
}

}  // namespace sked::test

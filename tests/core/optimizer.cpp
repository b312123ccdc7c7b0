#include "core/kernels/optimizer.h"

#include <limits>

#include "tests/common/files.h"
#include "tests/core/compare.h"

using namespace sked;
using test::check_close;
using test::error_of;
using test::one_line_with;
using test::random_tensor;

namespace {

/// Sizes on both sides of a piece (16 Ki), a scalar and an empty tensor.
const std::vector<Shape> kShapes = {{3, 5}, {}, {16384}, {0}, {20000}, {130, 129}};
const std::vector<double> kDecay = {0.1, 0.0, 0.05, 0.1, 0.0, 0.2};

TensorList random_list(DType dtype, uint64_t salt) {
  TensorList list;
  for (const Shape& shape : kShapes) list.push_back(random_tensor(shape, dtype, salt++));
  return list;
}

TensorList clones(const TensorList& list) {
  TensorList copies;
  for (const Tensor& t : list) copies.push_back(t.clone());
  return copies;
}

std::vector<double> flat(const TensorList& list) {
  std::vector<double> all;
  for (const Tensor& t : list) {
    for (double v : t.to_vector<double>()) all.push_back(v);
  }
  return all;
}

/// The decay of every element of flat().
std::vector<double> flat_decay() {
  std::vector<double> all;
  for (size_t i = 0; i < kShapes.size(); ++i) all.insert(all.end(), static_cast<size_t>(kShapes[i].numel()), kDecay[i]);
  return all;
}

double tolerance(DType dtype) { return dtype == DType::f32 ? 2e-6 : 1e-13; }  // a few roundings a step, five steps

}  // namespace

TEST_CASE("sgd_step: five steps against the textbook") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (double momentum : {0.0, 0.9}) {
      for (bool nesterov : {false, true}) {
        const double scale = 0.5, lr = 0.1;
        TensorList p = random_list(dtype, 1), m;
        for (const Tensor& t : p) m.push_back(Tensor::full(t.shape(), std::numeric_limits<double>::quiet_NaN(), dtype));
        std::vector<double> ps = flat(p), ms(ps.size(), 0.0);
        const std::vector<double> decay = flat_decay();
        for (int step = 0; step < 5; ++step) {
          const TensorList g = random_list(dtype, 100 + static_cast<uint64_t>(step));
          const std::vector<double> gs = flat(g);
          TensorList none;
          kernel::sgd_step(p, g, momentum == 0 ? none : m, none, kDecay, Tensor::full({1}, scale, dtype),
                           {lr, momentum, nesterov, step == 0});
          for (size_t i = 0; i < ps.size(); ++i) {
            const double grad = scale * gs[i] + decay[i] * ps[i];
            ms[i] = momentum * ms[i] + grad;
            ps[i] -= lr * (nesterov ? grad + momentum * ms[i] : ms[i]);
          }
        }
        check_close(flat(p), ps, tolerance(dtype), "sgd parameters");
        if (momentum > 0) check_close(flat(m), ms, tolerance(dtype), "sgd momentum");
      }
    }
  }
}

TEST_CASE("adam_step: five steps against the textbook, coupled and decoupled") {
  for (DType dtype : {DType::f32, DType::f64}) {
    for (bool decoupled : {false, true}) {
      const double lr = 0.01, b1 = 0.9, b2 = 0.999, eps = 1e-8;
      TensorList p = random_list(dtype, 1), m, v, none;
      for (const Tensor& t : p) m.push_back(Tensor::zeros_like(t)), v.push_back(Tensor::zeros_like(t));
      std::vector<double> ps = flat(p), ms(ps.size(), 0.0), vs = ms;
      const std::vector<double> decay = flat_decay();
      for (int t = 1; t <= 5; ++t) {
        const TensorList g = random_list(dtype, 200 + static_cast<uint64_t>(t));
        const std::vector<double> gs = flat(g);
        kernel::adam_step(p, g, m, v, none, kDecay, Tensor(), {lr, b1, b2, eps, decoupled, t});
        for (size_t i = 0; i < ps.size(); ++i) {
          if (decoupled) ps[i] -= lr * decay[i] * ps[i];
          const double grad = gs[i] + (decoupled ? 0.0 : decay[i] * ps[i]);
          ms[i] = b1 * ms[i] + (1 - b1) * grad;
          vs[i] = b2 * vs[i] + (1 - b2) * grad * grad;
          ps[i] -= lr * (ms[i] / (1 - std::pow(b1, t))) / (std::sqrt(vs[i] / (1 - std::pow(b2, t))) + eps);
        }
      }
      check_close(flat(p), ps, dtype == DType::f32 ? 1e-5 : 1e-12, "adam parameters");  // f32: sqrt of v from few steps
      check_close(flat(m), ms, tolerance(dtype), "adam m");
      check_close(flat(v), vs, tolerance(dtype), "adam v");
    }
  }
}

TEST_CASE("adam_step: a zero gradient moves nothing but the decay") {
  TensorList p{Tensor::full({2}, 1.0)}, m{Tensor::zeros({2})}, v{Tensor::zeros({2})}, none;
  kernel::adam_step(p, {Tensor::zeros({2})}, m, v, none, {0.5}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 1});
  check_close(p[0], {0.95, 0.95}, 1e-7, "adamw");
}

TEST_CASE("global_norm") {
  for (DType dtype : {DType::f32, DType::f64}) {
    const TensorList list = random_list(dtype, 5);
    double squares = 0;
    for (double v : flat(list)) squares += v * v;
    Tensor norm = Tensor::empty({1}, dtype);
    kernel::global_norm(list, norm);
    CHECK(norm.item() == doctest::Approx(std::sqrt(squares)).epsilon(dtype == DType::f32 ? 1e-7 : 1e-13));
  }
  Tensor norm = Tensor::empty({1});
  kernel::global_norm({}, norm);
  CHECK(norm.item() == 0);
  kernel::global_norm({Tensor::full({3}, 1e30)}, norm);  // its square would overflow f32
  CHECK(norm.item() == doctest::Approx(std::sqrt(3.0) * 1e30));
}

TEST_CASE("ema_step") {
  TensorList averages = random_list(DType::f32, 6);
  const TensorList values = random_list(DType::f32, 7);
  std::vector<double> expected = flat(averages);
  const std::vector<double> vs = flat(values);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = 0.9 * expected[i] + 0.1 * vs[i];
  kernel::ema_step(averages, values, 0.9);
  check_close(flat(averages), expected, 1e-6, "ema_step");
  // What does not change stays, bit for bit: with decays near 1 it would drift away otherwise.
  TensorList still = clones(values);
  for (int i = 0; i < 100; ++i) kernel::ema_step(still, values, 0.9999);
  CHECK(flat(still) == flat(values));
}

TEST_CASE("optimizer: errors, and empty lists") {
  TensorList p{Tensor::zeros({2})}, none;
  kernel::sgd_step(none, {}, none, none, {}, Tensor(), {0.1, 0, false, true});
  kernel::adam_step(none, {}, none, none, none, {}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 1});
  kernel::ema_step(none, {}, 0.9);
  const SgdStep step{0.1, 0.9, false, true};
  CHECK(one_line_with(error_of([&] { kernel::sgd_step(p, {}, p, none, {0}, Tensor(), step); }), "[sgd_step]",
                      "gradients", "got 0"));
  CHECK(one_line_with(error_of([&] { kernel::sgd_step(p, p, none, none, {0}, Tensor(), step); }), "momentum"));
  CHECK(one_line_with(error_of([&] { kernel::sgd_step(p, p, p, none, {}, Tensor(), step); }), "weight decays"));
  CHECK(one_line_with(error_of([&] { kernel::sgd_step(p, {Tensor::zeros({3})}, p, none, {0}, Tensor(), step); }), "(2)",
                      "(3)"));
  CHECK(one_line_with(error_of([&] {
                        kernel::adam_step(p, p, p, p, none, {0}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 0});
                      }),
                      "[adam_step]", "got 0"));
  Tensor two = Tensor::zeros({2});
  CHECK(one_line_with(error_of([&] { kernel::global_norm(p, two); }), "[global_norm]", "(2)"));
  CHECK(one_line_with(error_of([&] { kernel::ema_step(p, {Tensor::zeros({2}, DType::f64)}, 0.9); }), "f32", "f64"));
}

TEST_CASE("optimizer: the same bits for any number of threads") {
  const TensorList p = random_list(DType::f32, 8), g = random_list(DType::f32, 20),
                   big{random_tensor({90001}, DType::f32, 9)};
  test::check_same_for_any_threads(
      [&] {
        Tensor norm = Tensor::empty({1});
        kernel::global_norm(p, norm);
        return norm;
      },
      "global_norm");
  test::check_same_for_any_threads(
      [&] {
        TensorList q = clones(big), m = clones(big), v{Tensor::full({90001}, 0.5)}, none;
        kernel::adam_step(q, big, m, v, none, {0.1}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 3});
        kernel::sgd_step(q, big, m, none, {0.1}, Tensor(), {0.1, 0.9, true, false});
        kernel::ema_step(q, big, 0.9);
        return q[0];
      },
      "steps");
}

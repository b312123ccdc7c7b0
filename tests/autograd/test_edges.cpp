// Where ops break: kinks, ties, extents of 1 and 0, equal logits, logits of 1e4, wrong shapes.

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/attention.h"
#include "autograd/batch_norm.h"
#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/group_norm.h"
#include "autograd/index.h"
#include "autograd/layer_norm.h"
#include "autograd/loss.h"
#include "autograd/matmul.h"
#include "autograd/pool.h"
#include "autograd/random.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"

namespace sked::test {

namespace {

using Values = std::vector<double>;

struct Result {
  Values y, dx;
};

/// y = f(x) and the gradient of Σ y, or of <dy, y>, in f64.
Result run(Var (*f)(const Var&), const Values& x, const Shape& shape, const Values& dy = {}) {
  const Var v(Tensor::from(x, shape), true);
  const Var y = f(v);
  y.backward(dy.empty() ? Tensor::full(y.shape(), 1, DType::f64) : Tensor::from(dy, y.shape()));
  return {y.value().to_vector<double>(), v.grad().to_vector<double>()};
}

/// The same in f32, which overflows at 1e38 and rounds 1e4 to thousandths.
Result run_f32(const std::function<Var(const Var&)>& f, const Values& x, const Shape& shape) {
  const Var v(Tensor::from(x, shape).to(DType::f32), true);
  const Var y = f(v);
  y.backward(Tensor::full(y.shape(), 1));
  return {y.value().to_vector<double>(), v.grad().to_vector<double>()};
}

bool all_finite(const Values& values) {
  for (const double v : values) {
    if (!std::isfinite(v)) return false;
  }
  return true;
}

const Tensor kLabels = Tensor::from(std::vector<int64_t>{0, 1}, {2});

}  // namespace

TEST_CASE("kinks: relu and abs have derivative 0 at 0") {
  CHECK(run(relu, {-1, 0, 2}, {3}).dx == Values{0, 0, 1});
  CHECK(run(abs, {-1, 0, 2}, {3}).dx == Values{-1, 0, 1});
  const Var x(Tensor::zeros({1, 1}), true), w(Tensor::full({1, 1}, 1), true);
  sum(linear(x, w, {}, Activation::relu)).backward();
  CHECK(x.grad().item() == 0);
}

TEST_CASE("ties") {
  CHECK(run([](const Var& x) { return max(x, 0); }, {2, 1, 2, 2}, {4}, {3}).dx == Values{1, 0, 1, 1});
  const Var a(Tensor::full({2}, 1), true), b(Tensor::full({2}, 1), true);
  sum(maximum(a, b) + minimum(a, b)).backward();
  CHECK(a.grad().to_vector<double>() == Values{2, 2});
  CHECK(b.grad().to_vector<double>() == Values{0, 0});
  // The first maximum of a window gets it all.
  CHECK(run([](const Var& x) { return max_pool2d(x, {.kernel = 2, .stride = 2}); }, {1, 1, 1, 1}, {1, 2, 2, 1}).dx ==
        Values{1, 0, 0, 0});
}

TEST_CASE("rows of equal logits") {
  const Values x(6, 7.5);
  for (const double y : run(softmax, x, {2, 3}).y) CHECK(y == doctest::Approx(1.0 / 3));
  for (const double y : run(log_softmax, x, {2, 3}).y) CHECK(y == doctest::Approx(-std::log(3)));
  for (const double y : run([](const Var& v) { return logmeanexp(v, 1); }, x, {2, 3}).y)
    CHECK(y == doctest::Approx(7.5));
  const Result norm = run([](const Var& v) { return layer_norm(v, {}, {}); }, x, {2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(norm.y == Values(6, 0.0));
  CHECK(all_finite(norm.dx));
}

TEST_CASE("logits of 1e4 neither overflow nor vanish") {
  const Values x{1e4, -1e4, 0, -1e4, 1e4, 0};
  const Shape s{2, 3};
  const Result soft = run_f32([](const Var& v) { return softmax(v); }, x, s);
  CHECK(soft.y == Values{1, 0, 0, 0, 1, 0});
  CHECK(all_finite(soft.dx));
  CHECK(run_f32([](const Var& v) { return log_softmax(v); }, x, s).y == Values{0, -2e4, -1e4, -2e4, 0, -1e4});
  CHECK(run_f32([](const Var& v) { return logsumexp(v, 1); }, x, s).y == Values{1e4, 1e4});
  CHECK(run_f32([](const Var& v) { return cross_entropy(v, kLabels); }, x, s).y == Values{0, 0});
  const Result wrong = run_f32(
      [](const Var& v) {
        return cross_entropy(v, Tensor::from(std::vector<int64_t>{1, 0}, {2}));
      },
      x, s);
  CHECK(wrong.y == Values{2e4, 2e4});
  CHECK(wrong.dx == Values{1, -1, 0, -1, 1, 0});
  CHECK(run_f32([](const Var& v) { return softplus(v); }, x, s).y ==
        Values{1e4, 0, 0.6931471824645996, 0, 1e4, 0.6931471824645996});
  CHECK(run_f32([](const Var& v) { return log_sigmoid(v); }, {1e4, -1e4}, {2}).y == Values{0, -1e4});
  CHECK(run_f32([](const Var& v) { return sigmoid(v); }, {1e4, -1e4}, {2}).dx == Values{0, 0});
  CHECK(run_f32([](const Var& v) { return gelu(v); }, {1e4, -1e4}, {2}).dx == Values{1, 0});
}

TEST_CASE("sigmoid cross-entropy far out: right by the last digit, not clipped") {
  const auto loss = [](const Var& v) {
    return sigmoid_cross_entropy(v, Tensor::from(std::vector<float>{1, 0, 1, 0}, {2, 2}));
  };
  CHECK(run_f32(loss, {1e4, -1e4, -1e4, 1e4}, {2, 2}).y == Values{0, 2e4});
  CHECK(run_f32(loss, {1e4, -1e4, -1e4, 1e4}, {2, 2}).dx == Values{0, 0, -1, 1});
  // log(1 + e^-20) is below f32's resolution of 20, and must survive all the same.
  const Result tiny = run_f32(loss, {20, -20, 20, -20}, {2, 2});
  CHECK(tiny.y[0] == doctest::Approx(2 * std::exp(-20.0)).epsilon(1e-6));
}

TEST_CASE("empty batches go forward and backward") {
  const Var x(Tensor::zeros({0, 3}), true), w(Tensor::zeros({4, 3}), true), b(Tensor::zeros({4}), true);
  const Var y = linear(x, w, b, Activation::gelu);
  CHECK(y.shape() == Shape{0, 4});
  const Var gamma(Tensor::zeros({4}), true), beta(Tensor::zeros({4}), true);
  Var loss = sum(softmax(layer_norm(y, gamma, beta))) + sum(cross_entropy(y, Tensor::zeros({0}, DType::i64)));
  loss = loss + sum(exp(y) * b) + sum(matmul(y, Var(Tensor::zeros({4, 2}), true)));
  loss.backward();
  CHECK(x.grad().shape() == Shape{0, 3});
  CHECK(w.grad().to_vector<double>() == Values(12, 0.0));
  CHECK(b.grad().to_vector<double>() == Values(4, 0.0));

  const Var images(Tensor::zeros({0, 4, 4, 2}), true), filter(Tensor::full({3, 2, 3, 3}, 1), true);
  const Var pooled =
      global_avg_pool(max_pool2d(conv2d(images, filter, {}, {.kernel = 3, .padding = 1}), {.kernel = 2, .stride = 2}));
  CHECK(pooled.shape() == Shape{0, 3});
  sum(pooled).backward();
  CHECK(filter.grad().to_vector<double>() == Values(54, 0.0));
  const Var qkv(Tensor::zeros({0, 3, 12}), true);
  sum(attention(qkv, 2)).backward();
  CHECK(qkv.grad().shape() == Shape{0, 3, 12});
}

TEST_CASE("one sample, one class, rank 0") {
  CHECK(run(softmax, {5}, {1, 1}).y == Values{1});
  CHECK(run([](const Var& v) { return cross_entropy(v, Tensor::zeros({1}, DType::i64)); }, {5}, {1, 1}).dx ==
        Values{0});
  CHECK(run([](const Var& v) { return logmeanexp(v, 0); }, {3.5}, {1}).y == Values{3.5});
  CHECK(run([](const Var& v) { return sum(exp(v) * v); }, {0}, {}).dx == Values{1});
  CHECK(run([](const Var& v) { return reshape(v, Shape{}); }, {4}, {1, 1}).dx == Values{1});
}

TEST_CASE("wrong arguments: one line that names op and values") {
  const Var x(Tensor::zeros({2, 3}), true), w(Tensor::zeros({4, 3}), true);
  CHECK_THROWS_WITH_AS(matmul(x, w),
                       "[matmul] expected inner extents to agree, got (2, 3) f32 on cpu and (4, 3) f32 on cpu", Error);
  CHECK_THROWS_AS(linear(x, x.detach(), Var(Tensor::zeros({3}))), Error);
  CHECK_THROWS_WITH_AS(linear(x, w, Var(Tensor::zeros({3}))), "[linear] b expected (4), got (3) f32 on cpu", Error);
  CHECK_THROWS_AS(conv2d(x, w, {}, {}), Error);
  CHECK_THROWS_AS(max_pool2d(x, {}), Error);
  CHECK_THROWS_AS(permute(x, {0, 0}), Error);
  CHECK_THROWS_AS(permute(x, {0}), Error);
  CHECK_THROWS_AS(slice(x, 1, 2, 4), Error);
  CHECK_THROWS_AS(slice(x, 2, 0, 1), Error);
  CHECK_THROWS_AS(concat({}, 0), Error);
  CHECK_THROWS_AS(concat({x, Var(Tensor::zeros({2, 2}))}, 0), Error);
  CHECK_THROWS_AS(broadcast_to(x, {3, 2}), Error);
  CHECK_THROWS_AS(attention(Var(Tensor::zeros({1, 2, 10})), 2), Error);
  CHECK_THROWS_AS(group_norm(Var(Tensor::zeros({1, 2, 6})), Var(Tensor::zeros({6})), Var(Tensor::zeros({6})), 4),
                  Error);
  CHECK_THROWS_AS(layer_norm(x, Var(Tensor::zeros({3})), {}), Error);
  CHECK_THROWS_WITH_AS(add_layer_norm(x, w, {}, {}), "[add_layer_norm] branch expected (2, 3), got (4, 3) f32 on cpu",
                       Error);
  CHECK_THROWS_AS(add_layer_norm(x, Var(x.value().to(DType::f64)), {}, {}), Error);
  CHECK_THROWS_WITH_AS(dropout(x, 1, {}), "[dropout] expected 0 <= p < 1, got 1", Error);
  CHECK_THROWS_AS(drop_path(x, NAN, {}), Error);
  CHECK_THROWS_AS(cross_entropy(x, Tensor::from(std::vector<int64_t>{0, 3}, {2})), Error);
  CHECK_THROWS_AS(cross_entropy(x, Tensor::from(std::vector<int64_t>{0}, {1})), Error);
  CHECK_THROWS_AS(pick(x, Tensor::from(std::vector<int64_t>{0, -1}, {2})), Error);
  CHECK_THROWS_AS(embedding(w, Tensor::from(std::vector<int64_t>{4}, {1})), Error);
  CHECK_THROWS_AS(embedding(w, Tensor::zeros({1})), Error);
  CHECK_THROWS_AS(mean(Var(Tensor::zeros({2, 0})), 1), Error);
  CHECK_THROWS_AS(logmeanexp(Var(Tensor::zeros({2, 0})), 1), Error);
  Tensor mean = Tensor::zeros({3}), var = Tensor::full({3}, 1);
  const Var gamma(Tensor::zeros({3}), true);
  CHECK_THROWS_AS(batch_norm(Var(Tensor::zeros({1, 3})), {}, gamma, gamma, mean, var, {}), Error);
}

TEST_CASE("batch norm moves the running statistics in training only, with the unbiased variance") {
  Tensor mean = Tensor::zeros({1}), var = Tensor::full({1}, 1);
  const Var x(Tensor::from(std::vector<float>{1, 2, 6}, {3, 1})), gamma(Tensor::full({1}, 1)), beta(Tensor::zeros({1}));
  batch_norm(x, {}, gamma, beta, mean, var, {.training = false});
  CHECK(mean.item() == 0);
  batch_norm(x, {}, gamma, beta, mean, var, {.momentum = 0.5});
  CHECK(mean.item() == doctest::Approx(1.5));
  CHECK(var.item() == doctest::Approx(0.5 + 0.5 * 7));  // (4 + 1 + 9) / 2 = 7
}

}  // namespace sked::test

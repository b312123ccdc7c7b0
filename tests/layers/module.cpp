// The tree of parameters, and what Init draws.

#include "layers/module.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

using namespace sked;

namespace {

struct Leaf : Module {
  Leaf() {
    add("weight", weight);
    add("absent", absent);
    add("mean", mean);
  }
  Var weight = parameter(Tensor::zeros({2, 3}));
  Var absent;
  Tensor mean = Tensor::zeros({3});
};

struct Tree : Module {
  Tree() {
    add("scale", scale);
    add("left.0", left);
    add("", bare);
  }
  void add_again() { add("scale", scale); }
  Var scale = parameter(Tensor::zeros({}));
  Leaf left, bare;
};

struct Moments {
  double mean = 0, std = 0, largest = 0;
};

Moments moments(const Tensor& t) {
  const std::vector<double> v = t.to_vector<double>();
  Moments m;
  for (const double x : v) m.mean += x / static_cast<double>(v.size());
  for (const double x : v) {
    m.std += (x - m.mean) * (x - m.mean) / static_cast<double>(v.size());
    m.largest = std::max(m.largest, std::abs(x));
  }
  m.std = std::sqrt(m.std);
  return m;
}

}  // namespace

TEST_CASE("module: names are joined by dots in order of registration, a child without a name adds none") {
  Tree tree;
  std::vector<std::string> names;
  for (const NamedVar& p : tree.parameters()) names.push_back(p.name);
  CHECK(names == std::vector<std::string>{"scale", "left.0.weight", "weight"});
  REQUIRE(tree.buffers().size() == 2);
  CHECK(tree.buffers()[0].first == "left.0.mean");
  CHECK(tree.buffers()[1].first == "mean");
  CHECK(tree.buffers()[0].second == &tree.left.mean);
  CHECK(tree.parameter_count() == 1 + 6 + 6);
}

TEST_CASE("module: what the tree lists are the members themselves") {
  Tree tree;
  tree.parameters()[1].var.mutable_value().fill(7);
  CHECK(tree.left.weight.value().to_vector<float>() == std::vector<float>(6, 7));
  tree.set_requires_grad(false);
  CHECK_FALSE(tree.scale.requires_grad());
  CHECK_FALSE(tree.bare.weight.requires_grad());
  tree.set_requires_grad(true);
  CHECK(tree.bare.weight.requires_grad());
}

TEST_CASE("module: a name taken twice is an error") {
  Tree tree;
  CHECK_THROWS_WITH_AS(tree.add_again(), "[module] a second member is named scale", Error);
}

TEST_CASE("init: moments") {
  // n = 200,000: the mean is off by 5 std / sqrt(n) = 0.011 std, the standard deviation by 5 / sqrt(2n) = 0.8 % at five
  // sigmas.
  const Shape shape{200, 100, 2, 5};
  const auto check = [](const Tensor& t, double std) {
    const Moments m = moments(t);
    CHECK(std::abs(m.mean) < 0.011 * std);
    CHECK(m.std == doctest::Approx(std).epsilon(0.008));
    return m.largest;
  };
  Init init(3);
  CHECK(check(init.normal(shape, 0.5), 0.5) > 1.5);
  CHECK(check(init.kaiming_fan_out(shape), std::sqrt(2.0 / 2000)) > 0);
  CHECK(check(init.lecun_normal(shape, 2), 2 * std::sqrt(1.0 / 1000)) > 0);
  const double bound = std::sqrt(6.0 / 3000);
  const double largest = check(init.xavier_uniform(shape), bound / std::sqrt(3.0));
  CHECK(largest <= bound);
  CHECK(largest > 0.999 * bound);
  CHECK(check(init.uniform(shape, 3), std::sqrt(3.0)) <= 3);

  // Cut at ±2: a normal distribution of std 1 keeps a variance of 1 − 4 pdf(2) / (2 cdf(2) − 1) = 0.7737; one of 0.02
  // loses nothing.
  CHECK(check(init.truncated_normal(shape, 1), std::sqrt(0.7737)) <= 2);
  CHECK(check(init.truncated_normal(shape, 0.02), 0.02) > 0.06);
  CHECK(moments(init.constant({5}, -10)).mean == -10);
}

TEST_CASE("init: a function of the seed and the order of construction alone") {
  const auto draw = [](uint64_t seed) {
    Init init(seed);
    std::vector<float> all;
    for (const Tensor& t : {init.normal({7, 3}, 1), init.truncated_normal({7, 3}, 1), init.uniform({7, 3}, 1)})
      for (const float v : t.to_vector<float>()) all.push_back(v);
    all.push_back(static_cast<float>(init.next_stream()));
    return all;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));

  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<float> alone = draw(1);
  omp_set_num_threads(3);
  CHECK(draw(1) == alone);
  omp_set_num_threads(threads);

  Init blank = Init::blank();
  CHECK(blank.normal({3}, 1).to_vector<float>() == std::vector<float>(3, 0));
  CHECK(blank.uniform({3}, 1).to_vector<float>() == std::vector<float>(3, 0));
  CHECK(blank.next_stream() == 3);

  // Two draws of one Init differ, and a longer one starts like a shorter one.
  Init a(5), b(5);
  const std::vector<float> ten = a.normal({10}, 1).to_vector<float>();
  const std::vector<float> six = b.normal({6}, 1).to_vector<float>();
  CHECK(std::vector<float>(ten.begin(), ten.begin() + 6) == six);
  CHECK(a.normal({10}, 1).to_vector<float>() != ten);
}

TEST_CASE("init: rows of a weight are those that the whole has, wherever they begin") {
  const Shape shape{11, 7};
  Init whole(5);
  const Tensor all = whole.lecun_normal(shape, 2);
  for (int64_t begin = 0; begin < 11; ++begin) {
    for (const int64_t end : {begin + 1, int64_t{11}}) {
      Init init(5);
      const Tensor rows = init.lecun_normal(shape, 2, {begin, end});
      CHECK(rows.to_vector<float>() == all.rows(begin, end).to_vector<float>());
      CHECK(init.next_stream() == 2);
    }
  }
  Init blank = Init::blank();
  CHECK(blank.lecun_normal(shape, 2, {3, 5}).shape() == Shape{2, 7});
}

TEST_CASE("module: a parameter divided among ranks counts as a whole") {
  struct Divided : Module {
    Divided() {
      add("weight", weight, {4, 9});
      add("whole", whole);
    }
    Var weight = parameter(Tensor::zeros({2, 3})), whole = parameter(Tensor::zeros({5}));
  } module;
  const std::vector<NamedVar> parameters = module.parameters();
  CHECK(parameters[0].shard.divided());
  CHECK(parameters[0].shard.first == 4);
  CHECK(parameters[0].whole_shape() == Shape{9, 3});
  CHECK_FALSE(parameters[1].shard.divided());
  CHECK(parameters[1].whole_shape() == Shape{5});
  CHECK(module.parameter_count() == 27 + 5);
}

TEST_CASE("init: fans need a matrix or a filter with elements") {
  Init init(1);
  CHECK_THROWS_WITH_AS(init.lecun_normal({4}), "[lecun_normal] expected a weight (O,I...) with elements, got (4)",
                       Error);
  CHECK_THROWS_AS(init.kaiming_fan_out({0, 4}), Error);
}

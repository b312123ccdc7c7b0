// The covariance of sampled logits, and its picture.

#include "apps/common/measure/covariance.h"

#include <doctest/doctest.h>

#include <cmath>

#include "apps/common/measure/heat_map.h"
#include "core/safetensors.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

TEST_CASE("covariance: the mean of each image's over its samples, and the correlation of that mean") {
  // Two samples, two images: class 2 moves against class 0, class 1 rests in the first image alone.
  const std::vector<float> values = {1, 0, -1, 0, 2, 5, 3, 0, -3, 0, 4, 5};
  Tensor logits = Tensor::empty({2, 2, 3});
  std::copy(values.begin(), values.end(), logits.data<float>());
  CovarianceAccumulator sums;
  CHECK(error_of([&] { sums.result(); }) == "[covariance] expected images, got none");
  sums.add(logits);
  const LogitCovariance c = sums.result();
  CHECK(c.images == 2);
  CHECK(c.samples == 2);
  const float covariance[] = {0.5, 0, -0.5, 0, 0.5, 0, -0.5, 0, 0.5}, correlation[] = {1, 0, -1, 0, 1, 0, -1, 0, 1};
  for (int64_t i = 0; i < 9; ++i) {
    CHECK(c.covariance.data<float>()[i] == doctest::Approx(covariance[i]));
    CHECK(c.correlation.data<float>()[i] == doctest::Approx(correlation[i]));
  }
}

TEST_CASE("covariance: a heat map has names as text, and of many classes blocks without names") {
  const auto drawn = [](int64_t classes) {
    std::vector<std::string> names;
    for (int64_t k = 0; k < classes; ++k) names.push_back("<b>&" + std::to_string(k));
    return heat_map_svg({.title = "t\"<", .names = names, .values = Tensor::full({classes, classes}, -0.5)});
  };
  const std::string few = drawn(3);
  CHECK(has(few, "aria-label=\"t&quot;&lt;, 3 classes\""));
  CHECK(occurrences(few, ">&lt;b&gt;&amp;2</text>") == 2);
  CHECK(occurrences(few, "h1v1h-1z") == 9);
  CHECK_FALSE(has(few, "<b>"));
  CHECK_FALSE(has(drawn(61), "&lt;b"));
  const auto shade = [](double limit) {
    return heat_map_svg({.title = "t", .names = {"a"}, .values = Tensor::full({1, 1}, 2.0), .limit = limit});
  };
  CHECK(has(shade(4), "fill=\"#d1495b\" fill-opacity=\"0.5\" d=\"M0 0h1v1h-1z\""));
  CHECK(has(shade(4), ">−4</text>"));
  CHECK(has(shade(1), "fill=\"#d1495b\" fill-opacity=\"1\" d=\"M0 0h1v1h-1z\""));  // beyond
  CHECK(occurrences(drawn(301), "h1v1h-1z") == 151 * 151);
}

TEST_CASE("covariance: evaluate writes arrays and a picture, and refuses what has none") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.head.kind = HeadKind::het;
  const std::string run = train_run(folder, config, "het"), prefix = folder.path("c");
  const std::vector<std::string> command{"evaluate", run, "--samples", "20", "--covariance", prefix};
  const Outcome outcome = run_program(command);
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const TensorFile file = load_safetensors(prefix + ".safetensors");
  CHECK(file.at("covariance").shape() == Shape{10, 10});
  CHECK(size_at(file.metadata.at("class_names"), "") == 10);
  CHECK(file.metadata.at("images") == "60");
  CHECK(file.metadata.at("samples") == "20");
  double row = 0;  // shifts common to all classes are left out
  for (int64_t j = 0; j < 10; ++j) {
    row += static_cast<double>(file.at("covariance").data<float>()[j]);
    CHECK(file.at("correlation").data<float>()[11 * j] == 1);
  }
  CHECK(std::abs(row) < 1e-4);
  CHECK(slurp(prefix + ".svg").starts_with("<svg"));
  CHECK(run_program(command).code == 0);  // results of before may be replaced
  folder.write("c.svg", "<svg>mine</svg>");
  CHECK(fails_with(run_program(command), 1, "c.svg"));
  config.head.kind = HeadKind::det;
  const std::string det = train_run(folder, config, "det");
  CHECK(fails_with(run_program({"evaluate", det, "--covariance", folder.path("d")}), 2, "--covariance", "DET"));
  CHECK(fails_with(run_program({"evaluate", run, "--samples", "1", "--covariance", folder.path("d")}), 2, "got 1"));
  CHECK(fails_with(run_program({"evaluate", run, run, "--covariance", folder.path("d")}), 2, "expected one run"));
}

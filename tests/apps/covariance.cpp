// The covariance of sampled logits, and its picture.

#include "apps/common/measure/covariance.h"

#include <doctest/doctest.h>

#include <cmath>

#include "apps/common/measure/heat_map.h"
#include "core/safetensors.h"
#include "data/image_file.h"
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
  CHECK_FALSE(c.each.defined());
  CovarianceAccumulator kept;
  kept.add(logits, {"a", "b"});
  const LogitCovariance own = kept.result();
  CHECK(own.ids == std::vector<std::string>{"a", "b"});
  CHECK(own.each.shape() == Shape{2, 3, 3});
  for (int64_t i = 0; i < 9; ++i)
    CHECK((own.each.data<float>()[i] + own.each.data<float>()[9 + i]) / 2 == c.covariance.data<float>()[i]);
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
  CHECK_FALSE(has(
      heat_map_svg({.title = "t", .names = {"a"}, .values = Tensor::full({1, 1}, 2.0), .below_zero = false}), ">−"));
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
  CHECK(file.at("image_covariance").shape() == Shape{60, 10, 10});
  CHECK(file.at("ids").dim(0) == 60);
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

TEST_CASE("covariance: predict writes that of its images, each one's own and their mean") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  const std::string run = train_run(folder, config, "xl"), a = folder.path("a.png"), b = folder.path("b.png");
  write_png(a, Tensor::full({8, 8, 3}, 50, DType::u8));
  write_png(b, Tensor::full({8, 8, 3}, 200, DType::u8));
  const auto predicted = [&](const std::vector<std::string>& images, const std::string& name) {
    std::vector<std::string> command{"predict", run, "--covariance", folder.path(name)};
    command.insert(command.end(), images.begin(), images.end());
    const Outcome outcome = run_program(command);
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    CHECK(has(outcome.out, "mean and each image's: " + folder.path(name) + ".safetensors"));
    return load_safetensors(folder.path(name + ".safetensors"));
  };
  const TensorFile both = predicted({a, b}, "both"), one = predicted({b}, "one");
  REQUIRE(both.at("image_covariance").shape() == Shape{2, 10, 10});
  CHECK(both.metadata.at("samples") == "256");
  const float *of_both = both.at("image_covariance").data<float>(), *mean = both.at("covariance").data<float>();
  for (int64_t i = 0; i < 100; ++i) {
    CHECK(of_both[100 + i] == one.at("image_covariance").data<float>()[i]);  // wherever it stands
    CHECK(mean[i] == doctest::Approx((of_both[i] + of_both[100 + i]) / 2).epsilon(1e-4));
  }
  CHECK(has(slurp(folder.path("both.svg")), kHeatMapMark));
  config.head.kind = HeadKind::det;
  const std::string det = train_run(folder, config, "det");
  CHECK(fails_with(run_program({"predict", det, a, "--covariance", folder.path("d")}), 2, "--covariance", "DET"));
}

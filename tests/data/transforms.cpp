#include "data/transforms.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "data/image_augment.h"
#include "data/image_resample.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_images;
using test::error_of;
using test::one_line_with;

Tensor image_of(int64_t side, int64_t channels) {
  return counted_images(1, side, channels).reshape({side, side, channels});
}

/// The pipeline's result for one image and one address.
std::vector<float> run(const std::string& text, const Tensor& image, uint64_t example = 0) {
  Rng rng({5, 1, 0}, example);
  return Pipeline::parse(text).apply(image, rng).to_vector<float>();
}

TEST_CASE("crop: inside, beyond each edge, and all outside") {
  // 1 2 3 / 4 5 6 / 7 8 9
  const std::vector<uint8_t> image{1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto window = [&](int64_t top, int64_t left, int64_t size) {
    std::vector<uint8_t> out(static_cast<size_t>(size * size), 99);
    crop(image.data(), {3, 3, 1}, top, left, size, out.data());
    return out;
  };
  using Bytes = std::vector<uint8_t>;
  CHECK(window(0, 0, 3) == image);
  CHECK(window(1, 1, 2) == Bytes{5, 6, 8, 9});
  CHECK(window(-1, -1, 2) == Bytes{0, 0, 0, 1});
  CHECK(window(2, 2, 2) == Bytes{9, 0, 0, 0});
  CHECK(window(-1, 2, 2) == Bytes{0, 0, 3, 0});
  CHECK(window(-1, -1, 5) == Bytes{0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 4, 5, 6, 0, 0, 7, 8, 9, 0, 0, 0, 0, 0, 0});
  CHECK(window(0, 7, 2) == Bytes{0, 0, 0, 0});
  CHECK(window(0, -7, 2) == Bytes{0, 0, 0, 0});
  CHECK(window(-9, 0, 2) == Bytes{0, 0, 0, 0});
}

TEST_CASE("crop and flip keep the channels of a pixel together") {
  const std::vector<uint8_t> image{1, 2, 3, 4, 5, 6, 7, 8};  // 2×2×2
  std::vector<uint8_t> out(8);
  crop(image.data(), {2, 2, 2}, 0, 1, 2, out.data());
  CHECK(out == std::vector<uint8_t>{3, 4, 0, 0, 7, 8, 0, 0});
  flip(image.data(), {2, 2, 2}, out.data());
  CHECK(out == std::vector<uint8_t>{3, 4, 1, 2, 7, 8, 5, 6});
}

TEST_CASE("value_range and normalize: every byte, every channel") {
  const Tensor bytes = Tensor::from<uint8_t>({0, 128, 255, 51, 102, 204}, {1, 2, 3});
  CHECK(run("value_range(0,255)", bytes) == std::vector<float>{0, 128, 255, 51, 102, 204});
  const auto symmetric = run("value_range(-1,1)", bytes);
  CHECK(symmetric[0] == -1.0f);
  CHECK(symmetric[2] == 1.0f);
  const std::vector<double> means{0.5, 0.25, 0.1}, stds{0.5, 2.0, 0.25};
  const auto normal = run(" value_range( 0 , 1 ) | normalize( 0.5 0.25  0.1, 0.5 2 .25 ) ", bytes);
  const auto values = bytes.to_vector<double>();
  for (size_t i = 0; i < 6; ++i) {
    CHECK(normal[i] == static_cast<float>((values[i] / 255.0 - means[i % 3]) / stds[i % 3]));
  }
  const auto one_for_all = run("value_range(0,1)|normalize(0.5,0.25)", bytes);
  for (size_t i = 0; i < 6; ++i) CHECK(one_for_all[i] == static_cast<float>((values[i] / 255.0 - 0.5) / 0.25));
}

TEST_CASE("random_crop: every position about equally often, zeros around") {
  const Tensor image = Tensor::full({2, 2, 1}, 200.0, DType::u8);
  std::map<std::vector<float>, int> seen;
  for (uint64_t example = 0; example < 9000; ++example)
    ++seen[run("random_crop(2,1)|value_range(0,255)", image, example)];
  // 3×3 positions of which the four corners, the four edges and the middle all look different
  REQUIRE(seen.size() == 9);
  for (const auto& [pixels, count] : seen) {
    CHECK(std::abs(count - 1000) < 150);  // five standard deviations of a binomial count
  }
  CHECK(seen.contains({0, 0, 0, 200}));
  CHECK(seen.contains({200, 200, 200, 200}));
}

TEST_CASE("flip: half of the images") {
  const Tensor image = Tensor::from<uint8_t>({1, 2}, {1, 2, 1});
  int flipped = 0;
  for (uint64_t example = 0; example < 4000; ++example) {
    flipped += run("flip|value_range(0,255)", image, example) == std::vector<float>{2, 1};
  }
  CHECK(std::abs(flipped - 2000) < 158);  // five standard deviations
}

TEST_CASE("stages follow each other in the order of the text, each with its own draws") {
  const Tensor image = image_of(8, 3);
  const Pipeline pipeline = Pipeline::parse("random_crop(6,0)|flip|random_crop(4,1)|value_range(0,255)");
  CHECK(pipeline.output_shape(image.shape()) == Shape{4, 4, 3});
  for (uint64_t example = 0; example < 50; ++example) {
    Rng rng({9, 9, 9}, example), same({9, 9, 9}, example);
    const auto got = pipeline.apply(image, rng).to_vector<float>();
    std::vector<uint8_t> first(6 * 6 * 3), second(6 * 6 * 3), third(4 * 4 * 3);
    const int64_t top = same.below(3), left = same.below(3);
    crop(image.data<uint8_t>(), {8, 8, 3}, top, left, 6, first.data());
    second = first;
    if (same.below(2) == 1) flip(first.data(), {6, 6, 3}, second.data());
    const int64_t top_again = same.below(5), left_again = same.below(5);
    crop(second.data(), {6, 6, 3}, top_again - 1, left_again - 1, 4, third.data());
    CHECK(got == std::vector<float>(third.begin(), third.end()));
  }
}

TEST_CASE("the same address gives the same image, another one another") {
  const Tensor image = image_of(16, 3);
  const std::string text = "random_crop(16,4)|flip|value_range(0,1)";
  CHECK(run(text, image, 3) == run(text, image, 3));
  CHECK(run(text, image, 3) != run(text, image, 4));
}

TEST_CASE("shapes a pipeline cannot take are errors") {
  const auto shape = [](const std::string& text, const Shape& in) {
    return error_of([&] { Pipeline::parse(text).output_shape(in); });
  };
  CHECK(one_line_with(shape("random_crop(32,1)|value_range(0,1)", {29, 40, 3}), "random_crop", "32", "(29, 40, 3)"));
  CHECK(shape("random_crop(32,2)|value_range(0,1)", {28, 28, 3}).empty());
  CHECK(one_line_with(shape("value_range(0,1)|normalize(1 2 3, 1 1 1)", {4, 4, 1}), "3 channels", "have 1"));
  CHECK(one_line_with(shape("value_range(0,1)", {4, 4}), "(H, W, C)"));
  CHECK(one_line_with(shape("value_range(0,1)", {0, 4, 3}), "(H, W, C)"));
  CHECK(one_line_with(error_of([] { run("value_range(0,1)", Tensor::zeros({2, 2, 1})); }), "u8", "f32"));
}

TEST_CASE("the stages on bytes are the functions their names say, in place and draws") {
  const Tensor image = image_of(12, 3);
  const auto bytes_of = [&](const std::string& stage) { return run(stage + "|value_range(0,255)", image); };
  const auto expected = [](const Tensor& t) { return t.to_vector<float>(); };
  const auto window = [&](const Crop& w, int64_t height, int64_t width) {
    Tensor out = Tensor::empty({height, width, 3}, DType::u8);
    resample(image.data<uint8_t>(), image.shape(), w, height, width, out.data<uint8_t>());
    return out;
  };
  CHECK(bytes_of("resize(5)") == expected(window({0, 0, 12, 12}, 5, 5)));
  CHECK(bytes_of("resize_small(20)") == expected(window({0, 0, 12, 12}, 20, 20)));
  CHECK(bytes_of("central_crop(5)") == expected(window({4, 4, 5, 5}, 5, 5)));
  CHECK(bytes_of("decode|resize(5)") == bytes_of("resize(5)"));
  Rng draws({5, 1, 0}, 0);
  CHECK(bytes_of("inception_crop(6)") == expected(window(inception_window(image.shape(), draws), 6, 6)));
  CHECK(bytes_of("inception_crop(6,8,100)") == bytes_of("inception_crop(6)"));
  Rng narrow({5, 1, 0}, 0);
  const Crop quarter = inception_window(image.shape(), narrow, {.lo = 0.25, .hi = 0.25});
  CHECK(std::abs(quarter.height * quarter.width - 36) <= 6);  // of 144
  CHECK(bytes_of("inception_crop(6, 25, 25)") == expected(window(quarter, 6, 6)));
  CHECK(bytes_of("randaugment(0,9)") == expected(image));
  CHECK(bytes_of("color_jitter(0,0,0,0)") == expected(image));
  Rng again({5, 1, 0}, 0);
  const auto operation = static_cast<Augmentation>(again.below(kAugmentations));
  Tensor augmented = Tensor::empty(image.shape(), DType::u8);
  augment(operation, strength_of(operation, 9, again.below(2) == 1, image.shape()), image.data<uint8_t>(),
          image.shape(), augmented.data<uint8_t>());
  CHECK(bytes_of("randaugment(1,9)") == expected(augmented));
}

TEST_CASE("color_jitter: brightness alone, uniform around 1") {
  const Tensor gray = Tensor::full({1, 1, 3}, 100.0, DType::u8);
  double least = 255, most = 0, sum = 0;
  for (uint64_t example = 0; example < 2000; ++example) {
    const double value = run("color_jitter(0.4,0,0,0)|value_range(0,255)", gray, example)[0];
    least = std::min(least, value), most = std::max(most, value), sum += value;
  }
  CHECK(least >= 59);
  CHECK(least < 62);
  CHECK(most > 137);
  CHECK(most <= 140);
  CHECK(std::abs(sum / 2000 - 99.5) < 5 * 23.1 / std::sqrt(2000));  // five standard errors of a uniform, rounded down
}

TEST_CASE("images of several sizes need a stage that gives them one") {
  const auto shape = [](const std::string& text) { return Pipeline::parse(text).output_shape({0, 0, 3}); };
  CHECK(shape("decode|resize_small(9)|central_crop(8)|value_range(0,1)") == Shape{8, 8, 3});
  CHECK(shape("decode|inception_crop(8)|flip|value_range(0,1)") == Shape{8, 8, 3});
  CHECK(shape("decode|random_crop(8,1)|value_range(0,1)") == Shape{8, 8, 3});
  for (const std::string text : {"decode|value_range(0,1)", "decode|resize_small(8)|flip|value_range(0,1)"})
    CHECK(one_line_with(error_of([&] { shape(text); }), "several sizes", "central_crop"));
  CHECK(one_line_with(error_of([] { run("central_crop(5)|value_range(0,1)", image_of(4, 3)); }), "window of 5",
                      "(4, 4, 3)"));
}

TEST_CASE("texts that are no pipeline are errors that say what is expected") {
  const auto parsing = [](const std::string& text) { return error_of([&] { Pipeline::parse(text); }); };
  CHECK_THROWS_AS(Pipeline::parse("nonsense"), UsageError);
  CHECK(one_line_with(parsing("random_corp(32,4)|value_range(0,1)"), "random_corp", "did you mean \"random_crop\"?"));
  CHECK(
      one_line_with(parsing("Flip|value_range(0,1)"), "did you mean \"flip\"?", "known: decode, resize, resize_small"));
  CHECK(one_line_with(parsing("random_crop(32)|value_range(0,1)"), "random_crop(32)", "expected random_crop(n, pad)"));
  CHECK(one_line_with(parsing("random_crop(32,4,5)|value_range(0,1)"), "expected random_crop(n, pad)"));
  CHECK(one_line_with(parsing("random_crop(32 4)|value_range(0,1)"), "expected random_crop(n, pad)"));
  CHECK(one_line_with(parsing("random_crop|value_range(0,1)"), "expected random_crop(n, pad)"));
  CHECK(one_line_with(parsing("random_crop(1.5,4)|value_range(0,1)"), "whole numbers"));
  CHECK(one_line_with(parsing("random_crop(0,4)|value_range(0,1)"), "whole numbers"));
  CHECK(one_line_with(parsing("random_crop(8,-1)|value_range(0,1)"), "whole numbers"));
  CHECK(one_line_with(parsing("random_crop(1e9,4)|value_range(0,1)"), "whole numbers"));
  CHECK(one_line_with(parsing("random_crop(a,4)|value_range(0,1)"), "expected a number, got `a`"));
  CHECK(one_line_with(parsing("random_crop(3x,4)|value_range(0,1)"), "expected a number, got `3x`"));
  CHECK(one_line_with(parsing("value_range(nan,1)"), "expected a number, got `nan`"));
  CHECK(one_line_with(parsing("value_range(1,0)"), "lo < hi"));
  CHECK(one_line_with(parsing("value_range(0,1"), "name(arguments)"));
  CHECK(one_line_with(parsing("flip(1)|value_range(0,1)"), "expected flip"));
  CHECK(one_line_with(parsing("flip()|value_range(0,1)"), "expected flip"));
  CHECK(one_line_with(parsing("value_range(0,1)|normalize(1 2,1)"), "2 and 1"));
  CHECK(one_line_with(parsing("value_range(0,1)|normalize(1,0)"), "stds > 0"));
  CHECK(one_line_with(parsing("value_range(0,1)|normalize(,1)"), "normalize(means, stds)"));
  for (const std::string text :
       {"normalize(1,1)|value_range(0,1)", "value_range(0,1)|flip", "value_range(0,1)|value_range(0,1)",
        "value_range(0,1)|normalize(1,1)|normalize(1,1)"}) {
    CHECK(one_line_with(parsing(text), "out of order"));
  }
  CHECK(one_line_with(parsing("flip|decode|value_range(0,1)"), "`decode` stands out of order"));
  CHECK(one_line_with(parsing("value_range(0,1)|mixup(1)|cutmix(1)"), "`cutmix(1)` stands out of order"));
  CHECK(one_line_with(parsing("mixup(1)|value_range(0,1)"), "out of order"));
  CHECK(one_line_with(parsing("decode|mixup(1)"), "out of order"));
  CHECK(one_line_with(parsing("value_range(0,1)|mixup(1)|normalize(0,1)"), "out of order"));
  CHECK(one_line_with(parsing("value_range(0,1)|mixup(0)"), "alpha in (0, 1000], got 0"));
  CHECK(one_line_with(parsing("resize(0)|value_range(0,1)"), "argument 1 in 1 to 32768"));
  CHECK(one_line_with(parsing("resize_small(2.5)|value_range(0,1)"), "whole numbers"));
  CHECK(one_line_with(parsing("central_crop(8,8)|value_range(0,1)"), "expected central_crop(n)"));
  CHECK(
      one_line_with(parsing("inception_crop(8,5)|value_range(0,1)"), "inception_crop(n) or inception_crop(n, lo, hi)"));
  for (const char* area : {"0,100", "50,20", "5,101", "-5,50", "0.08,1"})
    CHECK(one_line_with(parsing("inception_crop(8," + std::string(area) + ")|value_range(0,1)"), "in percent",
                        "0 < lo <= hi <= 100"));
  CHECK(one_line_with(parsing("randaugment(2,31)|value_range(0,1)"), "argument 2 in 0 to 30"));
  CHECK(one_line_with(parsing("color_jitter(1,1,1,0.6)|value_range(0,1)"), "hue of at most 0.5"));
  CHECK(one_line_with(parsing("color_jitter(1,1,1)|value_range(0,1)"), "color_jitter(brightness, contrast"));
  CHECK(one_line_with(parsing("decode|inception_corp(8)|value_range(0,1)"), "did you mean \"inception_crop\"?"));
  CHECK(parsing("decode|value_range(0,1)|cutmix(0.5)").empty());
  CHECK(one_line_with(parsing("flip"), "no value_range"));
  for (const std::string text : {"", "|", "flip||value_range(0,1)", "value_range(0,1)|", "(1,2)"}) {
    CHECK(one_line_with(parsing(text), "expected a stage"));
  }
}

}  // namespace
}  // namespace sked

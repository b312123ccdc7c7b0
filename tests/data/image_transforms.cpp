// Resampling, color and RandAugment against Pillow and torchvision: bit for bit, unless a case says why not.
#include <doctest/doctest.h>

#include <cstdio>

#include "data/image_augment.h"
#include "data/image_color.h"
#include "data/image_resample.h"
#include "data/transforms.h"
#include "tests/common/files.h"
#include "tests/data/images.h"

namespace sked {
namespace {

using test::difference;
using test::image_fixtures;

const Tensor& image() { return image_fixtures().at("image"); }

/// Calls visit(rest of the name, expected) for every fixture whose name begins with `prefix`.
template <class Visit>
void for_each_fixture(const std::string& prefix, Visit visit) {
  int count = 0;
  for (const auto& [name, expected] : image_fixtures().tensors) {
    if (!name.starts_with(prefix)) continue;
    CAPTURE(name);
    visit(name.substr(prefix.size()), expected);
    ++count;
  }
  REQUIRE(count > 0);
}

Tensor resampled(const Tensor& in, const Crop& window, int64_t height, int64_t width) {
  Tensor out = Tensor::empty({height, width, in.dim(2)}, DType::u8);
  resample(in.data<uint8_t>(), in.shape(), window, height, width, out.data<uint8_t>());
  return out;
}

TEST_CASE("resample: Pillow's antialiased bilinear, bit for bit") {
  for_each_fixture("resample/", [](const std::string& name, const Tensor& expected) {
    const Crop window = name.starts_with("whole")  ? Crop{0, 0, 18, 22}
                        : name.starts_with("part") ? Crop{5, 3, 9, 17}
                                                   : Crop{1, 8, 16, 3};
    const Tensor got = resampled(image(), window, expected.dim(0), expected.dim(1));
    CHECK(difference(got, expected).largest == 0);
    // one channel at a time gives the same: 1 and 3 channels, and any other number
    const Tensor gray = Tensor::from<uint8_t>(std::vector<uint8_t>(18 * 22 * 2, 77), {18, 22, 2});
    const auto flat = resampled(gray, window, expected.dim(0), expected.dim(1)).to_vector<uint8_t>();
    CHECK(std::ranges::all_of(flat, [](uint8_t v) { return v == 77; }));
  });
}

TEST_CASE("resize_small: torchvision's Resize of the shorter side") {
  for_each_fixture("resize_small/", [](const std::string& name, const Tensor& expected) {
    Tensor in = image();
    const bool tall = name.starts_with("tall/");
    if (tall) {  // turned by a quarter counter-clockwise
      in = Tensor::empty({22, 18, 3}, DType::u8);
      for (int64_t r = 0; r < 22; ++r) {
        for (int64_t c = 0; c < 18; ++c)
          std::copy_n(image().data<uint8_t>() + (c * 22 + 21 - r) * 3, 3, in.data<uint8_t>() + (r * 18 + c) * 3);
      }
    }
    const Shape size = small_size(in.shape(), std::stoll(tall ? name.substr(5) : name));
    CHECK(difference(resampled(in, {0, 0, in.dim(0), in.dim(1)}, size[0], size[1]), expected).largest == 0);
  });
}

TEST_CASE("central_crop: torchvision's CenterCrop") {
  for_each_fixture("central_crop/", [](const std::string& name, const Tensor& expected) {
    const Crop w = central_window(image().shape(), std::stoll(name));
    CHECK(difference(resampled(image(), w, w.height, w.width), expected).largest == 0);
  });
}

TEST_CASE("inception_crop: the windows of torchvision's RandomResizedCrop, for several ranges of area") {
  const std::vector<std::pair<std::string, AreaRange>> ranges{
      {"8-100", {}}, {"5-100", {.lo = 0.05}}, {"20-50", {.lo = 0.2, .hi = 0.5}}};
  for (const auto& [name, range] : ranges) {
    CAPTURE(name);
    const Tensor &draws = image_fixtures().at("windows/" + name + "/draws"),
                 &results = image_fixtures().at("windows/" + name + "/results");
    int fitting = 0;
    for (int64_t i = 0; i < draws.dim(0); ++i) {
      CAPTURE(i);
      const double* d = draws.data<double>() + 6 * i;
      const int64_t* expected = results.data<int64_t>() + 4 * i;
      const Crop w =
          inception_attempt({static_cast<int64_t>(d[0]), static_cast<int64_t>(d[1]), 3}, d[2], d[3], d[4], d[5], range);
      CHECK(w.top == expected[0]);
      CHECK(w.left == expected[1]);
      CHECK(w.height == expected[2]);
      CHECK(w.width == expected[3]);
      fitting += w.height > 0;
    }
    CHECK(fitting > 60);
    CHECK(fitting < 200);
  }
  // Images no window fits: the central one with the nearest ratio.
  Rng rng({1, 2, 3});
  const Crop wide = inception_window({10, 1000, 3}, rng), tall = inception_window({1000, 10, 3}, rng);
  CHECK(wide.height == 10);
  CHECK(wide.width == 13);
  CHECK(wide.left == 493);
  CHECK(tall.height == 13);
  CHECK(tall.top == 493);
  CHECK(tall.width == 10);
}

using Adjust = void (*)(uint8_t*, const Shape&, double);

TEST_CASE("color: Pillow's brightness, contrast, saturation, sharpness and hue, bit for bit") {
  const std::vector<std::pair<std::string, Adjust>> all{{"brightness/", adjust_brightness},
                                                        {"contrast/", adjust_contrast},
                                                        {"saturation/", adjust_saturation},
                                                        {"sharpness/", adjust_sharpness},
                                                        {"hue/", adjust_hue}};
  for (const auto& [prefix, adjust] : all) {
    for_each_fixture(prefix, [&](const std::string& amount, const Tensor& expected) {
      Tensor got = image().clone();
      adjust(got.data<uint8_t>(), got.shape(), std::stod(amount));
      CHECK(difference(got, expected).largest == 0);
    });
  }
}

TEST_CASE("color: one channel, one pixel, one value") {
  const auto all = [](const Shape& shape, double value) {
    Tensor t = Tensor::full(shape, value, DType::u8);
    for (const Adjust adjust : {adjust_brightness, adjust_contrast, adjust_saturation, adjust_sharpness, adjust_hue})
      adjust(t.data<uint8_t>(), shape, 1.0);
    autocontrast(t.data<uint8_t>(), shape);
    equalize(t.data<uint8_t>(), shape);
    const auto bytes = t.to_vector<uint8_t>();
    return std::ranges::all_of(bytes, [&](uint8_t v) { return v == static_cast<uint8_t>(value); });
  };
  CHECK(all({5, 4, 1}, 130));
  CHECK(all({1, 1, 3}, 7));
  CHECK(all({1, 5, 3}, 255));
  CHECK(all({5, 1, 1}, 0));
}

/// Calls visit(operation, its name) for each.
template <class Visit>
void for_each_augmentation(Visit visit) {
  const std::vector<std::string> names{"Identity",  "ShearX",     "ShearY",       "TranslateX", "TranslateY",
                                       "Rotate",    "Brightness", "Color",        "Contrast",   "Sharpness",
                                       "Posterize", "Solarize",   "AutoContrast", "Equalize"};
  REQUIRE(names.size() == kAugmentations);
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    visit(static_cast<Augmentation>(i), names[i]);
  }
}

TEST_CASE("randaugment: torchvision's operations at every magnitude and sign, bit for bit") {
  const Tensor& in = image_fixtures().at("augmentable");
  for_each_augmentation([&](Augmentation operation, const std::string& name) {
    const Tensor& expected = image_fixtures().at("augment/" + name);  // (31 or 62, H, W, 3)
    REQUIRE(expected.dim(0) % (kMostMagnitude + 1) == 0);
    for (int64_t i = 0; i < expected.dim(0); ++i) {
      CAPTURE(i);
      const double strength =
          strength_of(operation, static_cast<int>(i) % (kMostMagnitude + 1), i > kMostMagnitude, in.shape());
      Tensor got = Tensor::empty(in.shape(), DType::u8);
      augment(operation, strength, in.data<uint8_t>(), in.shape(), got.data<uint8_t>());
      CHECK(difference(got, expected.rows(i, i + 1).reshape(in.shape())).largest == 0);
    }
  });
}

TEST_CASE("randaugment: strengths are torchvision's f32, to the bit") {
  for (const auto& [size, shape] : {std::pair<std::string, Shape>{"8x11", {8, 11, 3}}, {"224x331", {224, 331, 3}}}) {
    for_each_augmentation([&](Augmentation operation, const std::string& name) {
      const std::vector<double> expected = image_fixtures().at("strength/" + size + "/" + name).to_vector<double>();
      for (int m = 0; m <= kMostMagnitude; ++m) {
        CAPTURE(m);
        CHECK(strength_of(operation, m, false, shape) == expected[static_cast<size_t>(m)]);
      }
    });
  }
}

}  // namespace
}  // namespace sked

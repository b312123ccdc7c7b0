#include "data/relabeled.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

using Names = std::vector<std::string>;

/// One image of each class, in order, with a distribution that leans to it.
std::shared_ptr<const Dataset> one_of_each(const Names& names) {
  const auto classes = static_cast<int64_t>(names.size());
  Tensor labels = Tensor::empty({classes}, DType::i64),
         shares = Tensor::full({classes, classes}, 0.25 / static_cast<double>(classes));
  for (int64_t k = 0; k < classes; ++k) {
    labels.data<int64_t>()[k] = k;
    shares.data<float>()[k * classes + k] += 0.75f;
  }
  return std::make_shared<ImageDataset>("pets", names, Tensor::zeros({classes, 2, 2, 1}, DType::u8), labels, shares);
}

std::vector<int64_t> labels_of(const Dataset& data) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < data.size(); ++i) labels.push_back(data.label(i));
  return labels;
}

std::string refusal(const Names& names, const Names& wanted) {
  return error_of([&] { with_classes(one_of_each(names), wanted, "best.safetensors"); });
}

}  // namespace

TEST_CASE("with_classes: classes are matched by name") {
  const auto pets = one_of_each({"cat", "dog"});
  CHECK(with_classes(pets, {"cat", "dog"}, "") == pets);
  const auto more = with_classes(pets, {"dog", "bird", "cat"}, "");
  CHECK(labels_of(*more) == std::vector<int64_t>{2, 0});
  CHECK(more->classes() == 3);
  CHECK(more->class_names() == Names{"dog", "bird", "cat"});
  CHECK(more->distribution(1).to_vector<float>() == std::vector<float>{0.875f, 0, 0.125f});
}

TEST_CASE("with_classes: a number is no name") {
  CHECK(labels_of(*with_classes(one_of_each(numbered_classes(2)), numbered_classes(3), "")) ==
        std::vector<int64_t>{0, 1});
  CHECK(refusal(numbered_classes(2), {"cat", "dog"}) != "");
  CHECK(refusal({"cat", "dog"}, numbered_classes(2)) != "");
}

TEST_CASE("with_classes: other classes are refused, and named") {
  CHECK(one_line_with(refusal({"dog", "zcat"}, {"cat", "dog"}), "best.safetensors", "\"zcat\" not expected",
                      "no \"cat\""));
  CHECK(one_line_with(refusal({"bird", "cat", "dog"}, {"cat", "dog"}), "3 classes, expected 2", "\"bird\""));
  // The same name twice says of no image which class it is.
  CHECK(one_line_with(refusal({"crane", "dog", "crane"}, {"dog", "crane", "crane"}), "named twice"));
  CHECK(refusal({"crane", "crane"}, {"crane"}) != "");
  const auto cranes = one_of_each({"crane", "dog", "crane"});
  CHECK(with_classes(cranes, {"crane", "dog", "crane"}, "") == cranes);
  CHECK(one_line_with(refusal({"a\nb", "1", "2", "3", "4", "5", "6"}, {"x"}), "and 2 more"));
}

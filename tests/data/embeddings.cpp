#include "data/embeddings.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "core/npy.h"
#include "core/safetensors.h"
#include "data/catalog.h"
#include "data/label_noise.h"
#include "data/loader.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_labels;
using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

const TensorFile& fixture() {
  static const TensorFile file = load_safetensors("tests/fixtures/embeddings.safetensors");
  return file;
}

/// The files of one case of the fixture, in a folder.
class Case {
 public:
  explicit Case(const std::string& name) {
    for (const NamedTensor& file : fixture().tensors) {
      if (!file.name.starts_with(name + "/")) continue;
      const auto* bytes = file.tensor.data<char unsigned>();
      folder_.write(file.name.substr(name.size() + 1), {reinterpret_cast<const char*>(bytes), file.tensor.bytes()});
    }
  }
  std::string path(const std::string& name) const { return folder_.path(name); }
  const TemporaryFolder& folder() const { return folder_; }
  Splits splits(const std::string& name = "", int64_t validation = 0) const {
    return load_splits({.name = "embeddings", .path = name.empty() ? folder_.path() : path(name)}, validation);
  }

 private:
  TemporaryFolder folder_;
};

std::vector<int64_t> labels(const Dataset& data) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < data.size(); ++i) all.push_back(data.label(i));
  return all;
}

/// Are the vectors those of these rows of the fixture?
bool has_rows(const Dataset& data, const std::vector<int64_t>& rows) {
  const Tensor expected = fixture().at("features");
  bool all = data.size() == static_cast<int64_t>(rows.size()) && data.image_shape() == Shape{5};
  for (size_t i = 0; all && i < rows.size(); ++i) {
    std::vector<float> x(5);
    data.read_features(static_cast<int64_t>(i), x.data());
    all = x == expected.rows(rows[i], rows[i] + 1).to_vector<float>() &&
          data.image(static_cast<int64_t>(i)).to_vector<float>() == x;
  }
  return all;
}

const std::vector<int64_t> kTrainRows{0, 1, 2, 3, 4, 5, 6, 7}, kTestRows{8, 9, 10, 11};

TEST_CASE("embeddings: parts in halves by numpy.save, ids in its strings, names of classes") {
  const Case files("halves");
  const Splits splits = files.splits();
  CHECK(has_rows(*splits.train, kTrainRows));
  CHECK(has_rows(*splits.test, kTestRows));
  CHECK(splits.validation == nullptr);
  CHECK(splits.notes.empty());
  CHECK(labels(*splits.train) == std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0, 1});
  CHECK(splits.train->class_names() == std::vector<std::string>{"cat", "crane (1)", "crane (2)"});
  CHECK(holds_features(*splits.train));
  CHECK_FALSE(splits.train->has_targets());
  CHECK_FALSE(splits.test->has_distributions());
  CHECK(splits.train->id(1) == "Zürich");
  CHECK(splits.train->id(2) == "日本");
  CHECK(splits.train->id(3) == "a b");
  CHECK(splits.test->id(1) == "x.jpg");
  CHECK(splits.test->source(1) == files.path("test-features.npy") + ", row 1");
  CHECK(files.splits("", 3).validation->size() == 3);
  const DataSpec spec{.name = "embeddings", .path = files.folder().path()};
  CHECK(image_shape_of(spec) == Shape{5});
  CHECK(class_names_of(spec) == splits.train->class_names());
}

TEST_CASE("embeddings: a table with index arrays, a distribution beside the labels") {
  const Case files("table");
  const Splits splits = files.splits();
  CHECK(has_rows(*splits.train, {5, 0, 1, 2}));
  CHECK(has_rows(*splits.validation, {7, 3}));
  CHECK(has_rows(*splits.test, {11, 4}));
  CHECK(labels(*splits.test) == std::vector<int64_t>{2, 1});
  CHECK(splits.test->distribution(0).to_vector<float>() == std::vector{0.25f, 0.25f, 0.5f});
  CHECK_FALSE(splits.train->has_targets());
  CHECK(splits.train->id(0) == "1005");
  CHECK(one_line_with(error_of([&] { files.splits("", 1); }), "data.validation", "expected 0", "got 1"));
}

TEST_CASE("embeddings: one file by PyTorch, ids in UTF-8") {
  const Case files("tensors");
  const Splits splits = files.splits("all.safetensors");
  CHECK(has_rows(*splits.train, kTrainRows));
  CHECK(has_rows(*splits.test, kTestRows));
  CHECK(one_line_with(splits.notes.at(0), "all.safetensors", "`val`"));
  CHECK(splits.validation == nullptr);
  CHECK(splits.train->id(2) == "日本");
  CHECK(splits.train->source(2) == files.path("all.safetensors") + ": \"features\", row 2");
  CHECK(splits.train->class_names().back() == "class 2");
}

TEST_CASE("embeddings: integers with their scale, and several labels a row") {
  const Case files("integers");
  const Splits splits = files.splits();
  CHECK(has_rows(*splits.train, kTrainRows));
  const std::vector<float> scale{1, 0.5, 0.25, 2, 4};
  for (int64_t i = 0; i < 4; ++i) {
    const auto x = splits.test->image(i).to_vector<float>();
    const auto base = fixture().at("features").rows(8 + i, 9 + i).to_vector<float>();
    for (size_t d = 0; d < 5; ++d) CHECK(x[d] == (base[d] * 8 + 127) * scale[d]);
  }
  REQUIRE(splits.train->has_targets());
  CHECK(splits.train->target(2).to_vector<float>() == std::vector{0.0f, 1.0f, 1.0f});
  CHECK(splits.test->target(1).to_vector<float>() == std::vector{1.0f, 0.0f, 1.0f});
  CHECK(labels(*splits.train) == std::vector<int64_t>{0, 0, 1, 0, 0, 1, 0, 0});
  CHECK_FALSE(splits.train->has_distributions());
}

TEST_CASE("embeddings: a prefix, bfloat16 by numpy.save, soft labels") {
  const Case files("prefixed");
  const Splits splits = files.splits("clip");
  CHECK(has_rows(*splits.train, kTrainRows));
  CHECK(has_rows(*splits.test, kTestRows));
  REQUIRE(splits.train->has_targets());
  CHECK(splits.train->target(2).to_vector<float>() == std::vector{0.125f, 0.0f, 0.875f});
  CHECK(labels(*splits.train) == std::vector<int64_t>{0, 1, 2, 2, 0, 1, 2, 2});
  CHECK(splits.train->id(1) == files.path("clip-train-features.npy") + ", row 1");
}

/// A folder of parts that a test then breaks: 6 training and 4 test vectors of 3 numbers, 2 classes.
struct Good {
  TemporaryFolder folder;
  Good() {
    part("train", 6);
    part("test", 4);
  }
  void part(const std::string& name, int64_t rows, int64_t width = 3) const {
    save(name + "-features", Tensor::full({rows, width}, 0.5));
    save(name + "-labels", counted_labels(rows, 2));
  }
  void save(const std::string& name, const Tensor& tensor) const { save_npy(folder.path(name + ".npy"), tensor); }
  std::string error(const DataSpec& more = {}, int64_t validation = 0) const {
    DataSpec spec = more;
    spec.name = "embeddings";
    spec.path = folder.path();
    return error_of([&] { load_splits(spec, validation); });
  }
};

TEST_CASE("embeddings: columns that do not fit each other are errors of one line") {
  const Good data;
  CHECK(data.error().empty());
  data.save("train-labels", counted_labels(5, 2));
  CHECK(one_line_with(data.error(), "train-labels.npy", "each of the 6 rows of", "train-features.npy", "got 5"));
  data.save("train-labels", Tensor::from<int64_t>({0, 1, -1, 0, 1, 0}, {6}));
  CHECK(one_line_with(data.error(), "train-labels.npy: label 2 is -1, expected 0 to 1"));
  data.save("train-labels", Tensor::zeros({6}));
  CHECK(one_line_with(data.error(), "train-labels.npy", "expected whole numbers, got f32"));
  data.save("train-labels", Tensor::from<int64_t>({0, 1, 0, 0, 1, int64_t{1} << 40}, {6}));
  CHECK(one_line_with(data.error(), "train-labels.npy", "1099511627776", "expected less than"));
  std::filesystem::remove(data.folder.path("train-labels.npy"));
  CHECK(one_line_with(data.error(), "train-features.npy", "expected `labels` or `label_distribution` beside it"));
  data.part("train", 6);
  data.save("test-labels", Tensor::from<int64_t>({0, 1, 2, 0}, {4}));
  CHECK(one_line_with(data.error(), "test-labels.npy: label 2 is 2, expected 0 to 1"));
  data.folder.write("classes.txt", "a\nb\nc\n");
  CHECK(data.error().empty());
  data.folder.write("classes.txt", "a\n\nc\n");
  CHECK(one_line_with(data.error(), "classes.txt:2", "name of a class"));
  data.folder.write("classes.txt", "");
  CHECK(one_line_with(data.error(), "classes.txt", "got none"));
  std::filesystem::remove(data.folder.path("classes.txt"));
  data.part("test", 4, 2);
  CHECK(one_line_with(data.error(), "test-features.npy: rows of 2, expected 3 as", "train-features.npy"));
  data.part("test", 0);
  CHECK(one_line_with(data.error(), "test-features.npy: no rows of `test`"));
  data.part("test", 4);
  data.save("test-ids", Tensor::zeros({4}));
  CHECK(one_line_with(data.error(), "test-ids.npy", "expected ids", "(4) f32"));
  data.save("test-ids", counted_labels(3, 2));
  CHECK(one_line_with(data.error(), "test-ids.npy", "an id for each of the 4 rows", "got 3"));
  std::filesystem::remove(data.folder.path("test-ids.npy"));
  data.save("train-features", counted_labels(6, 2));
  CHECK(one_line_with(data.error(), "train-features.npy", "expected features (N, D)", "(6) i64"));
  data.save("train-features", Tensor::zeros({6, 0}));
  CHECK(one_line_with(data.error(), "train-features.npy", "expected D in 1 to"));
}

TEST_CASE("embeddings: a number that is not finite is named with its row and column") {
  const Good data;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, -kInfinity}) {
    Tensor x = Tensor::full({6, 3}, 1);
    x.data<float>()[4 * 3 + 1] = bad;
    data.save("train-features", x);
    CHECK(one_line_with(data.error(), "train-features.npy: row 4, column 1 is ", bad > 0 ? "" : "n", "finite"));
  }
  // The first of many, whatever thread found it.
  Tensor many = Tensor::full({200'000, 3}, 1);
  for (const int64_t row : {190'000, 90'001, 90'000, 150'000}) many.data<float>()[row * 3 + 2] = kNan;
  data.save("train-features", many);
  data.save("train-labels", counted_labels(200'000, 2));
  CHECK(one_line_with(data.error(), "row 90000, column 2 is nan"));
  data.save("train-features", Tensor::from<double>({1, 2, 1e300, 4}, {4, 1}));
  CHECK(one_line_with(
      error_of([&] {
        Embeddings(
            {}, test::class_names(2),
            {open_npy(data.folder.path("train-features.npy")), {}, open_npy(data.folder.path("test-labels.npy"))});
      }),
      "row 2, column 0 is inf"));
}

TEST_CASE("embeddings: rows of shares that are none, and columns of other classes") {
  const Good data;
  const auto with = [&](const std::vector<float>& shares, int64_t rows, int64_t k) {
    data.save("test-label_distribution", Tensor::from<float>(shares, {rows, k}));
    return data.error();
  };
  CHECK(with({1, 0, 0.5, 0.5, 0, 1, 0.25, 0.75}, 4, 2).empty());
  CHECK(one_line_with(with({1, 0, 0.5, 0.25, 0, 1, 0, 1}, 4, 2), "test-label_distribution.npy: row 1 sums to 0.75"));
  CHECK(one_line_with(with({1, 0, 1.5, -0.5, 0, 1, 0, 1}, 4, 2), "row 1, class 1 is -0.5"));
  CHECK(one_line_with(with({1, 0, std::numeric_limits<float>::quiet_NaN(), 0, 0, 1, 0, 1}, 4, 2), "row 1, class 0 is"));
  CHECK(one_line_with(with({1, 0, 1, 0, 1, 0}, 3, 2), "a distribution for each of the 4 rows", "got 3"));
  CHECK(one_line_with(with({1, 1, 1, 1}, 4, 1), "label 1 is 1, expected 0 to 0"));
  data.save("train-label_distribution", Tensor::full({6, 3}, 1.0 / 3));
  CHECK(one_line_with(data.error(), "test-features.npy: 1 classes, expected 3 as", "train-features.npy"));
  std::filesystem::remove(data.folder.path("train-label_distribution.npy"));
  std::filesystem::remove(data.folder.path("test-label_distribution.npy"));
  for (const char* name : {"train-labels", "test-labels"})
    data.save(name,
              Tensor::from<uint8_t>(std::vector<uint8_t>(name[1] == 'r' ? 12 : 8, 1), {name[1] == 'r' ? 6 : 4, 2}));
  CHECK(data.error().empty());
  CHECK(one_line_with(data.error({.noise = LabelNoise::symmetric}), "expected one label a row for noise"));
  data.save("test-labels", Tensor::from<uint8_t>({0, 1, 1, 2, 0, 0, 0, 0}, {4, 2}));
  CHECK(one_line_with(data.error(), "test-labels.npy: row 1, class 1 is 2, expected 0 or 1"));
}

/// A table of 6 vectors with these index arrays.
std::string index_error(const std::vector<int64_t>& train, const std::vector<int64_t>& test) {
  const TemporaryFolder folder;
  const auto index = [](const std::vector<int64_t>& rows) {
    return Tensor::from<int64_t>(rows, {static_cast<int64_t>(rows.size())});
  };
  Tensor labels = counted_labels(6, 2), features = Tensor::full({6, 3}, 0.5);
  labels.data<int64_t>()[5] = -1;  // rows of no part may be anything
  features.data<float>()[5 * 3] = std::numeric_limits<float>::quiet_NaN();
  save_safetensors(folder.path("x.safetensors"),
                   {{"features", features}, {"labels", labels}, {"train", index(train)}, {"test", index(test)}});
  return error_of([&] { load_splits({.name = "embeddings", .path = folder.path("x.safetensors")}, 0); });
}

TEST_CASE("embeddings: index arrays name rows that are there, each once") {
  CHECK(index_error({0, 2, 1}, {4, 3}).empty());
  CHECK(one_line_with(index_error({0, 1, 6}, {4}), "x.safetensors: \"train\": index 2 is 6", "a row in 0 to 5"));
  CHECK(one_line_with(index_error({0, 1, 2}, {-1}), "x.safetensors: \"test\": index 0 is -1"));
  CHECK(one_line_with(index_error({0, 1, 0}, {4}), "\"train\": row 0 is there twice, the second time at 2"));
  CHECK(one_line_with(index_error({0, 1}, {4, 1}), "\"test\": index 1 is row 1, which is in `train` as well"));
  CHECK(one_line_with(index_error({}, {4, 1}), "\"train\": no rows of `train`"));
  CHECK(one_line_with(index_error({1, 0}, {}), "\"test\": no rows of `test`"));
  CHECK(one_line_with(index_error({1, 5}, {4}), "label 5 is -1"));
}

TEST_CASE("embeddings: what is missing, doubled, damaged or no such file") {
  const auto opening = [](const std::string& path) {
    return error_of([&] { load_splits({.name = "embeddings", .path = path}, 0); });
  };
  const Good data;
  CHECK(one_line_with(opening(""), "data.path", "file, folder or prefix"));
  CHECK(one_line_with(opening(data.folder.path("none")), "no file", "none", "none-train-features.npy"));
  CHECK(one_line_with(opening(data.folder.path("train-labels.npy")), "expected a safetensors file, got", "NumPy"));
  save_safetensors(data.folder.path("a.safetensors"),
                   {{"features", Tensor::full({2, 2}, 1)}, {"test", counted_labels(2, 2)}});
  CHECK(one_line_with(opening(data.folder.path("a.safetensors")), "a.safetensors", "no index array `train`"));
  save_safetensors(data.folder.path("b.safetensors"), {{"labels", counted_labels(2, 2)}});
  CHECK(one_line_with(opening(data.folder.path("b.safetensors")), "b.safetensors: no `features`"));
  data.save("features", Tensor::full({2, 2}, 1));
  CHECK(one_line_with(data.error(), "expected one of", "got several"));
  std::filesystem::remove(data.folder.path("features.npy"));

  // Cut short before it is opened, and behind the reader's back, which keeps a table as small as this one.
  const Splits splits = load_splits({.name = "embeddings", .path = data.folder.path()}, 0);
  std::vector<float> before(3), x(3);
  splits.train->read_features(5, before.data());
  const std::string features = data.folder.path("train-features.npy");
  std::filesystem::resize_file(features, std::filesystem::file_size(features) - 5);
  CHECK(one_line_with(data.error(), "train-features.npy: expected 72 bytes of data", "got 67"));
  splits.train->read_features(5, x.data());
  CHECK(x == before);
  CHECK(one_line_with(error_of([&] { splits.train->read_features(6, x.data()); }), "an index in 0 to 5"));
  std::filesystem::remove(data.folder.path("test-features.npy"));
  CHECK(one_line_with(data.error(), "no part `test`"));
}

TEST_CASE("embeddings: a table without index arrays is a test set, with or without labels") {
  const TemporaryFolder folder;
  const DataSpec file{.name = "embeddings", .path = folder.path("x.safetensors")};
  const NamedTensor features{"features", Tensor::full({4, 3}, 1)};
  save_safetensors(file.path, {features});
  const Splits splits = load_splits(file, 0);
  CHECK(splits.train->size() == 0);
  CHECK(splits.test->size() == 4);
  CHECK(splits.test->classes() == 0);
  CHECK(splits.test->label(3) == 0);
  CHECK(one_line_with(splits.notes.at(0), "x.safetensors: no index arrays"));
  CHECK(one_line_with(error_of([&] { load_splits(file, 2); }), "no rows of `train`", "x.safetensors"));
  save_npy(folder.path("x-features.npy"), features.tensor);
  save_npy(folder.path("x-labels.npy"), counted_labels(4, 3));
  CHECK(load_splits({.name = "embeddings", .path = folder.path("x")}, 0).test->classes() == 3);
  save_safetensors(file.path, {{"features", Tensor::zeros({0, 3})}});
  CHECK(one_line_with(error_of([&] { load_splits(file, 0); }), "\"features\": no rows"));
}

TEST_CASE("embeddings: a scale is for integers, one for all or one a column") {
  const TemporaryFolder folder;
  const auto with = [&](const Tensor& features, const Tensor& scale) {
    for (const char* part : {"train", "test"})
      save_safetensors(folder.path(std::string(part) + ".safetensors"),
                       {{"features", features}, {"scale", scale}, {"labels", counted_labels(2, 2)}});
    return error_of([&] { load_splits({.name = "embeddings", .path = folder.path()}, 0); });
  };
  const Tensor bytes = Tensor::from<uint8_t>({1, 2, 3, 4, 5, 255}, {2, 3});
  CHECK(with(bytes, Tensor::full({}, 0.5)).empty());
  CHECK(with(bytes, Tensor::full({3}, 0.5)).empty());
  CHECK(one_line_with(with(bytes, Tensor::full({2}, 0.5)), "\"scale\": expected a scale () or (3) f32, got (2) f32"));
  CHECK(one_line_with(with(bytes, Tensor::full({1, 3}, 0.5)), "got (1, 3) f32"));
  CHECK(one_line_with(with(bytes, counted_labels(3, 2)), "got (3) i64"));
  CHECK(one_line_with(with(bytes, Tensor::full({3}, 3e38)), "scale 0 is 3e+38, expected a finite one"));
  CHECK(one_line_with(with(Tensor::full({2, 3}, 1), Tensor::full({}, 0.5)), "a scale is for features of u8 or i8"));
}

TEST_CASE("embeddings: labels of people, votes and noise") {
  const Good data;
  const std::string people = data.folder.path("people.npy"), votes = data.folder.path("votes.npy");
  save_npy(people, Tensor::from<int64_t>({1, 1, 0, 1, 1, 1}, {6}));
  save_npy(votes, Tensor::from<int64_t>({3, 1, 0, 5, 1, 1, 7, 0}, {4, 2}));
  const DataSpec spec{.name = "embeddings", .path = data.folder.path(), .labels = people, .votes = votes};
  const Splits splits = load_splits(spec, 2);
  std::vector<int64_t> all = labels(*splits.train), held = labels(*splits.validation);
  all.insert(all.end(), held.begin(), held.end());
  CHECK(std::ranges::count(all, 1) == 5);
  CHECK(splits.noisy_share == doctest::Approx(2.0 / 6));
  CHECK(labels(*splits.test) == std::vector<int64_t>{0, 1, 0, 1});
  CHECK(splits.test->distribution(0).to_vector<float>() == std::vector{0.75f, 0.25f});
  const Splits clean = load_splits({.name = "embeddings", .path = data.folder.path()}, 2);
  CHECK(identity_fingerprint(*clean.train) != identity_fingerprint(*splits.train));
  CHECK(image_fingerprint(*clean.train) == image_fingerprint(*splits.train));

  CHECK(one_line_with(data.error({.labels = "worst"}), "worst", "clean or FILE.npy"));
  CHECK(one_line_with(data.error({.labels = data.folder.path("none.npy")}), "none.npy", "No such file"));
  CHECK(one_line_with(data.error({.labels = votes}), "votes.npy", "expected labels (N)"));
  save_npy(people, Tensor::from<int64_t>({1, 1, 0, 1, 1}, {5}));
  CHECK(one_line_with(data.error({.labels = people}), "people.npy: expected 6 labels", "got 5"));
  save_npy(people, Tensor::from<int64_t>({1, 1, 0, 1, 1, 2}, {6}));
  CHECK(one_line_with(data.error({.labels = people}), "people.npy: label 5 is 2, expected 0 to 1"));
  CHECK(one_line_with(data.error({.votes = people}), "people.npy: expected counts (4, 2), got (6)"));
  CHECK(one_line_with(error_of([] { load_splits({.votes = "x.npy"}, 0); }), "data.votes", "fashion-mnist"));

  const DataSpec noisy{
      .name = "embeddings", .path = data.folder.path(), .noise = LabelNoise::pair, .noise_rate = 1, .noise_seed = 3};
  CHECK(load_splits(noisy, 0).noisy_share == 1);
  CHECK(load_splits(noisy, 0).test->distribution(1).to_vector<float>() == std::vector{1.0f, 0.0f});

  // What pixels would give that are these numbers, and more than one class to flip to.
  Tensor pixels = Tensor::empty({6, 1, 1, 3}, DType::u8);
  for (int64_t i = 0; i < 18; ++i) pixels.data<uint8_t>()[i] = static_cast<uint8_t>(7 * i % 31);
  const Tensor clean_labels = counted_labels(6, 2), mean = mean_image(pixels);
  data.save("train-features", pixels.reshape({6, 3}));
  data.save("test-features", pixels.rows(2, 6).reshape({4, 3}));
  data.folder.write("classes.txt", "a\nb\nc\nd\n");
  const DataSpec instance{.name = "embeddings", .path = data.folder.path(), .noise = LabelNoise::instance};
  const Splits drawn = load_splits(instance, 0);
  CHECK(labels(*drawn.train) ==
        sample_labels(instance_noise(pixels, clean_labels, mean, 4, {}), 0, 0).to_vector<int64_t>());
  const Tensor p = instance_noise(pixels.rows(2, 6), counted_labels(4, 2), mean, 4, {.split = 1});
  CHECK(drawn.test->distribution(2).to_vector<float>() == p.rows(2, 3).to_vector<float>());
}

TEST_CASE("embeddings: who an example is follows its id, label and features, whatever the file's dtype") {
  const Good data;
  const auto identity = [&] {
    return identity_fingerprint(*load_splits({.name = "embeddings", .path = data.folder.path()}, 0).train);
  };
  const std::string before = identity();
  data.save("train-features", Tensor::full({6, 3}, 0.5).to(DType::f64));
  CHECK(identity() == before);
  data.save("train-features", Tensor::full({6, 3}, 0.25));
  CHECK(identity() != before);
  data.part("train", 6);
  CHECK(identity() == before);
  data.save("train-ids", counted_labels(6, 5));
  CHECK(identity() != before);
}

}  // namespace
}  // namespace sked

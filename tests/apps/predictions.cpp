// Predictions that leave the program: what their files say is what evaluate measures. The measures are worked out here
// again, as tests/fixtures/predictions.py has them by NumPy alone.

#include "apps/common/measure/predictions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "apps/common/measure/evaluation.h"
#include "core/npz.h"
#include "core/safetensors.h"
#include "data/catalog.h"
#include "data/image_file.h"
#include "layers/heads/make_head.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

/// nll, accuracy, top-5, ECE, Brier.
using Five = std::array<double, 5>;
constexpr std::array kKeys{"nll", "accuracy", "top5", "ece", "brier"};

/// Of probabilities and targets (N,K).
Five measures_of(const std::vector<double>& p, const std::vector<double>& t, size_t classes, bool sigmoid) {
  const size_t rows = p.size() / classes;
  Five sum{};
  std::array<double, 15> gaps{};
  for (size_t n = 0; n < rows; ++n) {
    const double *own = p.data() + n * classes, *target = t.data() + n * classes;
    const double greatest = *std::max_element(target, target + classes);
    std::vector<size_t> order(classes);
    for (size_t k = 0; k < classes; ++k) {
      order[k] = k;
      sum[0] -= target[k] * std::log(std::max(own[k], 0x1p-149));
      if (sigmoid) sum[0] -= (1 - target[k]) * std::log(std::max(1 - own[k], 0x1p-25));
      sum[4] += (own[k] - target[k]) * (own[k] - target[k]);
    }
    std::ranges::stable_sort(order, std::greater{}, [&](size_t k) { return own[k]; });
    const auto right = [&](size_t place) { return target[order[place]] == greatest; };
    sum[1] += right(0);
    for (size_t place = 0; place < std::min<size_t>(5, classes); ++place)
      if (right(place)) {
        sum[2] += 1;
        break;
      }
    const double confidence = own[order[0]];
    gaps[static_cast<size_t>(std::clamp(std::ceil(confidence * 15) - 1, 0.0, 14.0))] += right(0) - confidence;
  }
  for (const double gap : gaps) sum[3] += std::abs(gap);
  for (double& value : sum) value /= static_cast<double>(rows);
  return sum;
}

/// Rows of 0 and one 1.
std::vector<double> one_hot(const Tensor& labels, size_t classes) {
  std::vector<double> t(static_cast<size_t>(labels.numel()) * classes, 0.0);
  for (size_t n = 0; n < static_cast<size_t>(labels.numel()); ++n)
    t[n * classes + static_cast<size_t>(labels.data<int64_t>()[n])] = 1;
  return t;
}

/// Of a file's probabilities.
Five measures_of(const TensorFile& file, bool sigmoid) {
  const Tensor& p = file.at("probabilities");
  const auto classes = static_cast<size_t>(p.dim(1));
  const auto t =
      file.contains("targets") ? file.at("targets").to_vector<double>() : one_hot(file.at("labels"), classes);
  return measures_of(p.to_vector<double>(), t, classes, sigmoid);
}

void check_close(const Five& got, const Five& want) {
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(kKeys[i]);
    CHECK(std::abs(got[i] - want[i]) < 1e-6);  // f32 probabilities on both sides, sums in double
  }
}

Five five_of(const Measures& m) { return {m.nll, m.accuracy, m.top5, m.ece, m.brier}; }

Five five_at(const std::string& json, const std::string& pointer) {
  Five five{};
  for (size_t i = 0; i < five.size(); ++i) five[i] = number_at(json, pointer + "/" + kKeys[i]);
  return five;
}

Five five_of(const Tensor& values) {
  Five five{};
  std::ranges::copy(values.to_vector<double>(), five.begin());
  return five;
}

/// The rows of u8 (N,L).
std::vector<std::string> texts_of(const Tensor& rows) {
  std::vector<std::string> texts;
  for (int64_t n = 0; n < rows.dim(0); ++n) {
    std::string text(reinterpret_cast<const char*>(rows.data<uint8_t>()) + n * rows.dim(1),
                     static_cast<size_t>(rows.dim(1)));
    texts.push_back(text.substr(0, text.find('\0')));
  }
  return texts;
}

double entropy_of(const float* p, int64_t classes, bool sigmoid) {
  double sum = 0;
  const auto add = [&](double q) { sum -= q > 0 ? q * std::log(q) : 0; };
  for (int64_t k = 0; k < classes; ++k) {
    add(static_cast<double>(p[k]));
    if (sigmoid) add(1 - static_cast<double>(p[k]));
  }
  return sum;
}

/// The fields of a table, whose lines end in CRLF (RFC 4180).
std::vector<std::vector<std::string>> table_of(const std::string& csv) {
  std::vector<std::vector<std::string>> table(1, std::vector<std::string>(1));
  bool quoted = false;
  for (size_t i = 0; i < csv.size(); ++i) {
    std::string& field = table.back().back();
    if (csv[i] == '"' && quoted && i + 1 < csv.size() && csv[i + 1] == '"')
      field += csv[i++];
    else if (csv[i] == '"')
      quoted = !quoted;
    else if (csv[i] == ',' && !quoted)
      table.back().emplace_back();
    else if (csv[i] == '\r' && !quoted && i + 1 < csv.size() && csv[i + 1] == '\n')
      table.emplace_back(1), ++i;
    else
      field += csv[i];
  }
  table.pop_back();  // behind the last line end
  return table;
}

/// What a file has of 60 test images of `config`, and what evaluate measures of the same classifier.
struct Exported {
  TensorFile file;
  Five measured{};
  double temperature = 0;
};

Exported exported(const RunConfig& config, const PredictionsWanted& wanted) {
  const auto test = load_splits(config.data, 0).test;
  const auto model = make_classifier(config, {8, 8, 1}, 10, Device::cpu);
  auto predictions = predictions_for(wanted, config.head, test->class_names(), test->size());
  const PredictOptions options{.samples = 4, .batch_size = 25};
  const Evaluation e = evaluate(*model, test, config, options, [&](const Prediction& p) {
    predictions->add(ids_of(*test, p.batch), p.probabilities, &p.batch,
                     said_by_head(wanted, model->head(), p.phi, p.rows));
  });
  predictions->write(Json::object());
  return {load_safetensors(wanted.file), five_of(e.measures), model->head().temperature()};
}

/// Σ_j Σ(x)_jj from d(x) and V(x).
void check_noise(const TensorFile& file, Factors form) {
  const Tensor &variance = file.at("noise_variance"), &d = file.at("noise_deviation");
  CHECK(file.contains("noise_factors") == (form != Factors::diagonal));
  for (int64_t n = 0; n < variance.dim(0); ++n) {
    double sum = 0;
    const auto add = [&](const Tensor& rows) {
      const int64_t width = rows.numel() / rows.dim(0);
      for (int64_t i = n * width; i < (n + 1) * width; ++i) sum += std::pow(rows.data<float>()[i], 2.0);
    };
    add(d);
    if (form != Factors::diagonal) add(file.at("noise_factors"));
    CHECK(variance.data<float>()[n] == doctest::Approx(sum).epsilon(1e-5));  // a sum of f32
  }
}

/// A batch of two examples of three classes.
Batch two_examples() {
  Batch batch;
  batch.labels = Tensor::from<int64_t>({2, 0}, {2});
  batch.indices = Tensor::from<int64_t>({0, 1}, {2});
  return batch;
}

const std::vector<std::string> kNames{"a \"small\" cat, sitting", "dog", "été\nnuit"};

}  // namespace

TEST_CASE("predictions: the measures that are worked out here are NumPy's") {
  const TensorFile file = load_safetensors("tests/fixtures/predictions.safetensors");
  for (const std::string link : {"softmax", "sigmoid"}) {
    CAPTURE(link);
    const Tensor &p = file.at(link + "/p"), &labels = file.at(link + "/labels"), &targets = file.at(link + "/targets");
    const bool sigmoid = link == "sigmoid";
    const std::vector<double> wide = p.to_vector<double>(), entropies = file.at(link + "/entropy").to_vector<double>();
    check_close(measures_of(wide, one_hot(labels, 7), 7, sigmoid), five_of(file.at(link + "/measures")));
    check_close(measures_of(wide, targets.to_vector<double>(), 7, sigmoid),
                five_of(file.at(link + "/target_measures")));
    for (size_t n = 0; n < entropies.size(); ++n)
      CHECK(std::abs(entropy_of(p.data<float>() + 7 * n, 7, sigmoid) - entropies[n]) < 1e-12);
    // and evaluate's
    for (const bool soft : {false, true}) {
      MetricsAccumulator accumulator(7, sigmoid);
      accumulator.add(p, labels, soft ? targets : Tensor());
      check_close(five_of(accumulator.measures()), five_of(file.at(link + (soft ? "/target_measures" : "/measures"))));
    }
  }
}

TEST_CASE("predictions: of every head, link and form of factors a file has what evaluate measures") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    for (const Factors form : {Factors::full, Factors::efficient, Factors::diagonal}) {
      if (kind == HeadKind::det && form != Factors::full) continue;
      CAPTURE(kind);
      CAPTURE(form);
      RunConfig config = tiny_config(folder.path("data"));
      config.head.kind = kind;
      config.head.noise.factors = form;
      config.head.link = form == Factors::full ? Link::softmax : Link::sigmoid;
      const bool sigmoid = config.head.link == Link::sigmoid, noisy = kind != HeadKind::det;
      PredictionsWanted wanted{.file = folder.path("p.safetensors"), .top_k = {}, .with = {"logits", "representation"}};
      if (noisy) wanted.with.emplace_back("noise");
      const auto [file, measured, temperature] = exported(config, wanted);
      check_close(measures_of(file, sigmoid), measured);
      const Tensor &p = file.at("probabilities"), &logits = file.at("logits"), &phi = file.at("representation");
      CHECK(p.shape() == Shape{60, 10});
      CHECK(logits.shape() == Shape{60, 10});
      CHECK(phi.shape() == Shape{60, 8});
      CHECK(texts_of(file.at("ids"))[59] == "fashion-mnist, image 59");
      CHECK(texts_of(file.at("class_names"))[9] == "Ankle boot");
      CHECK(text_at(file.metadata.at("about"), "/head") == name_of(kind));
      CHECK(text_at(file.metadata.at("about"), "/link") == name_of(config.head.link));
      for (int64_t n = 0; n < 60; ++n)
        CHECK(file.at("entropy").data<float>()[n] ==
              doctest::Approx(entropy_of(p.data<float>() + 10 * n, 10, sigmoid)).epsilon(1e-6));
      if (noisy) {
        const int64_t j = kind == HeadKind::het ? 10 : 8;
        CHECK(file.at("noise_deviation").shape() == Shape{60, j});
        if (form != Factors::diagonal) CHECK(file.at("noise_factors").shape() == Shape{60, j, 2});
        check_noise(file, form);
        continue;
      }
      CHECK(file.at("noise_variance").to_vector<float>() == std::vector<float>(60, 0.0f));
      for (int64_t n = 0; n < 60; ++n) {  // without noise the probabilities are the logits'
        double sum = 0;
        const float* row = logits.data<float>() + 10 * n;
        for (int64_t k = 0; k < 10; ++k) sum += std::exp(row[k] / temperature);
        for (int64_t k = 0; k < 10; ++k)
          CHECK(p.data<float>()[10 * n + k] == doctest::Approx(std::exp(row[k] / temperature) / sum).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("predictions: of many classes the best, and what the label's probability is") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const RunConfig config = tiny_config(folder.path("data"));
  const TensorFile all = exported(config, {.file = folder.path("all.safetensors"), .top_k = 10, .with = {}}).file;
  const TensorFile best = exported(config, {.file = folder.path("best.safetensors"), .top_k = 3, .with = {}}).file;
  CHECK_FALSE(best.contains("probabilities"));
  CHECK_FALSE(all.contains("top_classes"));
  CHECK(best.at("entropy").to_vector<float>() == all.at("entropy").to_vector<float>());
  const float* p = all.at("probabilities").data<float>();
  for (int64_t n = 0; n < 60; ++n) {
    std::vector<int64_t> order{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    std::ranges::stable_sort(order, std::greater{}, [&](int64_t k) { return p[10 * n + k]; });
    for (int64_t i = 0; i < 3; ++i) {
      CHECK(best.at("top_classes").data<int64_t>()[3 * n + i] == order[static_cast<size_t>(i)]);
      CHECK(best.at("top_probabilities").data<float>()[3 * n + i] == p[10 * n + order[static_cast<size_t>(i)]]);
    }
    CHECK(best.at("label_probability").data<float>()[n] == p[10 * n + all.at("labels").data<int64_t>()[n]]);
  }

  // 20 of more than 1,000; how much there may be of them
  const auto predictions = [&](int64_t classes, int64_t rows, std::optional<int64_t> top_k) {
    return Predictions({.file = folder.path("p.safetensors"), .top_k = top_k, .with = {}}, {},
                       std::vector<std::string>(static_cast<size_t>(classes), "x"), rows);
  };
  Predictions many = predictions(1001, 1, {});
  Batch batch;
  batch.labels = Tensor::from<int64_t>({1000}, {1});
  many.add({"id"}, Tensor::full({1, 1001}, 1.0 / 1001), &batch);
  many.write(Json::object());
  CHECK(load_safetensors(folder.path("p.safetensors")).at("top_classes").shape() == Shape{1, 20});
  CHECK(one_line_with(error_of([&] { predictions(20000, 60000, 20000); }), "60000", "20000 classes", "4.8 GB",
                      "--top-k"));
  CHECK(error_of([&] { predictions(20000, 60000, {}); }).empty());
}

TEST_CASE("predictions: safetensors, npz and CSV say the same, names of any kind among it") {
  const TemporaryFolder folder;
  Batch batch = two_examples();
  batch.targets = Tensor::from<float>({0, 0.25f, 0.75f, 1, 1, 0}, {2, 3});
  batch.distributions = Tensor::from<float>({0.5f, 0.5f, 0, 0, 0, 1}, {2, 3});
  const Tensor p = Tensor::from<float>({0.1f, 0.2f, 0.7f, 1e-30f, 1.0f / 3, 2.0f / 3}, {2, 3});
  const std::vector<NamedTensor> more{{"noise_variance", Tensor::from<float>({0.5f, 3e10f}, {2})},
                                      {"noise_factors", Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2})}};
  const std::vector<std::string> ids{"a,\"b\".png", "\xC3\xA9.png"};
  const auto write = [&](const std::string& name) {
    Predictions predictions({.file = folder.path(name), .top_k = {}, .with = {}}, {}, kNames, 5);  // three are left out
    predictions.add(ids, p, &batch, more);
    predictions.write({{"split", "test"}});
    return slurp(folder.path(name));
  };
  write("p.safetensors");
  const TensorFile file = load_safetensors(folder.path("p.safetensors"));
  CHECK(texts_of(file.at("ids")) == ids);
  CHECK(texts_of(file.at("class_names")) == kNames);
  CHECK(file.at("targets").to_vector<float>() == batch.targets.to_vector<float>());
  CHECK(file.at("label_distribution").to_vector<float>() == batch.distributions.to_vector<float>());

  const auto table = table_of(write("p.csv"));
  REQUIRE(table.size() == 3);
  CHECK(table[0] ==
        std::vector<std::string>{"ids", "labels", "labels/name", "label_distribution/" + kNames[0],
                                 "label_distribution/dog", "label_distribution/" + kNames[2], "targets/" + kNames[0],
                                 "targets/dog", "targets/" + kNames[2], "probabilities/" + kNames[0],
                                 "probabilities/dog", "probabilities/" + kNames[2], "entropy", "noise_variance",
                                 "noise_factors/0/0", "noise_factors/0/1", "noise_factors/1/0", "noise_factors/1/1"});
  CHECK(table[1] == std::vector<std::string>{ids[0], "2", kNames[2], "0.5", "0.5", "0", "0", "0.25", "0.75", "0.1",
                                             "0.2", "0.7", table[1][12], "0.5", "1", "2", "3", "4"});
  CHECK(table[2][9] == "1e-30");
  CHECK(table[2][13] == "3e+10");
  for (size_t n = 0; n < 2; ++n) {
    CHECK(table[n + 1][0] == ids[n]);
    CHECK(std::stof(table[n + 1][12]) == file.at("entropy").data<float>()[n]);
    for (size_t k = 0; k < 3; ++k) CHECK(std::stof(table[n + 1][9 + k]) == p.data<float>()[3 * n + k]);
  }

  const std::string error = error_of([&] { write("p.npz"); });
  if (error.find("built without libzip") != std::string::npos) return skip("built without libzip");
  REQUIRE(error.empty());
  const TensorFile npz = load_npz(folder.path("p.npz"));
  CHECK(npz.tensors.size() == file.tensors.size() + 1);
  for (const auto& [name, tensor] : file.tensors) {
    CAPTURE(name);
    CHECK(npz.at(name).shape() == tensor.shape());
    CHECK(npz.at(name).to_vector<double>() == tensor.to_vector<double>());
  }
  const std::vector<uint8_t> about = npz.at("about").to_vector<uint8_t>();
  CHECK(std::string(about.begin(), about.end()) == file.metadata.at("about"));
  CHECK(text_at(file.metadata.at("about"), "/split") == "test");
  CHECK(error_of([&] { check_predictions({.file = folder.path("p.npz"), .top_k = {}, .with = {}}); }).empty());
}

TEST_CASE("predictions: what is refused, in one line, before anything is computed") {
  const TemporaryFolder folder;
  const auto refusal = [&](const PredictionsWanted& wanted) { return error_of([&] { check_predictions(wanted); }); };
  const auto of_file = [&](const std::string& name) {
    return refusal({.file = folder.path(name), .top_k = {}, .with = {}});
  };
  CHECK(one_line_with(of_file("p.parquet"), "p.parquet", ".safetensors, .npz or .csv"));
  CHECK(one_line_with(of_file("none/p.csv"), "none/p.csv", "No such file"));
  CHECK(one_line_with(refusal({.file = "", .top_k = 3, .with = {}}), "--top-k", "--predictions FILE"));
  CHECK(one_line_with(refusal({.file = "", .top_k = {}, .with = {"noise"}}), "--with", "--predictions FILE"));
  for (const std::string name : {"a.csv", "a.safetensors"}) {  // somebody's own files
    const std::string own = folder.write(name, "id,label\n1,2\n");
    CHECK(one_line_with(of_file(name), name, "is there", "not touched"));
    CHECK(slurp(own) == "id,label\n1,2\n");
    folder.write(name, "");
    CHECK(of_file(name).empty());
  }
  const auto with_noise = [&] {
    Predictions({.file = folder.path("p.csv"), .top_k = {}, .with = {"noise"}}, {.kind = HeadKind::det}, kNames, 2);
  };
  CHECK(one_line_with(error_of(with_noise), "--with noise", "a head with noise, got det"));
  const auto infinite = [&] {
    Predictions predictions({.file = folder.path("p.csv"), .top_k = {}, .with = {}}, {}, kNames, 2);
    const Batch batch = two_examples();
    predictions.add({"x", "y"}, Tensor::full({2, 3}, 0.5), &batch,
                    {{"noise_variance", Tensor::from<float>({1, INFINITY}, {2})}});
  };
  CHECK(one_line_with(error_of(infinite), "y: noise_variance is inf"));
}

TEST_CASE("predictions: evaluate and predict write them") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const RunConfig config = tiny_config(folder.path("data"));
  const std::string run = train_run(folder, config, "run"), file = folder.path("p.safetensors");
  const auto evaluate = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"evaluate", run});
    words.insert(words.end(), {"--predictions", file, "--out", folder.path("e"), "--threads", "1"});
    return run_program(words);
  };
  const Outcome outcome = evaluate({"--with", "logits", "--with", "noise"});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("predictions of 60 examples, 10 of 10 classes each: " + file) != std::string::npos);
  TensorFile found = load_safetensors(file);
  check_close(measures_of(found, false), five_at(slurp(folder.path("e/evaluation.json")), "/test"));
  CHECK(found.contains("logits"));
  CHECK(found.at("noise_factors").dim(2) == 2);
  const std::string about = found.metadata.at("about");
  CHECK(text_at(about, "/checkpoint") == run + "/best.safetensors");
  CHECK(text_at(about, "/split") == "test");
  CHECK(number_at(about, "/samples") == 2);

  RunConfig other = config;
  other.seed = 2;
  const Outcome together = evaluate({train_run(folder, other, "other"), "--split", "validation"});
  REQUIRE_MESSAGE(together.code == 0, together.err);
  found = load_safetensors(file);
  check_close(measures_of(found, false), five_at(slurp(folder.path("e/evaluation.json")), "/ensemble/validation"));
  CHECK(found.at("labels").numel() == 40);
  CHECK_FALSE(found.contains("noise_variance"));
  CHECK(text_at(found.metadata.at("about"), "/head") == "ensemble");
  CHECK(size_at(found.metadata.at("about"), "/members") == 2);
  CHECK(
      fails_with(evaluate({folder.path("other"), "--with", "logits"}), 2, "--with logits", "expected one run, got 2"));

  if (!can_decode_images()) return skip("built without image libraries");
  write_png(folder.path("x, y.png"), Tensor::full({8, 8, 1}, 30, DType::u8));
  const Outcome predicted = run_program({"predict", run, folder.path("x, y.png"), folder.path("none.png"),
                                         "--predictions", folder.path("p.csv"), "--top-k", "2", "--threads", "1"});
  CHECK(predicted.code == 1);  // one of the images is not there
  const auto table = table_of(slurp(folder.path("p.csv")));
  REQUIRE(table.size() == 2);
  CHECK(table[0] == std::vector<std::string>{"ids", "top_classes/0", "top_classes/0/name", "top_classes/1",
                                             "top_classes/1/name", "top_probabilities/0", "top_probabilities/1",
                                             "entropy", "noise_variance"});
  CHECK(table[1][0] == folder.path("x, y.png"));
  CHECK(predicted.out.find(table[1][2]) != std::string::npos);
}

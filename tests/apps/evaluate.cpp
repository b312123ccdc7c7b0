// What evaluate does with representations and foreign images.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <set>

#include "apps/common/config/fields.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/resized.h"
#include "apps/common/measure/ridge.h"
#include "apps/common/run/stored_calibration.h"
#include "core/error.h"
#include "core/npy.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "data/image_file.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

Tensor random_f64(const Shape& shape, uint64_t stream) {
  Tensor t = Tensor::empty(shape, DType::f64);
  Rng rng({3, stream, 0});
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = rng.normal();
  return t;
}

std::shared_ptr<ImageDataset> one_image(const std::vector<uint8_t>& bytes, int64_t side, int64_t channels) {
  return std::make_shared<ImageDataset>("one", std::vector<std::string>{"a"},
                                        Tensor::from(bytes, {1, side, side, channels}),
                                        Tensor::from(std::vector<int64_t>{0}, {1}));
}

}  // namespace

TEST_CASE("few-shot: ridge satisfies its normal equations") {
  const int64_t n = 7, d = 4, k = 3;
  const double lambda = 0.3;
  const Tensor x = random_f64({n, d}, 1), y = random_f64({n, k}, 2), w = ridge(x, y, lambda);
  const auto at = [](const Tensor& t, int64_t i, int64_t j) { return t.data<double>()[i * t.dim(1) + j]; };
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t c = 0; c < k; ++c) {  // Xᵀ(XW − Y) + λW = 0
      double gradient = lambda * at(w, i, c);
      for (int64_t r = 0; r < n; ++r) {
        double residual = -at(y, r, c);
        for (int64_t j = 0; j < d; ++j) residual += at(x, r, j) * at(w, j, c);
        gradient += at(x, r, i) * residual;
      }
      CHECK(std::abs(gradient) < 1e-12);  // a 4×4 system of condition below 100, in double
    }
  }
  CHECK(one_line_with(error_of([&] { ridge(x, random_f64({n + 1, k}, 3), lambda); }), "(7, 4)", "(8, 3)"));
  CHECK(one_line_with(error_of([&] {
                        ridge(Tensor::zeros({2, 2}, DType::f64), random_f64({2, 1}, 4), 0);
                      }),
                      "positive definite"));
}

TEST_CASE("few-shot: separated classes are told apart") {
  const Tensor phi = Tensor::from(std::vector<float>{0, 10, 10, 0, 0.1f, 10.2f, 9.8f, 0.1f}, {4, 2});
  const Tensor labels = Tensor::from(std::vector<int64_t>{0, 1, 0, 1}, {4});
  CHECK(few_shot_accuracy(phi, labels, phi, labels, 2, 1e-3) == 1);
  const Tensor swapped = Tensor::from(std::vector<int64_t>{1, 0, 1, 0}, {4});
  CHECK(few_shot_accuracy(phi, labels, phi, swapped, 2, 1e-3) == 0);
  const Tensor none = Tensor::empty({0, 2}), unlabeled = Tensor::empty({0}, DType::i64);
  CHECK(one_line_with(error_of([&] { few_shot_accuracy(phi, labels, none, unlabeled, 2, 1); }), "test images"));
  CHECK(one_line_with(error_of([&] { few_shot_accuracy(none, unlabeled, phi, labels, 2, 1); }), "training images"));
  CHECK(one_line_with(error_of([&] { few_shot_accuracy(phi, labels, phi, labels, 1, 1); }), "0 to 0, got 1"));
}

TEST_CASE("few-shot: as scikit-learn's StandardScaler and Ridge have it, and its choice of lambda") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const Tensor &phi = file.at("few_shot/phi"), &labels = file.at("few_shot/labels"),
               &test = file.at("few_shot/test_phi"), &test_labels = file.at("few_shot/test_labels");
  const std::vector<double> lambdas = file.at("few_shot/lambdas").to_vector<double>(),
                            accuracies = file.at("few_shot/accuracies").to_vector<double>();
  for (size_t i = 0; i < lambdas.size(); ++i) {
    CAPTURE(lambdas[i]);
    CHECK(few_shot_accuracy(phi, labels, test, test_labels, 4, lambdas[i]) == doctest::Approx(accuracies[i]));
  }
  CHECK(choose_lambda(phi, labels, 4, 6, lambdas) == file.at("few_shot/chosen").to_vector<double>()[0]);
}

TEST_CASE("few-shot: images are drawn, not the first, and those of fewer shots are among those of more") {
  std::vector<int64_t> labels(300);  // sorted by class
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) / 100;
  std::vector<int64_t> before;
  for (const int64_t shots : {1, 5, 25, 100}) {
    const std::vector<int64_t> drawn = draw_of_each_class(labels, 3, shots);
    std::vector<int64_t> counts(3, 0), sorted = drawn;
    for (const int64_t i : drawn) ++counts[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    CHECK(counts == std::vector<int64_t>(3, shots));
    std::ranges::sort(sorted);
    CHECK(std::ranges::adjacent_find(sorted) == sorted.end());
    for (const int64_t i : before) CHECK(std::ranges::binary_search(sorted, i));
    if (shots == 25) {  // spread over the class: the mean position of 25 of 100, ± 5
      double mean = 0;
      for (const int64_t i : drawn) mean += static_cast<double>(i % 100) / 75;
      CHECK(mean > 30);
      CHECK(mean < 70);
    }
    CHECK(draw_of_each_class(labels, 3, shots) == drawn);
    std::vector<int64_t> fewer = labels;
    fewer[static_cast<size_t>(drawn[0])] = -1;
    if (shots < 100) {  // the others stay, one more of the class comes
      std::vector<int64_t> kept = draw_of_each_class(fewer, 3, shots), rest(drawn.begin() + 1, drawn.end());
      CHECK(kept.size() == drawn.size());
      std::ranges::sort(kept);
      std::ranges::sort(rest);
      CHECK(std::ranges::includes(kept, rest));
    }
    before = drawn;
  }
  CHECK(one_line_with(error_of([] { draw_of_each_class({1, 1, 0}, 2, 2); }), "2 images of class 0, got 1"));
}

TEST_CASE("few-shot: λ is what held-out folds say, the larger of equals") {
  // One feature tells the classes, 11 others are noise: too little regularization fits the noise.
  Tensor phi = Tensor::empty({20, 12}), labels = Tensor::empty({20}, DType::i64);
  const Tensor noise = random_f64({20, 12}, 5);
  for (int64_t i = 0; i < 20; ++i) {
    labels.data<int64_t>()[i] = i % 2;
    for (int64_t j = 0; j < 12; ++j)
      phi.data<float>()[i * 12 + j] = static_cast<float>(noise.data<double>()[i * 12 + j]);
    phi.data<float>()[i * 12] = static_cast<float>(i % 2) * 4;
  }
  const std::vector<double> candidates{1e-9, 1.0, 100.0};
  const double chosen = choose_lambda(phi, labels, 2, 10, candidates);
  // by brute force: 5 folds of 4
  std::vector<double> right;
  for (const double lambda : candidates) {
    double sum = 0;
    for (int64_t fold = 0; fold < 5; ++fold) {
      Tensor x = Tensor::empty({16, 12}), y = Tensor::empty({16}, DType::i64), t = Tensor::empty({4, 12}),
             u = Tensor::empty({4}, DType::i64);
      int64_t kept = 0, held = 0;
      for (int64_t i = 0; i < 20; ++i) {
        const bool out = (i / 2) % 5 == fold;
        (out ? t : x).rows(out ? held : kept, (out ? held : kept) + 1).copy_from(phi.rows(i, i + 1));
        (out ? u : y).data<int64_t>()[out ? held++ : kept++] = i % 2;
      }
      sum += few_shot_accuracy(x, y, t, u, 2, lambda);
    }
    right.push_back(sum);
  }
  double expected = candidates[0], best = right[0];
  for (size_t c = 1; c < 3; ++c)
    if (right[c] >= best - 1e-9) best = right[c], expected = candidates[c];
  CHECK(chosen == expected);
  CHECK(choose_lambda(phi.rows(0, 2), labels.rows(0, 2), 2, 1, candidates) == 1);
}

TEST_CASE("few-shot: the scale and place of a feature do not matter") {
  const Tensor phi = random_f64({12, 3}, 7).to(DType::f32), test = random_f64({9, 3}, 8).to(DType::f32);
  Tensor labels = Tensor::empty({12}, DType::i64), expected = Tensor::empty({9}, DType::i64);
  for (int64_t i = 0; i < 12; ++i) labels.data<int64_t>()[i] = phi.data<float>()[3 * i] > 0;
  for (int64_t i = 0; i < 9; ++i) expected.data<int64_t>()[i] = test.data<float>()[3 * i] > 0;
  const auto moved = [](const Tensor& t) {
    Tensor m = t.clone();
    for (int64_t i = 0; i < m.numel(); ++i)
      m.data<float>()[i] = i % 3 == 0 ? 1024 * m.data<float>()[i] + 512 : m.data<float>()[i];
    return m;
  };
  CHECK(few_shot_accuracy(phi, labels, test, expected, 2, 1) ==
        few_shot_accuracy(moved(phi), labels, moved(test), expected, 2, 1));
}

TEST_CASE("evaluate: a prediction that is not finite is refused, naming the image, and so is a set without images") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    for (const Link link : {Link::softmax, Link::sigmoid}) {
      CAPTURE(kind);
      CAPTURE(link);
      RunConfig config = tiny_config(folder.path("data"));
      config.head.kind = kind;
      config.head.link = link;
      const auto test = load_splits(config.data, 0).test;
      const auto refusal = [&](const std::string& weight, const std::shared_ptr<const Dataset>& data) {
        const auto model = make_classifier(config, {8, 8, 1}, 10, Device::cpu);
        for (NamedVar& p : model->parameters())
          if (p.name == weight) p.var.mutable_value().data<float>()[0] = std::nanf("");
        return error_of([&] { evaluate(*model, data, config, {.samples = 8, .skip_limit = 0}); });
      };
      CHECK(refusal("", test).empty());
      CHECK(one_line_with(refusal("conv1.weight", test), "fashion-mnist, image 0", "representation is nan"));
      CHECK(one_line_with(refusal("head.weight", test), "fashion-mnist, image 0", "a probability is nan"));
      CHECK(one_line_with(refusal("", std::make_shared<Subset>(test, 0, 0)), "fashion-mnist", "images", "got none"));
    }
  }
}

TEST_CASE("evaluate: few-shot says of which class there are not enough images") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  folder.write("run.json", config_text(tiny_config(folder.path("data"))));
  const std::string run = folder.path("run"), images = folder.path("images");
  REQUIRE(run_program({"train", "--config", folder.path("run.json"), "--out", run, "--threads", "1"}).code == 0);
  for (const std::string name : {"cat", "dog"}) {
    for (const std::string split : {"train", "test"}) {
      std::filesystem::create_directories(images + "/" + split + "/" + name);
      for (int i = 0; i < (name == "cat" ? 6 : 5); ++i)
        write_png(images + "/" + split + "/" + name + "/" + std::to_string(i) + ".png",
                  Tensor::full({8, 8, 3}, name == "cat" ? 200 : 20 * i, DType::u8));
    }
  }
  const auto few_shot = [&] {
    return run_program(
        {"evaluate", run, "--few-shot", "image-folder:" + images, "--samples", "0", "--out", run + "/e"});
  };
  const Outcome outcome = few_shot();
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find("11 test images") != std::string::npos);
  CHECK(outcome.out.find(" 5 shots: ") != std::string::npos);
  CHECK(outcome.out.find("10 shots: none, class 1, dog, has 5 training images") != std::string::npos);
  CHECK(outcome.out.find("25 shots: none, class 1, dog") != std::string::npos);
  CHECK(size_at(slurp(run + "/e/evaluation.json"), "/few_shot/results") == 2);
}

TEST_CASE("evaluate: few-shot takes another image for a corrupt one, within the limit") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  folder.write("run.json", config_text(tiny_config(folder.path("data"))));
  const std::string run = folder.path("run");
  REQUIRE(run_program({"train", "--config", folder.path("run.json"), "--out", run, "--threads", "1"}).code == 0);
  std::vector<int64_t> labels(24, 0);
  std::fill(labels.begin() + 12, labels.end(), 1);
  std::set<int64_t> broken;  // whatever is drawn first, and more cats
  for (const int64_t i : draw_of_each_class(labels, 2, 1)) broken.insert(i);
  for (const int64_t i : draw_of_each_class(labels, 2, 5))
    if (i < 12) broken.insert(i);
  for (int64_t i = 0; i < 24; ++i) {
    for (const std::string split : {"train", "test"}) {
      const std::string file = "images/" + split + (i < 12 ? "/cat/" : "/dog/") + std::to_string(10 + i) + ".png";
      folder.write(file, "");
      if (split == "test" || !broken.contains(i))
        write_png(folder.path(file), Tensor::full({8, 8, 3}, i < 12 ? 200 : 4 * i, DType::u8));
    }
  }
  const auto few_shot = [&](const std::string& limit) {
    return run_program({"evaluate", run, "--few-shot", "image-folder:" + folder.path("images"), "--samples", "0",
                        "--set", "data.skip_limit=" + limit});
  };
  const Outcome outcome = few_shot("6");
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find(" 1 shots: 1") != std::string::npos);
  CHECK(outcome.out.find(" 5 shots: 1") != std::string::npos);  // 100 %
  CHECK(outcome.out.find("10 shots: none, class 0, cat, has 7 training images") != std::string::npos);
  const Outcome refused = few_shot("5");
  CHECK(refused.code == 1);
  CHECK(refused.err.find("6 of the training images drawn are corrupt; data.skip_limit is 5") != std::string::npos);
}

namespace {

/// A folder of images of classes that one color tells: `count` of each in train and test.
std::string write_images(const TemporaryFolder& folder, const std::string& name,
                         const std::vector<std::string>& classes, int count) {
  for (const std::string split : {"train", "test"})
    for (size_t k = 0; k < classes.size(); ++k)
      for (int i = 0; i < count; ++i) {
        const std::string file = name + "/" + split + "/" + classes[k] + "/" + std::to_string(i) + ".png";
        folder.write(file, "");
        write_png(folder.path(file), Tensor::full({8, 8, 3}, 100.0 * static_cast<double>(k) + i, DType::u8));
      }
  return folder.path(name);
}

}  // namespace

TEST_CASE("evaluate: what else it is asked about is looked at before anything is measured") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const std::string images = write_images(folder, "images", {"cat", "dog"}, 3);
  RunConfig config = tiny_config(folder.path("data"));
  const std::string digits = train_run(folder, config, "digits");
  config.data = {};
  config.data.name = "image-folder";
  config.data.path = images;
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 3;
  const std::string animals = train_run(folder, config, "animals");
  const auto refused = [](std::vector<std::string> words, int code, const std::string& part) {
    words.insert(words.begin(), "evaluate");
    const Outcome outcome = run_program(words);
    CHECK(outcome.out.find("nll") == std::string::npos);
    return fails_with(outcome, code, part);
  };
  // However a path is written, it is the data of the training.
  std::filesystem::create_directory_symlink(images, folder.path("link"));
  for (const std::string& path : {images, images + "/", images + "//.", images + "/train/..", folder.path("link/")})
    CHECK(refused({animals, "--ood", "image-folder:" + path}, 2, "the model was trained on it"));
  CHECK(refused({digits, "--ood", "fashion-mnist"}, 2, "the model was trained on it"));
  CHECK(refused({digits, "--ood", "image-folder:" + folder.path("none")}, 1, folder.path("none")));
  CHECK(refused({digits, "--few-shot", "image-folder:" + folder.path("none")}, 1, folder.path("none")));
  // A class of a list may have no image.
  folder.write("shards/classes.tsv", "0\ta\tcat\n1\tb\tdog\n2\tc\towl \x1b[31m\n");
  for (const std::string split : {"train", "test"}) {
    const std::string png = slurp(images + "/train/cat/0.png");
    std::string tar;
    for (int i = 0; i < 2; ++i)
      for (const auto& [ending, bytes] : {std::pair(std::string("png"), png), {"cls", std::to_string(i)}}) {
        std::string header(512, '\0'), size(12, '\0');
        std::snprintf(size.data(), size.size(), "%011o", static_cast<unsigned>(bytes.size()));
        header.replace(0, 5, std::to_string(i) + "." + ending).replace(124, 11, size.substr(0, 11));
        header.replace(100, 7, "0000644").replace(257, 8, std::string("ustar\00000", 8)).replace(148, 8, 8, ' ');
        header[156] = '0';
        unsigned sum = 0;
        for (const char c : header) sum += static_cast<unsigned char>(c);
        std::snprintf(header.data() + 148, 8, "%06o", sum);
        tar += header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
      }
    folder.write("shards/" + split + "-0.tar", tar + std::string(1024, '\0'));
  }
  const Outcome missing = run_program({"evaluate", animals, "--few-shot", "shards:" + folder.path("shards")});
  CHECK(missing.code == 1);
  CHECK(missing.err.starts_with("note: training images: none of 1 of 3 classes, the first 2, owl \\x1B[31m\n"));
  CHECK(missing.err.ends_with("class 2, owl \\x1B[31m, has no training image\n"));
  // Nor does the folder of the results wait.
  folder.write("file", "mine");
  CHECK(refused({digits, "--out", folder.path("file")}, 1, "Not a directory"));
  CHECK(refused({digits, "--out", folder.path("file/below")}, 1, "Not a directory"));
  std::filesystem::create_directories(folder.path("taken/evaluation.json"));
  CHECK(refused({digits, "--out", folder.path("taken")}, 1, "taken/evaluation.json: Is a directory"));
  CHECK(slurp(folder.path("file")) == "mine");
}

TEST_CASE("evaluate: of a run that is not finished it says which weights it looks at") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const std::string run = train_run(folder, tiny_config(folder.path("data")), "run");
  const auto note = [&] {
    const Outcome outcome = run_program({"evaluate", run, "--samples", "0"});
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return outcome.err;
  };
  const std::string summary = slurp(run + "/summary.json"), best = slurp(run + "/best.safetensors");
  CHECK(note().empty());
  std::filesystem::remove(run + "/best.safetensors");
  CHECK(one_line_with(std::string(trimmed(note())), "no best.safetensors any more", "its last weights are used"));
  std::filesystem::remove(run + "/summary.json");
  CHECK(note() == "note: " + run + " is not finished: its last weights, since it was not evaluated yet, are used\n");
  folder.write("run/best.safetensors", best);
  CHECK(note() == "note: " + run + " is not finished: its best weights so far are used\n");
  // Of a finished one the best may be all that was kept.
  folder.write("run/summary.json", summary);
  std::filesystem::remove(run + "/last.safetensors");
  CHECK(note().empty());
  std::filesystem::remove(run + "/best.safetensors");
  CHECK(fails_with(run_program({"evaluate", run}), 1, run, "stopped before its first checkpoint"));
  RunConfig without = tiny_config(folder.path("data"));
  without.data.validation = 0;
  const std::string tested = train_run(folder, without, "tested");
  std::filesystem::remove(tested + "/last.safetensors");
  CHECK(fails_with(run_program({"evaluate", tested}), 1, tested, "chosen by the test images"));
}

static std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_CASE("evaluate, predict: a calibration is fitted, kept, applied where it is asked for, and to its weights alone") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.head.temperature.learn = false;
  const std::string run = train_run(folder, config, "run"), file = run + "/calibration.json";
  config.seed = 1;
  config.data.validation = 0;
  const std::string other = train_run(folder, config, "other");
  const auto evaluated = [&](const std::vector<std::string>& more) {
    const Outcome outcome = run_program(with({"evaluate", run, "--out", folder.path("out"), "--threads", "1"}, more));
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return std::pair(outcome, slurp(folder.path("out/evaluation.json")));
  };
  const auto [fitted, json] = evaluated({"--calibrate", "validation", "--samples", "3"});
  const std::string stored = slurp(file), fit = "/calibration/measures/";
  CHECK(text_at(stored, "/split") == "validation");
  CHECK(number_at(stored, "/count") == 40);
  CHECK(number_at(stored, "/samples") == 3);
  CHECK(number_at(stored, "/temperature/nll") <= number_at(stored, "/nll"));
  CHECK(number_at(stored, "/shift/nll") < number_at(stored, "/temperature/nll"));
  CHECK(number_at(json, fit + "as_trained/nll") == number_at(json, "/test/nll"));
  CHECK(number_at(json, fit + "temperature/accuracy") == number_at(json, "/test/accuracy"));
  CHECK(fitted.out.find("temperature ") != std::string::npos);
  for (const std::string name : {"temperature", "shift"}) {
    const auto [outcome, applied] = evaluated({"--calibrated", name, "--samples", "3"});
    CHECK(outcome.out.starts_with("calibrated: temperature "));
    CHECK(outcome.out.find(", fitted to 40 validation images\n") != std::string::npos);
    CHECK(number_at(applied, "/test/nll") == number_at(json, fit + name + "/nll"));
    CHECK(number_at(applied, "/test/nll") != number_at(json, "/test/nll"));
    CHECK(text_at(applied, "/calibrated/applied") == name);
  }
  const auto [again, others] = evaluated({"--calibrated", "shift", "--split", "validation"});
  CHECK(again.err.find("of 3 Monte Carlo samples, these are of 2\n") != std::string::npos);
  CHECK(again.err.find("note: these measures are of the very images") != std::string::npos);
  const auto refused = [&](const std::vector<std::string>& words, int code, const std::string& part) {
    return fails_with(run_program(with({"evaluate"}, words)), code, part);
  };
  CHECK(refused({run, "--calibrated", "shift", "--set", "head.temperature=2"}, 1, "head.temperature 1, here it is 2"));
  CHECK(refused({other, "--calibrated", "shift"}, 1, "other/calibration.json is not there"));
  CHECK(refused({other, "--calibrate", "validation"}, 2, "data.validation=N"));
  folder.write("other/calibration.json", stored);
  CHECK(refused({other, "--calibrated", "shift"}, 1, "fitted to other weights"));
  folder.write("other/calibration.json", "mine");
  CHECK(refused({other, "--calibrate", "test"}, 1, "it is not touched"));
  if (can_decode_images()) {
    write_png(folder.path("a.png"), Tensor::full({8, 8, 3}, 100, DType::u8));
    const std::vector<std::string> words{"predict", run, folder.path("a.png"), "--top", "1", "--samples", "3"};
    const std::string as_trained = run_program(words).out,
                      calibrated = run_program(with(words, {"--calibrated", "shift"})).out;
    CHECK(calibrated.starts_with("calibrated: temperature "));
    CHECK(calibrated.find(as_trained) == std::string::npos);
  }
  RunFolder{run}.clear_results();
  CHECK(!std::filesystem::exists(file));
}

TEST_CASE("evaluate: a calibration is read as it was written, or refused") {
  const TemporaryFolder folder;
  StoredCalibration c{.source = {.weights = "00ff", .eval_pipeline = "value_range(-1,1)"},
                      .split = "validation",
                      .count = 40,
                      .nll = 2,
                      .temperature = {.calibration = {.temperature = 1.5}, .nll = 1.75},
                      .shift = {.calibration = {.temperature = 1 / 3.0}, .nll = 1.5},
                      .command = "x"};
  for (int k = 0; k < 10; ++k) c.shift.calibration.shift.push_back(k / 7.0 - 1);
  folder.write("good.json", json_text(calibration_json(c)));
  const StoredCalibration read = read_calibration(folder.path("good.json"), 10, true);
  CHECK(calibration_json(read) == calibration_json(c));
  CHECK(read.named("temperature").sigmoid);
  CHECK(read.named("shift").shift == c.shift.calibration.shift);
  const auto reading = [&](const std::function<void(Json&)>& edit, int64_t classes = 10) {
    Json edited = calibration_json(c);
    edit(edited);
    folder.write("bad.json", json_text(edited));
    return error_of([&] { read_calibration(folder.path("bad.json"), classes, false); });
  };
  CHECK(one_line_with(reading([](Json&) {}, 9), "bad.json: shift.class_shift: expected 9 finite numbers"));
  CHECK(one_line_with(reading([](Json& j) { j["shift"]["class_shift"].push_back("x"); }, 11), "expected 11 finite"));
  CHECK(one_line_with(reading([](Json& j) { j["shift"] = 1; }), "got none"));
  CHECK(one_line_with(reading([](Json& j) { j = Json::array(); }), "got none"));
  CHECK(one_line_with(reading([](Json& j) { j["shift"]["tau"] = 1; }), "bad.json: unknown key shift.tau"));
  CHECK(one_line_with(reading([](Json& j) { j["count"] = "40"; }), "bad.json: count: expected an integer"));
  for (const double t : {-1.0, 0.0, 1e9, 0.001}) {
    CHECK(one_line_with(reading([&](Json& j) { j["shift"]["temperature"] = t; }), "bad.json: expected a temperature"));
    CHECK(one_line_with(reading([&](Json& j) { j["temperature"]["temperature"] = t; }), "from 0.01 to 100, got"));
  }
}

TEST_CASE("evaluate: a run folder and results of a name that is not UTF-8") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const std::string run = train_run(folder, tiny_config(folder.path("data")), "caf\xE9");
  const Outcome outcome = run_program({"evaluate", run, "--samples", "0", "--out", folder.path("r\xE9sultats")});
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  const std::string json = slurp(folder.path("r\xE9sultats/evaluation.json"));
  CHECK(text_at(json, "/checkpoint") == folder.path("caf\\xE9"));
}

TEST_CASE("resized: vectors stay as they are, and are of the model's length") {
  const TemporaryFolder folder;
  save_npy(folder.path("x-features.npy"), Tensor::full({2, 3}, 0.5));
  const std::string name = "embeddings:" + folder.path("x");
  CHECK(other_splits(name, "", {3}).test->image(1).to_vector<float>() == std::vector{0.5f, 0.5f, 0.5f});
  CHECK(one_line_with(error_of([&] { other_splits(name, "", {4}); }), "expected vectors (4)", "got vectors (3)"));
  CHECK(one_line_with(error_of([&] { other_splits(name, "", {2, 2, 3}); }), "expected images (2, 2, 3)"));
}

TEST_CASE("resized: colors become gray, gray is repeated, the shorter side fits, the rest is cut around the center") {
  const auto color = one_image({10, 20, 30}, 1, 3);
  const Tensor gray = resized(color, {1, 1, 1})->image(0);
  CHECK(gray.to_vector<uint8_t>() == std::vector<uint8_t>{18});  // 2.99 + 11.74 + 3.42 = 18.15
  CHECK(resized(one_image({7}, 1, 1), {3, 3, 3})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>(27, 7));
  const auto wide = std::make_shared<ImageDataset>("wide", std::vector<std::string>{"a"},
                                                   Tensor::from<uint8_t>({1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 4, 1}),
                                                   Tensor::from(std::vector<int64_t>{0}, {1}));
  CHECK(resized(wide, {2, 2, 1})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>{2, 3, 6, 7});
  CHECK(resized(wide, {0, 0, 3})->image(0).shape() == Shape{2, 4, 3});
  CHECK(resized(wide, {0, 0, 3})->image_shape() == Shape{2, 4, 3});
  CHECK(resized(wide, {0, 0, 1}) == wide);
  const auto large = one_image({1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 1);
  CHECK(resized(large, {3, 3, 1}) == large);
  CHECK(one_line_with(error_of([&] { resized(large, {3, 3, 2}); }), "(3, 3, 2)", "(3, 3, 1)"));
}

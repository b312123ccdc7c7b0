// What several ranks measure and predict together is what one does: batches that do not divide, ranks without a row,
// corrupt images.

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <mutex>
#include <set>

#include "apps/common/measure/covariance.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/predictions.h"
#include "apps/common/measure/resized.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "data/other_labels.h"
#include "layers/models/model.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;

namespace {

/// 60 test images of ten classes with known label distributions and covariances.
struct Place {
  explicit Place(HeadKind head) {
    write_tiny_data(folder.path("data"));
    config = tiny_config(folder.path("data"));
    config.data.noise = LabelNoise::symmetric;
    config.head.kind = head;
    config.head.noise.factors = Factors::efficient;
    config.head.noise.rank = 2;
    images = with_covariances(load_splits(config.data, 0).test, [](int64_t i) {
      Tensor covariance = Tensor::zeros({10, 10});
      for (int64_t k = 0; k < 10; ++k) covariance.data<float>()[11 * k] = static_cast<float>(1 + (i + k) % 4);
      return covariance;
    });
  }
  std::unique_ptr<Classifier> model(Communicator& ranks) const {
    return make_classifier(config, {8, 8, 1}, 10, Device::cpu, ranks);
  }
  TemporaryFolder folder;
  RunConfig config;
  std::shared_ptr<const Dataset> images;
};

/// All that evaluate makes of them.
struct Made {
  Evaluation evaluation;
  LogitCovariance covariance;
  TensorFile predictions;
};

/// By so many ranks, in batches of seven: the last has four images.
Made made(const Place& place, int64_t size) {
  const HeadConfig& head = place.config.head;
  PredictionsWanted wanted{.file = place.folder.path(std::to_string(size) + ".safetensors"), .top_k = {}, .with = {}};
  wanted.with = {"logits", "representation"};
  if (head.kind != HeadKind::det) wanted.with.push_back("noise");
  Made result;
  on_ranks(size, [&](Communicator& ranks) {
    const auto model = place.model(ranks);
    const PredictOptions options{.samples = 6, .batch_size = 7, .seed = 3, .ranks = &ranks};
    auto predictions = predictions_for(wanted, head, place.images->class_names(), 60);
    CovarianceAccumulator sums;
    const Evaluation e = evaluate(*model, place.images, place.config, options, [&](const Prediction& p) {
      CHECK(p.batch.indices.dim(0) == p.probabilities.dim(0));
      const std::vector<std::string> ids = ids_of(*place.images, p.batch);
      const auto more = said_by_head(wanted, model->head(), p.phi, p.rows);
      if (ranks.rank() == 0) predictions->add(ids, p.probabilities, &p.batch, more);
      if (head.kind != HeadKind::det) sums.add(model->head(), p.phi, 4, false, p.context, p.rows, ids);
    });
    LogitCovariance covariance;
    if (head.kind != HeadKind::det) covariance = sums.result(ranks);
    predictions->write(Json::object());
    if (ranks.rank() + 1 == size) result = {e, covariance, {}};  // the last knows as well as the first
  });
  result.predictions = load_safetensors(wanted.file);
  return result;
}

void check_same(const Evaluation& got, const Evaluation& expected, bool divided) {
  const std::string a = evaluation_json(got, true).dump(), b = evaluation_json(expected, true).dump();
  for (const std::string at :
       {"/count", "/accuracy", "/top5", "/nll", "/ece", "/adaptive_ece", "/brier", "/noisy/count",
        "/noisy/cross_entropy", "/selective/aurc", "/classes/3/nll", "/reliability/9/count"}) {
    CAPTURE(at);
    CHECK(number_at(a, at) == doctest::Approx(number_at(b, at)).epsilon(1e-6));
  }
  for (const std::string at : {"/noisy/entropy_correlation", "/noisy/noise_correlation", "/covariance/count",
                               "/covariance/correlation", "/covariance/error", "/covariance/error_shuffled"}) {
    CAPTURE(at);
    if (divided && at.starts_with("/covariance")) continue;
    CHECK(json_at(a, at).empty() == json_at(b, at).empty());
    if (!json_at(b, at).empty()) CHECK(number_at(a, at) == doctest::Approx(number_at(b, at)).epsilon(1e-6));
  }
}

/// Solid images of two classes, twelve of each, every one of its own shade; those of `broken` cannot be decoded.
std::string image_folder(const TemporaryFolder& folder, const std::set<int64_t>& broken) {
  for (int64_t i = 0; i < 24; ++i) {
    for (const std::string split : {"train", "test"}) {
      const std::string file = "images/" + split + (i < 12 ? "/cat/" : "/dog/") + std::to_string(10 + i) + ".png";
      folder.write(file, "");
      if (split == "test" || !broken.contains(i))
        write_png(folder.path(file), Tensor::full({8, 8, 3}, 90 + 7 * (i % 5) + (i < 12 ? 20 : 0), DType::u8));
    }
  }
  return "image-folder:" + folder.path("images");
}

}  // namespace

TEST_CASE("ranks: measures, covariances and predictions are those of one, its classes divided or not") {
  for (const HeadKind head : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    CAPTURE(head);
    Place place(head);
    const Made one = made(place, 1);
    CHECK(one.evaluation.measures.count == 60);
    for (const auto& [size, divided] :
         {std::pair<int64_t, bool>(2, false), {3, false}, {6, false}, {2, true}, {6, true}}) {
      CAPTURE(size);
      CAPTURE(divided);
      place.config.head.shard_classes = divided;
      const Made many = made(place, size);
      check_same(many.evaluation, one.evaluation, divided);
      CHECK((many.evaluation.covariance.count > 0) == (head != HeadKind::det && !divided));
      CHECK(many.predictions.tensors.size() == one.predictions.tensors.size());
      for (const auto& [name, tensor] : one.predictions.tensors) {
        CAPTURE(name);
        const Tensor& other = many.predictions.at(name);
        if (tensor.dtype() == DType::f32)
          check_close(name, other, tensor, 1e-5);
        else
          CHECK(same_bits(other, tensor));
      }
      if (head == HeadKind::det) continue;
      CHECK(many.covariance.images == 60);
      CHECK(many.covariance.ids == one.covariance.ids);
      check_close("covariance", many.covariance.covariance, one.covariance.covariance, 1e-5);
      check_close("each", many.covariance.each, one.covariance.each, 1e-4);  // differences of logs of f32
    }
  }
}

TEST_CASE("ranks: walked over, a data set gives every rank the same batches, and corrupt images count once") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  const std::set<int64_t> broken{0, 1, 2, 3, 9, 17, 23};
  const auto images = other_splits(image_folder(folder, broken), "", {8, 8, 3}).train;
  const auto walked = [&](int64_t size, int64_t limit) {
    std::mutex one_at_a_time;
    std::set<std::vector<int64_t>> seen;  // by ranks
    std::vector<std::string> told;
    on_ranks(size, [&](Communicator& ranks) {
      std::vector<int64_t> indices;
      int64_t rows_of_all = 0;
      const auto visit = [&](const Batch& batch, const BatchRows& rows) {
        CHECK(batch.images.dim(0) == std::max<int64_t>(1, rows.mine().size()));
        CHECK(rows.gathered(batch.images).dim(0) == rows.total());
        rows_of_all += rows.total();
        for (int64_t b = 0; b < rows.total(); ++b) {
          indices.push_back(batch.indices.data<int64_t>()[b]);
          CHECK(batch.labels.data<int64_t>()[b] == images->label(indices.back()));
        }
      };
      const auto on_skip = [&](const Skipped& s) {
        if (ranks.rank() == 0) told.push_back(s.message);
      };
      for_each_batch(images, "decode|value_range(0,1)",
                     {.batch_size = 4, .skip_limit = limit, .on_skip = on_skip, .ranks = &ranks}, visit);
      CHECK(rows_of_all == std::ssize(indices));
      const std::lock_guard lock(one_at_a_time);
      seen.insert(indices);
    });
    CHECK(seen.size() == 1);
    CHECK(told.size() == broken.size());
    return *seen.begin();
  };
  const std::vector<int64_t> expected = walked(1, 7);
  CHECK(expected.size() == 17);
  for (const int64_t size : {2, 3, 5}) {
    CHECK(walked(size, 7) == expected);
    CHECK(one_line_with(error_of([&] { walked(size, 6); }), "33.png", "corrupt images so far: 7", "skip_limit is 6"));
  }
  const auto few = std::make_shared<Subset>(images, std::vector<int64_t>{9, 1, 17, 4});  // one of them can be used
  const auto none = std::make_shared<Subset>(images, std::vector<int64_t>{9, 1, 17});
  on_ranks(3, [&](Communicator& ranks) {
    int64_t rows = 0;
    const BatchOptions options{.skip_limit = 9, .on_skip = [](const Skipped&) {}, .ranks = &ranks};
    const auto visit = [&](const Batch&, const BatchRows& of) { rows += of.total(); };
    for_each_batch(few, "decode|value_range(0,1)", options, visit);
    CHECK(rows == 1);
    CHECK(one_line_with(error_of([&] { for_each_batch(none, "decode|value_range(0,1)", options, visit); }),
                        "no image of the epoch"));
  });
}

TEST_CASE("ranks: few-shot accuracies are those of one, with other images for corrupt ones") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  std::vector<int64_t> labels(24, 0);
  std::fill(labels.begin() + 12, labels.end(), 1);
  std::set<int64_t> broken;
  for (const int64_t i : draw_of_each_class(labels, 2, 2)) broken.insert(i);
  const FewShotData data = few_shot_data(image_folder(folder, broken), "", {8, 8, 3});
  RunConfig config;
  config.model = {.name = "resnet-cifar", .blocks = {1}, .base_width = 4};
  config.data.eval_pipeline = "decode|value_range(-1,1)";
  config.data.skip_limit = 4;
  config.train.batch_size = 5;
  Init init(1);
  const auto tower = make_backbone(config.model, {8, 8, 3}, init);
  const auto asked = [&](int64_t size) {
    std::mutex one_at_a_time;
    std::set<std::string> measured, told;
    on_ranks(size, [&](Communicator& ranks) {
      const auto say = [&](const std::string& line) {
        const std::lock_guard lock(one_at_a_time);
        told.insert(line);
      };
      const FewShotMeasures m = few_shot(*tower, data, {1, 5, 9, 11}, config, Device::cpu, say, ranks);
      CHECK(!m.results.back().missing.empty());
      const std::lock_guard lock(one_at_a_time);
      measured.insert(few_shot_json(m).dump());
    });
    CHECK(told.size() == 4);
    CHECK(measured.size() == 1);
    return *measured.begin();
  };
  const std::string one = asked(1);
  CHECK(size_at(one, "/results") == 3);
  for (const int64_t size : {2, 3, 7}) CHECK(asked(size) == one);
}

TEST_CASE("ranks: mpirun evaluates, predicts and writes features as one process does") {
  if (!has_mpirun() || !can_decode_images()) return;
  const TrainPlace place;
  RunConfig config = place.config();
  config.head.kind = HeadKind::het_xl;
  config.data.validation = 40;
  const std::string run = train_run(place.folder, config, "run"), images = image_folder(place.folder, {5});
  const auto at = [&](const std::string& name, int64_t ranks) {
    return place.folder.path(name + "-" + std::to_string(ranks));
  };
  const auto start = [&](int64_t ranks, const std::vector<std::string>& words, int code = 0) {
    const Outcome outcome = ranks == 1 ? run_program(words) : mpirun(ranks, words);
    CAPTURE(outcome.err);
    CHECK(outcome.code == code);
    return outcome;
  };
  for (const int64_t ranks : {1, 3}) {
    const Outcome evaluated = start(ranks, {"evaluate",      run,
                                            "--ood",         images,
                                            "--mahalanobis", "--split-entropy",
                                            "--few-shot",    "fashion-mnist",
                                            "--calibrate",   "validation",
                                            "--covariance",  at("cov", ranks),
                                            "--predictions", at("rows", ranks) + ".safetensors",
                                            "--with",        "noise",
                                            "--out",         at("out", ranks),
                                            "--set",         "data.skip_limit=1"});
    CHECK(occurrences(evaluated.out, "mutual information") == 1);
    const Outcome predicted = start(ranks,
                                    {"predict", run, place.folder.path("images/train"), "--samples", "3", "--json",
                                     at("answers", ranks), "--predictions", at("answers", ranks) + ".safetensors"},
                                    1);
    CHECK(occurrences(predicted.out, "10.png\n") + occurrences(predicted.out, "10.png  (") == 1);
    CHECK(occurrences(predicted.err, "15.png") == 1);
    start(ranks, {"features", run, "--out", at("features", ranks)});
  }
  const std::string one = slurp(at("out", 1) + "/evaluation.json"), three = slurp(at("out", 3) + "/evaluation.json");
  for (const std::string number :
       {"/test/nll", "/test/ece", "/test/selective/aurc", "/ood/count", "/ood/scores/max_logit/auroc",
        "/ood/scores/noise/auprc", "/ood/scores/relative_mahalanobis/auroc", "/entropy/total", "/entropy/noise",
        "/few_shot/count", "/few_shot/results/1/accuracy", "/calibration/measures/shift/nll"}) {
    CAPTURE(number);
    CHECK(number_at(three, number) == doctest::Approx(number_at(one, number)).epsilon(1e-5));
  }
  CHECK(slurp(at("answers", 3)) == slurp(at("answers", 1)));
  for (const std::string file : {"cov", "rows", "answers", "features"}) {
    const std::string ending = file == "features" ? "/train.safetensors" : ".safetensors";
    const TensorFile many = load_safetensors(at(file, 3) + ending), alone = load_safetensors(at(file, 1) + ending);
    CHECK(many.tensors.size() == alone.tensors.size());
    for (const auto& [name, tensor] : alone.tensors) {
      CAPTURE(file + ": " + name);
      if (tensor.dtype() == DType::f32 && file != "answers")
        check_close(name, many.at(name), tensor, 1e-5);
      else
        CHECK(same_bits(many.at(name), tensor));
    }
  }
}

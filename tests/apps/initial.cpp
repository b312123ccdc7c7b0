// Fine-tuning from checkpoints written by timm and torchvision (tests/fixtures/checkpoints.py).

#include "apps/common/run/initial.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/grid.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "autograd/matmul.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"

using namespace sked;
using namespace sked::test;

namespace {

const TensorFile& answers() {
  static const TensorFile file = load_safetensors("tests/fixtures/init.safetensors");
  return file;
}

RunConfig vit_config() {
  RunConfig c;
  c.model = {.name = "vit", .patch = 8, .width = 24, .depth = 2, .heads = 3, .mlp = 48};
  return c;
}

RunConfig resnet_config() {
  RunConfig c;
  c.model = {.name = "resnet-cifar", .blocks = {1, 1}, .base_width = 8, .stem = Stem::imagenet};
  return c;
}

std::string fixture(const std::string& name) { return "tests/fixtures/init-" + name + ".safetensors"; }

/// log p: the logits up to a constant per image, which the answers are brought to as well.
void check_logits(Classifier& model, const Tensor& images, const Tensor& logits) {
  const Context context{};
  const NoGrad no_tape;
  const Tensor phi = model.backbone().forward(Var(images), context).value();
  const Tensor p = model.head().predict(phi, 0, context);
  REQUIRE(p.shape() == logits.shape());
  for (int64_t i = 0; i < p.dim(0); ++i) {
    const float *u = logits.data<float>() + i * p.dim(1), *q = p.data<float>() + i * p.dim(1);
    double sum = 0;
    for (int64_t k = 0; k < p.dim(1); ++k) sum += std::exp(static_cast<double>(u[k]));
    for (int64_t k = 0; k < p.dim(1); ++k)
      CHECK(std::abs(std::log(static_cast<double>(q[k])) - (static_cast<double>(u[k]) - std::log(sum))) < 1e-4);
  }
}

std::unique_ptr<Classifier> classifier(const RunConfig& config, int64_t side, int64_t classes) {
  return make_classifier(config, {side, side, 3}, classes, Device::cpu);
}

}  // namespace

TEST_CASE("initial: timm's vision transformer gives timm's logits") {
  const auto model = classifier(vit_config(), 32, 7);
  const InitialReport report = load_initial(load_safetensors(fixture("vit")), fixture("vit"), *model);
  CHECK(report.unused.empty());
  CHECK(report.not_found.empty());
  CHECK(report.interpolated.empty());
  CHECK_FALSE(report.head_replaced);
  CHECK(report.loaded == static_cast<int64_t>(model->parameters().size()));
  check_logits(*model, answers().at("images"), answers().at("vit"));
}

TEST_CASE("initial: torchvision's residual network gives its logits") {
  const auto model = classifier(resnet_config(), 32, 7);
  const InitialReport report = load_initial(load_safetensors(fixture("resnet")), fixture("resnet"), *model);
  CHECK(report.not_found.empty());
  CHECK(report.unused.size() == 6);  // num_batches_tracked of each batch norm
  CHECK(std::ranges::all_of(report.unused, [](const auto& n) { return n.ends_with("num_batches_tracked"); }));
  check_logits(*model, answers().at("images"), answers().at("resnet"));
}

TEST_CASE("initial: position embeddings of another grid are resampled as timm does") {
  const auto model = classifier(vit_config(), 48, 7);
  const InitialReport report = load_initial(load_safetensors(fixture("vit")), fixture("vit"), *model);
  CHECK(report.interpolated == std::vector<std::string>{"pos_embed"});
  check_logits(*model, answers().at("large"), answers().at("vit-large"));
  for (const int64_t to : {2, 3, 4, 6, 9}) {
    const Tensor got = resample_grid(answers().at("grid/4"), 4, to),
                 &expected = answers().at("grid/" + std::to_string(to));
    for (int64_t i = 0; i < got.numel(); ++i)
      CHECK(got.data<float>()[i] == doctest::Approx(expected.data<float>()[i]).epsilon(1e-5));
  }
}

TEST_CASE("initial: another number of classes, another head, no class token") {
  RunConfig config = vit_config();
  config.head.kind = HeadKind::het_xl;
  const auto model = classifier(config, 32, 5);
  const auto before = model->parameters();
  std::vector<float> head;
  for (const NamedVar& p : before)
    if (p.name == "head.weight") head = p.var.value().to_vector<float>();
  const TensorFile file = load_safetensors(fixture("vit"));
  const InitialReport report = load_initial(file, fixture("vit"), *model);
  CHECK(report.head_replaced);
  CHECK(report.classifier == "the classifier is new: 7 classes in the file, 5 here");
  CHECK(report.unused == std::vector<std::string>{"head.bias", "head.weight"});
  CHECK(std::ranges::count(report.not_found, "head.noise.v") == 1);
  for (const NamedVar& p : model->parameters()) {
    if (p.name == "head.weight") CHECK(p.var.value().to_vector<float>() == head);
    if (p.name == "blocks.1.mlp.fc2.bias")
      CHECK(p.var.value().to_vector<float>() == file.at(p.name).to_vector<float>());
  }
  // Another network: refused, but for what fits of it.
  config.model.pool = Pool::gap;
  const auto gap = classifier(config, 32, 5);
  CHECK(one_line_with(error_of([&] { load_initial(file, fixture("vit"), *gap); }), "init-vit.safetensors",
                      "has a norm behind the blocks (norm.bias and 1 more), the model has not (model.norm = tokens)",
                      "train.init_partial=true"));
  const InitialReport other = load_initial(file, fixture("vit"), *gap, {.partial = true});
  CHECK(other.interpolated.size() == 1);
  CHECK(std::ranges::count(other.unused, "cls_token") == 1);
  CHECK(std::ranges::count(other.not_found, "fc_norm.weight") == 1);
}

TEST_CASE("initial: a classifier follows the names of its classes") {
  const TensorFile file = load_safetensors(fixture("vit"));
  const std::vector<std::string> names{"ant", "bee", "cat", "dog", "elk", "fox", "gnu"};
  const auto begin = [&](const std::vector<std::string>& ours, const std::vector<std::string>& theirs,
                         std::vector<float>* bias = nullptr) {
    const auto model = classifier(vit_config(), 32, static_cast<int64_t>(ours.size()));
    const InitialReport report = load_initial(file, "x", *model, {.class_names = ours, .file_class_names = theirs});
    for (const NamedVar& p : model->parameters())
      if (bias != nullptr && p.name == "head.bias") *bias = p.var.value().to_vector<float>();
    return report;
  };
  const std::vector<float> given = file.at("head.bias").to_vector<float>();
  std::vector<float> bias;
  CHECK(begin(names, names, &bias).classifier.empty());
  CHECK(bias == given);
  CHECK(begin(names, {}, &bias).classifier.find("does not say") != std::string::npos);
  CHECK(bias == given);

  const InitialReport fewer = begin({"gnu", "ant", "cat"}, names, &bias);
  CHECK(fewer.head_mapped);
  CHECK_FALSE(fewer.head_replaced);
  CHECK(fewer.unused.empty());
  CHECK(fewer.not_found.empty());
  CHECK(bias == std::vector{given[6], given[0], given[2]});

  const InitialReport others = begin({"ant", "bee", "cat", "dog", "elk", "fox", "owl"}, names, &bias);
  CHECK(others.head_replaced);
  CHECK_FALSE(others.head_mapped);
  CHECK(others.classifier == "the classifier is new: other classes: owl is not among the file's 7");
  CHECK(bias == std::vector<float>(7, 0));
  CHECK(begin({"ant", "ant"}, names).head_replaced);
  std::vector<std::string> twice = names;
  twice[1] = "ant";
  CHECK(begin(names, twice).head_replaced);
  CHECK_FALSE(begin(twice, twice).head_replaced);
  CHECK(one_line_with(error_of([&] { begin(names, {"ant"}); }), "a name of each of its 7 classes, got 1"));
}

TEST_CASE("initial: noise per class goes as the classifier does, noise on the representation does not") {
  const std::vector<std::string> names{"ant", "bee", "cat", "dog", "elk", "fox", "gnu"};
  const std::vector<int64_t> rows{6, 0, 2};
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal}) {
      CAPTURE(kind);
      CAPTURE(factors);
      RunConfig config = vit_config();
      config.head = {.kind = kind, .noise = {.factors = factors, .rank = 2}};
      TensorFile file;
      for (const NamedVar& p : classifier(config, 32, 7)->parameters()) file.tensors.push_back({p.name, p.var.value()});
      const auto model = classifier(config, 32, 3);
      const InitialReport report =
          load_initial(file, "x", *model, {.class_names = {"gnu", "ant", "cat"}, .file_class_names = names});
      CHECK(report.not_found.empty());
      CHECK(report.unused.empty());
      for (const NamedVar& p : model->parameters()) {
        if (!p.name.starts_with("head.noise.")) continue;
        const Tensor &from = file.at(p.name), &got = p.var.value();
        if (kind == HeadKind::het_xl) {
          CHECK(got.to_vector<float>() == from.to_vector<float>());
          continue;
        }
        const int64_t each = from.dim(0) / 7;
        for (int64_t k = 0; k < 3; ++k)
          CHECK(got.rows(k * each, (k + 1) * each).to_vector<float>() ==
                from.rows(rows[static_cast<size_t>(k)] * each, (rows[static_cast<size_t>(k)] + 1) * each)
                    .to_vector<float>());
      }
      // Other classes: noise on logits is new too. Another kind of head: so is its noise.
      const InitialReport fewer = load_initial(file, "x", *classifier(config, 32, 3));
      CHECK(std::ranges::count(fewer.not_found, "head.noise.diagonal.weight") == (kind == HeadKind::het ? 1 : 0));
      config.head.kind = HeadKind::det;
      CHECK(load_initial(file, "x", *classifier(config, 32, 7)).not_found.empty());
      config.head.kind = kind == HeadKind::het ? HeadKind::het_xl : HeadKind::het;
      const InitialReport other = load_initial(file, "x", *classifier(config, 32, 7));
      CHECK(std::ranges::count(other.not_found, "head.noise.diagonal.weight") == 1);
      CHECK_FALSE(other.head_replaced);
      CHECK(one_line_with(error_of([&] { load_foreign(file, "x", *classifier(config, 32, 7)); }), "noise in the head"));
    }
  }
}

TEST_CASE("initial: where noise may be per class or not, it is new under other classes") {
  RunConfig config = vit_config();
  config.head = {.kind = HeadKind::het_xl, .noise = {.factors = Factors::efficient, .rank = 2}};
  std::vector<std::string> names;  // as many as φ is wide
  for (int k = 0; k < 24; ++k) names.push_back("class " + std::to_string(k));
  const auto begun = classifier(config, 32, 24);
  TensorFile file;
  for (const NamedVar& p : begun->parameters()) file.tensors.push_back({p.name, p.var.value()});
  std::vector<std::string> other = names;
  std::swap(other[3], other[7]);
  const auto noise = [&](const std::vector<std::string>& theirs) {
    const auto model = classifier(config, 32, 24);
    return std::ranges::count(
        load_initial(file, "x", *model, {.class_names = names, .file_class_names = theirs}).not_found, "head.noise.v");
  };
  CHECK(noise(names) == 0);
  CHECK(noise(other) == 1);
}

TEST_CASE("initial: noise on pre-logits does not become noise on logits, even where both have one size") {
  RunConfig config = resnet_config();
  config.head.kind = HeadKind::het_xl;
  config.head.noise.rank = 2;
  const int64_t width = make_classifier(config, {32, 32, 3}, 7, Device::cpu)->backbone().width();
  const auto given = classifier(config, 32, width);
  TensorFile file;
  for (const NamedVar& p : given->parameters()) file.tensors.push_back({p.name, p.var.value()});
  for (const auto& [name, buffer] : given->buffers()) file.tensors.push_back({name, *buffer});
  config.head.kind = HeadKind::het;
  const auto model = classifier(config, 32, width);
  const InitialReport report =
      load_initial(file, "x", *model,
                   {.head = config.head, .file_head = HeadConfig{.kind = HeadKind::het_xl, .noise = {.rank = 2}}});
  CHECK(std::ranges::count(report.not_found, "head.noise.v") == 1);
  CHECK(std::ranges::count(report.unused, "head.noise.v") == 1);
  CHECK_FALSE(report.head_replaced);
}

namespace {

/// A classifier's tensors, as a file has them.
TensorFile file_of(const Classifier& model) {
  TensorFile file;
  for (const NamedVar& p : model.parameters()) file.tensors.push_back({p.name, p.var.value()});
  for (const auto& [name, buffer] : model.buffers()) file.tensors.push_back({name, *buffer});
  return file;
}

std::map<std::string, std::vector<float>> values_of(const Module& model) {
  std::map<std::string, std::vector<float>> all;
  for (const NamedVar& p : model.parameters()) all[p.name] = p.var.value().to_vector<float>();
  return all;
}

}  // namespace

TEST_CASE("initial: of any head any other one takes what it can, and the rest is its own") {
  std::vector<HeadConfig> heads{{.kind = HeadKind::det}, {.kind = HeadKind::det, .link = Link::sigmoid}};
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl})
    for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal})
      for (const int64_t rank : {2, 3}) {
        heads.push_back({.kind = kind, .noise = {.factors = factors, .rank = rank}});
        heads.back().temperature.learn = rank == 3;
      }
  RunConfig config = vit_config();
  config.model.depth = 1;
  for (const HeadConfig& from : heads) {
    config.seed = 1;
    config.head = from;
    const auto given = classifier(config, 32, 7);
    const TensorFile file = file_of(*given);
    const auto theirs = values_of(*given);
    for (const HeadConfig& to : heads)
      for (const int64_t classes : {7, 3}) {
        config.seed = 2;
        config.head = to;
        const auto model = classifier(config, 32, classes);
        const auto ours = values_of(*model);
        const InitialReport report = load_initial(file, "x", *model, {.head = to, .file_head = from});
        // By the rules, written down once more.
        const bool same_classes = classes == 7, noisy = to.kind != HeadKind::det;
        const bool same_noise = from.kind == to.kind && from.noise.factors == to.noise.factors &&
                                (from.noise.rank == to.noise.rank || to.noise.factors == Factors::diagonal) &&
                                (to.kind == HeadKind::het_xl || same_classes);
        for (const auto& [name, values] : values_of(*model)) {
          CAPTURE(name);
          const bool taken = name.starts_with("head.noise.")         ? same_noise
                             : name.starts_with("head.temperature.") ? from.temperature.learn
                             : name.starts_with("head.")             ? same_classes
                                                                     : true;
          CHECK(values == (taken ? theirs.at(name) : ours.at(name)));
          CHECK((std::ranges::count(report.not_found, name) == 0) == taken);
        }
        // And said.
        CHECK(report.head_replaced == !same_classes);
        const auto said = [&](const std::string& part) {
          return std::ranges::count_if(report.notes, [&](const auto& line) { return line.starts_with(part); }) == 1;
        };
        CHECK(said("the noise is new: ") == (noisy && !same_noise));
        CHECK(said("the noise of the file's head is left out") == (!noisy && from.kind != HeadKind::det));
        CHECK(said("the classifier was trained with link ") == (same_classes && from.link != to.link));
      }
  }
}

TEST_CASE("initial: what is new of a head is said with both values") {
  RunConfig config = vit_config();
  const auto notes = [&](const HeadConfig& from, const HeadConfig& to, int64_t classes = 7, float t = 0) {
    config.head = from;
    const auto given = classifier(config, 32, 7);
    for (NamedVar& p : given->parameters())
      if (p.name == "head.temperature.t") p.var.mutable_value().data<float>()[0] = t;
    config.head = to;
    std::vector<std::string> ours, theirs{"a", "b", "c", "d", "e", "f", "g"};
    for (int64_t k = 0; k < classes; ++k) ours.push_back(theirs[static_cast<size_t>(6 - k)]);
    const auto model = classifier(config, 32, classes);
    return load_initial(file_of(*given), "x", *model,
                        {.head = to,
                         .file_head = from,
                         .temperature = model->head().temperature(),
                         .class_names = ours,
                         .file_class_names = theirs})
        .notes;
  };
  using Lines = std::vector<std::string>;
  const HeadConfig het{.kind = HeadKind::het, .noise = {.rank = 3}};
  HeadConfig other = het;
  CHECK(notes(het, other).empty());
  other.noise.rank = 2;
  CHECK(notes(het, other) == Lines{"the noise is new: head.rank is 3 in the file, 2 here"});
  other.noise.factors = Factors::full;
  CHECK(notes(het, other) == Lines{"the noise is new: head.factors is efficient in the file, full here; head.rank is 3 "
                                   "in the file, 2 here"});
  other.kind = HeadKind::het_xl;
  CHECK(notes(het, other).front().starts_with("the noise is new: head.kind is het in the file, het-xl here"));
  CHECK(notes({}, het) == Lines{"the noise is new: the file has none"});
  CHECK(notes(het, {}) == Lines{"the noise of the file's head is left out: this head has none (head.kind)"});
  CHECK(notes({.link = Link::sigmoid}, {}) ==
        Lines{"the classifier was trained with link sigmoid, here it is softmax: the logits are the file's, their "
              "probabilities are not"});
  HeadConfig learned, fixed;
  learned.temperature.learn = true;
  CHECK(notes(learned, learned, 7, 1).empty());
  CHECK(notes(learned, fixed, 7, 1) == Lines{"the temperature is 3.66874 in the file, here it begins at 1"});
  fixed.temperature.value = 0.5;
  CHECK(notes(fixed, {}) == Lines{"the temperature is 0.5 in the file, here it begins at 1"});
  HeadConfig narrow = learned;
  narrow.temperature.hi = 1.05;
  CHECK(notes(learned, narrow) == Lines{"the temperature is 2.525 in the file, here it begins at 0.55"});
}

TEST_CASE("initial: where φ has as many features as there are classes, the kind tells what the noise is of") {
  RunConfig config = vit_config();
  config.head = {.kind = HeadKind::het_xl, .noise = {.rank = 2}};
  std::vector<std::string> names;
  for (int k = 0; k < 24; ++k) names.push_back("class " + std::to_string(k));
  const auto given = classifier(config, 32, 24);
  std::vector<std::string> other = names;
  std::swap(other[3], other[7]);
  config.seed = 1;
  const auto model = classifier(config, 32, 24);
  const InitialReport report =
      load_initial(file_of(*given), "x", *model,
                   {.head = config.head, .file_head = config.head, .class_names = names, .file_class_names = other});
  CHECK(report.head_mapped);
  CHECK(report.notes.empty());
  for (const NamedVar& p : model->parameters())
    if (p.name == "head.noise.v") CHECK(p.var.value().to_vector<float>() == values_of(*given).at(p.name));
}

TEST_CASE("initial: weights that are not finite are refused, named as in the file") {
  const auto model = classifier(vit_config(), 32, 7);
  TensorFile file = load_safetensors(fixture("vit"));
  for (NamedTensor& t : file.tensors)
    if (t.name == "blocks.1.mlp.fc1.weight") t.tensor.data<float>()[5] = std::nanf("");
  CHECK(one_line_with(error_of([&] { load_initial(file, fixture("vit"), *model); }), "init-vit.safetensors",
                      "blocks.1.mlp.fc1.weight", "not finite"));
}

TEST_CASE("initial: a checkpoint that does not fit is refused, and nothing has changed") {
  RunConfig config = vit_config();
  config.model.width = 48;
  config.model.mlp = 0;
  const auto model = classifier(config, 32, 7);
  const auto bytes = [&] { return model->parameters().front().var.value().to_vector<float>(); };
  const auto before = bytes();
  const auto loading = [&](const std::string& name, Classifier& into) {
    return error_of([&] { load_initial(load_safetensors(fixture(name)), fixture(name), into); });
  };
  CHECK(one_line_with(loading("vit", *model), "init-vit.safetensors", "the file has a width of 24, model.width is 48"));
  CHECK(bytes() == before);
  TensorFile none;
  none.tensors.push_back({"encoder.weight", Tensor::zeros({2})});
  CHECK(one_line_with(error_of([&] { load_initial(none, "x", *model); }), "no tensor of the model", "encoder.weight"));
}

TEST_CASE("initial: a run is as good without its last weights, where the best are what its summary tests") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  config.train.epochs = 1;
  const RunFolder first{folder.path("first")}, second{folder.path("second")}, third{folder.path("third")};
  train(config, first.path, {.quiet = true});
  const Tensor best = load_safetensors(first.best()).at("conv1.weight");
  config.train.init = first.path;
  config.train.epochs = 0;
  train(config, second.path, {.quiet = true});
  std::filesystem::remove(first.last());
  train(config, third.path, {.quiet = true});
  for (const RunFolder& run : {second, third})
    check_close("conv1.weight", load_safetensors(run.last()).at("conv1.weight"), best.to(DType::f64), 0);
  std::filesystem::remove(first.best());
  CHECK(one_line_with(error_of([&] { train(config, folder.path("fourth"), {.quiet = true}); }), first.path.string(),
                      "a run without weights"));
}

TEST_CASE("initial: train begins with a checkpoint, says what it took, and resumes without it") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  RunConfig config = tiny_config(folder.path("data"));
  const RunFolder first{folder.path("first")}, second{folder.path("second")}, third{folder.path("third")};
  train(config, first.path, {.quiet = true});
  config.train.init = first.last();
  config.head.kind = HeadKind::det;
  config.train.steps = 1;
  config.train.ema_decay = 0.9;
  config.schedule = {.kind = ScheduleKind::constant, .peak = 1e-12};
  train(config, second.path, {.quiet = true});
  const Tensor a = load_safetensors(first.last()).at("conv1.weight"),
               b = load_safetensors(second.last()).at("conv1.weight");
  check_close("conv1.weight", b, a.to(DType::f64), 1e-6);  // one step at a rate of 1e-12 later
  const std::string report = slurp((second.path / "init.json").string());
  CHECK(number_at(report, "/loaded") > 10);
  CHECK(json_at(report, "/not_found") == "[]");
  CHECK(size_at(report, "/notes") == 1);  // its noise is left out
  CHECK(size_at(report, "/unused") > 3);
  std::filesystem::remove(second.summary());
  // Another file of that name is no beginning of this run; none is needed any more.
  std::filesystem::copy_file(first.best(), first.last(), std::filesystem::copy_options::overwrite_existing);
  CHECK(one_line_with(error_of([&] { train(config, second.path, {.quiet = true}); }), second.last(), "train.init"));
  std::filesystem::remove(first.last());
  CHECK(train(config, second.path, {.quiet = true}).steps == 1);
  CHECK(read_checkpoint(second.last()).files.contains("train.init"));
  CHECK(one_line_with(error_of([&] { train(config, third.path, {.quiet = true}); }), first.last(), "No such file"));
}

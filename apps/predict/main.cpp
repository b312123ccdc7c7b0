// predict: image files in; the likeliest classes, how noisy their label would be, and what they would be taken for.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "apps/common/checkpoint.h"
#include "apps/common/cli.h"
#include "apps/common/evaluation.h"
#include "apps/common/fitted.h"
#include "apps/predict/uncertainty.h"
#include "core/error.h"
#include "core/file.h"
#include "data/catalog.h"
#include "data/image_collection.h"
#include "data/image_file.h"

namespace sked {
namespace {

using Json = nlohmann::ordered_json;
constexpr int64_t kCorrelated = 3;  // classes listed beside each

struct PredictArguments {
  std::string checkpoint, json, png;
  std::vector<std::string> images;
  int64_t top = 5;
  std::optional<int64_t> samples;
};

/// The files as a dataset; labels are all 0 and mean nothing.
std::shared_ptr<const Dataset> files_of(const std::vector<std::string>& paths,
                                        const std::vector<std::string>& classes) {
  std::vector<ImageEntry> entries;
  for (const std::string& path : paths)
    entries.push_back({.name = std::filesystem::absolute(path).lexically_normal().string().substr(1)});
  return std::make_shared<ImageCollection>("predict", classes, "", std::vector<std::string>{}, std::move(entries));
}

/// A model with what its images must look like.
struct Model {
  RunConfig config;
  std::vector<std::string> classes;
  std::string pipeline;
  Shape image_shape;  // of its data set; H = W = 0: the pipeline takes any
  std::unique_ptr<Classifier> classifier;
};

Model load_model(const PredictArguments& wanted, const CommonOptions& common) {
  const std::string path = checkpoint_path(wanted.checkpoint);
  const TensorFile file = load_safetensors(path);
  Model m;
  m.config = common.config.empty() ? config_of(file, path) : read_config(common.config);
  apply_options(common, m.config);
  const DatasetFacts facts = dataset_facts(m.config.data);
  const Tensor& classifier = file.at("head.weight");
  require(classifier.ndim() == 2 && classifier.dim(0) > 0, "predict", path, ": head.weight expected (K, D), got ",
          classifier);
  m.classes = facts.class_names;
  if (static_cast<int64_t>(m.classes.size()) != classifier.dim(0)) {
    m.classes.clear();
    for (int64_t k = 0; k < classifier.dim(0); ++k) m.classes.push_back("class " + std::to_string(k));
  }
  m.image_shape = facts.image_shape;
  // Fixed sizes are met before the pipeline, which need not decode then: its images are bytes.
  m.pipeline = m.config.data.eval_pipeline;
  const Shape shape = evaluation_pipeline(m.pipeline).output_shape(m.image_shape);
  m.classifier = make_classifier(m.config, shape, classifier.dim(0), common.device);
  restore_weights(file, path, *m.classifier);
  return m;
}

/// What is said of one image.
struct Answer {
  std::string path;
  double noise = 0;
  struct Class {
    int64_t k;
    double probability, deviation;
    std::vector<Correlated> with;
  };
  std::vector<Class> top;
};

Answer answer_for(const Tensor& probabilities, const Tensor& logits, int64_t b, int64_t count) {
  const int64_t classes = probabilities.dim(1);
  const float* p = probabilities.data<float>() + b * classes;
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto shown = std::min(count, classes);
  std::partial_sort(order.begin(), order.begin() + shown, order.end(),
                    [p](int64_t x, int64_t y) { return p[x] != p[y] ? p[x] > p[y] : x < y; });
  Answer answer;
  for (int64_t i = 0; i < shown; ++i) {
    const int64_t k = order[static_cast<size_t>(i)];
    answer.top.push_back({k, p[k], logit_deviation(logits, b, k), most_correlated(logits, b, k, kCorrelated)});
  }
  return answer;
}

std::vector<Answer> answers(Model& m, const PredictArguments& wanted, const CommonOptions& common) {
  constexpr int64_t kCovarianceSamples = 256;
  std::shared_ptr<const Dataset> files = files_of(wanted.images, m.classes);
  if (m.image_shape != Shape{0, 0, 3}) files = fitted(files, m.image_shape);
  const int64_t samples = wanted.samples.value_or(m.config.head.test_samples);
  std::vector<Answer> all;
  for_each_prediction(
      *m.classifier, files, m.pipeline,
      {.samples = samples, .batch_size = 16, .seed = m.config.seed, .device = common.device}, [&](const Prediction& p) {
        const Context context{
            .training = false, .seed = m.config.seed, .step = 0, .examples = p.batch.indices.to(common.device)};
        Head& head = m.classifier->head();
        const Tensor logits = sampled_logits(head, p.phi, kCovarianceSamples, m.config.head.link == "sigmoid", context);
        const Tensor noise = head.noise_scale(p.phi).to(Device::cpu);
        for (int64_t b = 0; b < p.probabilities.dim(0); ++b) {
          Answer answer = answer_for(p.probabilities, logits, b, wanted.top);
          answer.path = wanted.images[static_cast<size_t>(p.batch.indices.data<int64_t>()[b])];
          answer.noise = static_cast<double>(noise.data<float>()[b]);
          all.push_back(std::move(answer));
        }
      });
  return all;
}

std::string with_text(const Answer::Class& c, const std::vector<std::string>& names) {
  std::string text;
  for (const Correlated& other : c.with) {
    char number[32];
    std::snprintf(number, sizeof number, " %+.2f", other.correlation);
    text += (text.empty() ? "" : ", ") + names[static_cast<size_t>(other.k)] + number;
  }
  return text;
}

std::vector<std::string> lines_of(const Answer& answer, const std::vector<std::string>& names) {
  std::vector<std::string> lines;
  for (const Answer::Class& c : answer.top) {
    char text[160];
    std::snprintf(text, sizeof text, "%6.2f %%  %-28.60s  ±%.3f", 100 * c.probability,
                  names[static_cast<size_t>(c.k)].c_str(), c.deviation);
    lines.push_back(text + (c.with.empty() ? "" : "  with " + with_text(c, names)));
  }
  return lines;
}

Json json_of(const Answer& answer, const std::vector<std::string>& names) {
  Json top = Json::array();
  for (const Answer::Class& c : answer.top) {
    Json with = Json::array();
    for (const Correlated& other : c.with)
      with.push_back(
          {{"class", other.k}, {"name", names[static_cast<size_t>(other.k)]}, {"correlation", other.correlation}});
    top.push_back({{"class", c.k},
                   {"name", names[static_cast<size_t>(c.k)]},
                   {"probability", c.probability},
                   {"logit_deviation", c.deviation},
                   {"correlated", with}});
  }
  return {{"image", answer.path}, {"noise", answer.noise}, {"top", top}};
}

/// `<folder>/<number>-<file name>.png`: the image with the three likeliest classes below.
void write_annotated(const std::string& folder, size_t number, const Answer& answer,
                     const std::vector<std::string>& names) {
  const std::string bytes = read_file(answer.path, uint64_t{1} << 30);
  const Tensor image = decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, answer.path);
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min<size_t>(3, answer.top.size()); ++i) {
    char text[96];
    std::snprintf(text, sizeof text, "%.1f %% %s", 100 * answer.top[i].probability,
                  names[static_cast<size_t>(answer.top[i].k)].c_str());
    lines.emplace_back(text);
  }
  char noise[48];
  std::snprintf(noise, sizeof noise, "predicted noise %.3f", answer.noise);
  lines.emplace_back(noise);
  std::filesystem::create_directories(folder);
  const std::string name = std::to_string(number) + "-" + std::filesystem::path(answer.path).stem().string() + ".png";
  write_png(folder + "/" + name, captioned(image, lines));
}

void predict(const PredictArguments& wanted, const CommonOptions& common) {
  Model m = load_model(wanted, common);
  const std::vector<Answer> all = answers(m, wanted, common);
  Json json = Json::array();
  for (size_t i = 0; i < all.size(); ++i) {
    std::printf("%s  (predicted noise %.4f)\n", all[i].path.c_str(), all[i].noise);
    for (const std::string& line : lines_of(all[i], m.classes)) std::printf("  %s\n", line.c_str());
    json.push_back(json_of(all[i], m.classes));
    if (!wanted.png.empty()) write_annotated(wanted.png, i + 1, all[i], m.classes);
  }
  if (!wanted.json.empty()) write_file(wanted.json, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{"predict",
                           "Says of image files which classes they are likely of, how noisy a label would be, and "
                           "which classes' logits move "
                           "together with them (correlations of the sampled logits, common shifts left out).",
                           "build/predict runs/first cat.jpg dog.png --top 3 --json answers.json --png annotated\n"
                           "  prints a table; ± is the deviation of a class's sampled logit"};
  sked::PredictArguments wanted;
  const auto declare = [&](CLI::App& app) {
    app.add_option("checkpoint", wanted.checkpoint, "Run folder, or a safetensors file")
        ->required()
        ->check(CLI::ExistingPath);
    app.add_option("images", wanted.images, "Image files")->required()->type_name("FILE …");
    app.add_option("--top", wanted.top, "Classes listed for each image")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--samples", wanted.samples, "Monte Carlo samples of the probabilities; default: as trained")
        ->check(CLI::Range(0, 1000000))
        ->type_name("N");
    app.add_option("--json", wanted.json, "Also as JSON")->type_name("FILE");
    app.add_option("--png", wanted.png, "Also the images with their classes below")->type_name("DIR");
  };
  return sked::run_app(argc, argv, text, declare,
                       [&](const sked::CommonOptions& common) { sked::predict(wanted, common); });
}

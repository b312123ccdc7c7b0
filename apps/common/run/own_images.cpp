#include "apps/common/run/own_images.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <vector>

#include "apps/common/config/progress.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/checkpoint_images.h"
#include "core/error.h"
#include "core/text.h"
#include "data/catalog.h"
#include "data/held_out.h"
#include "data/image_file.h"
#include "data/parts.h"
#include "data/transforms.h"
#include "layers/models/model.h"

namespace sked {
namespace {

namespace fs = std::filesystem;

constexpr double kShareHeldOut = 0.2;

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

/// What kind of images lies at `path`.
DataSpec data_at(const std::string& path) {
  DataSpec spec{.path = path};
  if (is_file(path)) {
    const std::string lower = lower_case(path);
    require_usage(lower.ends_with(".csv") || lower.ends_with(".tsv") || lower.ends_with(".txt"), "images", "--images ",
                  path, ": expected a folder, or a table of paths and labels (.csv)");
    spec.name = "image-csv";
    return spec;
  }
  require_usage(is_folder(path), "images", "--images ", path, ": no such folder or table");
  const bool shards = !shards_of(path, "").empty() || !shards_of(path, "train").empty();
  const bool table = is_file(path + "/train.csv") || is_file(path + "/labels.csv");
  spec.name = shards ? "shards" : table ? "image-csv" : "image-folder";
  return spec;
}

/// Says which classes have so few training images that nothing can be learned of them.
void note_small_classes(const Dataset& train) {
  constexpr int64_t kFew = 5;
  std::vector<int64_t> counts(static_cast<size_t>(train.classes()), 0);
  for (int64_t i = 0; i < train.size(); ++i) ++counts[static_cast<size_t>(train.label(i))];
  const auto few = [](int64_t n) { return n > 0 && n < kFew; };
  const auto first = std::ranges::find_if(counts, few);
  if (first == counts.end()) return;
  note(std::to_string(std::ranges::count_if(counts, few)) + " of " + std::to_string(counts.size()) +
       " classes have fewer than " + std::to_string(kFew) + " training images, the first " +
       excerpt(printable(train.class_names()[static_cast<size_t>(first - counts.begin())])) + " with " +
       std::to_string(*first));
}

/// The images, and what is held out of them. A base's number of held-out images was meant for its own.
Splits find_images(DataConfig& data, const std::string& path) {
  const double share = data.validation < 1 ? data.validation : 0;
  const DataConfig before = data;
  data = {};
  static_cast<DataSpec&>(data) = data_at(path);
  data.root = before.root, data.skip_limit = before.skip_limit;
  data.train_pipeline = before.train_pipeline, data.eval_pipeline = before.eval_pipeline;
  Splits files = load_parts(data);
  data.validation = files.validation ? 0 : share == 0 && !files.test ? kShareHeldOut : share;
  const auto classes = files.train->class_names();
  require(classes.size() >= 2, "images", path,
          ": expected at least two classes to tell apart, a folder each in it, got ", classes.size(),
          classes.empty() ? "" : ", " + excerpt(printable(classes[0])));
  hold_out(files, std::shared_ptr(files.train), data.validation, 0);
  note_small_classes(*files.train);
  return files;
}

/// The edge that three of four images have at least.
int64_t usual_edge(const Dataset& images) {
  constexpr int64_t kLooks = 64;
  std::vector<int64_t> edges;
  const int64_t step = std::max<int64_t>(1, images.size() / kLooks);
  for (int64_t i = 0; i < images.size(); i += step) {
    try {
      const EncodedImage file = images.file(i);
      const Shape shape = image_size(file.bytes, file.source);
      edges.push_back(std::min(shape[0], shape[1]));
    } catch (const ImageError&) {  // training says what becomes of it
    }
  }
  if (edges.empty()) return 0;
  std::ranges::sort(edges);
  return edges[edges.size() / 4];
}

/// For a network that begins with nothing: as large as images mostly are, and small enough to be trained from scratch.
int64_t size_from_scratch(const Dataset& images) {
  const int64_t edge = usual_edge(images);
  int64_t size = 32;
  for (const int64_t larger : {64, 128}) size = edge * 4 >= larger * 3 ? larger : size;
  return size;
}

/// The stem or the patches of a network that begins with nothing.
void fit_to_size(ModelConfig& model, int64_t size) {
  const ModelConfig usual = written_out(model);
  if (model.name.starts_with("vit")) {
    if (model.patch == 0 && size <= 128) model.patch = std::max<int64_t>(2, size / 8);
  } else if (usual.stem == Stem::imagenet && !model.stem && size <= 64) {
    model.stem = size <= 32 ? Stem::cifar : Stem::cifar2;
  }
}

void set_pipelines(DataConfig& data, int64_t size, const std::string& statistics, bool pretrained) {
  const std::string n = std::to_string(size);
  // Published networks were mostly measured on the central 7/8; small photos from scratch are seen whole.
  const std::string resized = std::to_string(pretrained ? (size * 8 + 6) / 7 : size);
  data.train_pipeline = "decode|inception_crop(" + n + ",30,100)|flip|" + statistics;
  data.eval_pipeline = "decode|resize_small(" + resized + ")|central_crop(" + n + ")|" + statistics;
}

/// Defaults for small data sets: some hundreds of steps of fine-tuning, some thousands from scratch.
void set_training(RunConfig& config, int64_t images, bool pretrained) {
  TrainConfig& t = config.train;
  t.batch_size = pretrained ? 32 : 64;
  while (t.batch_size > 4 && t.batch_size * 8 > images) t.batch_size /= 2;
  const double steps = pretrained ? 400 : 2000;
  const double epochs = std::round(steps * static_cast<double>(t.batch_size) / static_cast<double>(images));
  t.epochs = pretrained ? std::clamp(epochs, 5.0, 30.0) : std::clamp(epochs, 10.0, 60.0);
  t.eval_every = std::max(1.0, std::floor(t.epochs / 10));
  t.log_every = 10;
  config.optimizer = {.kind = OptimizerKind::adamw, .weight_decay = 0.05, .clip_norm = 1};
  config.schedule.kind = ScheduleKind::cosine;
  config.schedule.peak = pretrained ? 2e-4 : 1e-3;
  config.head.train_samples = 16;
  config.head.test_samples = 256;
}

/// What follows from what --set says: a tenth of the length is warm-up.
void set_warmup(RunConfig& config, const CommonOptions& options) {
  RunConfig asked = config;
  for (const std::string& assignment : options.set) set_config_field(assignment, asked);
  if (asked.train.steps > 0)
    config.schedule.warmup_steps = asked.train.steps / 10;
  else
    config.schedule.warmup_epochs = asked.train.epochs / 10;
}

int64_t parsed_size(const std::string& text) {
  if (text.empty()) return 0;
  constexpr size_t kMostDigits = 4;
  const bool digits =
      text.size() <= kMostDigits && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  const int64_t size = digits ? std::stoll(text) : 0;
  require_usage(size >= 8 && size <= 4096, "images", "--size: expected 8 to 4096 pixels, got ", excerpt(text));
  return size;
}

/// What --init tells: the network of a run of this program, and the images of any.
std::optional<CheckpointImages> begin_with(RunConfig& config, const OwnImages& own, bool has_base) {
  if (own.init.empty()) return std::nullopt;
  config.train.init = own.init;
  const std::string path = checkpoint_path(own.init);
  const TensorFile file = load_weights(path);
  if (is_checkpoint(file) && !has_base) {
    const ModelConfig theirs = config_of(file, path).model;
    if (own.model.empty() || own.model == theirs.name) config.model = theirs;
  }
  return images_of(file, path);
}

void prepare_images(RunConfig& config, const OwnImages& own, const std::optional<CheckpointImages>& known,
                    const Splits& splits, bool scratch) {
  int64_t size = parsed_size(own.size);
  if (known && known->patch > 0 && config.model.name.starts_with("vit") && config.model.patch == 0 &&
      known->patch != written_out(config.model).patch)
    config.model.patch = known->patch;
  if (size == 0) size = known ? known->size : size_from_scratch(*splits.train);
  if (scratch) fit_to_size(config.model, size);
  std::string statistics = known ? known->statistics : statistics_named("imagenet");
  if (!own.statistics.empty())
    statistics = statistics_named(own.statistics);
  else if (known && known->guessed)
    note("mean and deviation are not in " + own.init + ": " + known->why +
         " (--statistics imagenet, half or clip says another)");
  set_pipelines(config.data, size, statistics, known.has_value());
}

RunConfig own_config(const CommonOptions& options, const OwnImages& own) {
  const bool has_base = !options.config.empty();
  RunConfig config = has_base ? read_config(options.config) : RunConfig{};
  require_usage(config.task == TaskKind::classification, "images", options.config, ": task: expected classification");
  const std::optional<CheckpointImages> known = begin_with(config, own, has_base);
  require_usage(!own.model.empty() || has_base || (known && known->own_run), "images",
                "--model: expected a network beside --images, vit-ti, vit-s or resnet18 say");
  if (!own.model.empty() && config.model.name != own.model) {
    config.model = {};
    config.model.name = own.model;
  }
  written_out(config.model);  // a name that is not known is refused before images are looked at
  const Splits splits = find_images(config.data, without_slash(own.images));
  const bool reads_files = config.data.train_pipeline.find("decode") != std::string::npos &&
                           config.data.eval_pipeline.find("decode") != std::string::npos;
  if (!has_base || !reads_files || known || !own.size.empty() || !own.statistics.empty())
    prepare_images(config, own, known, splits, !has_base && !known);
  if (has_base) return config;
  set_training(config, splits.train->size(), known.has_value());
  constexpr int64_t kRank = 4;
  config.head.noise.rank = std::min(kRank, splits.train->classes());
  set_warmup(config, options);
  return config;
}

}  // namespace

std::vector<Option> own_images_options(OwnImages& own) {
  return {
      {"--images", &own.images,
       "Trains on your own images: a folder with a folder of each class, or with train/ and val/ or test/ of these; "
       "a folder of WebDataset shards; a CSV of path,label. With --config that is the base",
       "DIR|CSV"},
      {"--model", &own.model, "Network (model.name): vit-ti, vit-s, resnet18, resnet50 …", "NAME"},
      {.name = "--head", .target = &own.head, .help = "Head (head.kind)", .value = "det|het|het-xl"},
      {"--init", &own.init,
       "Begin with the weights of a checkpoint by timm, torchvision, transformers or this program, or of a .npz by "
       "big_vision or uncertainty-baselines (train.init)",
       "FILE"},
      {"--size", &own.size,
       "With --images: edge of the images a network sees; default: as the checkpoint or the "
       "images have it",
       "PIXELS"},
      {"--statistics", &own.statistics,
       "With --images: mean and deviation that a network sees: ImageNet's, 0.5 (timm's and Google's ViTs) or CLIP's",
       "imagenet|half|clip"}};
}

std::string head_settings(const std::string& kind, const std::string& option) {
  const auto names = names_of(HeadKind{});
  const std::vector<std::string> known{names.begin(), names.end()};
  require_usage(value_named<HeadKind>(kind).has_value(), "images", option, ": expected one of ", join(known), ", got ",
                kind.empty() ? "nothing" : excerpt(kind), did_you_mean(kind, known));
  Json json{{"head.kind", kind}};
  if (kind != name_of(HeadKind::det)) {
    json["head.learn_temperature"] = true;
    json["head.temperature_init"] = 1.0;
  }
  return json.dump();
}

RunConfig configured(const CommonOptions& options, const OwnImages& own) {
  require_usage(!own.images.empty() || (own.size.empty() && own.statistics.empty()), "images",
                "--size and --statistics: expected --images beside them");
  require_usage(!own.images.empty() || !options.config.empty(), "config",
                "expected --config FILE (apps/configs has ready ones) or --images DIR --model NAME (see --help)");
  RunConfig config = own.images.empty() ? read_config(options.config) : own_config(options, own);
  if (own.images.empty() && !own.init.empty()) config.train.init = own.init;
  if (own.images.empty() && !own.model.empty()) set_config_field("model.name=" + own.model, config);
  if (!own.head.empty() && !options.config.empty())
    set_config_field("head.kind=" + own.head, config);
  else if (!own.head.empty())
    read_config_fields(parse_json(head_settings(own.head, "--head"), "--head"), config, "--head");
  apply_options(options, config);
  return config;
}

std::string name_of_images(const std::string& images) {
  std::error_code error;
  const fs::path path = fs::absolute(without_slash(images), error).lexically_normal();
  const fs::path name = is_file(images)       ? path.stem()
                        : path.has_filename() ? path.filename()
                                              : path.parent_path().filename();
  return name.empty() ? "images" : name.string();
}

void check_outside_images(const fs::path& out, const OwnImages& own) {
  if (own.images.empty() || !is_folder(own.images)) return;
  const fs::path within = fs::weakly_canonical(out).lexically_relative(fs::weakly_canonical(own.images));
  require_usage(within.empty() || *within.begin() == "..", "images", "--out: ", out.string(), " lies in ", own.images,
                ", among the folders of classes: expected a folder outside");
}

std::string default_folder(const CommonOptions& options, const OwnImages& own, const RunConfig& config) {
  const std::string seed = "-s" + std::to_string(config.seed);
  if (own.images.empty()) return "runs/" + fs::path(options.config).stem().string() + seed;
  return "runs/" + name_of_images(own.images) + "-" + config.model.name + "-" + name_of(config.head.kind) + seed;
}

}  // namespace sked

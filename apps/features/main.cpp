// features: what a network makes of images, as a file that any program trains a head on.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/features.h"
#include "apps/common/measure/resized.h"
#include "apps/common/run/initial.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/subject.h"
#include "apps/common/run/task.h"
#include "apps/features/columns.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mpi.h"
#include "core/precision.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/image_paths.h"
#include "layers/models/model.h"

namespace sked {
namespace {

namespace fs = std::filesystem;
constexpr const char* kRepresentation = "representation";

struct FeaturesArguments {
  std::string checkpoint, list, data, split, layer = kRepresentation, dtype = "f32";
  std::vector<std::string> images;
  bool fresh = false;
};

/// Images that become one file.
struct Part {
  std::string name;
  std::shared_ptr<const Dataset> images;
  std::string path;
  std::function<std::string(int64_t)> id;
};

bool is_one_file(const CommonOptions& common) { return common.out.ends_with(".safetensors"); }

/// Files for folders and lists, as the first rank finds them, which has stdin. Throws Error for what is none.
void open_list(FeaturesArguments& wanted) {
  ImagePaths images;
  if (world().rank() == 0) {
    if (!wanted.list.empty()) std::ranges::copy(listed_paths(wanted.list), std::back_inserter(wanted.images));
    images = image_paths(wanted.images);
  }
  const std::vector<std::string> refused = all_gather_texts(world(), images.refused);
  require(refused.empty(), "features", refused.empty() ? "" : refused.front());
  if (images.others > 0) note(other_files(images));
  wanted.images = all_gather_texts(world(), images.paths);
}

void check_usage(const FeaturesArguments& wanted, const CommonOptions& common) {
  require_usage(!common.out.empty(), "features", "--out: expected a folder, or a file that ends with .safetensors");
  if (!wanted.images.empty()) {
    require_usage(is_one_file(common), "features", "--out ", common.out,
                  ": expected a file that ends with .safetensors for a list of images");
    require_usage(wanted.data.empty() && wanted.split.empty(), "features", wanted.data.empty() ? "--split" : "--data",
                  ": expected none beside a list of images, ", wanted.images.front());
    return;
  }
  require_usage(!is_one_file(common) || wanted.split == "train" || wanted.split == "test", "features", "--out ",
                common.out, ": expected --split train or test, or a folder for both");
}

/// What --data names, with the labels and the noise that --set asks for: those of the run are of its own data.
DataSpec other_data(const std::string& name, const CommonOptions& common, const RunConfig& config) {
  RunConfig other;
  for (const std::string& assignment : common.set)
    if (assignment.starts_with("data.")) set_config_field(assignment, other);
  const DataSpec named = named_data(name, config.data.root);
  other.data.name = named.name;
  other.data.path = named.path;
  other.data.root = named.root;
  return other.data;
}

/// All images, in the parts and the order of the files.
std::vector<Part> parts_of_data(const FeaturesArguments& wanted, const CommonOptions& common, const RunConfig& config,
                                const Shape& shape) {
  DataSpec spec = config.data;
  if (!wanted.data.empty()) spec = other_data(wanted.data, common, config);
  const Splits splits = wanted.data.empty() ? load_parts(spec) : other_splits(spec, wanted.data, shape);
  if (wanted.data.empty()) say_notes(splits);
  std::vector<Part> parts;
  for (const auto& [name, images] :
       {std::pair("train", splits.train), {"validation", splits.validation}, {"test", splits.test}}) {
    if (images == nullptr) continue;
    if (wanted.split == name || wanted.split.empty() || wanted.split == "all")
      parts.push_back({name, images, is_one_file(common) ? common.out : common.out + "/" + name + ".safetensors",
                       [images](int64_t i) { return images->id(i); }});
  }
  require_usage(!parts.empty(), "features", "--split ", wanted.split, ": ", spec.name, " ", spec.path,
                " has no such images: all of them are of train");
  return parts;
}

Part part_of_list(const std::vector<std::string>& paths, const std::string& out, const Shape& shape) {
  return {"images", resized(listed_images("images", {}, paths), shape), out,
          [&paths](int64_t i) { return valid_utf8(paths[static_cast<size_t>(i)]); }};
}

/// Names of classes, a line each; a file that is there has to say the same.
void write_classes(const std::string& path, const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(printable(name)).append("\n");
  std::error_code none;
  if (!fs::exists(path, none)) return write_file(path, text);
  require(read_file(path, uint64_t{1} << 30) == text, "features", path,
          " is there, with other classes: it is not touched (move it away, or choose another folder)");
}

std::optional<size_t> layer_of(const Backbone& tower, const std::string& name) {
  if (name == kRepresentation) return std::nullopt;
  std::vector<std::string> names = tower.layers();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  names.insert(names.begin(), kRepresentation);
  require_usage(false, "features", "--layer ", name, ": expected one of ", join(names));
  return {};
}

/// The backbone of a checkpoint, of two towers that of images.
class Network {
 public:
  Network(const Subject& subject, const Shape& image_shape, const std::string& layer, Device device)
      : config_(subject.config), device_(device) {
    const Shape shape = evaluation_pipeline(config_.data.eval_pipeline).output_shape(image_shape);
    Init init = Init::blank(device);
    tower_ = make_backbone(config_.model, shape, init);
    const InitialReport report = load_initial(subject.file, subject.path, *tower_);
    for (const std::string& name : report.interpolated) note(name + " is resampled to another grid");
    layer_ = layer_of(*tower_, layer);
    width_ = tower_->width();
    if (!layer_) return;
    const NoGrad no_tape;
    const Var one(Tensor::zeros(Shape{1, shape[0], shape[1], shape[2]}).to(device));
    width_ = tower_->forward_to(*layer_, one, {.activations = activation_dtype(device)}).dim(1);
  }

  int64_t width() const { return width_; }
  std::string about(const Dataset& images) const { return about_features(images, config_); }
  std::string fingerprint(const std::string& about) const { return feature_fingerprint(*tower_, about); }
  void write(FeatureFile& file, const std::shared_ptr<const Dataset>& images, const FeatureReport& report) {
    write_features(file, *tower_, images, config_, device_, layer_, report);
  }

 private:
  const RunConfig& config_;
  const Device device_;
  std::unique_ptr<Backbone> tower_;
  std::optional<size_t> layer_;
  int64_t width_ = 0;
};

void write_part(const Part& part, Network& network, const RunConfig& config, const FeaturesArguments& wanted) {
  const int64_t total = part.images->size();
  std::vector<FeatureColumn> columns = columns_of(*part.images, part.id);
  const std::string about = network.about(*part.images) + "\nlayer " + wanted.layer + ", " + wanted.dtype +
                            ", batches of " + std::to_string(config.train.batch_size) + "\nlabels and ids " +
                            fingerprint_of(columns, total);
  FeatureFile file({.path = part.path,
                    .dtype = wanted.dtype == "f32"   ? "F32"
                             : wanted.dtype == "f16" ? "F16"
                                                     : "BF16",
                    .images = total,
                    .width = network.width(),
                    .most_left_out = config.data.corrupt_limit(),
                    .columns = std::move(columns),
                    .about = about,
                    .fingerprint = network.fingerprint(about)},
                   wanted.fresh ? Earlier::replaced : Earlier::kept, {}, world());
  if (file.complete()) {
    std::printf("%s: %s is there already\n", part.name.c_str(), printable(part.path).c_str());
    return;
  }
  {
    Progress progress(part.name, file.done(), total, 1, false, "image");
    if (file.done() > 0) progress.note("goes on from image " + std::to_string(file.done()));
    try {
      network.write(file, part.images,
                    {[&](int64_t done) { progress.update(done); },
                     [&](const Skipped& skipped) { progress.note("left out: " + skipped.message); }});
    } catch (const std::exception&) {
      progress.note("stopped at image " + std::to_string(file.done()) + " of " + std::to_string(total) +
                    ", which are kept; the same command goes on from there");
      throw;
    }
  }
  const int64_t rows = file.rows(), lost = total - rows;
  file.finish();
  std::printf("%s: %lld rows of %lld features, %s%s: %s\n", part.name.c_str(), static_cast<long long>(rows),
              static_cast<long long>(network.width()), wanted.dtype.c_str(),
              lost > 0 ? (", " + std::to_string(lost) + " images left out").c_str() : "", printable(part.path).c_str());
}

void features_app(const FeaturesArguments& wanted, const CommonOptions& common) {
  check_usage(wanted, common);
  const Subject subject = load_subject(wanted.checkpoint, common);
  const RunConfig& config = subject.config;
  const Shape shape = image_shape_of(config.data);
  Network network(subject, shape, wanted.layer, common.device);
  const std::vector<Part> parts = wanted.images.empty() ? parts_of_data(wanted, common, config, shape)
                                                        : std::vector{part_of_list(wanted.images, common.out, shape)};
  const fs::path folder = is_one_file(common) ? fs::path(common.out).parent_path() : fs::path(common.out);
  if (!folder.empty() && world().rank() == 0) RunFolder{folder}.create();
  const std::vector<std::string>& classes = parts.front().images->class_names();
  if (!classes.empty() && world().rank() == 0) write_classes((folder / "classes.txt").string(), classes);
  for (const Part& part : parts) write_part(part, network, config, wanted);
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text{
      "features",
      "Writes what a network makes of images, before its head, to files that the data set `embeddings` reads: training "
      "on them costs seconds. Stopped, the same command goes on where it was.",
      "build/features runs/first --out features\n"
      "  writes features/train.safetensors, test.safetensors and classes.txt",
      {"--graph"},
      true};
  sked::FeaturesArguments wanted;
  const std::vector<sked::Option> own{
      {.name = "checkpoint",
       .target = &wanted.checkpoint,
       .help = "Run folder, or a safetensors or .npz file (one without a configuration inside needs --config)",
       .required = true,
       .exists = true},
      {.name = "images",
       .target = &wanted.images,
       .help = "Image files, and folders with all images below, instead of a data set",
       .value = "FILE|DIR ..."},
      {"--list", &wanted.list, "More of them from a file, a line each; - is stdin", "FILE"},
      {"--data", &wanted.data, "Another data set than the run's; its images are resized and cut to the run's",
       "DATASET[:PATH]"},
      {.name = "--split",
       .target = &wanted.split,
       .help = "Which images of it: all of a split, held out ones too; default: all",
       .value = "train|test|all",
       .one_of = {"train", "test", "all"}},
      {.name = "--layer",
       .target = &wanted.layer,
       .help = "What is read: `representation`, which the head reads, layer1 ... of residual networks (means over the "
               "positions), blocks.0 ... of vision transformers (class tokens)",
       .value = "LAYER",
       .shows_default = true},
      {.name = "--dtype",
       .target = &wanted.dtype,
       .help = "How features are stored",
       .value = "f32|f16|bf16",
       .one_of = {"f32", "f16", "bf16"},
       .shows_default = true},
      {"--fresh", &wanted.fresh, "Begins anew, whatever features are there"}};
  return sked::run_app(argc, argv, text, own, [&](const sked::CommonOptions& common) {
    sked::open_list(wanted);
    sked::features_app(wanted, common);
  });
}

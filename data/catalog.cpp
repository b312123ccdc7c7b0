#include "data/catalog.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/cifar.h"
#include "data/collections.h"
#include "data/drawn_noise.h"
#include "data/embeddings.h"
#include "data/held_out.h"
#include "data/idx.h"
#include "data/image_collection.h"
#include "data/loader.h"
#include "data/other_labels.h"
#include "data/parts.h"

namespace sked {
namespace {

const std::vector<std::string> kFashionClasses{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                               "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
const std::vector<std::string> kCifarClasses{"airplane", "automobile", "bird",  "cat",  "deer",
                                             "dog",      "frog",       "horse", "ship", "truck"};

/// A data set as its files hold it, before labels and noise are chosen.
struct Raw {
  std::vector<std::string> class_names;
  Tensor train_images, train_labels;  // u8 (N, H, W, C), i64 (N)
  Tensor test_images, test_labels;
  Tensor test_distributions;                       // f32 (N, K) or undefined
  std::function<Tensor(int64_t)> test_covariance;  // of an example, f32 (K, K), or none
  Tensor human_labels;                             // i64 (N): the label set asked for, undefined when that is `clean`
  std::string train_files, test_files;
};

struct Entry {
  std::string name;
  std::vector<std::string> label_sets;
  Raw (*load)(const DataSpec& spec, const std::string& folder) = nullptr;
  Collections (*open)(const DataSpec& spec, const std::string& folder) = nullptr;  // instead of load
  bool anywhere = false;                                                           // in DataSpec::path
  bool vectors = false;                                                            // of open_embeddings()
};

void require_known(const std::string& what, const std::string& word, const std::vector<std::string>& known) {
  if (std::ranges::find(known, word) != known.end()) return;
  detail::throw_error<UsageError>("load_splits", "unknown ", what, " \"", excerpt(word), '"', did_you_mean(word, known),
                                  "; known: ", join(known));
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// The first of `paths` that is there; Error naming the command that prepares the data set when none is.
std::string first_of(const std::vector<std::string>& paths, const std::string& dataset) {
  for (const std::string& path : paths) {
    if (exists(path)) return path;
  }
  fail("load_splits", "no file ", join(paths, " or "), ": `make data DATASETS=\"", dataset, "\"` prepares it");
}

Raw load_fashion_mnist(const DataSpec& spec, const std::string& folder) {
  Raw raw;
  raw.class_names = kFashionClasses;
  const auto classes = static_cast<int64_t>(raw.class_names.size());
  const auto file = [&](const std::string& name) {
    return first_of({folder + "/" + name, folder + "/" + name + ".gz"}, spec.name);
  };
  raw.train_files = file("train-images-idx3-ubyte");
  raw.train_images = load_idx_images(raw.train_files);
  raw.train_labels = load_idx_labels(file("train-labels-idx1-ubyte"), classes);
  raw.test_files = file("t10k-images-idx3-ubyte");
  raw.test_images = load_idx_images(raw.test_files);
  raw.test_labels = load_idx_labels(file("t10k-labels-idx1-ubyte"), classes);
  return raw;
}

Raw load_cifar(const DataSpec& spec, const std::string& folder) {
  Raw raw;
  raw.class_names = kCifarClasses;
  const auto file = [&](const std::string& name) { return first_of({folder + "/" + name}, spec.name); };
  std::vector<std::string> batches;
  for (int batch = 1; batch <= 5; ++batch) batches.push_back(file("data_batch_" + std::to_string(batch) + ".bin"));
  raw.train_files = join(batches);
  raw.test_files = file("test_batch.bin");
  CifarImages train = load_cifar10(batches), test = load_cifar10({raw.test_files});
  raw.train_images = train.images;
  raw.train_labels = train.labels;
  raw.test_images = test.images;
  raw.test_labels = test.labels;
  if (spec.labels != "clean") {
    raw.human_labels =
        load_cifar10n(file("cifar10n-" + spec.labels + ".npy"), file("cifar10n-clean.npy"), raw.train_labels);
  }
  // The votes are worth having, not worth failing for where they are absent.
  const std::string votes = folder + "/cifar10h-counts.npy";
  if (exists(votes)) raw.test_distributions = load_cifar10h(votes, raw.test_labels.dim(0));
  return raw;
}

/// Halves of pairs are left out: as many as data.skip_limit says, where it says anything, else fewer than there are
/// pairs; more of them are no accident.
void check_left_out(const ImageCollection& pairs, const DataSpec& spec, const char* which) {
  const PassedOver& left = pairs.left_out();
  if (spec.skip_limit >= 0)
    require(left.count <= spec.skip_limit, "load_splits", which, " pairs: ", left.text("left out"),
            "; data.skip_limit is ", spec.skip_limit);
  else
    require(left.count < pairs.size() || left.count == 0, "load_splits", which, " pairs: ", left.text("left out"),
            "; only ", pairs.size(), " stay, expected more than are left out");
}

/// Says of labeled examples which classes none of them has.
void note_missing_classes(const Dataset& data, const std::string& which, std::vector<std::string>& notes) {
  if (data.classes() == 0) return;
  std::vector<bool> seen(static_cast<size_t>(data.classes()), false);
  const auto* files = dynamic_cast<const ImageCollection*>(&data);
  for (int64_t i = 0; i < data.size(); ++i) {
    for (const int64_t k : files ? files->classes_of(i) : std::vector{data.label(i)})
      seen[static_cast<size_t>(k)] = true;
  }
  const auto first = std::ranges::find(seen, false);
  if (first == seen.end()) return;
  notes.push_back(which + (files ? " images" : " vectors") + ": none of " +
                  std::to_string(std::ranges::count(seen, false)) + " of " + std::to_string(seen.size()) +
                  " classes, the first " + std::to_string(first - seen.begin()) + ", " +
                  excerpt(printable(data.class_names()[static_cast<size_t>(first - seen.begin())])));
}

/// Says of a collection what a user should hear of; returns how many halves of pairs it leaves out.
int64_t describe(const ImageCollection& files, const std::string& which, std::vector<std::string>& notes) {
  notes.insert(notes.end(), files.notes().begin(), files.notes().end());
  if (files.passed_over().count > 0) notes.push_back(which + " files: " + files.passed_over().text());
  note_missing_classes(files, which, notes);
  if (files.left_out().count > 0) notes.push_back(which + " pairs: " + files.left_out().text("left out"));
  return files.left_out().count;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      {"fashion-mnist", {"clean"}, load_fashion_mnist},
      {"cifar-10", {"clean", "aggregate", "random1", "random2", "random3", "worst"}, load_cifar},
      {"tiny-imagenet-200", {"clean"}, nullptr, open_shards},
      {"image-folder", {"clean"}, nullptr, open_folders, true},
      {"image-csv", {"clean"}, nullptr, open_label_tables, true},
      {"shards", {"clean"}, nullptr, open_shards, true},
      {"caption-tsv", {"clean"}, nullptr, open_caption_tables, true},
      {"caption-shards", {"clean"}, nullptr, open_caption_shards, true},
      {"embeddings", {"clean"}, nullptr, nullptr, true, true},
      {kMadeEmbeddings, {"clean", "confused"}}};
  return all;
}

const Entry& entry_of(const DataSpec& spec) {
  require_known("dataset", spec.name, known_datasets());
  const Entry& entry = *std::ranges::find(entries(), spec.name, &Entry::name);
  if (!entry.vectors || !spec.labels.ends_with(".npy"))
    require_known("label set of " + spec.name + (entry.vectors ? " (clean or FILE.npy)" : ""), spec.labels,
                  entry.label_sets);
  require_usage(spec.noise == LabelNoise::none || spec.labels == "clean", "load_splits",
                "expected clean labels for noise \"", spec.noise, "\", got \"", spec.labels, "\"");
  require_usage(spec.noise_rate >= 0.0 && spec.noise_rate <= 1.0, "load_splits",
                "data.noise_rate: expected a number in [0, 1], got ", spec.noise_rate);
  require_usage(entry.anywhere != spec.path.empty(), "load_splits", "data.path: expected ",
                entry.vectors    ? "the file, folder or prefix of "
                : entry.anywhere ? "the folder of "
                                 : "none for ",
                spec.name, ", got \"", spec.path, "\"",
                spec.path.empty() ? " (where a data set is named: " + spec.name + ":PATH)" : "");
  require_usage(entry.vectors || spec.votes.empty(), "load_splits", "data.votes: expected none for ", spec.name,
                ", got \"", spec.votes, "\"");
  const bool drawn = entry.load != nullptr || entry.vectors || spec.noise == LabelNoise::none;
  require_usage(drawn, "load_splits", "expected noise \"none\" for ", spec.name,
                entry.open != nullptr ? ", whose images are files" : ", which data.labels confuses", ", got \"",
                spec.noise, "\"");
  return entry;
}

/// Where the files of a dataset are.
std::string folder_of(const DataSpec& spec) {
  if (!spec.path.empty()) return spec.path;
  return (spec.root.empty() ? default_data_root() : spec.root) + "/" + spec.name;
}

DrawnNoise noise_of(const DataSpec& spec) { return {spec.noise, spec.noise_rate, spec.noise_seed}; }

/// Replaces the distribution of the test labels, and perhaps their logits' covariance, by those of the noise, and
/// returns noisy training labels.
Tensor draw_noise(const DataSpec& spec, Raw& raw) {
  const auto classes = static_cast<int64_t>(raw.class_names.size());
  if (spec.noise == LabelNoise::heteroscedastic) {
    const auto noise = std::make_shared<const HeteroscedasticNoise>(raw.train_images, raw.train_labels, classes,
                                                                    spec.noise_rate, spec.noise_seed);
    const Tensor v = noise->scales(raw.test_images);
    raw.test_distributions = noise->distributions(v, raw.test_labels);
    raw.test_covariance = covariance_by_example(noise, v);
    return noise->draw_labels(noise->scales(raw.train_images), raw.train_labels, 0);
  }
  const Tensor mean = mean_image(raw.train_images);
  raw.test_distributions = noisy_label_distribution(noise_of(spec), raw.test_images, raw.test_labels, mean, classes, 1);
  const Tensor distribution =
      noisy_label_distribution(noise_of(spec), raw.train_images, raw.train_labels, mean, classes, 0);
  return sample_labels(distribution, spec.noise_seed, 0);
}

Splits make_embeddings(const DataSpec& spec, double validation, int64_t train_size) {
  using Part = MadeEmbeddings::Part;
  const bool confused = spec.labels != "clean";
  const auto train = std::make_shared<MadeEmbeddings>(spec.made, Part::train, confused);
  Splits splits;
  hold_out(splits, train, validation, train_size);
  splits.test = std::make_shared<MadeEmbeddings>(spec.made, Part::test, false);
  splits.noisy_share = train->noisy_share();
  return splits;
}

double share_of_differences(const Tensor& a, const Tensor& b) {
  int64_t differences = 0;
  for (int64_t i = 0; i < a.dim(0); ++i) differences += a.data<int64_t>()[i] != b.data<int64_t>()[i];
  return a.dim(0) == 0 ? 0.0 : static_cast<double>(differences) / static_cast<double>(a.dim(0));
}

/// Nothing can be said of no image: no error of 0 %, no likelihood of 1.
void require_some(int64_t count, const char* which, const std::string& files) {
  require(count > 0, "load_splits", files, ": no ", which, " images");
}

/// Vectors, with the labels, noise and votes asked for.
Splits load_vectors(const DataSpec& spec, double validation, int64_t train_size) {
  EmbeddingSplits files = open_embeddings(spec.name, spec.path);
  require_usage(files.validation == nullptr || validation == 0, "load_splits", "data.validation: expected 0, since ",
                spec.path, " has a validation part of its own, got ", validation);
  require_usage(files.train->size() > 0 || (validation == 0 && train_size == 0), "load_splits", spec.path,
                ": no rows of `train` to hold out or choose from: ", join(files.notes));
  const bool drawn = spec.noise != LabelNoise::none, human = spec.labels != "clean";
  require_usage(!(drawn || human) || !files.train->has_targets(), "load_splits", spec.path,
                ": expected one label a row for ", drawn ? "noise" : "other labels", ", got several or soft ones");
  std::shared_ptr<const Dataset> train = files.train, own = files.validation;
  if (human) train = with_labels(train, load_labels(spec.labels), spec.labels);
  if (drawn && train->size() > 0) {
    draw_noise(noise_of(spec), train, own, files.test);
  } else if (!spec.votes.empty()) {
    const Tensor p = load_votes(spec.votes, {files.test->size(), files.test->classes()});
    files.test = with_distributions(files.test, [p](int64_t i) { return p.rows(i, i + 1).reshape({p.dim(1)}); });
  }
  Splits splits;
  splits.test = files.test;
  splits.notes = std::move(files.notes);
  splits.train = train;
  if (train->size() > 0) hold_out(splits, train, validation, train_size);
  if (own) splits.validation = own;
  if (train->size() > 0 && !train->has_targets()) note_missing_classes(*train, "training", splits.notes);
  if (human || drawn) splits.noisy_share = share_of_differences(labels_of(*files.train), labels_of(*train));
  return splits;
}

/// What is asked of load_splits() and load_parts().
struct Wanted {
  double validation = 0;
  int64_t train_size = 0;
  bool test = true;  // held-out images stand in for test images where there are none
};

/// The validation images that a collection has: those unless others are held out.
void add_validation(const Collections& files, const DataSpec& spec, const std::string& folder, double held_out,
                    Splits& splits) {
  if (held_out > 0) {
    splits.notes.push_back(folder + " has validation images of its own, which are not used: data.validation, not 0, " +
                           "holds training images out");
    return;
  }
  require_some(files.validation->size(), "validation", folder);
  check_left_out(*files.validation, spec, "validation");
  splits.validation = files.validation;
  describe(*files.validation, "validation", splits.notes);
}

/// Images as files.
Splits load_files(const DataSpec& spec, Collections (*open)(const DataSpec&, const std::string&),
                  const std::string& folder, const Wanted& wanted) {
  std::error_code error;
  const bool is_table = spec.name == "image-csv" && !is_folder(folder);
  if (!spec.path.empty() && !is_table) {
    const std::filesystem::directory_iterator readable(folder, error);
    require(!error, "load_splits", "data.path: cannot read ", folder, ": ", error.message(),
            " (data.path=DIR where it is now)");
  }
  Collections files = open(spec, folder);
  require_some(files.train->size(), "training", folder);
  check_left_out(*files.train, spec, "training");
  require_usage(files.test != nullptr || wanted.validation > 0 || !wanted.test, "load_splits", folder,
                ": no test images, no test, val or dev (testing, valid, validation) beside train: move some images of "
                "each class there, or hold some out, data.validation=0.2 say");
  Splits splits;
  hold_out(splits, files.train, wanted.validation, wanted.train_size);
  splits.notes = files.notes;
  splits.left_out.train = describe(*files.train, "training", splits.notes);
  splits.without_test = files.test == nullptr;
  if (splits.without_test) {
    if (!wanted.test) return splits;
    splits.test = splits.validation;
    splits.notes.push_back(folder + " has no test images: what is measured are the held-out ones (data.validation)");
    return splits;
  }
  require_some(files.test->size(), "test", folder);
  check_left_out(*files.test, spec, "test");
  splits.test = files.test;
  splits.left_out.test = describe(*files.test, "test", splits.notes);
  if (files.validation) add_validation(files, spec, folder, wanted.validation, splits);
  return splits;
}

Splits load(const DataSpec& spec, const Wanted& wanted) {
  const auto& [validation, train_size, test] = wanted;
  const Entry& entry = entry_of(spec);
  const std::string root = spec.root.empty() ? default_data_root() : spec.root;
  const std::string folder = folder_of(spec);
  if (entry.vectors) return load_vectors(spec, validation, train_size);
  if (entry.open != nullptr) return load_files(spec, entry.open, folder, wanted);
  if (spec.name == kMadeEmbeddings) return make_embeddings(spec, validation, train_size);
  Raw raw = entry.load(spec, folder);
  require_some(raw.train_images.dim(0), "training", raw.train_files);
  require_some(raw.test_images.dim(0), "test", raw.test_files);
  require(raw.test_images.shape().without(0) == raw.train_images.shape().without(0), "load_splits", spec.name, " in ",
          root, ": expected test images like the training images ", raw.train_images, ", got ", raw.test_images);
  Tensor labels = raw.train_labels;
  if (raw.human_labels.defined()) labels = raw.human_labels;
  if (spec.noise != LabelNoise::none) labels = draw_noise(spec, raw);
  Splits splits;
  hold_out(splits, std::make_shared<ImageDataset>(spec.name, raw.class_names, raw.train_images, labels), validation,
           train_size);
  splits.test = std::make_shared<ImageDataset>(spec.name, raw.class_names, raw.test_images, raw.test_labels,
                                               raw.test_distributions);
  if (raw.test_covariance) splits.test = with_covariances(splits.test, raw.test_covariance);
  splits.noisy_share = share_of_differences(raw.train_labels, labels);
  return splits;
}

}  // namespace

Splits load_splits(const DataSpec& spec, double validation, int64_t train_size) {
  return load(spec, {validation, train_size, true});
}

Splits load_parts(const DataSpec& spec) { return load(spec, {0, 0, false}); }

Shape image_shape_of(const DataSpec& spec) {
  if (entry_of(spec).vectors) return embedding_shape(spec.path);
  if (spec.name == kMadeEmbeddings) return {spec.made.width};
  return spec.name == "fashion-mnist" ? Shape{28, 28, 1} : spec.name == "cifar-10" ? Shape{32, 32, 3} : Shape{0, 0, 3};
}

std::vector<std::string> class_names_of(const DataSpec& spec) {
  if (entry_of(spec).vectors) return embedding_classes(spec.path);
  if (spec.name == "fashion-mnist") return kFashionClasses;
  if (spec.name == "cifar-10") return kCifarClasses;
  if (spec.name == kMadeEmbeddings) return class_names_of(spec.made);
  const std::string folder = folder_of(spec), list = folder + "/classes.tsv";
  if (spec.name == "image-folder") return classes_of_folders(folder);
  return exists(list) ? distinct_names(load_class_list(list)) : std::vector<std::string>{};
}

std::vector<std::string> class_ids_of(const DataSpec& spec) {
  const std::string list = folder_of(spec) + "/classes.tsv";
  return entry_of(spec).open == open_shards && exists(list) ? load_class_list(list).ids : std::vector<std::string>{};
}

std::vector<std::string> known_datasets() {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}

std::vector<std::string> known_label_sets() {
  std::vector<std::string> sets;
  for (const Entry& entry : entries())
    for (const std::string& set : entry.label_sets)
      if (std::ranges::count(sets, set) == 0) sets.push_back(set);
  return sets;
}

std::string default_data_root() {
  const char* root = std::getenv("SKEDASTIC_DATA");
  return root != nullptr && *root != '\0' ? root : "datasets";
}

}  // namespace sked

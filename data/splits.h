#pragma once
// What a configuration says about its data, and the training, validation and test examples it comes to.

#include <memory>
#include <string>
#include <vector>

#include "core/names.h"
#include "data/dataset.h"
#include "data/label_noise.h"
#include "data/made_embeddings.h"

namespace sked {

/// What a configuration says about its data.
struct DataSpec {
  /// One of known_datasets(): fashion-mnist (28×28×1), cifar-10 (32×32×3), and collections of image files:
  /// tiny-imagenet-200 (shards, 64×64), image-folder, image-csv, shards, caption-tsv and caption-shards (any, in
  /// `path`); and embeddings: vectors instead of images (in `path`), or made-embeddings, by the rule `made`.
  std::string name = "fashion-mnist";
  /// image-folder: a folder with train/<class>/… and perhaps one of test, val, dev, valid, validation (Train, training
  /// and testing as well) that has a folder of one of these classes; or with the classes' folders themselves. Of
  /// image-folder, image-csv and shards one of validation, valid, val, dev beside the test images has the validation
  /// images, where data.validation is 0.
  /// image-csv: a table of paths and labels, or a folder with train.csv (or labels.csv) and perhaps test.csv, val.csv
  /// …. shards: one with train*.tar and perhaps one of test*.tar, val*.tar, dev*.tar (or …-train*.tar …, or train/*.tar
  /// …; .tar.gz and .tgz for .tar; or shards of other names, all of training), and perhaps classes.tsv
  /// (image_collection.h). classes.txt in the folder of these three: a class a line, in their order; of folders their
  /// names. caption-tsv, image-text pairs without classes: one with train.tsv and one of test.tsv, val.tsv, dev.tsv;
  /// caption-shards: as shards, with captions. embeddings: a file, folder or prefix as open_embeddings() takes them
  /// (embeddings.h). Empty for the others.
  std::string path = "";
  /// Training labels: clean; for cifar-10 also CIFAR-10N's aggregate, random1, random2, random3, worst; for embeddings
  /// also a .npy file of other labels, integers (N) of all training examples in their order; for made-embeddings
  /// confused.
  std::string labels = "clean";
  /// embeddings: a .npy file of people's votes for the test examples' classes, counts (N, K), in their order.
  std::string votes = "";
  LabelNoise noise = LabelNoise::none;
  double noise_rate = 0.4;
  uint64_t noise_seed = 0;
  /// At most how many examples of each of training, validation and test may be lost: corrupt images, and halves of
  /// image-text pairs, each kind by itself. -1, not set: no corrupt image, and any number of halves as long as more
  /// pairs stay.
  int64_t skip_limit = -1;
  int64_t corrupt_limit() const { return skip_limit < 0 ? 0 : skip_limit; }
  /// The rule of made-embeddings.
  MadeEmbeddingsSpec made = {};
  /// Folder that holds a folder per dataset; empty means default_data_root().
  std::string root = "";
};

/// Training and validation images carry the labels asked for (noisy draws, human labels), as they would in practice.
/// Test images keep their clean labels and, where it is known, carry p(label | x): the distribution of the noise drawn
/// on the training labels, or else what people voted for: CIFAR-10H for cifar-10 (when cifar10h-counts.npy is there),
/// DataSpec::votes or a label_distribution beside the labels for embeddings.
struct Splits {
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> validation;  // null when its size is 0, and the files have none of their own
  std::shared_ptr<const Dataset> test;
  bool without_test = false;  // the files have no test images: `test` is `validation`
  /// Share of the training and validation labels that differ from the clean ones.
  double noisy_share = 0.0;
  /// What a user should hear of: files passed over, folders not used, classes without an image. One line each.
  std::vector<std::string> notes = {};
  /// Halves of image-text pairs left out (image_collection.h); train: of training and validation.
  struct LeftOut {
    int64_t train = 0, test = 0;
  } left_out = {};
};

}  // namespace sked

#pragma once
// Vectors from files: features of images or texts that some network has made, with labels, read row by row.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/stored_array.h"
#include "data/dataset.h"

namespace sked {

/// The columns of a table of N vectors, by the names they have in files.
struct EmbeddingColumns {
  StoredArray features;                                     // (N, D): f32, f64, f16, bf16; u8 or i8, perhaps scaled
  std::optional<StoredArray> scale = std::nullopt;          // floating, () or (D): value = integer · scale
  std::optional<StoredArray> labels = std::nullopt;         // integers (N), or (N, K) of 0 and 1: several labels
  std::optional<StoredArray> distributions = std::nullopt;  // `label_distribution` (N, K): rows that sum to one
  std::optional<StoredArray> ids = std::nullopt;            // integers (N), UTF-8 u8 (N, L) or NumPy's strings (N)
};

/// N vectors that stay in their file, but of a table of at most 256 MiB, which is kept in memory as it is stored; in
/// memory are labels and, of a table of at most 2 GiB, a checksum of each row.
/// Labels (N) are labels; labels (N, K), and a label_distribution without labels, are targets; a label_distribution
/// beside labels is p(y | x). Without classes (K = 0) no labels are needed.
class Embeddings final : public Dataset {
 public:
  /// `used`: of each row, whether it is an example of any split; empty: all are. Throws Error, naming file, row and
  /// column, for columns of other lengths, dtypes or shapes than above, and of a row that is used for a label or target
  /// that is none of the K classes', a distribution that is none, and, where all features are at most 2 GiB, one of
  /// them that is not finite; of larger ones that is checked whenever a row is read.
  Embeddings(std::string name, std::vector<std::string> class_names, EmbeddingColumns columns,
             const std::vector<bool>& used = {});

  int64_t size() const override { return columns_.features.rows(); }
  Shape image_shape() const override { return {columns_.features.row_size()}; }
  Tensor image(int64_t i) const override;
  void read_features(int64_t i, float* out) const override;
  int64_t label(int64_t i) const override;
  std::string source(int64_t i) const override;
  std::string id(int64_t i) const override;
  /// Its id or row, its label or targets, and its features where their checksums are in memory.
  void add_identity(int64_t i, Fingerprint& f) const override;
  void add_image(int64_t i, Fingerprint& f) const override;
  bool has_targets() const override { return targets_.has_value(); }
  Tensor target(int64_t i) const override;
  bool has_distributions() const override { return distributions_.has_value(); }
  Tensor distribution(int64_t i) const override;

 private:
  void check_columns() const;
  void read_scale();
  void read_labels(const std::vector<bool>& used);
  void check_features(const std::vector<bool>& used);
  /// In place: integers by their scale; all finite.
  void finish(int64_t row, float* x) const;

  EmbeddingColumns columns_;
  std::optional<StoredArray> targets_, distributions_;  // columns of those above
  std::vector<float> scale_;                            // (D), or none
  std::vector<int64_t> labels_;                         // (N)
  std::vector<uint64_t> checksums_;                     // (N), or none
  FileStamp stamp_;
};

/// The parts of a data set of vectors.
struct EmbeddingSplits {
  std::shared_ptr<const Dataset> train, validation, test;  // validation: null where the files have none
  std::vector<std::string> notes = {};
};

/// Opens what `path` names:
///   FILE.safetensors  tensors `features`, `labels` …, and index arrays `train`, `test` and perhaps `validation`
///   a folder with     train.safetensors, test.safetensors, perhaps validation.safetensors, each with `features` …
///                     or train-features.npy, train-labels.npy …, test-features.npy …
///                     or features.npy, labels.npy …, and index arrays train.npy, test.npy
///   a prefix          such as DIR/cifar10, of DIR/cifar10-train-features.npy and so on
/// The test part is called as one of kTestNames (parts.h), the first there is of those; the validation part validation,
/// valid, val or dev. A table without index arrays is a test set as a whole, beside a training set of no row; it needs
/// no labels, and has then no classes. Index arrays are integers: rows, in the order that examples have. Classes are
/// those of `<prefix>-classes.txt` or classes.txt beside the files, a name a line; without one there are as many as
/// (N, K) has columns, or as the greatest label of training and validation asks for. Throws Error, naming the file, for
/// what Embeddings refuses, no file or two layouts, a part that is missing or empty, rows of two parts, twice or out of
/// range, and D or K that differ between the parts.
EmbeddingSplits open_embeddings(const std::string& name, const std::string& path);

/// The columns of one safetensors file, in parts or not. Throws Error, naming it, where it has no `features`.
EmbeddingColumns embedding_columns(const std::string& path);

/// D and the class names of the same without a look at any feature.
Shape embedding_shape(const std::string& path);
std::vector<std::string> embedding_classes(const std::string& path);

}  // namespace sked

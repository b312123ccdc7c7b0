#pragma once
// A dataset is an indexable, typed collection of labeled or captioned images, or of vectors made from something.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/fingerprint.h"
#include "core/rng.h"
#include "core/tensor.h"

namespace sked {

/// An image as a file holds it; `source` names it in messages.
struct EncodedImage {
  std::vector<uint8_t> bytes;
  std::string source;
};

/// N images, each with a label in 0 … K-1 and perhaps a distribution over the K classes, or a caption, or both. Without
/// classes (image-text pairs) K is 0 and every label 0. Reading is safe from several threads. An index outside 0 …
/// size()-1 throws Error.
class Dataset {
 public:
  /// Names that are not UTF-8, as those of folders may be, become so: valid_utf8().
  Dataset(std::string name, std::vector<std::string> class_names);
  virtual ~Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;

  /// N.
  virtual int64_t size() const = 0;
  /// K.
  virtual int64_t classes() const { return static_cast<int64_t>(class_names_.size()); }
  /// (H, W, C) of every image; (0, 0, C) where they differ in size. (D): examples are vectors (holds_features()).
  virtual Shape image_shape() const = 0;
  /// u8 (H, W, C); may share the dataset's storage: not to be written to. A vector: f32 (D).
  virtual Tensor image(int64_t i) const = 0;
  virtual int64_t label(int64_t i) const = 0;
  /// Writes the D numbers of vector i, all finite. Throws Error, naming the file and the place, for one that is not or
  /// cannot be read, and where examples are images.
  virtual void read_features(int64_t i, float* out) const;
  /// Names image i for people: its file, or the dataset and i. Examples of one source share their image.
  virtual std::string source(int64_t i) const;
  /// What example i is called in its own data; source(i) where it has no name there.
  virtual std::string id(int64_t i) const { return source(i); }
  /// Names where the caption of example i stands; its image where that is not known.
  virtual std::string caption_source(int64_t i) const { return source(i); }
  /// Adds what tells example i from another without opening a file: its name in the dataset, or its pixels where they
  /// are in memory, its label or targets, and a caption of its own.
  virtual void add_identity(int64_t i, Fingerprint& f) const;
  /// Adds what tells its image from another: the pixels, or the size and the times of the last changes of its file.
  virtual void add_image(int64_t i, Fingerprint& f) const;
  /// Are the images files, decoded when they are asked for? Then a pipeline can do it more cheaply than image().
  virtual bool encoded() const { return false; }
  /// The file of image i. Throws Error unless encoded(), or where it cannot be read.
  virtual EncodedImage file(int64_t i) const;
  /// Do images have several labels, or soft ones, to be trained towards? label() is then the greatest, the first of
  /// several.
  virtual bool has_targets() const { return false; }
  /// f32 (K), each in [0, 1]: 1 for every class of the image (multi-hot), or its share. Throws Error unless
  /// has_targets().
  virtual Tensor target(int64_t i) const;
  /// Is there a known or human p(y | x) beside the labels?
  virtual bool has_distributions() const { return false; }
  /// f32 (K), sums to one. Throws Error unless has_distributions().
  virtual Tensor distribution(int64_t i) const;
  /// Were the labels drawn from logits whose noise has a known covariance?
  virtual bool has_covariances() const { return false; }
  /// Σ(x) of the logits of example i: f32 (K, K). Throws Error unless has_covariances().
  virtual Tensor covariance(int64_t i) const;
  /// Has every image a text?
  virtual bool has_captions() const { return false; }
  /// UTF-8 that check_caption() takes; drawn from `rng` where there is a choice. Throws Error unless has_captions().
  virtual std::string caption(int64_t i, Rng& rng) const;

  const std::string& name() const { return name_; }
  const std::vector<std::string>& class_names() const { return class_names_; }

 protected:
  /// Throws Error unless 0 ≤ i < size().
  void check_index(int64_t i) const;

 private:
  std::string name_;
  std::vector<std::string> class_names_;
};

/// All images in memory.
class ImageDataset final : public Dataset {
 public:
  /// images u8 (N, H, W, C); labels i64 (N), each in 0 … K-1 with K the number of class names; distributions f32 (N,
  /// K), rows of non-negative numbers that sum to one (within 1e-4: they are rounded to f32), or undefined. Throws
  /// Error, naming the dataset and the index, where one of these does not hold.
  ImageDataset(std::string name, std::vector<std::string> class_names, Tensor images, Tensor labels,
               Tensor distributions = {});

  int64_t size() const override { return images_.dim(0); }
  Shape image_shape() const override { return image_shape_; }
  Tensor image(int64_t i) const override;
  int64_t label(int64_t i) const override;
  void add_identity(int64_t i, Fingerprint& f) const override;
  bool has_distributions() const override { return distributions_.defined(); }
  Tensor distribution(int64_t i) const override;

  /// u8 (N, H, W, C), i64 (N), f32 (N, K) or undefined.
  const Tensor& images() const { return images_; }
  const Tensor& labels() const { return labels_; }
  const Tensor& distributions() const { return distributions_; }

 private:
  Tensor images_, labels_, distributions_;
  Shape image_shape_;
};

/// Another dataset as it is, but for what a derived class changes.
class DatasetView : public Dataset {
 public:
  /// Throws Error for no dataset.
  explicit DatasetView(std::shared_ptr<const Dataset> base);

  int64_t size() const override { return base_->size(); }
  int64_t classes() const override { return base_->classes(); }
  Shape image_shape() const override { return base_->image_shape(); }
  Tensor image(int64_t i) const override { return base_->image(base_index(i)); }
  int64_t label(int64_t i) const override { return base_->label(base_index(i)); }
  void read_features(int64_t i, float* out) const override { base_->read_features(base_index(i), out); }
  std::string source(int64_t i) const override { return base_->source(base_index(i)); }
  std::string id(int64_t i) const override { return base_->id(base_index(i)); }
  std::string caption_source(int64_t i) const override { return base_->caption_source(base_index(i)); }
  void add_identity(int64_t i, Fingerprint& f) const override { base_->add_identity(base_index(i), f); }
  void add_image(int64_t i, Fingerprint& f) const override { base_->add_image(base_index(i), f); }
  bool encoded() const override { return base_->encoded(); }
  EncodedImage file(int64_t i) const override { return base_->file(base_index(i)); }
  bool has_targets() const override { return base_->has_targets(); }
  Tensor target(int64_t i) const override { return base_->target(base_index(i)); }
  bool has_distributions() const override { return base_->has_distributions(); }
  Tensor distribution(int64_t i) const override { return base_->distribution(base_index(i)); }
  bool has_covariances() const override { return base_->has_covariances(); }
  Tensor covariance(int64_t i) const override { return base_->covariance(base_index(i)); }
  bool has_captions() const override { return base_->has_captions(); }
  std::string caption(int64_t i, Rng& rng) const override { return base_->caption(base_index(i), rng); }

  /// The index in `base` of example i.
  virtual int64_t base_index(int64_t i) const { return i; }

 protected:
  /// With class names of its own.
  DatasetView(std::shared_ptr<const Dataset> base, std::vector<std::string> class_names);
  const Dataset& base() const { return *base_; }

 private:
  std::shared_ptr<const Dataset> base_;
};

/// Some examples of another dataset: example i is `base`'s example indices[i].
class Subset final : public DatasetView {
 public:
  /// Throws Error for an index outside `base`.
  Subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices);
  /// Examples [begin, end).
  Subset(std::shared_ptr<const Dataset> base, int64_t begin, int64_t end);

  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  int64_t base_index(int64_t i) const override;

 private:
  std::vector<int64_t> indices_;
};

/// Are its examples vectors instead of images?
inline bool holds_features(const Dataset& data) { return data.image_shape().ndim() == 1; }

/// The images of a data set, each by all its examples, in the order they are first met: captions of one source are of
/// one image, other examples have one each.
std::vector<std::vector<int64_t>> examples_by_image(const Dataset& data);

/// Of all examples in their order: who they are, and what their images are.
std::string identity_fingerprint(const Dataset& data);
std::string image_fingerprint(const Dataset& data);

/// The caption of example i in an epoch, drawn at the address (seed, epoch, i).
std::string epoch_caption(const Dataset& data, uint64_t seed, int64_t epoch, int64_t i);

/// Throws Error, naming `source` (a file or dataset) and the index, unless labels is i64 (N) with values in 0 …
/// classes-1.
void check_labels(const Tensor& labels, int64_t classes, const std::string& source);

}  // namespace sked

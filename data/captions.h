#pragma once
// Captions for labeled images: prompts made of class names, some of them wrong on purpose, and classes held out.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/catalog.h"
#include "data/dataset.h"

namespace sked {

/// What a configuration says about the captions of a labeled dataset.
struct CaptionSpec {
  /// caption_templates(): plain, photo, or a file.
  std::string templates = "photo";
  /// Share of training and validation captions that name a wrong class (CaptionNoise).
  double noise_rate = 0;
  uint64_t noise_seed = 0;
  /// Classes of which training and validation see nothing (unseen_classes()).
  int64_t unseen = 0;
  /// File of class names instead of the dataset's: one class per line, or lines `index<TAB>id<TAB>names`
  /// (load_class_list); synonyms separated as class_synonyms() says.
  std::string classes = "";
};

/// The names of each of K classes, the best known first.
using Synonyms = std::vector<std::vector<std::string>>;

/// Sentences with one `{}` each, for a class's name. `plain` is the name alone. `photo` are the 18 prompts that CLIP
/// (Radford et al., arXiv 2103.00020; data/prompts.md of its code) uses for CIFAR, made for small images. Anything else
/// is a text file with a template per line. Throws UsageError for a name that is neither, Error naming file and line
/// for a line that has not exactly one `{}` or that check_caption() refuses.
std::vector<std::string> caption_templates(const std::string& name);

/// Splits each class's name at commas and slashes ("T-shirt/top", "goldfish, Carassius auratus"). Names are the same
/// when they are so after lower-casing ASCII, as captions are read. A name that comes twice in a class counts once. A
/// name that several classes share ("wagon" in Tiny ImageNet) says of no image which it is, and is dropped from all of
/// them. Throws Error naming `source` and the classes for a class that keeps no name, or a name that check_caption()
/// refuses. `lines`: class k stands on line k+1 of `source`, and errors say so.
Synonyms class_synonyms(const std::vector<std::string>& class_names, const std::string& source, bool lines = false);

/// Those of the file spec.classes where one is named, else of the dataset. Throws Error naming file and line, and for a
/// file of other than K classes.
Synonyms class_synonyms(const CaptionSpec& spec, const Dataset& data);

/// For zero-shot classification: for each class all templates with each of its names.
std::vector<std::vector<std::string>> class_prompts(const std::vector<std::string>& templates,
                                                    const Synonyms& synonyms);

/// An even spread of `unseen` of K classes: k is one where ⌊(k+1)·unseen/K⌋ > ⌊k·unseen/K⌋. In order. Throws UsageError
/// unless 0 ≤ unseen < K.
std::vector<int64_t> unseen_classes(int64_t classes, int64_t unseen);

/// The examples of all classes but these.
std::shared_ptr<const Dataset> without_classes(std::shared_ptr<const Dataset> data,
                                               const std::vector<int64_t>& classes);

/// Captions that name another class: decided for image i once and for all, at the address (seed, split, i).
struct CaptionNoise {
  double rate = 0;
  uint64_t seed = 0;
  /// Training (0) and validation (1) draw apart.
  uint64_t split = 0;
  /// Classes that no wrong caption names: those held out.
  std::vector<int64_t> unseen = {};
};

/// A labeled dataset with captions: a template with a name of the label's class in place of its `{}`, both drawn
/// uniformly each time. With probability `rate` it is instead a class drawn uniformly from the others.
class CaptionedDataset final : public DatasetView {
 public:
  /// Throws Error for no template, other than K lists of synonyms or an empty one, a rate outside [0, 1], or noise
  /// where there is no other class to name.
  CaptionedDataset(std::shared_ptr<const Dataset> base, std::vector<std::string> templates, Synonyms synonyms,
                   const CaptionNoise& noise = {});

  bool has_captions() const override { return true; }
  std::string caption(int64_t i, Rng& rng) const override;
  /// The class that the captions of image i name.
  int64_t caption_class(int64_t i) const;

 private:
  std::vector<std::string> templates_;
  Synonyms synonyms_;
  CaptionNoise noise_;
  std::vector<int64_t> nameable_;  // by wrong captions, in order
};

/// Splits with captions: training and validation without the unseen classes and with noise; test with all classes and
/// right captions. Image-text pairs come back as they are. Throws UsageError for a spec that does not fit the dataset;
/// what the functions above throw.
Splits with_captions(const Splits& splits, const CaptionSpec& spec);

/// One caption of each example, that of the epoch: what a vocabulary is trained on, what images are searched by.
std::vector<std::string> captions_of(const Dataset& data, uint64_t seed, int64_t epoch = 0);

}  // namespace sked

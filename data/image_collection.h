#pragma once
// Collections of image files: a folder per class (torchvision's ImageFolder), tar shards (WebDataset), and image-text
// pairs in shards or in a table.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace sked {

/// One image of a collection: a file below its root, or a member of one of its archives.
struct ImageEntry {
  std::string name;
  int64_t archive = -1;          // index into the archives; -1: a file of its own
  int64_t offset = 0, size = 0;  // bytes in the archive
  int64_t label = 0;
  std::vector<std::pair<int64_t, float>> targets = {};  // class and its target; empty: the label alone
  std::string caption = {};                             // one that check_caption() took; empty: none
};

/// Images of any size, read and decoded when they are asked for: only names, places and labels are in memory. A read
/// finds its image by offset, so that the order of an epoch is free, in shards as in folders.
class ImageCollection final : public Dataset {
 public:
  /// Labels and targets name classes in 0 … K-1 (K = 0: every label is 0), targets lie in [0, 1]. Throws Error naming
  /// the entry otherwise.
  ImageCollection(std::string name, std::vector<std::string> class_names, std::string root,
                  std::vector<std::string> archives, std::vector<ImageEntry> entries);

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  Shape image_shape() const override { return {0, 0, 3}; }
  Tensor image(int64_t i) const override;
  int64_t label(int64_t i) const override;
  bool encoded() const override { return true; }
  EncodedImage file(int64_t i) const override;
  bool has_targets() const override { return has_targets_; }
  Tensor target(int64_t i) const override;
  bool has_captions() const override { return has_captions_; }
  std::string caption(int64_t i, Rng& rng) const override;

  /// `<root>/<name>` of a file, `<archive>:<name>` of a member.
  std::string source(int64_t i) const override;
  void add_identity(int64_t i, Fingerprint& f) const override;
  void add_image(int64_t i, Fingerprint& f) const override;

 private:
  const ImageEntry& entry(int64_t i) const;

  std::string root_;
  std::vector<std::string> archives_;
  std::vector<ImageEntry> entries_;
  bool has_targets_ = false, has_captions_ = false;
};

/// `<root>/<class>/…/<image>`, by torchvision's rules: the classes are the folders in `root`, sorted; the images are
/// all files below with an image's ending (.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp, in any case), sorted by
/// folder and name. Throws Error for no class, a class without images, or, where `classes` is not empty, for class
/// folders that are not exactly those.
std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& classes = {});

/// The classes a collection's shards speak of: `names` for people, `ids` (WordNet's, say) for files.
struct ClassList {
  std::vector<std::string> names, ids;
};

/// Lines `index<TAB>id<TAB>names` in order from index 0. Throws Error naming file and line.
ClassList load_class_list(const std::string& path);

/// WebDataset shards: members that share a key (the name up to the first dot behind its last slash) and follow each
/// other are one example. Its image is `.jpg`, `.jpeg`, `.png`, `.webp`, `.bmp` or `.ppm`; its label the first of
///   .cls   a class index as text
///   .json  an index; a list of indices or class ids (several labels); an object {class id or index: share} (soft)
///   .txt   a class id or name
/// Other members are ignored. With an empty class list there are as many classes as the greatest label asks for.
/// Throws Error naming shard and member for a key without image or label, a key that comes back later, a member twice,
/// a label that cannot be read or is out of range, and for a damaged archive (list_tar).
std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes);

/// WebDataset shards of image-text pairs: as load_shards(), but instead of a label an example has a caption, the member
/// `.txt` without blanks at its ends. No classes. Throws Error naming shard and member for a key without image or
/// caption, and for a caption that check_caption() refuses, or where there is no pair at all.
std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards);

/// A table of image-text pairs: lines `path<TAB>caption`, paths relative to the table's folder. An image may stand on
/// several lines, each is a pair. No classes. Throws Error naming file and line for a line of another form, a path that
/// is absolute or has `..`, an image file that is not there, a caption that check_caption() refuses, or no line at all.
std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path);

}  // namespace sked

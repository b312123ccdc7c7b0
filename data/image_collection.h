#pragma once
// Collections of image files: a folder per class (torchvision's ImageFolder), tar shards (WebDataset), and image-text
// pairs in shards or in a table.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
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

/// What a reader left aside: how many files or members, the first of them, and why that one.
struct PassedOver {
  int64_t count = 0;
  std::string first, why;

  void add(const std::string& name, const std::string& reason);
  /// `3 passed over, the first <name>: <why>`.
  std::string text() const;
};

/// Images of any size, read and decoded when they are asked for: only names, places and labels are in memory. A read
/// finds its image by offset, so that the order of an epoch is free, in shards as in folders.
class ImageCollection final : public Dataset {
 public:
  /// Labels and targets name classes in 0 … K-1 (K = 0: every label is 0), targets lie in [0, 1]. Throws Error naming
  /// the entry otherwise, or an archive that is not there.
  ImageCollection(std::string name, std::vector<std::string> class_names, std::string root,
                  std::vector<std::string> archives, std::vector<ImageEntry> entries, PassedOver passed_over = {});

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

  /// What might have been an image, but was not taken for one by the reader's rules.
  const PassedOver& passed_over() const { return passed_over_; }

 private:
  const ImageEntry& entry(int64_t i) const;

  std::string root_;
  std::vector<std::string> archives_;
  std::vector<FileStamp> stamps_;  // of the archives, when they were opened
  PassedOver passed_over_;
  std::vector<ImageEntry> entries_;
  bool has_targets_ = false, has_captions_ = false;
};

/// `<root>/<class>/…/<image>`, by torchvision's rules: the classes are the folders in `root`, sorted; the images are
/// all files below with an image's ending (.jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp, in any case), sorted by
/// folder and name. Passed over: files of other endings, images in no class's folder; not worth counting are names with
/// a dot in front, Thumbs.db and desktop.ini. Throws Error for no class, a class without images, an image that is a
/// link to nothing, or, where `classes` is not empty, for class folders that are not exactly those.
std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& classes = {});

/// The classes a collection's shards speak of: `names` for people, `ids` (WordNet's, say) for files. Names may be the
/// same; ids may not.
struct ClassList {
  std::vector<std::string> names, ids;
};

/// The names; those that several classes share with the id behind, `crane (n02012849)`: classes are told apart by name.
std::vector<std::string> distinct_names(const ClassList& classes);

/// Lines `index<TAB>id<TAB>names` in order from index 0, behind a byte-order mark or not. Throws Error naming file and
/// line, also for an id that was there before.
ClassList load_class_list(const std::string& path);

/// WebDataset shards: members that share a key (the name up to the first dot behind its last slash) and follow each
/// other are one example. Its image is `.jpg .jpeg .png .webp .bmp .ppm .pgm .pbm` or `.pnm`; its label the first of
///   .cls   a class index as text
///   .json  an index; a list of indices or class ids (several labels); an object {class id or index: share}: soft
///   labels
///          where the shares sum to 1, within the rounding of each (0.001, all together at most 0.05), and are then
///          made to sum to 1; several labels where every share is 0 or 1
///   .txt   a class id or name
/// A word that means two classes, by their names or as an id here and a name there, is an error where it is used. Other
/// members beside an image are ignored. Passed over: members without a key or an ending, WebDataset's metadata
/// (`__…__`), keys with nothing but .json, .txt or unknown endings. With an empty class list there are as many classes
/// as the greatest label asks for. Throws Error naming shard and member for a key whose image has an ending that is not
/// read (.gif, or .v2.jpg for `7.v2.jpg`, whose key is 7), a key without image or label, a key that comes back later in
/// its shard, a member twice, a label that cannot be read or is out of range, no example at all, and for a damaged
/// archive (list_tar).
std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes);

/// WebDataset shards of image-text pairs: as load_shards(), but instead of a label an example has a caption, the member
/// `.txt` without blanks at its ends. No classes. Throws Error naming shard and member for a key with a text and no
/// image or the other way round, and for a caption that check_caption() refuses, or where there is no pair at all.
std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards);

/// A table of image-text pairs: lines `path<TAB>caption`, paths relative to the table's folder. An image may stand on
/// several lines, each is a pair; `./a.jpg` is a.jpg. No classes. Throws Error naming file and line for a line of
/// another form, a path that is absolute or has `..`, an image file that is not there, a caption that check_caption()
/// refuses, or no line at all.
std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path);

}  // namespace sked

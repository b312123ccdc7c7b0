#pragma once
// Collections of image files: a folder per class (torchvision's ImageFolder), tar shards (WebDataset), and image-text
// pairs in shards or in a table.

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"
#include "data/dataset.h"
#include "data/tar.h"

namespace sked {

/// The endings of image files, without their dot and in small letters: those that torchvision's ImageFolder takes, and
/// others of formats that decode_image() reads.
constexpr std::array<std::string_view, 14> kImageEndings{"jpg",  "jpeg", "png", "ppm",  "bmp", "pgm", "tif",
                                                         "tiff", "webp", "gif", "jfif", "jpe", "pbm", "pnm"};

/// Has it one of them, in any case?
bool has_image_ending(const std::filesystem::path& path);

/// Is `name` a file that systems and archivers leave behind, and that nobody takes for a sample? `._a.jpg` and the
/// folder `__MACOSX` (macOS), `.DS_Store`, Thumbs.db, desktop.ini, the thumbnails in `@eaDir` (Synology), and pax
/// headers that were unpacked as files.
bool is_litter(std::string_view name);

/// One image of a collection: a file below its root, or a member of one of its archives.
struct ImageEntry {
  std::string name;
  int64_t archive = -1;          // index into the archives; -1: a file of its own
  int64_t offset = 0, size = 0;  // bytes in the archive
  int64_t label = 0;
  std::vector<std::pair<int64_t, float>> targets = {};  // class and its target; empty: the label alone
  std::string caption = {};                             // one that check_caption() took; empty: none
  int64_t line = 0;                                     // of a table: where its caption stands
};

/// What a reader left aside: how many files or members, the first of them, and why that one.
struct PassedOver {
  int64_t count = 0;
  std::string first, why;

  void add(const std::string& name, const std::string& reason);
  /// `3 passed over, the first <name>: <why>`.
  std::string text(const char* what = "passed over") const;
};

/// What a reader makes of a collection.
struct Collected {
  std::string root = {};               // of files; entries' names are below it
  std::vector<Archive> archives = {};  // of members
  std::string table = {};              // of captions
  std::vector<ImageEntry> entries = {};
  PassedOver passed_over = {};
  PassedOver left_out = {};             // halves of pairs: an image without a caption, or a caption without an image
  std::vector<std::string> notes = {};  // what else a user should hear of
};

/// Images of any size, read and decoded when they are asked for: only names, places and labels are in memory. A read
/// finds its image by offset, so that the order of an epoch is free, in shards as in folders.
class ImageCollection final : public Dataset {
 public:
  /// Labels and targets name classes in 0 … K-1 (K = 0: every label is 0), targets lie in [0, 1]. Throws Error naming
  /// the entry otherwise, or an archive that is not there.
  ImageCollection(std::string name, std::vector<std::string> class_names, Collected files);

  int64_t size() const override { return static_cast<int64_t>(files_.entries.size()); }
  Shape image_shape() const override { return {0, 0, 3}; }
  Tensor image(int64_t i) const override;
  int64_t label(int64_t i) const override;
  bool encoded() const override { return true; }
  EncodedImage file(int64_t i) const override;
  bool has_targets() const override { return has_targets_; }
  Tensor target(int64_t i) const override;
  /// Those of example i: that of its label, or of its targets above 0.
  std::vector<int64_t> classes_of(int64_t i) const;
  bool has_captions() const override { return has_captions_; }
  std::string caption(int64_t i, Rng& rng) const override;

  /// `<root>/<name>` of a file, `<archive>:<name>` of a member; both as valid_utf8().
  std::string source(int64_t i) const override;
  /// `<table>:<line>`, or `<archive>:<key>.txt`.
  std::string caption_source(int64_t i) const override;
  void add_identity(int64_t i, Fingerprint& f) const override;
  void add_image(int64_t i, Fingerprint& f) const override;

  /// What might have been an image, but was not taken for one by the reader's rules.
  const PassedOver& passed_over() const { return files_.passed_over; }
  const PassedOver& left_out() const { return files_.left_out; }
  const std::vector<std::string>& notes() const { return files_.notes; }

 private:
  const ImageEntry& entry(int64_t i) const;
  std::string path_of(const ImageEntry& e) const { return files_.root + "/" + e.name; }
  const Archive& archive(const ImageEntry& e) const { return files_.archives[static_cast<size_t>(e.archive)]; }

  Collected files_;
  std::vector<FileStamp> stamps_;  // of the archives, when they were opened
  bool has_targets_ = false, has_captions_ = false;
};

/// `<root>/<class>/…/<image>`, by torchvision's rules: the classes are the folders in `root`, sorted; the images are
/// all files below with an image's ending (kImageEndings, in any case), sorted by folder and name. Passed over: files
/// of other endings, images in no class's folder, hidden folders beside the classes' (`.ipynb_checkpoints`,
/// `__MACOSX`); not worth counting are names with a dot in front and litter. Throws Error for no class, a class without
/// images, an image that is a link to nothing, or, where `classes` is not empty, for class folders that are not exactly
/// those: their order is then that of `classes`.
std::shared_ptr<ImageCollection> load_image_folder(const std::string& name, const std::string& root,
                                                   const std::vector<std::string>& classes = {});

/// A CSV of images and labels (csv.h): a path and a label a line, or, behind a first line that names its columns, those
/// called path (filepath, filename, image …) and label (class, category …), whatever others there are. Paths are
/// relative to the table's folder. The classes are `classes`, or without them the labels, sorted; numbers by value.
/// Throws Error naming file and line for a path that is absolute or has `..`, leads to no file or is there twice, a
/// label that is empty, not UTF-8 or none of `classes`, another number of fields, no image at all, and as read_csv().
std::shared_ptr<ImageCollection> load_label_table(const std::string& name, const std::string& path,
                                                  const std::vector<std::string>& classes = {});

/// The classes a collection's shards speak of: `names` for people, `ids` (WordNet's, say) for files. Names may be the
/// same; ids may not.
struct ClassList {
  std::vector<std::string> names, ids;
};

/// The names; those that several classes share with the id behind, `crane (n02012849)`: classes are told apart by name.
std::vector<std::string> distinct_names(const ClassList& classes);

/// Lines `index<TAB>id<TAB>names` in order from index 0, behind a byte-order mark or not, fields in quotes as CSV has
/// them. Throws Error naming file and line, also for an id that was there before.
ClassList load_class_list(const std::string& path);

/// Image files by their paths; labels are all 0 and mean nothing. A path that leads nowhere is an Error when its image
/// is read.
std::shared_ptr<ImageCollection> listed_images(const std::string& name, const std::vector<std::string>& classes,
                                               const std::vector<std::string>& paths);

/// WebDataset shards: members that share a key (the name up to the first dot behind its last slash) and follow each
/// other are one example; a key that comes again later is another one. Its image has one of kImageEndings, in any case;
/// its label is the first of
///   .cls   a class index as text
///   .json  an index; a class id or name; a list of those (several labels; an error where it may be a share for each
///          class, as [0, 0, 1], or [0, 1] of two classes); an object with one of them under `label`, `labels`,
///          `label_id`, `cls`, `class`, `class_id`, `class_index`, `class_idx`, `target`, `category` or `category_id`
///          (unless the list has a class of that name), other keys ignored as long as none is a class; any other object
///          as {class id, name or index: share}: soft labels where the shares sum to 1, within the rounding of each
///          (0.001, all together at most 0.05), and are then made to sum to 1; several labels where every share is 0 or
///          1
///   .txt   a class id or name; with an empty class list an index
/// A word that means two classes, by their names or as an id here and a name there, is an error where it is used. Other
/// members beside an image are ignored. Passed over: members without a key or an ending, WebDataset's metadata
/// (`__…__`), keys with nothing but .json, .txt or unknown endings; not worth counting is litter. With an empty class
/// list there are as many classes as the greatest label asks for. Throws Error naming shard and member for a key whose
/// image has an ending that is not read (.heic, or .v2.jpg for `7.v2.jpg`, whose key is 7: with the number of these), a
/// key without image or label, one whose image or label is a link or a sparse file, a member twice, a label that cannot
/// be read, is nested too deep or out of range, no example at all, and for a damaged archive (list_tar).
std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes);

/// WebDataset shards of image-text pairs: as load_shards(), but instead of a label an example has a caption, the member
/// `.txt` without blanks at its ends. No classes. Left out: an image without a text or with one that is empty or not
/// UTF-8, a text without an image. Throws Error naming shard and member for a caption that check_caption() refuses, or
/// where there is no pair at all.
std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards);

/// A table of image-text pairs: lines `path<TAB>caption`, paths relative to the table's folder. An image may stand on
/// several lines, each is a pair; `./a.jpg` is a.jpg. Blank lines are none, and a first line `filepath<TAB>title` (or
/// other names of such columns) is noted as the head of the table. Quotes around a whole field are read as CSV has them
/// (`"a ""small"" cat"`) and noted, unless a file's name has them; others are part of the text. No classes. Left out: a
/// line whose image file is not there or whose caption is empty. Throws Error naming file and line for a line of
/// another form, a path that is absolute or has `..`, a caption that check_caption() refuses, no pair at all, and as
/// file_lines() does.
std::shared_ptr<ImageCollection> load_caption_table(const std::string& name, const std::string& path);

}  // namespace sked

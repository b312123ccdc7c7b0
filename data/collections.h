#pragma once
// Which files of a collection are its training and its test images: parts as people lay them out.

#include <memory>
#include <string>
#include <vector>

#include "data/image_collection.h"
#include "data/splits.h"

namespace sked {

/// Training, test and validation images as files.
struct Collections {
  std::shared_ptr<const ImageCollection> train, test;  // test: null where there are none
  std::vector<std::string> notes = {};
  std::shared_ptr<const ImageCollection> validation = nullptr;  // beside test images; null where there are none
};

// The data sets of files, by name: image-folder, image-csv, shards, caption-shards, caption-tsv (DataSpec says what may
// be in `folder`). They throw Error naming the file or folder for what is missing or contradicts itself; labeled images
// may lack a test part, and have one of validation beside it.

Collections open_folders(const DataSpec& spec, const std::string& folder);
/// Of training's class folders there; none where there are no folders.
std::vector<std::string> classes_of_folders(const std::string& folder);
/// `path` may be the table itself.
Collections open_label_tables(const DataSpec& spec, const std::string& path);
Collections open_shards(const DataSpec& spec, const std::string& folder);
Collections open_caption_shards(const DataSpec& spec, const std::string& folder);
Collections open_caption_tables(const DataSpec& spec, const std::string& folder);

}  // namespace sked

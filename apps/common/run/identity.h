#pragma once
// What a checkpoint knows of the data it was trained on, so that nobody asks it about other classes without noticing.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "data/catalog.h"

namespace sked {

/// Some images: how many, and who they are (identity_fingerprint: names, labels, captions, in their order).
struct ImageSet {
  int64_t count = 0;
  std::string fingerprint;
  bool operator==(const ImageSet&) const = default;
};

/// A checkpoint carries it as JSON under the key `data` of its metadata.
struct DataIdentity {
  std::vector<std::string> classes;  // names by index; none for image-text pairs
  ImageSet train, validation, test;  // no images where there are none of a kind
  bool operator==(const DataIdentity&) const = default;
};

ImageSet image_set(const Dataset& images);
DataIdentity identify(const Splits& splits);

std::string identity_text(const DataIdentity& identity);
/// Of a checkpoint; nothing in one written before they carried it. Throws Error naming `path` where it is not one.
std::optional<DataIdentity> identity_of(const TensorFile& file, const std::string& path);

/// Fingerprints of the bytes of files that decide what is trained, by the key of the configuration that names them. A
/// checkpoint carries it as JSON under the key `files`; one written before they did knows of none.
using FileIdentity = std::map<std::string, std::string>;

/// Of the files that are there.
FileIdentity identify_files(const std::map<std::string, std::string>& paths);
std::string identity_text(const FileIdentity& files);
FileIdentity files_of(const TensorFile& file, const std::string& path);

/// How `what` (training, test …) images differ, for people: `test images: 16 then, 18 now`. Empty where they do not.
std::string image_difference(const std::string& what, const ImageSet& then, const ImageSet& now);

/// What a run on `then` would not go on with, for people: `class names: …`, `training images: 48 then, 50 now`, or what
/// it is evaluated and tested on. Empty where it can go on.
std::string data_difference(const DataIdentity& then, const DataIdentity& now);

}  // namespace sked

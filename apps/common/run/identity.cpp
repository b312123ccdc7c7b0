#include "apps/common/run/identity.h"

#include <filesystem>

#include "apps/common/config/fields.h"
#include "apps/common/run/metadata.h"
#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"
#include "core/text.h"
#include "data/relabeled.h"

namespace sked {
namespace {

constexpr const char *kData = "data", *kFiles = "files";

ImageSet set_of(const std::shared_ptr<const Dataset>& images) {
  return images == nullptr ? ImageSet{} : image_set(*images);
}

Json json_of(const ImageSet& set) { return {{"count", set.count}, {"fingerprint", set.fingerprint}}; }

ImageSet read_set(const Json& json) { return {json.at("count").integer(), json.at("fingerprint").string()}; }

/// For read_entry(): read(json) of an entry that is JSON.
template <class Read>
auto from_json(Read read) {
  return [read](const std::string& text, const std::string& key) {
    try {
      return read(parse_json(text, key));
    } catch (const Error& error) {
      throw UsageError("its entry " + key + " is not what one of this program says: " + excerpt(error.what()));
    }
  };
}

}  // namespace

ImageSet image_set(const Dataset& images) { return {images.size(), identity_fingerprint(images)}; }

DataIdentity identify(const Splits& splits) {
  return {splits.train->class_names(), set_of(splits.train), set_of(splits.validation),
          splits.without_test ? ImageSet{} : set_of(splits.test)};
}

std::string identity_text(const DataIdentity& identity) {
  const Json json{{"classes", identity.classes},
                  {"train", json_of(identity.train)},
                  {"validation", json_of(identity.validation)},
                  {"test", json_of(identity.test)}};
  return json.dump();
}

std::optional<DataIdentity> identity_of(const TensorFile& file, const std::string& path) {
  return read_entry(file, path, kData, from_json([](const Json& json) {
                      DataIdentity identity{
                          {}, read_set(json.at("train")), read_set(json.at("validation")), read_set(json.at("test"))};
                      for (const Json& name : json.at("classes").elements()) identity.classes.push_back(name.string());
                      return identity;
                    }));
}

FileIdentity identify_files(const std::map<std::string, std::string>& paths) {
  FileIdentity files;
  for (const auto& [key, path] : paths) {
    std::error_code unreadable;
    if (!std::filesystem::is_regular_file(path, unreadable)) continue;
    InputFile file(path);
    std::vector<char> piece(size_t{1} << 20);
    Fingerprint f;
    while (const size_t count = file.read_some(piece.data(), piece.size())) f.add(piece.data(), count);
    files[key] = f.hex();
  }
  return files;
}

std::string identity_text(const FileIdentity& files) { return Json(files).dump(); }

FileIdentity files_of(const TensorFile& file, const std::string& path) {
  return read_entry(file, path, kFiles, from_json([](const Json& json) {
                      FileIdentity files;
                      for (const auto& [key, fingerprint] : json.members()) files[key] = fingerprint.string();
                      return files;
                    }))
      .value_or(FileIdentity{});
}

std::string image_difference(const std::string& what, const ImageSet& then, const ImageSet& now) {
  if (then == now) return "";
  if (then.count != now.count)
    return what + " images: " + std::to_string(then.count) + " then, " + std::to_string(now.count) + " now";
  return what + " images: " + std::to_string(now.count) +
         " as then, but with other names, labels or captions, or in another order";
}

std::string data_difference(const DataIdentity& then, const DataIdentity& now) {
  const std::string classes = class_difference(now.classes, then.classes);
  if (!classes.empty()) return "class names: " + classes;
  std::string images = image_difference("training", then.train, now.train);
  if (images.empty()) images = image_difference("validation", then.validation, now.validation);
  return images.empty() ? image_difference("test", then.test, now.test) : images;
}

}  // namespace sked

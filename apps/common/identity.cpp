#include "apps/common/identity.h"

#include <nlohmann/json.hpp>

#include "apps/common/fields.h"
#include "core/error.h"
#include "core/text.h"
#include "data/relabelled.h"

namespace sked {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kKey = "data";

ImageSet set_of(const std::shared_ptr<const Dataset>& images) {
  return images == nullptr ? ImageSet{} : image_set(*images);
}

Json json_of(const ImageSet& set) { return {{"count", set.count}, {"fingerprint", set.fingerprint}}; }

ImageSet read_set(const Json& json) {
  return {json.at("count").get<int64_t>(), json.at("fingerprint").get<std::string>()};
}

}  // namespace

ImageSet image_set(const Dataset& images) { return {images.size(), identity_fingerprint(images)}; }

DataIdentity identify(const Splits& splits) {
  return {splits.train->class_names(), set_of(splits.train), set_of(splits.validation), set_of(splits.test)};
}

std::string identity_text(const DataIdentity& identity) {
  const Json json{{"classes", identity.classes},
                  {"train", json_of(identity.train)},
                  {"validation", json_of(identity.validation)},
                  {"test", json_of(identity.test)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<DataIdentity> identity_of(const TensorFile& file, const std::string& path) {
  const auto found = file.metadata.find(kKey);
  if (found == file.metadata.end()) return std::nullopt;
  try {
    const Json json = parse_json(found->second, kKey);
    return DataIdentity{json.at("classes").get<std::vector<std::string>>(), read_set(json.at("train")),
                        read_set(json.at("validation")), read_set(json.at("test"))};
  } catch (const UsageError& error) {
    fail("checkpoint", path, ": ", error.what());
  } catch (const Json::exception& error) {
    fail("checkpoint", path, ": its entry ", kKey, " does not describe data: ", excerpt(error.what()));
  }
}

std::string image_difference(const std::string& what, const ImageSet& then, const ImageSet& now) {
  if (then == now) return "";
  if (then.count != now.count)
    return what + " images: " + std::to_string(then.count) + " then, " + std::to_string(now.count) + " now";
  return what + " images: " + std::to_string(now.count) +
         " as then, but with other names, labels or captions, or in another order";
}

std::string training_difference(const DataIdentity& then, const DataIdentity& now) {
  const std::string classes = class_difference(now.classes, then.classes);
  if (!classes.empty()) return "class names: " + classes;
  const std::string train = image_difference("training", then.train, now.train);
  return train.empty() ? image_difference("validation", then.validation, now.validation) : train;
}

}  // namespace sked

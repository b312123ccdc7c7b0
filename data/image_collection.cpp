#include "data/image_collection.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_file.h"

namespace sked {

void PassedOver::add(const std::string& name, const std::string& reason) {
  if (count++ > 0) return;
  first = valid_utf8(name);
  why = valid_utf8(reason);
}

std::string PassedOver::text(const char* what) const {
  return std::to_string(count) + " " + what + ", the first " + first + ": " + why;
}

bool is_litter(std::string_view name) {
  while (!name.empty()) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    const bool is_folder = slash != std::string_view::npos;
    if (part.starts_with("._") || part == ".DS_Store" || part == "Thumbs.db" || part == "desktop.ini" ||
        (is_folder && (part == "__MACOSX" || part == "@eaDir" || part == "PaxHeader" || part == "PaxHeaders" ||
                       part.starts_with("PaxHeaders."))))
      return true;
    name.remove_prefix(is_folder ? slash + 1 : name.size());
  }
  return false;
}

ImageCollection::ImageCollection(std::string name, std::vector<std::string> class_names, Collected files)
    : Dataset(std::move(name), std::move(class_names)), files_(std::move(files)) {
  for (const Archive& a : files_.archives) stamps_.push_back(stamp_of(a.path));
  const int64_t most = std::max(classes() - 1, int64_t{0});
  for (int64_t i = 0; i < size(); ++i) {
    const ImageEntry& e = files_.entries[static_cast<size_t>(i)];
    require(e.label >= 0 && e.label <= most, "labels", source(i), ": label ", e.label, ", expected 0 to ", most);
    for (const auto& [k, share] : e.targets) {
      require(k >= 0 && k <= most, "labels", source(i), ": label ", k, ", expected 0 to ", most);
      require(share >= 0 && share <= 1, "labels", source(i), ": a share of ", share, " for class ", k,
              ", expected 0 to 1");
    }
    has_targets_ = has_targets_ || !e.targets.empty();
    has_captions_ = !e.caption.empty() && (has_captions_ || i == 0);
  }
}

const ImageEntry& ImageCollection::entry(int64_t i) const {
  check_index(i);
  return files_.entries[static_cast<size_t>(i)];
}

std::string ImageCollection::source(int64_t i) const {
  const ImageEntry& e = entry(i);
  return valid_utf8(e.archive < 0 ? path_of(e) : archive(e).path + ":" + e.name);
}

std::string ImageCollection::caption_source(int64_t i) const {
  const ImageEntry& e = entry(i);
  if (!has_captions_) return source(i);
  if (e.archive < 0) return valid_utf8(files_.table) + ":" + std::to_string(e.line);
  const size_t slash = e.name.rfind('/'), key = e.name.find('.', slash == std::string::npos ? 0 : slash);
  return valid_utf8(archive(e).path + ":" + e.name.substr(0, key) + ".txt");
}

void ImageCollection::add_identity(int64_t i, Fingerprint& f) const {
  const ImageEntry& e = entry(i);
  f.add(e.name);
  f.add(&e.size, sizeof e.size);  // known of members of archives
  f.add(&e.label, sizeof e.label);
  for (const auto& [k, share] : e.targets) {
    f.add(&k, sizeof k);
    f.add(&share, sizeof share);
  }
  f.add(e.caption);
}

void ImageCollection::add_image(int64_t i, Fingerprint& f) const {
  const ImageEntry& e = entry(i);
  f.add(e.name);
  f.add(&e.offset, sizeof e.offset);
  f.add(&e.size, sizeof e.size);
  const FileStamp stamp = e.archive < 0 ? stamp_of(path_of(e)) : stamps_[static_cast<size_t>(e.archive)];
  f.add(&stamp.bytes, sizeof stamp.bytes);
  f.add(&stamp.modified, sizeof stamp.modified);
  f.add(&stamp.changed, sizeof stamp.changed);
}

EncodedImage ImageCollection::file(int64_t i) const {
  const ImageEntry& e = entry(i);
  if (e.archive >= 0) return {read_member(archive(e), {e.name, e.offset, e.size}), source(i)};
  constexpr uint64_t kLargest = uint64_t{1} << 30;
  const std::string bytes = read_file(path_of(e), kLargest);
  return {{bytes.begin(), bytes.end()}, source(i)};
}

Tensor ImageCollection::image(int64_t i) const {
  const EncodedImage encoded = file(i);
  return decode_image(encoded.bytes, encoded.source);
}

int64_t ImageCollection::label(int64_t i) const { return entry(i).label; }

Tensor ImageCollection::target(int64_t i) const {
  if (!has_targets_) return Dataset::target(i);
  const ImageEntry& e = entry(i);
  Tensor target = Tensor::zeros({classes()});
  if (e.targets.empty()) target.data<float>()[e.label] = 1;
  for (const auto& [k, share] : e.targets) target.data<float>()[k] = share;
  return target;
}

std::vector<int64_t> ImageCollection::classes_of(int64_t i) const {
  const ImageEntry& e = entry(i);
  if (e.targets.empty()) return {e.label};
  std::vector<int64_t> classes;
  for (const auto& [k, share] : e.targets)
    if (share > 0) classes.push_back(k);
  return classes;
}

std::string ImageCollection::caption(int64_t i, Rng& rng) const {
  return has_captions() ? entry(i).caption : Dataset::caption(i, rng);
}

std::shared_ptr<ImageCollection> listed_images(const std::string& name, const std::vector<std::string>& classes,
                                               const std::vector<std::string>& paths) {
  Collected collected;
  // Absolute, but otherwise as given: `link/..` is where the system finds it.
  for (const std::string& path : paths)
    collected.entries.push_back({.name = std::filesystem::absolute(path).string().substr(1)});
  return std::make_shared<ImageCollection>(name, classes, std::move(collected));
}

}  // namespace sked

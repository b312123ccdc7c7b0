// WebDataset shards: https://github.com/webdataset/webdataset
#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/relabeled.h"
#include "data/shard_labels.h"
#include "data/tar.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

constexpr int64_t kLongestText = 1 << 22;  // bytes: the shares of 100,000 classes

/// Endings of images that are not read: whoever packed them would miss them.
constexpr std::array<std::string_view, 5> kOtherImages{"heic", "heif", "avif", "jp2", "jxl"};

template <class List>
bool among(const List& endings, std::string_view ending) {
  return std::ranges::find(endings, ending) != endings.end();
}

std::string image_endings() { return join({kImageEndings.begin(), kImageEndings.end()}); }

/// A member's name as WebDataset splits it: at the first dot behind its last slash. An empty key: it has none.
struct KeyEnding {
  std::string key, ending;  // the ending in small letters
};
KeyEnding split_name(const std::string& name) {
  const size_t slash = name.rfind('/'), begin = slash == std::string::npos ? 0 : slash + 1, dot = name.find('.', begin);
  if (dot == std::string::npos || dot == begin) return {};
  return {name.substr(0, dot), lower_case(std::string_view(name).substr(dot + 1))};
}

/// `__info__`, or a member below a folder that is called so.
bool is_metadata(std::string_view name) {
  const std::string_view first = name.substr(0, name.find('/'));
  return first.size() >= 4 && first.starts_with("__") && first.ends_with("__");
}

constexpr const char* kFollow = " (the members of a key must follow each other, as tar --sort=name packs them)";

/// Members of one key.
struct Sample {
  std::string key;
  const TarMember *image = nullptr, *cls = nullptr, *json = nullptr, *txt = nullptr;
  const TarMember *first = nullptr, *other = nullptr;  // of any ending; an image of an ending that is not read
  const TarMember* dotted = nullptr;                   // the first with another dot in front of an image's ending
  int64_t dots = 0;                                    // how many are
  std::string unknown = {};                            // some of its other endings
};

/// Why a text is no caption; empty where it is one. Each is a file of its own, so another encoding is this one's alone.
std::string problem_of(std::string_view text) {
  if (is_blank(text)) return "an empty caption";
  if (is_utf16(text)) return "a caption in UTF-16, expected UTF-8";
  if (const std::optional<size_t> at = invalid_utf8(text))
    return "a caption that is not UTF-8 at byte " + std::to_string(*at);
  const size_t nul = text.find('\0');
  return nul == text.npos ? "" : "a caption with a NUL at byte " + std::to_string(nul);
}

/// What an example has beside its image.
enum class Beside { label, caption };

class ShardReader {
 public:
  ShardReader(const std::vector<std::string>& shards, Beside beside, const ClassList& classes = {})
      : shards_(shards), beside_(beside), labels_(classes) {}
  /// Throws Error where there is no example at all.
  Collected read();
  const ShardLabels& labels() const { return labels_; }

 private:
  void read_shard();
  void place(Sample& sample, const TarMember& member, std::string_view ending) const;
  void finish(const Sample& sample);
  void finish_without_image(const Sample& sample);
  /// Is there one? A half pair is left out.
  bool read_caption(const Sample& sample, ImageEntry& entry);
  void read_label(const Sample& sample, ImageEntry& entry);
  std::string text_of(const TarMember& member) const;
  void need_file(const TarMember& member) const;
  void note_unpacked();
  template <class... Parts>
  void check(bool ok, const std::string& member, const Parts&... parts) const {
    require(ok, "shards", path(), ":", excerpt(member), ": ", parts...);
  }
  const std::string& path() const { return shards_[shard_]; }
  /// Why half of a sample may be missing.
  std::string hint(const Sample& sample) const {
    return (sample.unknown.empty() ? "" : ", got " + excerpt(sample.unknown)) +
           (note_.empty() ? kFollow : " (" + note_ + ")");
  }
  std::string named(const TarMember& member) const { return path() + ":" + excerpt(member.name); }

  const std::vector<std::string>& shards_;
  Beside beside_;
  ShardLabels labels_;
  std::shared_ptr<ScratchFile> scratch_;  // where gzipped shards are unpacked
  Collected all_;
  size_t shard_ = 0;  // at hand
  std::string note_;  // how it ends, where that is worth a note
  int64_t dots_ = 0;  // samples lost to a dot too many there
  std::string first_dotted_;
  int64_t odd_ends_ = 0;  // shards with such a note
  std::string first_odd_end_;
};

Collected ShardReader::read() {
  for (shard_ = 0; shard_ < shards_.size(); ++shard_) read_shard();
  if (odd_ends_ > 0)
    all_.notes.push_back(first_odd_end_ +
                         (odd_ends_ > 1 ? " (and " + std::to_string(odd_ends_ - 1) + " more of such shards)" : ""));
  note_unpacked();
  require(!all_.entries.empty(), "shards", shards_.empty() ? "none" : shards_.front(),
          shards_.size() > 1 ? " and others" : "", ": no ", beside_ == Beside::caption ? "pair" : "image",
          all_.passed_over.count > 0 ? "; " + all_.passed_over.text() : "",
          all_.left_out.count > 0 ? "; " + all_.left_out.text("left out") + kFollow : "");
  return std::move(all_);
}

void ShardReader::note_unpacked() {
  if (scratch_ == nullptr) return;
  std::vector<std::string> unpacked;
  for (const Archive& a : all_.archives)
    if (a.unpacked != nullptr) unpacked.push_back(a.path);
  const uint64_t mebibytes = (scratch_->size() + (1 << 20) - 1) >> 20;
  all_.notes.push_back(std::to_string(unpacked.size()) + " gzipped, the first " + unpacked.front() + ": unpacked in " +
                       scratch_->folder() + " for the time of the run, " + std::to_string(mebibytes) +
                       " MiB (TMPDIR names another folder)");
}

void ShardReader::read_shard() {
  TarList list = list_tar(path(), scratch_);
  all_.archives.push_back(list.archive);
  note_ = list.note;
  if (!note_.empty() && odd_ends_++ == 0) first_odd_end_ = note_;
  const auto pass_over = [&](const TarMember& member, const std::string& why) {
    all_.passed_over.add(named(member), why);
  };
  dots_ = 0;
  Sample sample;
  for (const TarMember& member : list.members) {
    const auto [key, ending] = split_name(member.name);
    if (is_litter(member.name)) continue;
    if (is_metadata(member.name)) {
      pass_over(member, "WebDataset's metadata");
    } else if (key.empty()) {
      pass_over(member, member.regular() ? "no key in front of a dot, or no ending behind one" : member.kind());
    } else {
      if (key != sample.key) {
        finish(sample);
        sample = {.key = key, .first = &member};
      }
      place(sample, member, ending);
    }
  }
  finish(sample);
  if (dots_ == 0) return;
  const auto [key, ending] = split_name(first_dotted_);
  check(false, first_dotted_, "its key is ", excerpt(key), ", its ending ", excerpt(ending), ", and so it is with ",
        dots_, dots_ == 1 ? " image" : " images",
        " of this shard: expected no dot in front of that of the ending, as in ", excerpt(key + "_" + ending));
}

void ShardReader::place(Sample& sample, const TarMember& member, std::string_view ending) const {
  const TarMember** slot = ending == "cls"                ? &sample.cls
                           : ending == "json"             ? &sample.json
                           : ending == "txt"              ? &sample.txt
                           : among(kImageEndings, ending) ? &sample.image
                                                          : nullptr;
  if (slot == nullptr) {
    if (sample.unknown.size() < 80) sample.unknown.append(sample.unknown.empty() ? "." : ", .").append(ending);
    const size_t dot = ending.rfind('.');
    const std::string_view last = ending.substr(dot == std::string_view::npos ? 0 : dot + 1);
    if (among(kOtherImages, last) && sample.other == nullptr) sample.other = &member;
    if (!among(kImageEndings, last)) return;
    if (sample.dots++ == 0) sample.dotted = &member;
    return;
  }
  check(*slot == nullptr, member.name, slot == &sample.image ? "a second image of its key" : "a second one",
        ", at offset ", member.offset, "; the first is ", *slot == nullptr ? "" : excerpt((*slot)->name));
  *slot = &member;
}

void ShardReader::need_file(const TarMember& member) const {
  if (member.regular()) return;
  check(false, member.name, member.kind(), ", expected a file",
        member.type == '1'   ? " (tar --hard-dereference packs one)"
        : member.type == '2' ? " (tar --dereference packs one)"
                             : "");
}

void ShardReader::finish(const Sample& sample) {
  if (sample.key.empty()) return;
  if (sample.image == nullptr) return finish_without_image(sample);
  need_file(*sample.image);
  ImageEntry entry{sample.image->name, static_cast<int64_t>(shard_), sample.image->offset, sample.image->size};
  if (beside_ == Beside::label)
    read_label(sample, entry);
  else if (!read_caption(sample, entry))
    return;
  all_.entries.push_back(std::move(entry));
}

void ShardReader::finish_without_image(const Sample& sample) {
  if (sample.dotted != nullptr) {
    if (dots_ == 0) first_dotted_ = sample.dotted->name;
    dots_ += sample.dots;
    return;
  }
  if (sample.other != nullptr)
    check(false, sample.other->name, "an image of an ending that is not read, expected one of ", image_endings());
  if (beside_ == Beside::caption && sample.txt != nullptr) {
    all_.left_out.add(named(*sample.txt), "no image");
    return;
  }
  check(beside_ == Beside::caption || sample.cls == nullptr, sample.key, "no image, expected one of ", image_endings(),
        hint(sample));
  all_.passed_over.add(named(*sample.first), "its key has no image");
}

bool ShardReader::read_caption(const Sample& sample, ImageEntry& entry) {
  if (sample.txt == nullptr) {
    all_.left_out.add(named(*sample.image), "no caption (.txt)");
    return false;
  }
  const std::string text = text_of(*sample.txt), problem = problem_of(text);
  if (!problem.empty()) {
    all_.left_out.add(named(*sample.txt), problem);
    return false;
  }
  entry.caption = trimmed(text);
  check_caption(entry.caption, named(*sample.txt));
  return true;
}

std::string ShardReader::text_of(const TarMember& member) const {
  need_file(member);
  check(member.size <= kLongestText, member.name, member.size, " bytes of text, expected at most ", kLongestText);
  const std::vector<uint8_t> bytes = read_member(all_.archives.back(), member);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return std::string(text.substr(text.starts_with("\xEF\xBB\xBF") ? 3 : 0));
}

void ShardReader::read_label(const Sample& sample, ImageEntry& entry) {
  const TarMember* member = sample.cls != nullptr ? sample.cls : sample.json != nullptr ? sample.json : sample.txt;
  check(member != nullptr, sample.key, "no label, expected .cls, .json or .txt", hint(sample));
  const char* ending = member == sample.cls ? "cls" : member == sample.json ? "json" : "txt";
  labels_.read(ending, text_of(*member), named(*member), entry);
}

}  // namespace

std::vector<std::string> distinct_names(const ClassList& classes) {
  std::map<std::string, int> count;
  for (const std::string& name : classes.names) ++count[name];
  std::vector<std::string> names = classes.names;
  for (size_t k = 0; k < names.size(); ++k)
    if (count.at(names[k]) > 1) names[k] += " (" + classes.ids[k] + ")";
  return names;
}

ClassList load_class_list(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 26;
  const std::string text = read_file(path, kMostBytes);
  ClassList classes;
  std::unordered_map<std::string, size_t> seen;  // id -> index
  for (const std::string_view line : file_lines(text, path)) {
    const size_t tab = line.find('\t'), second = tab == std::string_view::npos ? tab : line.find('\t', tab + 1);
    require(second != std::string_view::npos &&
                whole_number(line.substr(0, tab)) == static_cast<int64_t>(classes.names.size()),
            "class_list", path, ":", classes.names.size() + 1, ": expected ", classes.names.size(),
            "<TAB>id<TAB>name, got \"", excerpt(line), "\"");
    const auto field = [](std::string_view text) { return unquoted(text).value_or(std::string(text)); };
    const std::string id = field(line.substr(tab + 1, second - tab - 1)),
                      name = field(trimmed(line.substr(second + 1)));
    require(!trimmed(id).empty() && !trimmed(name).empty(), "class_list", path, ":", classes.names.size() + 1,
            ": expected an id and a name, got \"", excerpt(line), "\"");
    const auto [before, is_new] = seen.emplace(id, classes.names.size());
    require(is_new, "class_list", path, ":", classes.names.size() + 1, ": the id \"", excerpt(id),
            "\" is that of line ", before->second + 1, ", expected another");
    classes.ids.push_back(id);
    classes.names.push_back(name);
  }
  require(!classes.names.empty(), "class_list", path, ": no class");
  return classes;
}

std::shared_ptr<ImageCollection> load_shards(const std::string& name, const std::vector<std::string>& shards,
                                             const ClassList& classes) {
  ShardReader reader(shards, Beside::label, classes);
  Collected files = reader.read();
  std::vector<std::string> names = distinct_names(classes);
  if (names.empty()) {
    int64_t most = 0;
    for (const ImageEntry& e : files.entries) {
      most = std::max(most, e.label);
      for (const auto& [k, share] : e.targets) most = std::max(most, k);
    }
    names = numbered_classes(most + 1);
  }
  reader.labels().check_lists(static_cast<int64_t>(names.size()));
  return std::make_shared<ImageCollection>(name, names, std::move(files));
}

std::shared_ptr<ImageCollection> load_caption_shards(const std::string& name, const std::vector<std::string>& shards) {
  return std::make_shared<ImageCollection>(name, std::vector<std::string>{},
                                           ShardReader(shards, Beside::caption).read());
}

}  // namespace sked

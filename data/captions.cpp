#include "data/captions.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/image_collection.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

constexpr std::string_view kSlot = "{}";
constexpr uint64_t kMostBytes = uint64_t{1} << 26;  // of a file of templates or classes

std::vector<std::string> photo_templates() {
  std::vector<std::string> templates;
  for (const std::string article : {"a", "the"}) {
    for (const char* kind : {"", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good "})
      templates.push_back("a " + std::string(kind) + "photo of " + article + " {}.");
    for (const char* size : {"small", "big"})
      templates.push_back("a photo of " + article + " " + std::string(size) + " {}.");
  }
  return templates;
}

bool has_one_slot(std::string_view line) {
  const size_t slot = line.find(kSlot);
  return slot != line.npos && line.find(kSlot, slot + kSlot.size()) == line.npos;
}

std::string filled(const std::string& prompt, const std::string& name) {
  std::string text = prompt;
  return text.replace(text.find(kSlot), kSlot.size(), name);
}

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find_first_of(",/", begin), names.size());
    const std::string_view part = trimmed(names.substr(begin, end - begin));
    if (!part.empty()) parts.emplace_back(part);
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<std::string> caption_templates(const std::string& name) {
  if (name == "plain") return {std::string(kSlot)};
  if (name == "photo") return photo_templates();
  std::error_code ignored;
  require_usage(std::filesystem::exists(name, ignored), "captions", "unknown templates \"", name,
                "\": expected plain, photo, or a text file that is there");
  std::vector<std::string> templates;
  const std::string text = read_file(name, kMostBytes);
  for (const std::string_view line : file_lines(text, name)) {
    const std::string source = name + ":" + std::to_string(templates.size() + 1);
    require(has_one_slot(line), "captions", source, ": expected exactly one {}, got \"", excerpt(line), "\"");
    check_caption(line, source);
    templates.emplace_back(line);
  }
  require(!templates.empty(), "captions", name, ": no template");
  return templates;
}

Synonyms class_synonyms(const std::vector<std::string>& class_names, const std::string& source, bool lines) {
  const auto place = [&](size_t k) {
    return source + (lines ? ":" : ": class ") + std::to_string(k + (lines ? 1 : 0));
  };
  std::map<std::string, std::vector<size_t>> owners;  // the classes that have a name
  Synonyms synonyms(class_names.size());
  for (size_t k = 0; k < class_names.size(); ++k) {
    for (std::string& name : split_names(class_names[k])) {
      check_caption(name, place(k));
      std::vector<size_t>& classes = owners[lower_case(name)];
      if (!classes.empty() && classes.back() == k) continue;
      classes.push_back(k);
      synonyms[k].push_back(std::move(name));
    }
    require(!synonyms[k].empty(), "captions", place(k), ": a class without a name");
  }
  for (size_t k = 0; k < synonyms.size(); ++k) {
    const std::string first = synonyms[k].front();
    std::erase_if(synonyms[k], [&](const std::string& name) { return owners.at(lower_case(name)).size() > 1; });
    if (!synonyms[k].empty()) continue;
    const std::vector<size_t>& classes = owners.at(lower_case(first));
    fail("captions", place(k), ": a class without a name of its own: \"", excerpt(first), "\" is one of ",
         place(classes.front() == k ? classes.back() : classes.front()), " too");
  }
  return synonyms;
}

Synonyms class_synonyms(const CaptionSpec& spec, const Dataset& data) {
  if (spec.classes.empty()) return class_synonyms(data.class_names(), data.name());
  const std::string text = read_file(spec.classes, kMostBytes);
  std::vector<std::string> names;
  if (text.substr(0, text.find('\n')).find('\t') != text.npos) {
    names = load_class_list(spec.classes).names;
  } else {
    for (const std::string_view line : file_lines(text, spec.classes)) names.emplace_back(line);
  }
  require(static_cast<int64_t>(names.size()) == data.classes(), "captions", spec.classes, ": expected the ",
          data.classes(), " classes of ", data.name(), ", got ", names.size());
  return class_synonyms(names, spec.classes, true);
}

std::vector<std::vector<std::string>> class_prompts(const std::vector<std::string>& templates,
                                                    const Synonyms& synonyms) {
  std::vector<std::vector<std::string>> prompts(synonyms.size());
  for (size_t k = 0; k < synonyms.size(); ++k) {
    for (const std::string& prompt : templates) {
      for (const std::string& name : synonyms[k]) prompts[k].push_back(filled(prompt, name));
    }
  }
  return prompts;
}

std::vector<int64_t> unseen_classes(int64_t classes, int64_t unseen) {
  require_usage(unseen >= 0 && (unseen == 0 || unseen < classes), "captions", "captions.unseen: expected 0 to ",
                std::max(classes - 1, int64_t{0}), ", got ", unseen);
  std::vector<int64_t> chosen;
  for (int64_t k = 0; k < classes; ++k) {
    if ((k + 1) * unseen / classes > k * unseen / classes) chosen.push_back(k);
  }
  return chosen;
}

std::shared_ptr<const Dataset> without_classes(std::shared_ptr<const Dataset> data,
                                               const std::vector<int64_t>& classes) {
  const std::unordered_set<int64_t> gone(classes.begin(), classes.end());
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < data->size(); ++i) {
    if (!gone.contains(data->label(i))) kept.push_back(i);
  }
  return std::make_shared<Subset>(std::move(data), std::move(kept));
}

CaptionedDataset::CaptionedDataset(std::shared_ptr<const Dataset> base, std::vector<std::string> templates,
                                   Synonyms synonyms, const CaptionNoise& noise)
    : DatasetView(std::move(base)), templates_(std::move(templates)), synonyms_(std::move(synonyms)), noise_(noise) {
  require(!templates_.empty() && std::ranges::all_of(templates_, has_one_slot), "captions",
          "expected templates with one {} each, got \"", excerpt(join(templates_)), "\"");
  require(static_cast<int64_t>(synonyms_.size()) == classes(), "captions", name(), ": expected names for ", classes(),
          " classes, got ", synonyms_.size());
  for (size_t k = 0; k < synonyms_.size(); ++k)
    require(!synonyms_[k].empty(), "captions", name(), ": class ", k, " has no name");
  require(noise.rate >= 0 && noise.rate <= 1, "captions", "expected a noise rate in [0, 1], got ", noise.rate);
  const std::unordered_set<int64_t> unseen(noise.unseen.begin(), noise.unseen.end());
  for (int64_t k = 0; k < classes(); ++k) {
    if (!unseen.contains(k)) nameable_.push_back(k);
  }
  require(noise.rate == 0 || nameable_.size() >= 2, "captions", name(),
          ": expected two classes that captions may name for noise, got ", nameable_.size());
}

int64_t CaptionedDataset::caption_class(int64_t i) const {
  constexpr uint64_t kNoise = 0x63617074'00000001;  // "capt"
  const int64_t truth = label(i);
  Rng rng({noise_.seed, kNoise, noise_.split}, static_cast<uint64_t>(i));
  if (rng.uniform() >= noise_.rate) return truth;
  const auto at = std::ranges::lower_bound(nameable_, truth);
  const bool inside = at != nameable_.end() && *at == truth;
  size_t other = rng.below(static_cast<uint32_t>(nameable_.size() - inside));
  if (inside && other >= static_cast<size_t>(at - nameable_.begin())) ++other;
  return nameable_[other];
}

std::string CaptionedDataset::caption(int64_t i, Rng& rng) const {
  const std::vector<std::string>& names = synonyms_[static_cast<size_t>(caption_class(i))];
  const std::string& prompt = templates_[rng.below(static_cast<uint32_t>(templates_.size()))];
  return filled(prompt, names[rng.below(static_cast<uint32_t>(names.size()))]);
}

Splits with_captions(const Splits& splits, const CaptionSpec& spec) {
  require_usage(spec.noise_rate >= 0 && spec.noise_rate <= 1, "captions",
                "captions.noise_rate: expected a share in [0, 1], got ", spec.noise_rate);
  if (splits.train->has_captions()) {
    require_usage(spec.noise_rate == 0 && spec.unseen == 0 && spec.classes.empty(), "captions", splits.train->name(),
                  " has captions of its own and no classes: expected no noise, unseen classes or class names");
    return splits;
  }
  const std::vector<std::string> templates = caption_templates(spec.templates);
  const Synonyms synonyms = class_synonyms(spec, *splits.train);
  const std::vector<int64_t> unseen = unseen_classes(splits.train->classes(), spec.unseen);
  const auto captioned = [&](const std::shared_ptr<const Dataset>& data, uint64_t split) {
    const CaptionNoise noise{spec.noise_rate, spec.noise_seed, split, unseen};
    return without_classes(std::make_shared<CaptionedDataset>(data, templates, synonyms, noise), unseen);
  };
  Splits result = splits;
  result.train = captioned(splits.train, 0);
  require(result.train->size() > 0, "captions", splits.train->name(),
          ": no training image of the classes that are seen");
  if (splits.validation != nullptr) {
    result.validation = captioned(splits.validation, 1);
    require(result.validation->size() > 0, "captions", splits.train->name(),
            ": no validation image of the classes that are seen");
  }
  result.test = std::make_shared<CaptionedDataset>(splits.test, templates, synonyms);
  return result;
}

std::vector<std::string> captions_of(const Dataset& data, uint64_t seed, int64_t epoch) {
  std::vector<std::string> captions;
  for (int64_t i = 0; i < data.size(); ++i) captions.push_back(epoch_caption(data, seed, epoch, i));
  return captions;
}

}  // namespace sked

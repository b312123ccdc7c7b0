#include "apps/common/config/meant.h"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <string_view>

#include "core/text.h"

namespace sked {
namespace {

/// What other programs call a key, or an option, of these.
struct Synonyms {
  const char* words;  // letters and digits alone, as bare() leaves them
  const char* key;
};
constexpr std::array kSynonyms{
    Synonyms{"lr learningrate baselr initlr initiallr maxlr peaklr eta rate", "schedule.peak"},
    Synonyms{"minlr finallr endlr lrmin", "schedule.floor"},
    Synonyms{"warmup", "schedule.warmup_epochs"},
    Synonyms{"scheduler sched lrschedule lrscheduler", "schedule.kind"},
    Synonyms{"opt optim algorithm", "optimizer.kind"},
    Synonyms{"wd weightdecay l2 decay", "optimizer.weight_decay"},
    Synonyms{"headlr headlearningrate lrhead", "optimizer.head_lr_scale"},
    Synonyms{"layerdecay llrd layerwisedecay layerwiselrdecay lrdecay", "optimizer.layer_decay"},
    Synonyms{"clip clipgrad gradclip gradientclipping maxnorm maxgradnorm", "optimizer.clip_norm"},
    Synonyms{"epoch epochs numepochs nepochs maxepochs", "train.epochs"},
    Synonyms{"maxsteps numsteps iterations iters maxiters", "train.steps"},
    Synonyms{"batch bs batchsize minibatch perdevicetrainbatchsize", "train.batch_size"},
    Synonyms{"gradaccum accumsteps gradientaccumulation gradientaccumulationsteps", "train.accumulate"},
    Synonyms{"smoothing", "train.label_smoothing"},
    Synonyms{"ema modelema emarate", "train.ema_decay"},
    Synonyms{"workers numworkers loaderworkers", "train.loader_threads"},
    Synonyms{"logfreq loginterval logsteps loggingsteps printfreq", "train.log_every"},
    Synonyms{"evalfreq evalinterval evalsteps valinterval", "train.eval_every"},
    Synonyms{"savefreq saveevery savesteps ckptevery", "train.checkpoint_every"},
    Synonyms{"keeplast savetotallimit maxcheckpoints", "train.keep_checkpoints"},
    Synonyms{"frozen freezebackbone linearprobe", "train.freeze"},
    Synonyms{"pretrained weights checkpoint ckpt finetune initcheckpoint", "train.init"},
    Synonyms{"samples mcsamples numsamples nsamples mc", "head.train_samples"},
    Synonyms{"temp tau", "head.temperature"},
    Synonyms{"numfactors covariancerank", "head.rank"},
    Synonyms{"loss criterion", "head.link"},
    Synonyms{"headtype het hetxl heteroscedastic classifier", "head.kind"},
    Synonyms{"model arch architecture backbone net network modelname", "model.name"},
    Synonyms{"droprate drop", "model.dropout"},
    Synonyms{"droppathrate stochasticdepth", "model.drop_path"},
    Synonyms{"patchsize", "model.patch"},
    Synonyms{"embeddim hiddendim hiddensize dim", "model.width"},
    Synonyms{"layers numlayers", "model.depth"},
    Synonyms{"numheads", "model.heads"},
    Synonyms{"dataset datasetname dataname", "data.name"},
    Synonyms{"datadir datapath datafolder", "data.path"},
    Synonyms{"labelnoise noiselevel", "data.noise_rate"},
    Synonyms{"valsplit valsize valfraction holdout val", "data.validation"},
    Synonyms{"subset trainsize", "data.train_subset"},
    Synonyms{"augment augmentation augmentations transform transforms preprocessing imagesize imgsize inputsize "
             "resolution",
             "data.train_pipeline"},
    Synonyms{"randomseed rngseed manualseed", "seed"},
    Synonyms{"gpu gpus cuda device", "--device"},
    Synonyms{"threads numthreads cpus ompnumthreads", "--threads"},
    Synonyms{"amp fp16 bf16 dtype precision mixedprecision", "--precision"},
    Synonyms{"output outdir outputdir savedir logdir workdir rundir", "--out"},
    Synonyms{"dataroot", "--data-root"},
};

std::string_view last_word(std::string_view path) { return path.substr(path.rfind('.') + 1); }
std::string section_of(std::string_view path) { return std::string(path.substr(0, path.find('.'))); }

bool is_key(const std::string& key, const std::vector<std::string>& keys) {
  return std::ranges::find(keys, key) != keys.end();
}

std::optional<std::string> synonym(std::string_view word, const std::vector<std::string>& keys) {
  const std::string typed = bare(word);
  for (const auto& [words, key] : kSynonyms) {
    std::istringstream each(words);
    for (std::string one; each >> one;)
      if (one == typed && (std::string_view(key).starts_with("--") || is_key(key, keys))) return key;
  }
  return {};
}

/// Keys whose last word is this one, however it is spelled.
std::vector<std::string> of_that_name(std::string_view word, const std::vector<std::string>& keys) {
  std::vector<std::string> same;
  const std::string typed = bare(word);
  for (const std::string& key : keys)
    if (bare(last_word(key)) == typed) same.push_back(key);
  return same;
}

std::vector<std::string> sections_of(const std::vector<std::string>& keys) {
  std::vector<std::string> sections;
  for (const std::string& key : keys)
    if (!is_key(section_of(key), sections)) sections.push_back(section_of(key));
  return sections;
}

std::vector<std::string> in_section(const std::string& section, const std::vector<std::string>& keys) {
  std::vector<std::string> own;
  for (const std::string& key : keys)
    if (key.starts_with(section + ".")) own.push_back(key);
  return own;
}

/// The one of `keys` whose last word is near to that of `typed`; empty: none.
std::string near_name(const std::string& typed, const std::vector<std::string>& keys) {
  std::vector<std::string> words;
  for (const std::string& key : keys) words.emplace_back(last_word(key));
  const std::string near = nearest(last_word(typed), words);
  if (near.empty()) return near;
  return keys[static_cast<size_t>(std::ranges::find(words, near) - words.begin())];
}

/// What is there to choose from, in few words.
std::string listed(const std::string& typed, const std::vector<std::string>& keys) {
  constexpr size_t kMost = 160;  // bytes
  const std::vector<std::string> own = in_section(section_of(typed), keys);
  std::vector<std::string> words = own.empty() ? sections_of(keys) : std::vector<std::string>();
  for (const std::string& key : own) words.push_back(key.substr(section_of(key).size() + 1));
  std::string all = join(words);
  if (all.size() > kMost) all = all.substr(0, all.rfind(", ", kMost)) + ", ...";
  return own.empty() ? "the sections are " + all + " (--list-keys has all keys)" : section_of(typed) + " has " + all;
}

}  // namespace

std::string meant_by(const std::string& typed, const std::vector<std::string>& keys) {
  const auto suggest = [](const std::string& what) { return "did you mean " + what + "?"; };
  const std::string_view word = last_word(typed);
  const std::string section = nearest(section_of(typed), sections_of(keys));
  const bool alone = word.size() == typed.size();
  if (bare(word) == "classes" || bare(word) == "numclasses") return "the data says how many classes there are";
  if (alone && bare(section) == bare(typed)) return suggest(section);
  if (const auto key = synonym(word, keys)) return suggest(*key);
  const std::vector<std::string> same = of_that_name(word, keys), own = in_section(section, keys);
  if (const std::string key = near_name(typed, in_section(section, same)); !key.empty()) return suggest(key);
  if (!same.empty()) return suggest(join(same, " or "));
  if (alone && !section.empty()) return suggest(section);
  for (const std::string& near : {near_name(typed, own), near_name(typed, keys)})
    if (!near.empty()) return suggest(near);
  return listed(typed, keys);
}

std::string main_key(const std::string& section, const std::vector<std::string>& keys) {
  for (const char* word : {".name", ".kind", ".data"})
    if (is_key(section + word, keys)) return section + word;
  return in_section(section, keys).front();
}

}  // namespace sked

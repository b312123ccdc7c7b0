#include "apps/common/run/ensemble.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "apps/common/run/identity.h"
#include "core/error.h"
#include "data/relabeled.h"

namespace sked {
namespace {

/// Throws UsageError where a member's weights are those of one before it, whatever path led to them.
void refuse_twice(const std::vector<Asked>& members, const std::string& path) {
  for (const Asked& before : members) {
    std::error_code unknown;
    require_usage(!std::filesystem::equivalent(before.subject.path, path, unknown), "ensemble", path,
                  ": expected different runs, got this one twice");
  }
}

const std::vector<std::string>& classes_of(const Asked& a) { return a.splits.test->class_names(); }

/// The index in `first` of each name; empty where the lists are the same.
std::vector<int64_t> numbers_in(const std::vector<std::string>& first, const std::vector<std::string>& names) {
  if (first == names) return {};
  std::map<std::string, int64_t> index;
  for (size_t k = 0; k < first.size(); ++k) index.emplace(first[k], static_cast<int64_t>(k));
  std::vector<int64_t> numbers;
  for (const std::string& name : names) numbers.push_back(index.at(name));
  return numbers;
}

void require_same_images(const Dataset& here, const Dataset& there, const std::string& split, const std::string& path,
                         const std::string& whose) {
  require(here.size() == there.size(), "ensemble", path, ": ", split, " images: ", here.size(), ", ", whose, " has ",
          there.size());
  require(image_set(here) == image_set(there), "ensemble", path, ": ", split, " images: ", here.size(), " as ", whose,
          " has, but others, or in another order");
}

/// Throws unless both know the same of their test labels: another noise has another p(y | x).
void check_distributions(const Asked& a, const Asked& first) {
  const DataConfig &here = a.config().data, &there = first.config().data;
  const std::string whose = ", that of " + first.subject.path + " is ";
  require(here.noise == there.noise, "ensemble", a.subject.path, ": data.noise: ", name_of(here.noise), whose,
          name_of(there.noise), ": their test images have other label distributions");
  if (here.noise == LabelNoise::none) return;
  require(here.noise_rate == there.noise_rate, "ensemble", a.subject.path, ": data.noise_rate: ", here.noise_rate,
          whose, there.noise_rate, ": their test images have other label distributions");
  require(here.noise_seed == there.noise_seed, "ensemble", a.subject.path, ": data.noise_seed: ", here.noise_seed,
          whose, there.noise_seed, ": their test images have other label distributions");
}

int64_t first_of_largest(const float* row, int64_t classes) { return std::max_element(row, row + classes) - row; }

/// What is known of the images while one member after the other looks at them.
class Votes {
 public:
  Votes(int64_t images, int64_t classes)
      : sum_(Tensor::zeros({images, classes})), seen_(static_cast<size_t>(images), 0) {}

  /// Of the next member.
  void begin() { chosen_.emplace_back(seen_.size(), -1); }
  /// Adds a batch of it; returns the mean so far of its images. Throws Error for an image that not all before could
  /// read.
  Tensor add(const Tensor& probabilities, const Batch& batch, const Dataset& dataset, const std::string& whose) {
    const auto members = static_cast<int64_t>(chosen_.size());
    const int64_t classes = sum_.dim(1);
    Tensor mean = Tensor::empty(probabilities.shape());
    for (int64_t b = 0; b < probabilities.dim(0); ++b) {
      const int64_t i = batch.indices.data<int64_t>()[b];
      require(seen_[static_cast<size_t>(i)]++ == members - 1, "ensemble", dataset.source(i), " is readable as ", whose,
              " prepares it, and not as members before it do");
      const float* p = probabilities.data<float>() + b * classes;
      float *s = sum_.data<float>() + i * classes, *m = mean.data<float>() + b * classes;
      for (int64_t k = 0; k < classes; ++k) {
        s[k] += p[k];
        m[k] = s[k] / static_cast<float>(members);
      }
      chosen_.back()[static_cast<size_t>(i)] = first_of_largest(p, classes);
    }
    return mean;
  }
  /// Throws Error where the last member could not read an image that those before could.
  void end(const Dataset& dataset, const std::string& whose) const {
    const auto members = static_cast<int64_t>(chosen_.size());
    for (size_t i = 0; i < seen_.size(); ++i)
      require(seen_[i] == 0 || seen_[i] == members, "ensemble", dataset.source(static_cast<int64_t>(i)),
              " is not readable as ", whose, " prepares it, but as members before it do");
  }
  double disagreement() const {
    double pairs = 0, apart = 0;
    for (size_t a = 0; a < chosen_.size(); ++a)
      for (size_t b = 0; b < a; ++b)
        for (size_t i = 0; i < seen_.size(); ++i) {
          pairs += seen_[i] > 0;
          apart += chosen_[a][i] != chosen_[b][i];
        }
    return pairs > 0 ? apart / pairs : 0;
  }

 private:
  Tensor sum_;                                // f32 (N,K)
  std::vector<int64_t> seen_;                 // by how many members
  std::vector<std::vector<int64_t>> chosen_;  // each member's class
};

}  // namespace

Ensemble Ensemble::load(const std::vector<std::string>& runs, const std::string& split, std::optional<int64_t> samples,
                        const CommonOptions& common, Communicator& ranks) {
  require_usage(!runs.empty(), "ensemble", "expected runs, got none");
  Ensemble ensemble;
  for (const std::string& run : runs) {
    const Asked* first = ensemble.members_.empty() ? nullptr : &ensemble.members_.front();
    ensemble.add(load_asked(run, samples, common, first, ranks), split);
  }
  return ensemble;
}

void Ensemble::add(Asked member, const std::string& asked) {
  refuse_twice(members_, member.subject.path);
  const std::string split = measured_split(member.splits, asked);
  std::shared_ptr<const Dataset> images = choose_split(member.splits, split);
  check_images(member.subject, *images, split);
  member.subject.file = {};  // its weights are in the network now
  if (members_.empty()) {
    images_ = std::move(images);
    classes_.emplace_back();
  } else {
    const Asked& first = members_.front();
    const std::string &path = member.subject.path, &whose = first.subject.path;
    const Link link = member.config().head.link, expected = first.config().head.link;
    require(link == expected, "ensemble", path, ": head.link: ", name_of(link), ", that of ", whose, " is ",
            name_of(expected));
    require(std::ranges::is_permutation(classes_of(member), classes_of(first)), "ensemble", path,
            ": class names: ", class_difference(classes_of(member), classes_of(first)), ", as ", whose, " has them");
    classes_.push_back(numbers_in(classes_of(first), classes_of(member)));
    if (images != images_) {
      require_same_images(*with_classes(images, classes_of(first), whose), *images_, split, path, whose);
      check_distributions(member, first);
    }
    member.splits = first.splits;
  }
  members_.push_back(std::move(member));
}

Tensor Ensemble::in_first_order(Tensor probabilities, size_t member) const {
  const std::vector<int64_t>& numbers = classes_[member];
  if (numbers.empty()) return probabilities;
  Tensor ordered = Tensor::empty(probabilities.shape());
  const auto classes = static_cast<int64_t>(numbers.size());
  for (int64_t i = 0; i < probabilities.numel(); ++i) {
    const int64_t row = i / classes * classes;
    ordered.data<float>()[row + numbers[static_cast<size_t>(i - row)]] = probabilities.data<float>()[i];
  }
  return ordered;
}

EnsembleEvaluation Ensemble::evaluate(const std::shared_ptr<const Dataset>& images,
                                      const std::function<void(size_t, const Evaluation&)>& on_member,
                                      const std::function<void(const Tensor&, const Batch&)>& on_mean) const {
  EnsembleEvaluation result;
  Votes votes(images->size(), images->classes());
  EvaluationAccumulator all(*images, members_.front().config());
  for (size_t m = 0; m < members_.size(); ++m) {
    const Asked& member = members_[m];
    EvaluationAccumulator own(*images, members_.front().config());
    PredictOptions options = member.predict;
    if (m > 0) options.on_skip = [](const Skipped&) {};  // the first has named it
    votes.begin();
    for_each_prediction(*member.model, images, member.config().data.eval_pipeline, options, [&](const Prediction& p) {
      const Tensor probabilities = in_first_order(p.probabilities, m);
      own.add(probabilities, p.batch);
      const Tensor mean = votes.add(probabilities, p.batch, *images, member.subject.path);
      if (m + 1 < members_.size()) return;
      all.add(mean, p.batch);
      if (on_mean) on_mean(mean, p.batch);
    });
    votes.end(*images, member.subject.path);
    result.members.push_back(own.evaluation());
    if (on_member) on_member(m, result.members.back());
  }
  result.ensemble = all.evaluation();
  result.disagreement = votes.disagreement();
  return result;
}

}  // namespace sked

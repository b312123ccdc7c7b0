#include "apps/common/measure/predictions.h"

#include <algorithm>
#include <cmath>

#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/metrics.h"
#include "core/error.h"
#include "core/kernels/reduce.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kManyClasses = 1000, kBest = 20;
constexpr double kMostBytes = 4e9;

/// The numbers p[b, labels[b]].
Tensor of_labels(const Tensor& probabilities, const Tensor& labels) {
  Tensor own = Tensor::empty(labels.shape());
  for (int64_t b = 0; b < own.numel(); ++b)
    own.data<float>()[b] = probabilities.data<float>()[b * probabilities.dim(1) + labels.data<int64_t>()[b]];
  return own;
}

Tensor entropies_of(const Tensor& probabilities, bool sigmoid) {
  Tensor all = Tensor::empty({probabilities.dim(0)});
  const int64_t classes = probabilities.dim(1);
  for (int64_t b = 0; b < all.numel(); ++b)
    all.data<float>()[b] = static_cast<float>(entropy(probabilities.data<float>() + b * classes, classes, sigmoid));
  return all;
}

}  // namespace

bool PredictionsWanted::has(const std::string& what) const { return std::ranges::find(with, what) != with.end(); }

std::vector<Option> predictions_options(PredictionsWanted& wanted) {
  return {
      {"--predictions", &wanted.file, "Also what is predicted of every image, for other programs: numpy, pandas, torch",
       "FILE.safetensors|.npz|.csv"},
      {.name = "--top-k",
       .target = &wanted.top_k,
       .help = "In --predictions, of every image only so many of the likeliest classes; default: all of up to " +
               std::to_string(kManyClasses) + ", of more " + std::to_string(kBest),
       .value = "N",
       .in = {{1, 1000000}}},
      {.name = "--with",
       .target = &wanted.with,
       .help = "In --predictions, also: d(x) and V(x) of the noise (large), the classifier's logits without noise, "
               "the representation; may be repeated",
       .value = "noise|logits|representation",
       .one_of = {"noise", "logits", "representation"},
       .repeated = true}};
}

void check_predictions(const PredictionsWanted& wanted) {
  for (const auto& [name, given] : {std::pair("--top-k", wanted.top_k.has_value()), {"--with", !wanted.with.empty()}})
    require_usage(!given || !wanted.file.empty(), "output", name,
                  ": expected --predictions FILE beside it, whose contents it chooses, got none");
  if (!wanted.file.empty()) check_predictions_file(wanted.file);
}

static std::vector<NamedTensor> said_of(const PredictionsWanted& wanted, Head& head, const Tensor& phi) {
  std::vector<NamedTensor> all{{"noise_variance", head.noise_variance(phi)}};
  if (wanted.has("noise")) {
    const NoiseParts parts = head.noise_parts(phi);
    all.push_back({"noise_deviation", parts.deviation});
    if (parts.factors.defined()) all.push_back({"noise_factors", parts.factors});
  }
  if (wanted.has("logits")) all.push_back({"logits", head.classifier_logits(phi)});
  if (wanted.has("representation")) all.push_back({"representation", phi});
  return all;
}

std::vector<NamedTensor> said_by_head(const PredictionsWanted& wanted, Head& head, const Tensor& phi,
                                      const BatchRows& rows, bool apart) {
  std::vector<NamedTensor> all;
  const TensorList made = computed_rows(phi.dim(0), apart, [&](int64_t begin, int64_t end) {
    std::vector<NamedTensor> said = said_of(wanted, head, phi.rows(begin, end));
    TensorList tensors;
    for (const NamedTensor& one : said) tensors.push_back(one.tensor);
    if (begin == 0) all = std::move(said);  // its names
    return tensors;
  });
  for (size_t t = 0; t < all.size(); ++t) all[t].tensor = rows.gathered(made[t]);
  return all;
}

std::vector<std::string> ids_of(const Dataset& dataset, const Batch& batch) {
  std::vector<std::string> ids;
  for (int64_t b = 0; b < batch.indices.numel(); ++b) ids.push_back(dataset.id(batch.indices.data<int64_t>()[b]));
  return ids;
}

Predictions::Predictions(const PredictionsWanted& wanted, const HeadConfig& head, std::vector<std::string> class_names,
                         int64_t rows)
    : file_(wanted.file),
      head_(head),
      class_names_(std::move(class_names)),
      rows_(rows),
      best_(wanted.top_k.value_or(classes() > kManyClasses ? kBest : classes())) {
  require_usage(!wanted.has("noise") || head.kind != HeadKind::det, "output",
                "--with noise: expected a head with noise, got ", head.kind);
  const double of_row = in_full() ? 4.0 * static_cast<double>(classes()) : 12.0 * static_cast<double>(best_);
  require_room(static_cast<double>(rows) * of_row);
}

void Predictions::require_room(double bytes) const {
  require_usage(bytes <= kMostBytes, "output", "--predictions ", file_, ": ", rows_, " examples of ", classes(),
                " classes, with what else is asked for, need ", bytes * 1e-9, " GB or more, expected at most ",
                kMostBytes * 1e-9, ": a smaller --top-k, or less of --with, needs less");
}

void Predictions::put(const std::string& name, const Tensor& rows, Cells cells) {
  const int64_t count = rows.dim(0);
  if (count_ == 0) {
    bytes_ += static_cast<double>(rows.bytes()) / static_cast<double>(count) * static_cast<double>(rows_);
    require_room(bytes_);
    columns_.push_back({name, Tensor::empty(rows.shape().with(0, rows_), rows.dtype()), cells});
  }
  const auto column = std::ranges::find(columns_, name, &PredictionColumn::name);
  require(column != columns_.end(), "output", name, ": expected the same of every batch, got it of some");
  if (rows.dtype() == DType::f32)
    for (int64_t i = 0; i < rows.numel(); ++i)
      require(std::isfinite(rows.data<float>()[i]), "output",
              excerpt(ids_[static_cast<size_t>(count_ + i / (rows.numel() / count))]), ": ", name, " is ",
              rows.data<float>()[i], ": expected finite numbers");
  column->rows.rows(count_, count_ + count).copy_from(rows);
}

void Predictions::add_truth(const Batch& truth, const Tensor& probabilities) {
  put("labels", truth.labels, Cells::class_ids);
  if (in_full()) {
    if (truth.distributions.defined()) put("label_distribution", truth.distributions, Cells::by_class);
    if (truth.targets.defined()) put("targets", truth.targets, Cells::by_class);
  } else if (!truth.targets.defined()) {
    put("label_probability", of_labels(probabilities, truth.labels));
  }
}

void Predictions::add_probabilities(const Tensor& probabilities) {
  if (in_full()) {
    put("probabilities", probabilities, Cells::by_class);
  } else {
    const Shape shape{probabilities.dim(0), best_};
    Tensor values = Tensor::empty(shape), numbers = Tensor::empty(shape, DType::i64);
    kernel::top_k(probabilities, values, numbers);
    put("top_classes", numbers, Cells::class_ids);
    put("top_probabilities", values);
  }
  put("entropy", entropies_of(probabilities, head_.link == Link::sigmoid));
}

void Predictions::add(const std::vector<std::string>& ids, const Tensor& probabilities, const Batch* truth,
                      const std::vector<NamedTensor>& more) {
  for (const std::string& id : ids) ids_.push_back(valid_utf8(id));
  if (truth != nullptr) add_truth(*truth, probabilities);
  add_probabilities(probabilities);
  for (const auto& [name, tensor] : more) put(name, tensor, name == "logits" ? Cells::by_class : Cells::numbers);
  count_ += probabilities.dim(0);
}

std::string Predictions::write(const Json& about) const {
  if (count_ == 0) return {};
  PredictionTable table{{{"ids", text_rows(ids_), Cells::text}}, class_names_, begin_about()};
  for (const PredictionColumn& column : columns_) {
    table.columns.push_back(column);
    table.columns.back().rows = column.rows.rows(0, count_);
  }
  Json& all = table.about;
  all["head"] = name_of(head_.kind);
  all["link"] = name_of(head_.link);
  if (head_.kind != HeadKind::det) {
    all["factors"] = name_of(head_.noise.factors);
    all["diagonal_noise"] = name_of(head_.noise.diagonal);
  }
  all.update(about);
  write_predictions(file_, table);
  return "predictions of " + std::to_string(count_) + " examples, " + std::to_string(std::min(best_, classes())) +
         " of " + std::to_string(classes()) + " classes each: " + printable(file_) + "\n";
}

std::optional<Predictions> predictions_for(const PredictionsWanted& wanted, const HeadConfig& head,
                                           const std::vector<std::string>& class_names, int64_t rows) {
  if (wanted.file.empty()) return std::nullopt;
  return Predictions(wanted, head, class_names, rows);
}

}  // namespace sked

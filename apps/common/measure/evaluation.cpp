#include "apps/common/measure/evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/precision.h"
#include "core/text.h"
#include "core/threads.h"
#include "layers/heads/make_head.h"

namespace sked {
namespace {

void visit_fields(FieldList& fields, ReliabilityBin& b) {
  fields("count", b.count);
  fields("confidence", b.confidence);
  fields("accuracy", b.accuracy);
}
void visit_fields(FieldList& fields, Measures& m) {
  fields("nll", m.nll);
  fields("accuracy", m.accuracy);
  fields("top5", m.top5);
  fields("ece", m.ece);
  fields("adaptive_ece", m.adaptive_ece);
  fields("brier", m.brier);
  fields("count", m.count);
}
void visit_fields(FieldList& fields, Selective& s) {
  fields("count", s.count);
  fields("aurc", s.aurc);
  fields("e_aurc", s.e_aurc);
  for (size_t c = 0; c < kCoverages.size(); ++c) {
    fields(("accuracy_" + std::to_string(kCoverages[c])).c_str(), s.accuracy[c]);
    fields(("oracle_" + std::to_string(100 - kCoverages[c])).c_str(), s.oracle[c]);
  }
}
void visit_fields(FieldList& fields, NamedClass& c) {
  fields("name", c.name);
  fields("count", c.measures.count);
  fields("predicted", c.measures.predicted);
  fields("recall", c.measures.recall);
  fields("precision", c.measures.precision);
  fields("confidence", c.measures.confidence);
  fields("nll", c.measures.nll);
}
void visit_fields(FieldList& fields, DistributionMeasures& m) {
  fields("cross_entropy", m.cross_entropy);
  fields("entropy", m.entropy);
  fields("entropy_correlation", m.entropy_correlation);
  fields("noise_correlation", m.noise_correlation);
  fields("count", m.count);
}

void visit_fields(FieldList& fields, CovarianceRecovery& c) {
  fields("count", c.count);
  fields("correlation", c.correlation);
  fields("scale", c.scale);
  fields("error", c.error);
  fields("correlation_shuffled", c.correlation_shuffled);
  fields("error_shuffled", c.error_shuffled);
}

void visit_recalls(FieldList& fields, Recalls& r, const std::string& prefix = "") {
  fields((prefix + "image_to_text_1").c_str(), r.image_to_text_1);
  fields((prefix + "image_to_text_5").c_str(), r.image_to_text_5);
  fields((prefix + "image_to_text_10").c_str(), r.image_to_text_10);
  fields((prefix + "text_to_image_1").c_str(), r.text_to_image_1);
  fields((prefix + "text_to_image_5").c_str(), r.text_to_image_5);
  fields((prefix + "text_to_image_10").c_str(), r.text_to_image_10);
}
void visit_fields(FieldList& fields, Retrieval& r) {
  fields("count", r.count);
  fields("captions", r.captions);
  visit_recalls(fields, r);
  fields("equal_captions.count", r.equal_captions);
  visit_recalls(fields, r.alike, "equal_captions.");
}
void visit_fields(FieldList& fields, UnseenClasses& u) {
  fields("count", u.count);
  fields("accuracy", u.accuracy);
  fields("accuracy_between", u.accuracy_between);
  fields("seen_count", u.seen_count);
  fields("seen_accuracy", u.seen_accuracy);
}

// fields_of finds visit_fields by argument-dependent lookup, which does not see this namespace: the lists are made
// here.
template <class T>
std::vector<Field> list_of(T& value) {
  FieldList list;
  visit_fields(list, value);
  return list.take();
}

/// What of them is measured and defined.
template <class T>
Json written(T& value) {
  std::vector<Field> fields = list_of(value);
  std::erase_if(fields, [](const Field& field) {
    const auto* number = std::get_if<double*>(&field.value);
    return number && std::isnan(**number);
  });
  return write_fields(fields);
}

/// Takes `key` out of `object`; null when it is not there.
Json take(Json& object, const char* key) {
  if (!object.contains(key)) return {};
  Json value = std::move(object[key]);
  object.erase(key);
  return value;
}

}  // namespace

std::unique_ptr<Classifier> make_classifier(const RunConfig& config, const Shape& image_shape, int64_t classes,
                                            Device device, Communicator& ranks) {
  return make_classifier(config, image_shape, classes, Init(config.seed, device), ranks);
}

std::unique_ptr<Classifier> make_classifier(const RunConfig& config, const Shape& image_shape, int64_t classes,
                                            Init init, Communicator& ranks) {
  Init own = init;  // a locked backbone's head is drawn as if there were no backbone, as on features kept in a file
  auto backbone = make_backbone(config.model, image_shape, init);
  auto head = make_head(config.head, backbone->width(), classes, config.train.lock_backbone ? own : init, ranks);
  return std::make_unique<Classifier>(std::move(backbone), std::move(head));
}

Pipeline evaluation_pipeline(const std::string& text) {
  Pipeline pipeline = Pipeline::parse(text);
  require_usage(pipeline.mixing().kind == Mixing::Kind::none, "config",
                "data.eval_pipeline: expected no mixup or cutmix, got ", text);
  return pipeline;
}

void require_finite(const Tensor& rows, const Tensor& indices, const Dataset& dataset, const char* what) {
  const Tensor values = rows.to(Device::cpu);
  const int64_t width = values.numel() / std::max<int64_t>(1, values.dim(0));
  for (int64_t i = 0; i < values.numel(); ++i) {
    const float value = values.data<float>()[i];
    if (std::isfinite(value)) continue;  // before the name is made
    fail("evaluate", dataset.source(indices.data<int64_t>()[i / width]), ": ", what, " is ",
         std::isnan(value) ? std::abs(value) : value, ": expected finite numbers (are the weights finite?)");
  }
}

static void say_skipped(const Skipped& image) { tell({}, "left out: " + image.message); }

void for_each_batch(std::shared_ptr<const Dataset> dataset, const std::string& pipeline, const BatchOptions& options,
                    const std::function<void(const Batch&, const BatchRows&)>& visit) {
  require(dataset->size() > 0, "evaluate", dataset->name(), ": expected images to look at, got none");
  Communicator& ranks = options.ranks != nullptr ? *options.ranks : alone();
  const std::function<void(const Skipped&)> on_skip = options.on_skip ? options.on_skip : say_skipped;
  Loader loader(std::move(dataset), evaluation_pipeline(pipeline),
                {.batch_size = options.batch_size,
                 .shuffle = false,
                 .threads = options.threads,
                 .prefetch = std::max(LoaderOptions().prefetch, options.threads),
                 .skip_limit = options.skip_limit,
                 .on_skip = on_skip,
                 .rank = ranks.rank(),
                 .ranks = ranks.size()});
  loader.start(0, options.first_batch);
  SkipCount skipped(options.skip_limit, on_skip);  // of all ranks, where there are several
  skipped.start(options.first_batch > 0);
  const NoGrad no_tape;
  int64_t left = loader.batches() - options.first_batch;
  while (auto batch = loader.next()) {
    if (interrupted(ranks)) throw Interrupted();
    const BatchRows rows(ranks, *batch);
    --left;
    if (ranks.size() > 1) skipped.add(rows.total(), batch->skipped, left == 0);
    if (rows.total() > 0) visit(*batch, rows);
  }
}

TensorList computed_rows(int64_t n, bool apart, const std::function<TensorList(int64_t begin, int64_t end)>& f) {
  if (!apart || n == 0) return f(0, n);
  std::vector<TensorList> rows(static_cast<size_t>(n));
  each_on_one_thread(n, [&](int64_t i) {
    const NoGrad no_tape;
    rows[static_cast<size_t>(i)] = f(i, i + 1);
  });
  TensorList all;
  for (size_t t = 0; t < rows.front().size(); ++t) {
    const Tensor& first = rows.front()[t];
    all.push_back(Tensor::empty(first.shape().with(0, n), first.dtype()));
    for (int64_t i = 0; i < n; ++i) all.back().rows(i, i + 1).copy_from(rows[static_cast<size_t>(i)][t]);
  }
  return all;
}

/// Where the noise of images is drawn.
static Tensor addresses_of(const Tensor& indices, const std::vector<int64_t>& addresses) {
  if (addresses.empty()) return indices;
  Tensor result = Tensor::empty(indices.shape(), DType::i64);
  for (int64_t b = 0; b < result.numel(); ++b)
    result.data<int64_t>()[b] = addresses.at(static_cast<size_t>(indices.data<int64_t>()[b]));
  return result;
}

Context context_of(Context context, int64_t begin, int64_t end) {
  context.examples = context.examples.rows(begin, end);
  return context;
}

void for_each_prediction(Classifier& classifier, std::shared_ptr<const Dataset> dataset, const std::string& pipeline,
                         const PredictOptions& options, const std::function<void(const Prediction&)>& visit) {
  Context context{.seed = options.seed, .activations = activation_dtype(options.device)};
  const auto predict = [&](const Batch& batch, const BatchRows& rows) {
    const Tensor indices = rows.own(batch.indices);
    context.examples = addresses_of(indices, options.addresses).to(options.device);
    const Tensor images = batch.images.to(options.device);
    const TensorList made = computed_rows(images.dim(0), options.apart, [&](int64_t begin, int64_t end) {
      const Context own = context_of(context, begin, end);
      Tensor phi = images.rows(begin, end);
      if (!options.representations) phi = classifier.backbone().forward(Var(phi), own).value();
      if (rows.mine().size() > 0) require_finite(phi, indices.rows(begin, end), *dataset, "its representation");
      return TensorList{phi, classifier.head().predict(phi, options.samples, own)};
    });
    const Tensor& phi = made[0];
    Tensor probabilities = rows.gathered(made[1]);
    require_finite(probabilities, batch.indices, *dataset, "a probability");
    if (options.calibration) probabilities = calibrated(probabilities, *options.calibration);
    visit({batch, rows, context, phi, probabilities});
  };
  for_each_batch(dataset, options.representations ? kDefaultPipeline : pipeline,
                 {.batch_size = options.batch_size,
                  .skip_limit = options.skip_limit,
                  .on_skip = options.on_skip,
                  .ranks = options.ranks},
                 predict);
}

std::string distribution_name(const RunConfig& config) {
  return config.data.noise == LabelNoise::none && config.data.name != kMadeEmbeddings ? "human" : "noisy";
}

EvaluationAccumulator::EvaluationAccumulator(const Dataset& dataset, const RunConfig& config)
    : distribution_(dataset.has_distributions() ? distribution_name(config) : ""),
      names_(dataset.class_names()),
      metrics_(dataset.classes(), config.head.link == Link::sigmoid) {}

void EvaluationAccumulator::add(const Tensor& probabilities, const Batch& batch, const Tensor& noise) {
  metrics_.add(probabilities, batch.labels, batch.targets);
  if (batch.distributions.defined()) metrics_.add_distributions(probabilities, batch.distributions, noise);
}

Evaluation EvaluationAccumulator::evaluation() const {
  std::vector<NamedClass> classes;
  for (const ClassMeasures& m : metrics_.class_measures()) classes.push_back({names_.at(classes.size()), m});
  return {.measures = metrics_.measures(),
          .distribution = distribution_,
          .against = metrics_.distribution_measures(),
          .classes = std::move(classes),
          .retrieval = {},
          .unseen = {}};
}

/// Are its classes divided among ranks? Then no rank has the covariance of their logits.
static bool is_divided(const Head& head) {
  return std::ranges::any_of(head.parameters(), [](const NamedVar& p) { return p.shard.divided(); });
}

Evaluation evaluate(Classifier& classifier, std::shared_ptr<const Dataset> dataset, const RunConfig& config,
                    const PredictOptions& options, const std::function<void(const Prediction&)>& also) {
  EvaluationAccumulator accumulator(*dataset, config);
  CovarianceRecoveryAccumulator recovery(*dataset);
  const bool has_noise = config.head.kind != HeadKind::det, noisy = has_noise && dataset->has_distributions();
  const bool recovers = has_noise && !is_divided(classifier.head());
  Communicator& ranks = options.ranks != nullptr ? *options.ranks : alone();
  if (has_noise && !recovers && dataset->has_covariances() && ranks.rank() == 0)
    note("head.shard_classes: no rank has the covariance of all logits, which is not compared with the known one");
  for_each_prediction(classifier, dataset, config.data.eval_pipeline, options, [&](const Prediction& p) {
    const Tensor noise = noisy ? p.rows.gathered(classifier.head().noise_scale(p.phi)) : Tensor();
    accumulator.add(p.probabilities, p.batch, noise);
    if (recovers) recovery.add(classifier.head(), p.phi, p.batch.indices, p.rows);
    if (also) also(p);
  });
  Evaluation evaluation = accumulator.evaluation();
  evaluation.covariance = recovery.result(ranks);
  return evaluation;
}

Json evaluation_json(const Evaluation& evaluation, bool in_full) {
  Evaluation copy = evaluation;  // field lists hand out addresses to write to
  Json json = written(copy.measures);
  if (!copy.distribution.empty()) json[copy.distribution] = written(copy.against);
  if (copy.covariance.count > 0) json["covariance"] = written(copy.covariance);
  if (copy.retrieval.count > 0) json["retrieval"] = write_fields(list_of(copy.retrieval));
  if (copy.retrieval.count > 0 && copy.retrieval.equal_captions == 0) json["retrieval"].erase("equal_captions");
  if (copy.unseen.count > 0) json["unseen"] = write_fields(list_of(copy.unseen));
  if (copy.unseen.count > 0 && copy.unseen.seen_count == 0) json["unseen"].erase("seen_accuracy");
  if (in_full) {
    if (copy.measures.selective.count > 0) json["selective"] = written(copy.measures.selective);
    for (NamedClass& c : copy.classes) json["classes"].push_back(written(c));
    json["reliability"] = reliability_json(copy.measures);
  }
  return json;
}

Json reliability_json(const Measures& measures) {
  Json bins = Json::array();
  for (ReliabilityBin bin : measures.bins)
    bins.push_back(bin.count > 0 ? write_fields(list_of(bin)) : Json{{"count", 0}});
  return bins;
}

Evaluation read_evaluation(Json object, const std::string& source) {
  Evaluation evaluation;
  for (const char* name : {"human", "noisy"}) {
    const Json against = take(object, name);
    if (against.is_null()) continue;
    evaluation.distribution = name;
    read_fields(against, list_of(evaluation.against), source);
  }
  if (const Json found = take(object, "covariance"); !found.is_null())
    read_fields(found, list_of(evaluation.covariance), source);
  if (const Json found = take(object, "retrieval"); !found.is_null())
    read_fields(found, list_of(evaluation.retrieval), source);
  if (const Json found = take(object, "unseen"); !found.is_null())
    read_fields(found, list_of(evaluation.unseen), source);
  if (const Json found = take(object, "selective"); !found.is_null())
    read_fields(found, list_of(evaluation.measures.selective), source);
  const Json classes = take(object, "classes");
  require_usage(classes.is_null() || classes.is_array(), "config", source, ": classes: expected a list");
  if (classes.is_array())
    for (const Json& one : classes.elements()) read_fields(one, list_of(evaluation.classes.emplace_back()), source);
  const Json bins = take(object, "reliability");
  read_fields(object, list_of(evaluation.measures), source);
  if (bins.is_null()) return evaluation;
  require_usage(bins.is_array() && bins.size() == evaluation.measures.bins.size(), "config", source,
                ": reliability: expected a list of ", kReliabilityBins, " bins");
  for (size_t i = 0; i < bins.size(); ++i)
    read_fields(bins.elements()[i], list_of(evaluation.measures.bins[i]), source);
  return evaluation;
}

}  // namespace sked

#include "apps/common/run/contrastive.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "apps/common/run/initial.h"
#include "autograd/index.h"
#include "core/error.h"
#include "core/precision.h"

namespace sked {
namespace {

/// The embeddings of some of a data set's images: f32 (N,D), and which examples they are.
struct EmbeddedImages {
  Tensor embeddings;
  std::vector<int64_t> examples;
};

/// Of `examples`, in order, without those that cannot be read.
EmbeddedImages embed_images(Towers& towers, const std::shared_ptr<const Dataset>& dataset,
                            const std::vector<int64_t>& examples, const RunConfig& config, Device device,
                            const std::function<void(const Skipped&)>& on_skip, Communicator& ranks) {
  const auto count = static_cast<int64_t>(examples.size());
  EmbeddedImages all{Tensor::empty({count, config.contrast.width}), {}};
  const auto chosen = std::make_shared<Subset>(dataset, examples);
  const bool given = holds_features(*dataset);  // by a locked tower
  const auto embed = [&](const Batch& batch, const BatchRows& rows) {
    const auto done = std::ssize(all.examples);
    std::vector<int64_t> indices = batch.indices.to_vector<int64_t>();
    for (int64_t& i : indices) i = examples[static_cast<size_t>(i)];  // in the data set
    all.examples.insert(all.examples.end(), indices.begin(), indices.end());
    const Var images(batch.images.to(device));
    const Var phi = given ? images : towers.model->image().forward(images, {.activations = activation_dtype(device)});
    const Tensor embeddings = rows.gathered(towers.model->head().embed_images(phi.value()));
    require_finite(embeddings, Tensor::from(indices, batch.indices.shape()), *dataset, "its embedding");
    all.embeddings.rows(done, done + embeddings.dim(0)).copy_from(embeddings);
  };
  for_each_batch(chosen, given ? kDefaultPipeline : config.data.eval_pipeline,
                 {.batch_size = config.train.batch_size,
                  .skip_limit = config.data.corrupt_limit(),
                  .on_skip = on_skip,
                  .ranks = &ranks},
                 embed);
  all.embeddings = all.embeddings.rows(0, static_cast<int64_t>(all.examples.size()));
  return all;
}

/// `count` images, drawn once and for all: the first of a file would be those of one class, shard or day.
std::vector<std::vector<int64_t>> drawn(const std::vector<std::vector<int64_t>>& images, int64_t count) {
  std::vector<int64_t> order = shuffled_order(static_cast<int64_t>(images.size()), 0, 0);
  order.resize(std::min(order.size(), static_cast<size_t>(count)));
  std::vector<std::vector<int64_t>> chosen;
  for (const int64_t i : order) chosen.push_back(images[static_cast<size_t>(i)]);
  return chosen;
}

/// What the text tower reads of a caption: those it cannot tell apart are one text.
std::string tokens_of(const Tokenizer& tokenizer, const std::string& caption, const TextTowerConfig& config) {
  const Tensor ids = tokenizer.encode({caption}, config.context, config.truncate).ids;
  return {static_cast<const char*>(ids.raw()), ids.bytes()};
}

/// What retrieval searches: the images of `chosen` that `embedded` has by their first example, with the captions of all
/// their examples, which are those of seed 0 and epoch 0: the same for every run.
CaptionedImages captioned_images(Towers& towers, const Dataset& dataset,
                                 const std::vector<std::vector<int64_t>>& chosen, const EmbeddedImages& embedded,
                                 const RunConfig& config, Device device, Communicator& ranks) {
  std::unordered_map<int64_t, int64_t> row_of;
  for (size_t row = 0; row < embedded.examples.size(); ++row)
    row_of.emplace(embedded.examples[row], static_cast<int64_t>(row));
  CaptionedImages all;
  std::vector<int64_t> rows;
  std::vector<std::string> texts;
  std::unordered_map<std::string, int64_t> known;
  for (const std::vector<int64_t>& examples : chosen) {
    if (!row_of.contains(examples.front())) continue;  // it could not be read
    const auto image = static_cast<int64_t>(rows.size());
    rows.push_back(row_of.at(examples.front()));
    all.groups.push_back(dataset.classes() > 0 ? dataset.label(examples.front()) : image);
    for (const int64_t example : examples) {
      std::string caption = epoch_caption(dataset, 0, 0, example);
      const auto [text, fresh] =
          known.emplace(tokens_of(towers.tokenizer, caption, config.text), static_cast<int64_t>(texts.size()));
      if (fresh) texts.push_back(std::move(caption));
      all.owners.push_back(image);
      all.said.push_back(text->second);
    }
  }
  all.images = Tensor::empty({static_cast<int64_t>(rows.size()), config.contrast.width});
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto to = static_cast<int64_t>(i);
    all.images.rows(to, to + 1).copy_from(embedded.embeddings.rows(rows[i], rows[i] + 1));
  }
  all.texts = embed_captions(towers, texts, config, device, ranks);
  return all;
}

/// Learned from the captions of one epoch and the prompts of the classes in training: the same for every seed.
Tokenizer learned_vocabulary(const Dataset& train, const ZeroShotClasses& classes, int64_t pieces) {
  std::vector<std::string> texts = captions_of(train, 0);
  for (size_t k = 0; k < classes.prompts.size(); ++k) {
    if (std::ranges::find(classes.unseen, static_cast<int64_t>(k)) == classes.unseen.end())
      texts.insert(texts.end(), classes.prompts[k].begin(), classes.prompts[k].end());
  }
  return Tokenizer::train(texts, pieces);
}

Tokenizer vocabulary_for(const RunConfig& config, const Dataset& train, const ZeroShotClasses& classes,
                         const Beginning& from) {
  if (from.checkpoint != nullptr) return vocabulary_of(from.checkpoint->file, from.checkpoint->path, config);
  const bool may_differ = config.train.init_partial && !config.text.vocabulary.empty();
  if (from.initial != nullptr && is_two_towers(*from.initial, config.train.init) && !may_differ)
    return vocabulary_of(*from.initial, config.train.init, config);
  if (!config.text.vocabulary.empty()) return Tokenizer::load(config.text.vocabulary);
  return learned_vocabulary(train, classes, config.text.pieces);
}

/// Every caption is read once before training begins: one that is too long for the text tower is refused now, by file
/// and line, and not when its batch comes. Captions made of templates are the classes' prompts.
void check_captions(const Splits& splits, const ZeroShotClasses& classes, const Towers& towers,
                    const TextTowerConfig& config) {
  const auto check = [&](const std::string& caption, const std::string& source) {
    try {
      towers.tokenizer.encode({caption}, config.context, config.truncate);
    } catch (const Error& error) {
      fail("captions", source, ": ", error.what());
    }
  };
  for (size_t k = 0; k < classes.prompts.size(); ++k)
    for (const std::string& prompt : classes.prompts[k]) check(prompt, "class " + std::to_string(k));
  if (config.truncate || !classes.prompts.empty()) return;
  for (const auto& images : {splits.train, splits.validation, splits.test}) {
    for (int64_t i = 0; images != nullptr && i < images->size(); ++i)
      check(epoch_caption(*images, 0, 0, i), images->caption_source(i));
  }
}

}  // namespace

ZeroShotClasses zero_shot_classes(const Dataset& data, const CaptionSpec& spec) {
  if (data.classes() == 0) return {};
  return {class_prompts(caption_templates(spec.templates), class_synonyms(spec, data)),
          unseen_classes(data.classes(), spec.unseen)};
}

Evaluation evaluate_zero_shot(Towers& towers, const std::shared_ptr<const Dataset>& dataset,
                              const ZeroShotClasses& classes, const RunConfig& config, Device device,
                              const std::function<void(const Skipped&)>& on_skip, Communicator& ranks) {
  const std::vector<std::vector<int64_t>> chosen = drawn(examples_by_image(*dataset), config.contrast.retrieval);
  const bool labeled = !classes.prompts.empty();
  std::vector<int64_t> wanted;  // every example where all are classified, else an example of each image searched
  if (labeled) {
    wanted.resize(static_cast<size_t>(dataset->size()));
    std::iota(wanted.begin(), wanted.end(), int64_t{0});
  } else {
    for (const std::vector<int64_t>& examples : chosen) wanted.push_back(examples.front());
  }
  const EmbeddedImages images = embed_images(towers, dataset, wanted, config, device, on_skip, ranks);
  const CaptionedImages searched = captioned_images(towers, *dataset, chosen, images, config, device, ranks);
  const double temperature = towers.model->head().temperature();
  Evaluation result;
  result.retrieval = retrieval(searched);
  if (!labeled) {
    result.measures = measure_by_captions(searched, temperature);
    return result;
  }
  const Tensor targets = embed_classes(towers, classes.prompts, config, device, ranks);
  MetricsAccumulator accumulator(targets.dim(0));
  UnseenAccumulator unseen(targets.dim(0), classes.unseen);
  constexpr int64_t kRows = 256;
  const auto total = static_cast<int64_t>(images.examples.size());
  for (int64_t first = 0; first < total; first += kRows) {
    const int64_t end = std::min(first + kRows, total);
    Tensor labels = Tensor::empty({end - first}, DType::i64);
    for (int64_t i = first; i < end; ++i)
      labels.data<int64_t>()[i - first] = dataset->label(images.examples[static_cast<size_t>(i)]);
    const Tensor p = zero_shot_probabilities(images.embeddings.rows(first, end), targets, temperature);
    accumulator.add(p, labels);
    unseen.add(p, labels);
  }
  result.measures = accumulator.measures();
  result.unseen = unseen.measures();
  return result;
}

ContrastiveTask::ContrastiveTask(const RunConfig& config, Splits splits, Device device, const Beginning& from,
                                 Communicator& ranks)
    : Task(config, with_captions(splits, config.captions), device, ranks),
      classes_(zero_shot_classes(*splits.test, config.captions)),
      towers_(make_towers(config, vocabulary_for(config, *splits_.train, classes_, from), prepared_shape(), device)) {
  check_captions(splits_, classes_, towers_, config.text);
  if (config.contrast.lock_image) lock(towers_.model->image(), "contrast.lock_image", config.contrast.features, from);
}

InitialReport ContrastiveTask::begin_with(const TensorFile& file) {
  if (is_two_towers(file, config_.train.init)) return load_towers(file, config_, *towers_.model);
  return load_initial(file, config_.train.init, towers_.model->image(), {.partial = config_.train.init_partial});
}

TensorList ContrastiveTask::inputs(const Batch& batch) const {
  const TokenBatch tokens = towers_.tokenizer.encode(batch.captions, config_.text.context, config_.text.truncate);
  return {batch.images, tokens.ids, tokens.ends};
}

Var ContrastiveTask::loss(const TensorList& inputs, const Context& context) {
  const Var phi = representation(towers_.model->image(), inputs[0], context);
  const Var psi = towers_.model->text().forward(inputs[1], inputs[2], context);
  return towers_.model->head().loss(phi, psi, context);
}

Evaluation ContrastiveTask::evaluate(EvaluationPoint point) {
  return evaluate_zero_shot(towers_, evaluation_set(point), classes_, config_, device_, on_skip(), ranks_);
}

void ContrastiveTask::describe(Summary& summary) const {
  summary.head = name_of(config_.contrast.kind);
  summary.link = name_of(Link::softmax);
  summary.pairs_left_out = splits_.left_out.train;
  summary.test_pairs_left_out = splits_.left_out.test;
  summary.params_head_extra = towers_.model->head().extra_parameters();
}

}  // namespace sked

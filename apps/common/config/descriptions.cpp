// Every key of a configuration: its name, its member, what it means, and which values it takes.

#include "apps/common/config/config.h"
#include "layers/models/limits.h"

namespace sked {
namespace {

constexpr const char* kPipeline = "stages from the file's bytes to the network's floats, joined by |";
constexpr const char* kLikelihood =
    "streaming: over tiles, fast and small; composed: the plain definition it is tested against";
constexpr const char* kAntithetic = "samples in pairs e, -e: still unbiased, less variance";
constexpr const char* kDiagonal =
    "what d(x) scales: normals of each coordinate's own, or one that all coordinates share";
constexpr const char* kFactorBias = "efficient factors: a bias behind V(x), so that the noise has a mean";
constexpr const char* kNoiseInit = "d(x) at the start, above 0.001; 0: 0.694";
constexpr const char* kNoiseInitScale = "factor on the initial weights of the noise's layers";
constexpr const char* kRank = "R, columns of the factor V(x); without meaning for diagonal ones";
constexpr const char* kFactors = "the form of the factor V(x) of the noise's covariance";
constexpr const char* kRecompute = "computes every block again in the backward pass: less memory, more time";

/// `tau` of a head; where learning starts in the middle of [lo, hi] and where that is depends on the head.
void visit_temperature(FieldList& fields, TemperatureConfig& c, const char* init) {
  fields("learn_temperature", c.learn, "trains the temperature tau, between temperature_lo and temperature_hi");
  fields("temperature", c.value, "tau where it is not learned", above(0));
  fields("temperature_lo", c.lo, "least tau that is learned", above(0));
  fields("temperature_hi", c.hi, "largest tau that is learned, above temperature_lo", above(0));
  fields("temperature_init", c.init, init, at_least(0));
}

}  // namespace

void visit_fields(FieldList& fields, MadeEmbeddingsSpec& c) {
  constexpr double kMost = 4294967296;
  fields("classes", c.classes, "classes K of made-embeddings", between(2, 1 << 24));
  fields("superclass_size", c.superclass_size, "classes that look alike and are confused", at_least(1));
  fields("width", c.width, "numbers of a vector", between(1, 1 << 16));
  fields("train", c.train, "training vectors", between(1, kMost));
  fields("test", c.test, "test vectors", between(1, kMost));
  fields("spread", c.spread, "deviation of a vector around its class, in each coordinate", between(0, 1e6));
  fields("confusion", c.confusion, "largest share of another class in a vector", between(0, 1));
  fields("seed", c.seed, "of everything that is made");
}

void visit_fields(FieldList& fields, DataConfig& c) {
  fields("name", c.name, "data set", named_by(known_datasets));
  fields("path", c.path,
         "of image-folder, shards, caption-tsv, caption-shards: their folder; of image-csv: table or folder; of "
         "embeddings: file, folder or prefix");
  fields("root", c.root, "folder that holds a folder for each data set; empty: $SKEDASTIC_DATA, else ./datasets");
  fields("labels", c.labels,
         "training labels: clean; of cifar-10 also people's (CIFAR-10N); of made-embeddings also confused",
         named_by(known_label_sets, "of embeddings also FILE.npy, integers (N)"));
  fields("votes", c.votes, "embeddings: a .npy file of people's votes for the test examples, counts (N, K)");
  fields("noise", c.noise, "noise drawn on clean training labels");
  fields("noise_rate", c.noise_rate, "share of the labels that it changes, on average over the training examples",
         between(0, 1));
  fields("noise_seed", c.noise_seed, "of what it draws");
  fields("validation", c.validation,
         "training images held out for the evaluations on the way, how many, or below 1 what share of each class; 0: "
         "those look at the validation images that the data has of its own, or else at the test images",
         at_least(0));
  fields("train_subset", c.train_subset, "training images used; 0: all that are not held out", at_least(0));
  fields("skip_limit", c.skip_limit, "how many images of each part may be lost, corrupt or without their caption",
         at_least(0).or_value(-1, "not set: no corrupt image, and halves of pairs as long as more pairs stay"));
  fields("made", c.made);
  fields("train_pipeline", c.train_pipeline, kPipeline, named_by(Pipeline::stages));
  fields("eval_pipeline", c.eval_pipeline, "the same for the images that a model is measured on",
         named_by(Pipeline::stages));
}

void visit_fields(FieldList& fields, ModelConfig& c) {
  const Allowed size = at_least(0);
  fields("name", c.name,
         "backbone of images, or of vectors: none and mlp. Below, 0 or empty means: as the named model has it",
         named_by(known_backbones, "wide-resnet<depth>-<factor>"));
  fields("blocks", c.blocks, "residual networks: blocks of each stage", at_least(1));
  fields("base_width", c.base_width, "residual networks: channels of the first stage", size);
  fields("stem", c.stem,
         "residual networks: first layers; cifar: 3x3, cifar2: 3x3 of stride 2, imagenet: 7x7 and pooling, deep: three "
         "3x3 and pooling");
  fields("shortcut", c.shortcut,
         "residual networks: where the shape changes; conv: 1x1, pad: zeros, avg: mean of 2x2, then 1x1");
  fields("groups", c.groups, "bottleneck blocks: groups of the 3x3", size);
  fields("width_per_group", c.width_per_group, "bottleneck blocks: channels of a group in the first stage", size);
  fields("batch_norm", c.batch_norm,
         "residual networks with batch norm, computed by several ranks: statistics of training over the rows of all of "
         "them (global), or of each one's own (local)");
  fields("patch", c.patch, "transformers: edge of a patch in pixels", size);
  fields("width", c.width, "transformers: width of a token", size);
  fields("depth", c.depth, "transformers: blocks", size);
  fields("heads", c.heads, "transformers: attention heads; they divide the width", size);
  fields("mlp", c.mlp, "transformers: hidden units of a block's MLP", size);
  fields(
      "pool", c.pool,
      "transformers: what is read; token: class token, gap: mean of the patches, map: attention with a learned query");
  fields("class_token", c.class_token, "transformers: is there one");
  fields("norm", c.norm, "transformers: last norm, of the tokens or of what is pooled");
  fields("positions", c.positions, "transformers: which tokens have position embeddings");
  fields("registers", c.registers, "transformers: register tokens", size);
  fields("layer_scale", c.layer_scale, "transformers: factor of each branch at the start; 0: none", between(0, 1e3));
  fields("qk_norm", c.qk_norm, "transformers: layer norm of queries and keys");
  fields("pre_norm", c.pre_norm, "transformers: layer norm in front of the blocks (CLIP's)");
  fields("norm_eps", c.norm_eps, "transformers: epsilon of every layer norm; 0: 1e-6", from_to_below(0, 1));
  fields("gelu", c.gelu, "transformers: exact (timm), its tanh approximation (flax), or quick (CLIP)");
  fields("representation", c.representation, "transformers: width of a tanh layer behind the pooling; 0: none", size);
  fields("dropout", c.dropout, "transformers, wide-resnet<depth>-<factor>, mlp: probability", from_to_below(0, 1));
  fields("drop_path", c.drop_path,
         "transformers: probability that the last block's branches are left out, less in those before",
         from_to_below(0, 1));
  fields("standardize", c.standardize, "vectors: coordinates to mean 0 and deviation 1 over the training examples");
  fields("l2_normalize", c.l2_normalize, "vectors: each to length 1, behind standardize");
  fields("widths", c.widths, "mlp: outputs of each layer, [512] say",
         between(1, static_cast<double>(detail::kMaxWidth)));
  fields("activation", c.activation, "mlp: behind each layer");
  fields("layer_norm", c.layer_norm, "mlp: a layer norm in front of each activation");
  fields("recompute", c.recompute, kRecompute);
}

void visit_fields(FieldList& fields, HeadConfig& c) {
  fields("kind", c.kind, "det: no noise; het: on the K logits; het-xl: on the D pre-logits");
  fields("factors", c.noise.factors, kFactors);
  fields("rank", c.noise.rank, kRank, at_least(0));
  fields("link", c.link, "how logits become probabilities");
  fields("train_samples", c.train_samples, "Monte Carlo samples in training", between(1, kMostSamples));
  fields("test_samples", c.test_samples, "Monte Carlo samples of predictions; 0: none, the mean logits alone",
         between(0, kMostSamples));
  fields("antithetic", c.noise.antithetic, kAntithetic);
  fields("likelihood", c.likelihood, kLikelihood);
  fields("sample_chunk", c.sample_chunk, "samples that likelihood=composed holds in memory at once", at_least(1));
  visit_temperature(fields, c.temperature,
                    "tau where learning starts, between lo and hi; 0: their middle, 2.525. At the learning rates of "
                    "fine-tuning it hardly moves from there: set it to 1 or less then");
  fields("bias_init", c.bias_init, "where the classifier's bias starts");
  fields("shard_classes", c.shard_classes, "several ranks: each has some of the classes, and trains these alone");
  fields("diagonal_noise", c.noise.diagonal, kDiagonal);
  fields("factor_bias", c.noise.factor_bias, kFactorBias);
  fields("noise_init", c.noise.init, kNoiseInit, at_least(0));
  fields("noise_init_scale", c.noise.init_scale, kNoiseInitScale, at_least(0));
}

void visit_fields(FieldList& fields, CaptionSpec& c) {
  fields("templates", c.templates,
         "sentences for class names: plain, the name alone; photo, CLIP's 18; or a file with one {} a line");
  fields("classes", c.classes, "file of class names instead of the data set's, one a line");
  fields("noise_rate", c.noise_rate, "share of training captions that name a wrong class", between(0, 1));
  fields("noise_seed", c.noise_seed, "of what it draws");
  fields("unseen", c.unseen, "classes of which training sees nothing", at_least(0));
}

void visit_fields(FieldList& fields, TextTowerConfig& c) {
  fields("vocabulary", c.vocabulary, "SentencePiece model file; empty: learned from the training captions");
  fields("pieces", c.pieces, "of a learned vocabulary, at most", between(8, 1 << 20));
  fields("truncate", c.truncate, "cuts captions that are longer than the context, instead of refusing them");
  fields("context", c.context, "tokens of a caption, markers included", at_least(1));
  fields("width", c.width, "width of a token", at_least(1));
  fields("depth", c.depth, "blocks of the tower", at_least(1));
  fields("heads", c.heads, "attention heads; they divide the width", at_least(1));
  fields("mlp", c.mlp, "hidden units of a block's MLP; 0: 4 times the width", at_least(0));
  fields("pool", c.pool, "last: causal, read at the end marker; token: full attention, read at the first position");
  fields("dropout", c.dropout, "probability", from_to_below(0, 1));
  fields("recompute", c.recompute, kRecompute);
}

void visit_fields(FieldList& fields, ContrastiveConfig& c) {
  fields("kind", c.kind, "det: no noise; het-xl: on the image's side");
  fields("width", c.width, "of the space that images and texts share", between(1, 1 << 16));
  fields("factors", c.noise.factors, kFactors);
  fields("rank", c.noise.rank, kRank, at_least(0));
  fields("train_samples", c.train_samples, "Monte Carlo samples of the loss", between(1, kMostSamples));
  fields("noise", c.noise_place, "before or after the image's vector is normalized");
  fields("antithetic", c.noise.antithetic, kAntithetic);
  fields("likelihood", c.likelihood, kLikelihood);
  visit_temperature(fields, c.temperature, "tau where learning starts, between lo and hi; 0: their middle");
  fields("diagonal_noise", c.noise.diagonal, kDiagonal);
  fields("factor_bias", c.noise.factor_bias, kFactorBias);
  fields("noise_init", c.noise.init, kNoiseInit, at_least(0));
  fields("noise_init_scale", c.noise.init_scale, kNoiseInitScale, at_least(0));
  fields("lock_image", c.lock_image, "the image tower stays as train.init made it (LiT)");
  fields("features", c.features, "folder where a locked tower's representations are kept");
  fields("retrieval", c.retrieval, "test images that retrieval searches among", between(1, 1 << 16));
}

void visit_fields(FieldList& fields, OptimizerConfig& c) {
  fields("kind", c.kind, "how a gradient becomes a step");
  fields("momentum", c.momentum, "sgd: share of the last step in the next", from_to_below(0, 1));
  fields("nesterov", c.nesterov, "sgd: Nesterov's momentum");
  fields("beta1", c.beta1, "adam, adamw: decay of the gradient's mean", from_to_below(0, 1));
  fields("beta2", c.beta2, "adam, adamw: decay of its square's mean", from_to_below(0, 1));
  fields("eps", c.eps, "adam, adamw: added to the root of that", above(0));
  fields("weight_decay", c.weight_decay, "of matrices and filters; coupled for sgd and adam, decoupled for adamw",
         at_least(0));
  fields("clip_norm", c.clip_norm, "largest norm of the gradient of all parameters; 0: not clipped", at_least(0));
  fields("head_lr_scale", c.head_lr_scale, "classification: factor on the learning rate of the head", at_least(0));
  fields("layer_decay", c.layer_decay,
         "classification: factor on the learning rate from each layer of the backbone to the one before it (BEiT, MAE)",
         Allowed{.least = 0, .most = 1, .least_open = true});
  fields("noise_lr_scale", c.noise_lr_scale,
         "learning rate of the heads' covariance layers, as a factor on that of the rest of the head", at_least(0));
  fields("noise_weight_decay", c.noise_weight_decay, "weight decay of the covariance layers",
         at_least(0).or_value(-1, "as weight_decay"));
  fields("shard", c.shard, "each of several ranks keeps its share of the momenta alone (ZeRO stage 1)");
}

void visit_fields(FieldList& fields, ScheduleConfig& c) {
  fields("kind", c.kind, "how the learning rate falls");
  fields("peak", c.peak, "learning rate, after the warm-up", above(0));
  fields("floor", c.floor, "last learning rate, as a share of the peak", between(0, 1));
  fields("warmup_epochs", c.warmup_epochs, "epochs over which it rises to the peak", at_least(0));
  fields("warmup_steps", c.warmup_steps, "above 0: steps instead of warmup_epochs", at_least(0));
  fields("timescale", c.timescale, "of rsqrt, in steps", above(0));
  fields("cooldown_steps", c.cooldown_steps, "last steps, over which it falls to 0, whatever the kind", at_least(0));
}

void visit_fields(FieldList& fields, TrainConfig& c) {
  fields("batch_size", c.batch_size, "images of a step", at_least(1));
  fields("accumulate", c.accumulate,
         "classification: parts of a batch, computed one after the other for one step; at most batch_size");
  fields("epochs", c.epochs, "passes over the training images, may be a fraction; 0: train.init is only measured",
         between(0, 1e6));
  fields("steps", c.steps, "above 0: steps instead of epochs", at_least(0));
  fields("log_every", c.log_every, "steps between two lines of training loss in metrics.jsonl", at_least(1));
  fields("eval_every", c.eval_every, "epochs between two evaluations; 0: only at the end", at_least(0));
  fields("eval_samples", c.eval_samples, "Monte Carlo samples of those; the final test has head.test_samples",
         between(0, kMostSamples));
  fields("checkpoint_every", c.checkpoint_every, "steps between two checkpoints; 0: at the end of each epoch",
         at_least(0));
  fields("keep_checkpoints", c.keep_checkpoints,
         "how many of the last checkpoints stay as step-N.safetensors, beside last.safetensors and the one before it",
         at_least(0));
  fields("time_limit", c.time_limit,
         "above 0: seconds from the start after which it stops as by Ctrl-C, exit status 124", at_least(0));
  fields("tensorboard", c.tensorboard, "writes an event file for TensorBoard beside metrics.jsonl");
  fields("label_smoothing", c.label_smoothing,
         "classification: share of every target spread over all classes, in training only", from_to_below(0, 1));
  fields("on_value", c.on_value, "sigmoid link: what training has for a target of 1; above off_value, at most 1");
  fields("off_value", c.off_value, "and of 0 (ViT and HET on ImageNet-21k: 0.9999 and 0.0001)", from_to_below(0, 1));
  fields("ema_decay", c.ema_decay, "above 0: evaluates and saves an exponential moving average of the weights",
         from_to_below(0, 1));
  fields("init", c.init, "run, safetensors or .npz file to begin with: fine-tuning");
  fields("init_partial", c.init_partial, "begins with what fits of it, whatever else it or the model has");
  fields(
      "freeze", c.freeze,
      "parts of the model that stay as they are: beginnings of parameter names, as conv1 or blocks.0; stem; backbone");
  fields("lock_backbone", c.lock_backbone, "classification: the backbone stays as init made it, a new head is trained");
  fields("features", c.features, "folder where a locked backbone's representations are kept");
  fields("loader_threads", c.loader_threads, "threads that read and augment images; no number depends on it",
         between(0, 256));
}

void visit_fields(FieldList& fields, FewShotConfig& c) {
  fields("data", c.data, "other data sets that the representation is asked about, each name or name:path");
  fields("shots", c.shots, "training images of each class", between(1, 10000));
  fields("every", c.every, "evaluations from one such measurement to the next; 0: only the final one", at_least(0));
}

void visit_fields(FieldList& fields, RunConfig& c) {
  fields("about", c.about, "free: the command, the expected result, the run time");
  fields("task", c.task, "contrastive has captions, text and contrast, classification has head");
  fields("data", c.data);
  fields("model", c.model);
  if (c.task == TaskKind::contrastive) {
    fields("captions", c.captions);
    fields("text", c.text);
    fields("contrast", c.contrast);
  } else {
    fields("head", c.head);
  }
  fields("optimizer", c.optimizer);
  fields("schedule", c.schedule);
  fields("train", c.train);
  fields("few_shot", c.few_shot);
  fields("seed", c.seed, "of everything that is drawn: weights, order, augmentation, noise");
}

}  // namespace sked

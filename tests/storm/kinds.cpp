#include "tests/storm/kinds.h"

#include <cstring>
#include <iterator>

#include "apps/common/config/config.h"
#include "apps/common/run/run_folder.h"
#include "core/npy.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "data/tokenizer.h"
#include "tests/apps/support.h"
#include "tests/common/library_json.h"
#include "tests/common/mutate.h"
#include "tests/data/archives.h"
#include "tests/data/images.h"

namespace sked::test {
namespace {

using Words = std::vector<std::string>;

/// Whatever a changed file asks for, no more work than this.
const Words kSmall{"--threads", "1",
                   "--device",  "cpu",
                   "--set",     "train.steps=2",
                   "--set",     "train.batch_size=4",
                   "--set",     "train.eval_samples=1",
                   "--set",     "model.base_width=4",
                   "--set",     "model.blocks=[1]"};

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Runs a program that has to succeed.
void make(const Words& words) {
  const Outcome outcome = run_program(words, {.environment = {{"GOMP_SPINCOUNT", "1000"}}});
  require(outcome.code == 0, "mutations", words[0], " ended with ", outcome.code, ": ", outcome.err);
}

/// A checkpoint without the timings in it: the same bytes, and so the same mutations, every time.
std::string checkpoint_text(const std::string& path, const std::string& copy) {
  TensorFile file = load_safetensors(path);
  LibraryJson state = library_json(file.metadata["state"]);
  for (const char* key : {"train_seconds", "wait_seconds"}) state[key] = 1.5;
  state["peak_memory_bytes"] = 1000000;
  state["metrics_bytes"] = 0;
  file.metadata["state"] = state.dump();
  save_safetensors(copy, file.tensors, file.metadata);
  return slurp(copy);
}

/// The same safetensors file without its checksums: damage gets further.
std::string without_checksums(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  LibraryJson header = library_json(bytes.substr(sizeof length, length)), &metadata = header["__metadata__"];
  LibraryJson kept = LibraryJson::object();
  for (const auto& [key, text] : metadata.items())
    if (!key.starts_with("xxh64")) kept[key] = text;
  metadata = kept;
  const std::string text = header.dump();
  const uint64_t now = text.size();
  return std::string(reinterpret_cast<const char*>(&now), sizeof now) + text + bytes.substr(sizeof length + length);
}

/// A place with data and finished runs, and the kinds that come of them.
class Maker {
 public:
  explicit Maker(const TemporaryFolder& folder);
  std::vector<Kind> take() && { return std::move(kinds_); }

 private:
  void add(Kind kind) { kinds_.push_back(std::move(kind)); }
  void add_runs();
  void add_plans();
  void add_arrays();
  void add_cifar();
  void add_collections();
  void add_captions();
  void add_images();

  std::string config_file(const std::string& name, const RunConfig& config) const {
    return folder_.write(name, config_text(config));
  }
  RunConfig image_config(const std::string& name) const;

  const TemporaryFolder& folder_;
  RunConfig config_;
  std::string config_path_;
  std::vector<Kind> kinds_;
};

Maker::Maker(const TemporaryFolder& folder) : folder_(folder), config_(tiny_config(folder.path("data"))) {
  write_tiny_data(folder.path("data"), {.train = 24, .test = 10});
  config_.data.validation = 6;
  config_.train.ema_decay = 0.9;
  config_.head.noise.rank = 2;
  config_.head.train_samples = config_.head.test_samples = 2;
  config_path_ = config_file("config.json", config_);
  // Where gnuplot is there or not, reports are drawn by this.
  folder_.write("bin/gnuplot", "#!/bin/sh\necho '<svg></svg>'\n");
  std::filesystem::permissions(folder_.path("bin/gnuplot"), std::filesystem::perms::owner_all);
  add_runs();
  add_plans();
  add_arrays();
  add_cifar();
  if (can_decode_images()) add_collections();
  if (can_decode_images() && can_tokenize()) add_captions();
  add_images();
}

void Maker::add_runs() {
  const RunFolder run{folder_.path("run")};
  const Words train = Words{"train", "--config", config_path_} + kSmall;
  make(train + Words{"--out", run.path.string()});
  const std::string last = checkpoint_text(run.last(), folder_.path("copy")),
                    best = checkpoint_text(run.best(), folder_.path("copy"));
  const Words go_on = train + Words{"--out", "@/run"};
  const std::map<std::string, std::string> beside = {
      {"run/last.safetensors", last}, {"run/best.safetensors", best}, {"run/metrics.jsonl", ""}};
  for (const std::string& bytes : {last, without_checksums(last)}) {
    const std::string how = bytes == last ? "" : "-without-checksums";
    add({.name = "checkpoint" + how,
         .original = bytes,
         .file = "file.safetensors",
         .words = {"evaluate", "@/file.safetensors", "--threads", "1", "--device", "cpu", "--samples", "2"}});
    add({.name = "last" + how, .original = bytes, .file = "run/last.safetensors", .words = go_on, .beside = beside});
  }
  add({.name = "best", .original = best, .file = "run/best.safetensors", .words = go_on, .beside = beside});
  add({.name = "summary",
       .text = true,
       .original = slurp(run.summary()),
       .file = "run/summary.json",
       .words = go_on,
       .beside = beside});
  add({.name = "run-config",
       .text = true,
       .original = slurp(run.config()),
       .file = "run/config.json",
       .words = go_on,
       .beside = {{"run/summary.json", slurp(run.summary())}}});
  add({.name = "config",
       .text = true,
       .original = slurp(config_path_),
       .file = "config.json",
       .words = Words{"train", "--config", "@/config.json", "--out", "@/run"} + kSmall});
}

void Maker::add_plans() {
  const LibraryJson plan = {{"about", {{"title", "t"}}},
                            {"base", library_json(config_text(config_))},
                            {"settings", {{"one", {{"data.noise_rate", 0.2}}}}},
                            {"heads", {{"DET", {{"head.kind", "det"}}}, {"XL", {{"head.rank", 2}}}}},
                            {"seeds", {0}}};
  const std::string path = folder_.write("plan.json", plan.dump(1));
  make(Words{"replicate", "--config", path, "--out", folder_.path("plan")} + kSmall);
  std::map<std::string, std::string> beside;
  for (const std::string head : {"DET", "XL"}) {
    const std::string run = "one/" + head + "/seed-0/";
    for (const std::string file : {"summary.json", "metrics.jsonl", "config.json"})
      beside["plan/" + run + file] = slurp(folder_.path("plan/" + run + file));
  }
  add({.name = "plan",
       .text = true,
       .original = plan.dump(1),
       .file = "plan.json",
       .words = Words{"replicate", "--config", "@/plan.json", "--out", "@/plan"} + kSmall});
  const Words report = Words{"replicate", "--config", path, "--out", "@/plan"} + kSmall;
  for (const std::string file : {"metrics.jsonl", "summary.json"}) {
    const std::string there = "plan/one/XL/seed-0/" + file;
    add({.name = "report-" + file,
         .text = true,
         .original = beside[there],
         .file = there,
         .words = report,
         .beside = beside});
  }
}

void Maker::add_arrays() {
  const std::string from = folder_.path("data/fashion-mnist/");
  std::map<std::string, std::string> beside;
  for (const char* name :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"})
    beside[std::string("data/fashion-mnist/") + name] = slurp(from + name);
  const Words train = Words{"train", "--config", config_path_, "--data-root", "@/data", "--out", "@/run"} + kSmall;
  for (const std::string name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}) {
    const std::string file = "data/fashion-mnist/" + name;
    add({.name = "idx-" + name.substr(6, 6), .original = beside[file], .file = file, .words = train, .beside = beside});
  }
  const std::string labels = "data/fashion-mnist/train-labels-idx1-ubyte", text = beside[labels];
  beside.erase(labels);
  add({.name = "gzip", .original = gzipped(text), .file = labels + ".gz", .words = train, .beside = beside});
  add({.name = "idx-in-gzip",
       .original = text,
       .file = labels + ".gz",
       .words = train,
       .beside = beside,
       .finished = gzipped});
}

/// CIFAR-10 with the records its files must have, of nothing but zeros; changed is the beginning of a file.
void Maker::add_cifar() {
  constexpr uintmax_t kBytes = 10000 * 3073;
  const std::string root = folder_.path("cifar-10/");
  std::filesystem::create_directories(root);
  std::map<std::string, std::string> links;
  for (const char* stem :
       {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"}) {
    const std::string name = std::string(stem) + ".bin";
    std::ofstream(root + name).flush();
    std::filesystem::resize_file(root + name, kBytes);
    links["c/cifar-10/" + name] = root + name;
  }
  save_npy(root + "cifar10n-clean.npy", Tensor::zeros({50000}, DType::i64));
  save_npy(root + "cifar10n-worst.npy", Tensor::zeros({50000}, DType::i64));
  save_npy(root + "cifar10h-counts.npy", Tensor::full({10000, 10}, 1.0, DType::i64));
  for (const std::string name : {"cifar10n-clean.npy", "cifar10n-worst.npy", "cifar10h-counts.npy"})
    links["c/cifar-10/" + name] = root + name;
  const std::string path = config_file("cifar.json", [&] {
    RunConfig c = config_;
    c.data = {};
    c.data.name = "cifar-10";
    c.data.labels = "worst";
    c.data.validation = 8;
    c.data.train_subset = 8;
    return c;
  }());
  for (const std::string name : {"data_batch_2.bin", "cifar10n-worst.npy", "cifar10h-counts.npy"}) {
    const std::string whole = slurp(root + name), begin = whole.substr(0, 400);
    std::map<std::string, std::string> others = links;
    others.erase("c/cifar-10/" + name);
    add({.name = name,
         .original = begin,
         .file = "c/cifar-10/" + name,
         .words = Words{"train", "--config", path, "--data-root", "@/c", "--out", "@/run"} + kSmall,
         .links = others,
         .finished = [rest = whole.substr(400)](const std::string& text) { return text + rest; },
         .slow = 40});
  }
}

RunConfig Maker::image_config(const std::string& name) const {
  RunConfig c = config_;
  c.data = {};
  c.data.name = name;
  c.data.train_pipeline = "decode|inception_crop(8)|flip|value_range(-1,1)";
  c.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  return c;
}

void Maker::add_collections() {
  const char* images[] = {"444", "png", "grey-jpeg", "webp"};
  std::string shard;
  for (size_t i = 0; i < 8; ++i) {
    const std::string key = "k" + std::to_string(i);
    shard += tar_member(key + (i % 4 == 1 ? ".png" : ".jpg"), image_text(images[i % 4]));
    shard += i % 2 == 0 ? tar_member(key + ".cls", std::to_string(i % 3)) : tar_member(key + ".json", "[0, 2]");
  }
  shard += tar_end();
  const std::string classes = "0\tn1\tcat, tabby\n1\tn2\tdog\n2\tn3\tfish\n";
  const std::map<std::string, std::string> beside = {
      {"d/train-0.tar", shard}, {"d/val-0.tar", shard}, {"d/classes.tsv", classes}};
  const std::string path = config_file("shards.json", image_config("shards"));
  const Words train = Words{"train", "--config", path, "--set", "data.path=@/d", "--out", "@/run"} + kSmall;
  add({.name = "shard", .original = shard, .file = "d/train-0.tar", .words = train, .beside = beside});
  add({.name = "shard-with-checksums",
       .original = shard,
       .file = "d/train-0.tar",
       .words = train,
       .beside = beside,
       .finished = with_checksums});
  add({.name = "shard-in-gzip",
       .original = gzipped(shard),
       .file = "d/train-0.tar.gz",
       .words = train,
       .beside = {{"d/val-0.tar", shard}, {"d/classes.tsv", classes}},
       .may_be_refused = true});
  add({.name = "init",
       .original = slurp("tests/fixtures/init-resnet.safetensors"),
       .file = "file.safetensors",
       .words = train + Words{"--init", "@/file.safetensors", "--set", "model.base_width=8", "--set",
                              "model.stem=imagenet", "--set", "model.blocks=[1,1]"},
       .beside = beside});
  add({.name = "class-list",
       .text = true,
       .original = classes,
       .file = "d/classes.tsv",
       .words = train,
       .beside = beside});
}

void Maker::add_captions() {
  RunConfig config = image_config("caption-tsv");
  config.task = TaskKind::contrastive;
  config.text.context = 40;
  config.text.width = 8;
  config.text.depth = 1;
  config.text.heads = 1;
  config.text.pieces = 60;
  config.contrast.width = 8;
  config.contrast.noise.rank = 1;
  config.contrast.train_samples = 1;
  config.optimizer.kind = OptimizerKind::adamw;
  const std::string table =
      "1.jpg\ta small cat\n2.png\tthe dog is here\n1.jpg\tanother cat, grün\n2.png\ta dog\n"
      "1.jpg\tthree of them\n2.png\tnothing else\n1.jpg\tit sits\n2.png\tit runs\n";
  const std::map<std::string, std::string> beside = {
      {"d/1.jpg", image_text("444")}, {"d/2.png", image_text("png")}, {"d/train.tsv", table}, {"d/test.tsv", table}};
  config.data.validation = 0;
  const std::string path = config_file("captions.json", config);
  const Words contrast = Words{"contrast", "--config", path, "--set", "data.path=@/d", "--out", "@/run"} + kSmall;
  add({.name = "caption-table",
       .text = true,
       .original = table,
       .file = "d/train.tsv",
       .words = contrast,
       .beside = beside});
  const std::string vocabulary = slurp("tests/fixtures/tokenizer.model");
  add({.name = "tokenizer",
       .original = vocabulary,
       .file = "v.model",
       .words = contrast + Words{"--set", "text.vocabulary=@/v.model"},
       .beside = beside});

  // A locked tower's representations: the file's name is its fingerprint.
  RunConfig locked = config;
  locked.data = config_.data;
  locked.data.train_pipeline = locked.data.eval_pipeline;
  locked.captions.templates = "plain";
  locked.contrast.lock_image = true;
  const Words lit =
      Words{"contrast", "--config", config_file("lit.json", locked), "--init", folder_.path("run/last.safetensors")} +
      kSmall;
  make(lit + Words{"--out", folder_.path("lit"), "--set", "contrast.features=" + folder_.path("features")});
  const auto features = *std::filesystem::directory_iterator(folder_.path("features"));
  add({.name = "features",
       .original = slurp(features.path().string()),
       .file = "features/" + features.path().filename().string(),
       .words = lit + Words{"--out", "@/run", "--set", "contrast.features=@/features"}});
}

/// An uncompressed TIFF of 2×2 gray pixels, and the smallest GIF.
std::string tiff() {
  std::string bytes("II*\0\x0c\0\0\0\x10\x40\x80\xf0\x09\0", 14);
  const int entries[][4] = {{256, 3, 1, 2}, {257, 3, 1, 2}, {258, 3, 1, 8}, {259, 3, 1, 1}, {262, 3, 1, 1},
                            {273, 4, 1, 8}, {277, 3, 1, 1}, {278, 3, 1, 2}, {279, 4, 1, 4}};
  for (const auto& e : entries) {
    const auto number = [&](int value, int size) {
      for (int i = 0; i < size; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
    };
    number(e[0], 2);
    number(e[1], 2);
    number(e[2], 4);
    number(e[3], 4);
  }
  return bytes + std::string(4, '\0');
}
std::string gif() {
  return {"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;", 43};
}

void Maker::add_images() {
  const std::pair<std::string, std::string> images[] = {{"jpg", image_text("444")},
                                                        {"progressive-jpg", image_text("progressive")},
                                                        {"turned-jpg", image_text("6/jpeg")},
                                                        {"png", image_text("png")},
                                                        {"palette-png", image_text("palette-png")},
                                                        {"deep-png", image_text("deep-colour-png")},
                                                        {"webp", image_text("webp")},
                                                        {"bmp", image_text("bmp")},
                                                        {"ppm", image_text("ppm")},
                                                        {"plain-ppm", image_text("p3-255")},
                                                        {"gif", gif()},
                                                        {"tiff", tiff()}};
  for (const auto& [name, bytes] : images) {
    const std::string file = "a." + name.substr(name.rfind('-') + 1);
    add({.name = name,
         .text = name == "plain-ppm",
         .original = bytes,
         .file = file,
         .words = {"predict", folder_.path("run/last.safetensors"), "@/" + file, "--threads", "1", "--device", "cpu",
                   "--samples", "2"},
         .may_be_refused = name == "gif" || name == "tiff" || !can_decode_images()});
  }
}

}  // namespace

std::vector<Kind> kinds_in(const TemporaryFolder& folder) { return Maker(folder).take(); }

}  // namespace sked::test

// Mistakes that users make, as tables: what was typed, how the program ends, words that have to be in its one line.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "core/safetensors.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;
using namespace std::string_literals;

namespace {

/// A command line: words between blanks, in '...' as they are; @ is the folder of the test.
struct Mistake {
  std::string typed;
  int code;
  std::vector<std::string> words;
};

std::vector<std::string> words_of(const std::string& typed, const std::string& folder) {
  std::vector<std::string> words(1);
  bool quoted = false;
  for (const char c : typed) {
    if (c == '\'')
      quoted = !quoted;
    else if (c == ' ' && !quoted)
      words.emplace_back();
    else
      words.back() += c == '@' ? folder : std::string(1, c);
  }
  return words;
}

/// Every file and folder below, with its bytes and when it was last written.
std::map<std::string, std::pair<uint64_t, int64_t>> listing(const std::string& folder) {
  namespace fs = std::filesystem;
  std::map<std::string, std::pair<uint64_t, int64_t>> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    files[entry.path().string()] = {entry.is_regular_file() ? entry.file_size() : 0,
                                    entry.is_regular_file() ? entry.last_write_time().time_since_epoch().count() : 0};
  return files;
}

std::vector<std::string> error_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("error:")) lines.push_back(line);
  return lines;
}

/// The commands that would write somewhere of their own choice get a place that must not be there afterwards.
void add_place(std::vector<std::string>& words, const std::string& folder) {
  const auto given = [&](const char* option) { return std::ranges::find(words, option) != words.end(); };
  const bool trains =
      words[0] == "train" || words[0] == "replicate" || (words[0] == "contrast" && !given("--evaluate"));
  if (trains && !given("--out")) words.insert(words.end(), {"--out", folder + "/new"});
}

void check(const Mistake& mistake, const TemporaryFolder& folder) {
  CAPTURE(mistake.typed);
  std::vector<std::string> words = words_of(mistake.typed, folder.path());
  add_place(words, folder.path());
  const auto before = listing(folder.path());
  const Outcome outcome = run_program(words);
  CAPTURE(outcome.err);
  CHECK(outcome.code == mistake.code);
  const std::vector<std::string> lines = error_lines(outcome.err);
  REQUIRE(lines.size() == 1);
  std::string line = lines.front();
  for (const std::string& wanted : mistake.words)
    CHECK_MESSAGE(line.find(words_of("'" + wanted + "'", folder.path()).front()) != line.npos, "not in it: " << wanted);
  for (size_t at = 0; (at = line.find(folder.path())) != line.npos;) line.erase(at, folder.path().size());
  CHECK(line.size() <= 300);
  for (const char* inside :
       {"std::", "sked::", "CLI::", "nlohmann", "exception", "basic_string", ".cpp", ".h:", "e+308"})
    CHECK_MESSAGE(line.find(inside) == line.npos, "in it: " << inside);
  CHECK(listing(folder.path()) == before);
}

void check_all(const std::vector<Mistake>& mistakes, const TemporaryFolder& folder) {
  for (const Mistake& mistake : mistakes) check(mistake, folder);
}

/// Images of two sizes in folders of two classes.
void write_photos(const TemporaryFolder& folder, const std::string& name, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    for (const std::string kind : {"cat", "dog"})
      for (int i = 0; i < 3; ++i) {
        const int side = 9 + i;
        folder.write(name + "/" + part + "/" + kind + "/" + std::to_string(i) + ".ppm",
                     "P6 " + std::to_string(side) + " 9 255 " + std::string(static_cast<size_t>(3 * 9 * side), 'x'));
      }
}

/// What the table speaks of.
struct Place : TrainPlace {
  Place() {
    RunConfig c = config();
    c.train.steps = 2;
    write_config(c);
    REQUIRE(run_program(command("run")).code == 0);
    namespace fs = std::filesystem;
    fs::create_directories(folder.path("plan/noisy/HET-XL"));
    fs::copy(folder.path("run"), folder.path("plan/noisy/HET-XL/seed-0"), fs::copy_options::recursive);
    fs::copy(folder.path("run"), folder.path("light"), fs::copy_options::recursive);
    for (const char* file : {"light/last.safetensors", "light/best.safetensors"}) fs::remove(folder.path(file));
    folder.write("plan.json",
                 R"({"base": )" + config_text(c) + R"(, "heads": {"A": {"head.kind": "det"}}, "seeds": [0]})");
    fs::create_directories(folder.path("empty"));
    write_photos(folder, "photos", {"train", "test"});
    for (const char* part :
         {"torn/train/cat/0.jpg", "torn/train/dog/0.jpg", "torn/test/cat/0.jpg", "torn/test/dog/0.jpg"})
      folder.write(part, "what a failed download left");
    write_photos(folder, "single", {"."});
    fs::remove_all(folder.path("single/dog"));
    folder.write("mine/config.json", R"({"mine": true})");
  }
};

/// Made once.
const TemporaryFolder& the_place() {
  static const Place place;
  return place.folder;
}

}  // namespace

TEST_CASE("mistakes: options") {
  const std::string train = "train --config @/run.json ";
  check_all({{"train", 2, {"expected --config FILE"}},
             {train + "--seed -1", 2, {"--seed", "at least 0", "got -1"}},
             {train + "--seed 1e400", 2, {"--seed", "an integer", "got 1e400"}},
             {train + "--seed 99999999999999999999", 2, {"--seed", "got 99999999999999999999"}},
             {train + "--epochs 3", 2, {"--epochs: no such option", "did you mean --set train.epochs=...?"}},
             {train + "--lr 0.1", 2, {"did you mean --set schedule.peak=...?"}},
             {train + "--batch-size 3", 2, {"did you mean --set train.batch_size=...?"}},
             {train + "--gpu 0", 2, {"--gpu: no such option", "did you mean --device?"}},
             {"train -config @/run.json", 2, {"-config", "did you mean --config?"}},
             {"train @/run.json", 2, {"not expected", "did you mean --config @/run.json?"}},
             {train + "--set train.epochs=3 train.steps=2", 2, {"did you mean --set train.steps=2?"}},
             {train + "--threads 2 --threads 3", 2, {"--threads", "given twice"}},
             {train + "--init=~/weights", 2, {"~/weights", "$HOME"}},
             {"train --config", 2, {"--config", "expected FILE"}},
             {train + "--threads 0", 2, {"--threads", "1 to 1024", "0"}},
             {train + "--device tpu", 2, {"--device", "tpu", "auto", "cuda"}},
             {train + "--device gpu", 2, {"--device: expected one of auto, cpu, cuda, got gpu (see"}},
             {train + "--precision fp16", 2, {"--precision", "fp16", "bf16"}},
             {train + "--set train.epochs", 2, {"--set train.epochs", "expected key.path=value"}},
             {"evaluate", 2, {"checkpoint", "required"}},
             {"evaluate @/run --split best", 2, {"--split", "best", "validation"}},
             {"evaluate @/run --samples -1", 2, {"--samples", "-1", "0 to 1000000"}},
             {"evaluate @/run --calibrate train", 2, {"--calibrate", "train", "validation"}},
             {"evaluate @/run --mahalanobis", 2, {"--mahalanobis", "--ood"}},
             {"evaluate @/run --predictions @/p.xls", 2, {"p.xls", ".safetensors, .npz or .csv"}},
             {"evaluate @/run --calibrated temperature", 1, {"calibration.json", "--calibrate validation"}},
             {"predict @/run", 2, {"image files or folders", "--list FILE"}},
             {"predict @/run @/photos/test/cat/0.ppm --top 0", 2, {"--top", "1 to 1000"}},
             {"predict @/run @/photos/test/cat/0.ppm --zero-shot 'a cat'", 2, {"--zero-shot", "build/contrast"}},
             {"predict @/run @/photos/test/cat/0.ppm --png @/a.png", 2, {"--png", "did you mean --html?"}},
             {"predict @/run @/photos/test/cat/0.ppm --csv -  --json -", 2, {"one of them on stdout"}},
             {"predict @/run @/photos/test/cat/0.ppm --csv @/a --json @/./a", 2, {"/a: expected another file"}},
             {"predict @/run @/photos/test/cat/0.ppm --html -", 2, {"--html", "name, got -"}},
             {"evaluate @/run --covariance @/c --predictions @/c.safetensors", 2, {"/c.safetensors: expected another"}},
             {"predict @/run @/photos/test/cat/0.ppm --csv ''", 2, {"--csv: expected FILE", "an empty word"}},
             {train + "--out ''", 2, {"--out: expected DIR", "an empty word"}},
             {train + "--out=", 2, {"--out: expected DIR", "an empty word"}},
             {"evaluate @/run --out ''", 2, {"--out: expected DIR", "an empty word"}},
             {"evaluate ''", 2, {"checkpoint"}},
             {"train --config ''", 2, {"--config: expected FILE", "an empty word"}},
             {"train --images '' --model resnet18", 2, {"--images: expected DIR", "an empty word"}},
             {"contrast --dataset cifar-10", 2, {"--dataset cifar-10", "--evaluate RUN"}},
             {"features @/run", 2, {"--out", "a folder"}},
             {"features @/run --layer conv9 --out @/new", 2, {"--layer conv9", "representation, layer1"}},
             {"scale --width nine", 2, {"--width", "nine", "ViT-Ti"}},
             {"scale --heads hetxl", 2, {"--heads", "hetxl", "HET-XL"}},
             {"scale --width 8 --classes 10 --rank 20", 2, {"--rank", "8", "got 20"}},
             {"scale --config @/run.json", 2, {"--config has no meaning here"}},
             {"bench nothing", 2, {"nothing", "kernels", "loader"}},
             {"bench kernels --rounds 0", 2, {"--rounds", "1 to 1000"}},
             {"bench kernels --only nothing", 2, {"--only", "no case"}},
             {"replicate", 2, {"--config"}}},
            the_place());
}

TEST_CASE("mistakes: a page of results, beside what runs something") {
  const std::string page = "replicate --report @/plan ";
  const std::vector<std::string> nothing{"--report runs nothing", "--out FILE beside it at most"};
  check_all({{page + "--config @/plan.json", 2, {"--report: expected neither --config nor --images"}},
             {page + "--images @/photos", 2, {"--report: expected neither --config nor --images"}},
             {page + "--set train.steps=1", 2, nothing},
             {page + "--seed 1", 2, nothing},
             {page + "--fresh", 2, nothing},
             {page + "--dry-run", 2, nothing},
             {page + "--full", 2, nothing},
             {page + "--print-config", 2, nothing},
             {"replicate --report @/plan", 1, {"plan: expected results.json of plans with a `study`"}},
             {"replicate --report @/none", 1, {"none: expected a folder of results"}},
             {"replicate --report @/plan.json", 1, {"plan.json: expected a folder of results"}},
             {"replicate --report", 2, {"--report", "expected DIR"}}},
            the_place());
}

TEST_CASE("mistakes: plans of own images") {
  const std::string own_plan = "replicate --images @/photos --model resnet18 ";
  check_all({{"replicate --images @/photos", 2, {"--model: expected a network beside --images"}},
             {"replicate --images @/photos --config @/plan.json",
              2,
              {"--config PLAN.json, --images DIR --model NAME, or --report DIR"}},
             {own_plan + "--heads det,hexl", 2, {"--heads: expected one of det", "did you mean \"het-xl\"?"}},
             {own_plan + "--heads det,,het", 2, {"--heads: expected one of det", "got nothing"}},
             {own_plan + "--heads det,det", 2, {"--heads", "det is there twice"}},
             {own_plan + "--head det", 2, {"--head: no such option", "did you mean --heads?"}},
             {own_plan + "--seeds 0", 2, {"--seeds", "1 to 1000", "got 0"}},
             {own_plan + "--seeds 0,1,2", 2, {"--seeds", "1 to 1000", "got 0,1,2"}}},
            the_place());
}

TEST_CASE("mistakes: keys and values of --set") {
  const std::string set = "train --config @/run.json --set ";
  check_all({{set + "lr=0.1", 2, {"unknown key lr", "did you mean schedule.peak?"}},
             {set + "optimizer.learning_rate=0.1", 2, {"did you mean schedule.peak?"}},
             {set + "samples=8", 2, {"did you mean head.train_samples?"}},
             {set + "epochs=3", 2, {"did you mean train.epochs?"}},
             {set + "train.batch=64", 2, {"did you mean train.batch_size?"}},
             {set + "dropout=0.1", 2, {"did you mean model.dropout?"}},
             {set + "wd=0.1", 2, {"did you mean optimizer.weight_decay?"}},
             {set + "momentum=0.9", 2, {"did you mean optimizer.momentum?"}},
             {set + "head_lr=0.1", 2, {"did you mean optimizer.head_lr_scale?"}},
             {set + "train.keep=3", 2, {"did you mean train.keep_checkpoints?"}},
             {set + "train.freeze=layer9", 2, {"train.freeze", "layer9", "layer1"}},
             {set + "optimizer.layer_decay=2", 2, {"optimizer.layer_decay", "(0, 1]", "got 2"}},
             {set + "gpu=0", 2, {"did you mean --device?"}},
             {set + "arch=vit-ti", 2, {"did you mean model.name?"}},
             {set + "model=vit-ti", 2, {"model is a section", "model.name?"}},
             {set + "dataset=cifar-10", 2, {"did you mean data.name?"}},
             {set + "num_classes=10", 2, {"the data says how many classes"}},
             {set + "head.rnak=3", 2, {"did you mean head.rank?"}},
             {set + "zzzz=1", 2, {"unknown key zzzz", "the sections are about, task, data"}},
             {set + "captions.templates=photo", 2, {"task contrastive"}},
             {set + "head.kind=hexl", 2, {"det, het, het-xl", "did you mean \"het-xl\"?"}},
             {set + "head.kind=HETXL", 2, {"did you mean \"het-xl\"?"}},
             {set + "head.kind=het_xl", 2, {"did you mean \"het-xl\"?"}},
             {set + "optimizer.kind=Adam", 2, {"did you mean \"adam\"?"}},
             {set + "optimizer.kind=rmsprop", 2, {"sgd, adam, adamw", "got \"rmsprop\""}},
             {set + "model.name=ResNet-18", 2, {"did you mean \"resnet18\"?"}},
             {set + "model.name=vit_small_patch16_224", 2, {"did you mean \"vit-s\"?"}},
             {set + "model.name=efficientnet", 2, {"unknown backbone efficientnet", "known: vit-ti"}},
             {set + "data.name=FashionMNIST", 2, {"did you mean \"fashion-mnist\"?"}},
             {set + "data.name=svhn", 2, {"unknown dataset \"svhn\"; known: fashion-mnist"}},
             {set + "schedule.peak=NaN", 2, {"schedule.peak", "a number", "NaN"}},
             {set + "schedule.peak=-0.1", 2, {"schedule.peak", "above 0", "-0.1"}},
             {set + "train.epochs=1e400", 2, {"train.epochs", "1e400"}},
             {set + "train.batch_size=16.5", 2, {"train.batch_size", "an integer", "16.5"}},
             {set + "train.batch_size=99999999999999999999", 2, {"train.batch_size", "an integer"}},
             {set + "seed=-1", 2, {"seed", "-1"}},
             {set + "data.noise_rate=-0.2", 2, {"data.noise_rate", "-0.2"}},
             {set + "data.noise=asymmetric", 2, {"symmetric, pair, instance, heteroscedastic, got \"asymmetric\""}},
             {set + "head.rank=90", 2, {"head.rank", "90"}},
             {set + "head.temperature=0", 2, {"head.temperature", "0"}},
             {set + "head.learn_temperature=True", 2, {"true or false", "True"}},
             {set + "model.blocks=1,1", 2, {"model.blocks", "[1,2]"}},
             {set + "model.patch=4", 2, {"model.patch", "not a setting of resnet-cifar"}},
             {set + "data.validation=100000", 2, {"data.validation", "199", "100000"}},
             {set + "data.train_subset=100000", 2, {"data.train_subset", "100000"}},
             {set + "data.labels=worst", 2, {"label set", "worst", "clean"}},
             {set + "train.label_smoothing=2", 2, {"train.label_smoothing", "[0, 1)", "2"}},
             {set + "task=contrastive", 2, {"build/contrast"}},
             {set + "data.train_pipeline=RandomCrop(8,1)|value_range(-1,1)", 2, {"did you mean \"random_crop\"?"}},
             {set + "data.train_pipeline=random_crop(8,1)", 2, {"value_range"}},
             {set + "data.train_pipeline=value_range(-1,1)|flip", 2, {"flip", "out of order"}},
             {set + "data.train_pipeline=resize(8|value_range(-1,1)", 2, {"resize(8", "name(arguments)"}},
             {set + "data.train_pipeline=value_range(1,-1)", 2, {"value_range(1,-1)", "lo < hi"}}},
            the_place());
}

TEST_CASE("mistakes: files of configurations") {
  const TemporaryFolder& f = the_place();
  f.write("blank.json", "");
  f.write("utf16.json", "\xFF\xFE{\0}\0"s);
  f.write("slashes.json", "{\n  // mine\n  \"seed\": 1\n}");
  f.write("hash.json", "{\n  \"seed\": 1  # mine\n}");
  f.write("comma.json", "{\n  \"seed\": 1,\n}");
  f.write("no_comma.json", "{\n  \"seed\": 1\n  \"task\": \"classification\"\n}");
  f.write("python.json", "{\"head\": {\"learn_temperature\": True}}");
  f.write("quotes.json", "{'seed': 1}");
  f.write("run.yaml", "seed: 1\nmodel:\n  name: vit-ti\n");
  f.write("list.json", "[1, 2]");
  f.write("photo.jpg", "\xff\xd8\xff\xe0\0\x10JFIF\0\1"s);
  f.write("short.json", R"({"model": "vit-ti"})");
  f.write("home.json", R"({"data": {"root": "~/data"}})");
  f.write("typo.json", R"({"haed": {"kind": "det"}})");
  f.write("heads.json", R"({"base": {}, "head": {"A": {}}})");
  check_all({{"train --config @/none.json", 1, {"none.json", "No such file"}},
             {"train --config @/photos", 2, {"photos: a folder, expected a JSON file"}},
             {"train --config @/run", 2, {"run: a folder", "run/config.json?"}},
             {"train --config @/blank.json", 2, {"blank.json", "it is empty"}},
             {"train --config @/utf16.json", 2, {"utf16.json", "UTF-16"}},
             {"train --config @/slashes.json", 2, {"slashes.json:2:3", "JSON has no comments"}},
             {"train --config @/hash.json", 2, {"hash.json:2:14", "JSON has no comments"}},
             {"train --config @/comma.json", 2, {"comma.json:3:1", "a comma before the closing bracket"}},
             {"train --config @/no_comma.json", 2, {"no_comma.json:3:", "a comma is missing"}},
             {"train --config @/python.json", 2, {"python.json:1:", "lower case"}},
             {"train --config @/quotes.json", 2, {"quotes.json:1:2", "double quotes"}},
             {"train --config @/run.yaml", 2, {"run.yaml:1:1", "an object in braces"}},
             {"train --config @/list.json", 2, {"list.json", "an object", "[1,2]"}},
             {"train --config @/photo.jpg", 2, {"photo.jpg: expected JSON, got a JPEG image"}},
             {"train --config @/run/last.safetensors", 2, {"expected JSON, got a safetensors file"}},
             {"train --config @/short.json", 2, {"model: expected an object, got \"vit-ti\"", "model.name?"}},
             {"train --config @/home.json", 2, {"data.root: ~/data", "the whole path"}},
             {"train --config @/typo.json", 2, {"unknown key haed", "did you mean head?"}},
             {"train --config @/plan.json", 2, {"a plan", "build/replicate"}},
             {"replicate --config @/run.json", 2, {"a configuration of one run", "build/train"}},
             {"replicate --config @/heads.json", 2, {"unknown key `head`", "did you mean \"heads\"?"}},
             {"contrast --config @/run.json", 2, {"task", "classification", "build/train"}}},
            f);
}

TEST_CASE("mistakes: files of weights, and runs") {
  const TemporaryFolder& f = the_place();
  f.write("resnet18.pth", "PK\x03\x04" + std::string(22, '\0') + "\x11\0\0\0resnet18/data.pkl"s + std::string(64, 'Z'));
  f.write("old.pt", "\x80\x02\x8a\nl\xfc\x9c"s + "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03");
  f.write("README.md", "# ResNet-18\n\nWeights of ImageNet.\n");
  f.write("photo.jpg", "\xff\xd8\xff\xe0\0\x10JFIF\0\1"s);
  f.write("page.html", "<!DOCTYPE html><html>not found</html>");
  f.write("lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46827520\n");
  f.write("blank.safetensors", "");
  const std::string whole = slurp(f.path("run/last.safetensors"));
  f.write("cut.safetensors", whole.substr(0, whole.size() - 100));
  f.write("begin.safetensors", whole.substr(0, 5));
  save_safetensors(
      f.path("resnet.safetensors"),
      {{"conv1.weight", Tensor::zeros(Shape{4, 1, 3, 3})}, {"layer1.0.conv1.weight", Tensor::zeros(Shape{4, 4, 3, 3})}},
      {});
  save_safetensors(f.path("vit.safetensors"), {{"patch_embed.proj.weight", Tensor::zeros(Shape{192, 1, 4, 4})}}, {});
  const std::string init = "train --config @/run.json --init ";
  check_all({{init + "@/resnet18.pth", 1, {"resnet18.pth", "torch.save", "save_file(torch.load("}},
             {init + "@/old.pt", 1, {"old.pt", "older torch.save", "save_file(torch.load("}},
             {init + "@/README.md", 1, {"expected a safetensors file, got a text file"}},
             {init + "@/photo.jpg", 1, {"got a JPEG image"}},
             {init + "@/page.html", 1, {"got a page of HTML"}},
             {init + "@/lfs.safetensors", 1, {"git lfs pull"}},
             {init + "@/blank.safetensors", 1, {"blank.safetensors: an empty file"}},
             {init + "@/cut.safetensors", 1, {"it is cut off"}},
             {init + "@/begin.safetensors", 1, {"a file of 5 bytes"}},
             {init + "@/run.json", 1, {"got a JSON file"}},
             {init + "@/none.safetensors", 1, {"none.safetensors", "No such file"}},
             {init + "resnet50", 1, {"resnet50: no such file or folder", "none are fetched by a name"}},
             {init + "@/plan", 1, {"plan", "noisy/HET-XL/seed-0"}},
             {init + "@/photos", 1, {"photos", "not a run folder"}},
             {init + "@/vit.safetensors", 1, {"a vision transformer", "a residual network", "model.name"}},
             {"evaluate @/none", 2, {"none"}},
             {"evaluate @/photos", 1, {"photos", "not a run folder"}},
             {"evaluate @/plan", 1, {"plan", "noisy/HET-XL/seed-0"}},
             {"evaluate @/light", 1, {"a run without weights"}},
             {"evaluate @/run.json", 1, {"got a JSON file"}},
             {"evaluate @/resnet.safetensors", 2, {"not a checkpoint of this program", "--config FILE"}},
             {"evaluate @/run @/run2", 2, {"run2"}},
             {"evaluate @/run --set head.kind=det", 2, {"another network", "head.kind"}},
             {"evaluate @/run --ood svhn", 2, {"unknown dataset \"svhn\""}},
             {"evaluate @/run --ood fashion-mnist", 2, {"--ood fashion-mnist", "was trained on it"}},
             {"evaluate @/run --ood image-folder", 2, {"image-folder:PATH"}},
             {"evaluate @/run --set data.name=cifar-10", 2, {"trained on gray images", "cifar-10 are color"}},
             {"evaluate @/run --set data.name=image-folder --set data.path=@/photos", 2, {"trained on gray images"}},
             {"evaluate @/run --ood image-folder:@/torn", 1, {"torn/train/cat/0.jpg", "expected a JPEG"}},
             {"evaluate @/run --few-shot image-folder:@/torn", 1, {"torn/train/cat/0.jpg", "expected a JPEG"}},
             {"evaluate @/run --ood @/photos", 2, {"image-folder:@/photos"}},
             {"evaluate @/run --few-shot nothing", 2, {"unknown dataset \"nothing\""}},
             {"evaluate @/run --shift @/photos", 1, {"photos", "<corruption>.npy"}},
             {"evaluate @/run --data-root @/none", 1, {"make data DATASETS=\"fashion-mnist\""}},
             {"contrast --evaluate @/run", 2, {"classification", "build/evaluate"}},
             {"predict @/run.json @/photos/test/cat/0.ppm", 1, {"got a JSON file"}},
             {"predict @/run @/none.jpg", 1, {"none.jpg", "No such file"}},
             {"predict @/run @/README.md", 1, {"README.md", "expected a JPEG"}},
             {"features @/run @/none.jpg --out @/new.safetensors", 1, {"none.jpg", "No such file"}}},
            f);
}

TEST_CASE("mistakes: data that is not there, and places that cannot be written") {
  const std::string train = "train --config @/run.json ";
  check_all(
      {{train + "--data-root @/none", 1, {"no file", "make data DATASETS=\"fashion-mnist\""}},
       {train + "--set data.name=cifar-10", 1, {"make data DATASETS=\"cifar-10\""}},
       {train + "--set data.name=tiny-imagenet-200", 1, {"make data DATASETS=\"tiny-imagenet-200\""}},
       {train + "--set data.name=image-folder", 2, {"data.path", "image-folder"}},
       {train + "--set data.name=image-folder --set data.path=@/none", 1, {"data.path: cannot read", "none"}},
       {train + "--set data.name=image-folder --set data.path=@/photos", 2, {"data.validation", "got 40"}},
       {"train --images @/photos", 2, {"--model: expected a network beside --images"}},
       {"train --images @/none --model resnet18", 2, {"none", "no such folder"}},
       {"train --images @/single --model resnet18", 1, {"single", "at least two classes", "got 1, cat"}},
       {"train --images @/photos --model resnet18 --out @/photos/run", 2, {"--out: ", "photos/run lies in", "outside"}},
       {"replicate --images @/none --model resnet18", 2, {"none", "no such folder"}},
       {"replicate --images @/single --model resnet18", 1, {"single", "at least two classes", "got 1, cat"}},
       {"replicate --images @/empty --model resnet18", 1, {"empty"}},
       {"train --images @/photos --model resnet-18", 2, {"did you mean \"resnet18\"?"}},
       {"train --images @/photos --model resnet18 --head hexl", 2, {"hexl", "het-xl"}},
       {train + "--set data.path=@/photos", 2, {"data.path", "fashion-mnist"}},
       {train + "--set data.name=shards --set data.path=@/photos", 1, {"no shards", "train*.tar"}},
       {train + "--set data.name=embeddings --set data.path=@/photos", 1, {"data.path", "photos/train.safetensors"}},
       {train + "--set few_shot.data=cifar-10", 1, {"few_shot.data", "make data"}},
       {train + "--set few_shot.data=image-folder:@/torn", 1, {"few_shot.data", "torn/train/cat/0.jpg"}},
       {train + "--set data.root=~/data", 2, {"--set", "data.root=~/data", "$HOME"}},
       {train + "--set few_shot.data=nothing", 2, {"few_shot.data", "unknown dataset \"nothing\""}},
       {train + "--out @/run --set head.rank=1", 2, {"another configuration", "head.rank differs", "--fresh"}},
       {train + "--out @/run --set train.steps=1", 2, {"train.steps", "at least that, got 1", "--fresh"}},
       {train + "--out @/run.json", 1, {"run.json", "Not a directory"}},
       {train + "--out @/mine", 1, {"mine/config.json", "nothing in it is touched"}},
       {train + "--out /proc/none/run", 1, {"cannot create the folder /proc/none/run"}},
       {"evaluate @/run --out @/run.json", 1, {"run.json", "Not a directory"}},
       {"predict @/run @/photos/test/cat/0.ppm --json @/mine/config.json", 1, {"mine/config.json", "not touched"}},
       {"predict @/run @/photos/test/cat/0.ppm --csv @/photos", 1, {"photos", "Is a directory"}},
       {"predict @/run @/photos/test/cat/0.ppm --csv @/none/a.csv", 1, {"none/a.csv", "No such file"}},
       {"predict @/run @/photos/test/cat/0.ppm --csv /proc/a.csv", 1, {"/proc/a.csv", "cannot write"}},
       {"predict @/run @/photos/test/cat/0.ppm --csv @/photos/test/cat/0.ppm", 1, {"cat/0.ppm", "not touched"}},
       {"predict @/run @/photos/test/cat/0.ppm --csv @/run/metrics.csv", 1, {"metrics.csv", "not touched"}},
       {"replicate --config @/plan.json --out @/run.json", 1, {"run.json", "Not a directory"}},
       {"features @/run --out @/run.json", 1, {"run.json", "Not a directory"}},
       {"scale --width 8 --classes 10 --rank 2 --out @/run.json", 1, {"run.json", "Not a directory"}},
       {"bench kernels --only layer_norm --rounds 1 --out @/photos", 1, {"photos", "Is a directory"}}},
      the_place());
}

// What predict says of covariances, against the head's own parameters; and the program on real files.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/common/measure/uncertainty.h"
#include "apps/common/run/run_folder.h"
#include "apps/predict/answer.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "data/image_file.h"
#include "layers/heads/make_head.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

constexpr int64_t kClasses = 4, kWidth = 3, kRank = 2;

std::unique_ptr<Head> het_head() {
  HeadConfig config;
  config.kind = HeadKind::het;
  config.noise.factors = Factors::full;
  config.noise.rank = kRank;
  config.temperature.value = 2;
  Init init(3);
  return make_head(config, kWidth, kClasses, init);
}

/// Covariance of the logits over τ less their mean over classes, from the head's parameters: C Σ C / τ².
std::vector<double> closed_form(const Head& head, const std::vector<double>& phi) {
  std::map<std::string, std::vector<float>> parameters;
  for (const NamedVar& p : head.parameters()) parameters[p.name] = p.var.value().to_vector<float>();
  const auto affine = [&](const std::string& name, size_t row) {
    double sum = static_cast<double>(parameters.at(name + ".bias")[row]);
    for (size_t i = 0; i < kWidth; ++i)
      sum += phi[i] * static_cast<double>(parameters.at(name + ".weight")[row * kWidth + i]);
    return sum;
  };
  std::vector<double> sigma(kClasses * kClasses, 0.0);
  for (size_t a = 0; a < kClasses; ++a) {
    for (size_t b = 0; b < kClasses; ++b)
      for (size_t r = 0; r < kRank; ++r)
        sigma[a * kClasses + b] += affine("noise.factors", a * kRank + r) * affine("noise.factors", b * kRank + r);
    const double d = std::log1p(std::exp(affine("noise.diagonal", a))) + 1e-3;
    sigma[a * kClasses + a] += d * d;
  }
  std::vector<double> result(kClasses * kClasses, 0.0);
  const auto c = [](size_t i, size_t j) { return (i == j ? 1.0 : 0.0) - 1.0 / kClasses; };
  for (size_t a = 0; a < kClasses; ++a)
    for (size_t b = 0; b < kClasses; ++b)
      for (size_t i = 0; i < kClasses; ++i)
        for (size_t j = 0; j < kClasses; ++j)
          result[a * kClasses + b] += c(a, i) * sigma[i * kClasses + j] * c(j, b) / 4;
  return result;
}

}  // namespace

namespace {

/// Predicts what it is given, one sample after the other.
class RecordedHead final : public Head {
 public:
  explicit RecordedHead(Tensor samples) : samples_(std::move(samples)) {}  // (S,B,K)
  Var loss(const Var&, const Targets&, const Context&) override { return {}; }
  Tensor predict(const Tensor&, int64_t, const Context&) override {
    const int64_t s = next_++;
    return samples_.rows(s, s + 1).reshape({samples_.dim(1), samples_.dim(2)});
  }
  Tensor classifier_logits(const Tensor&) override { return {}; }
  Tensor noise_scale(const Tensor&) override { return {}; }
  Tensor noise_variance(const Tensor&) override { return {}; }
  NoiseParts noise_parts(const Tensor&) override { return {}; }
  Tensor logit_covariance(const Tensor&) override { return {}; }
  double temperature() const override { return 1; }
  int64_t extra_parameters() const override { return 0; }

 private:
  Tensor samples_;
  int64_t next_ = 0;
};

}  // namespace

TEST_CASE("uncertainty: entropy split into the noise's and the rest, as SciPy has it") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  for (const std::string link : {"softmax", "sigmoid"}) {
    CAPTURE(link);
    const Tensor& p = file.at("entropy/" + link + "/p");
    RecordedHead head(p);
    const auto rows = split_entropy(head, Tensor::zeros({p.dim(1), 2}), p.dim(0), link == "sigmoid", {});
    const std::vector<double> want = file.at("entropy/" + link + "/split").to_vector<double>();
    REQUIRE(3 * rows.size() == want.size());
    for (size_t b = 0; b < rows.size(); ++b) {
      CAPTURE(b);
      CHECK(std::abs(rows[b].total - want[3 * b]) < 1e-12);
      CHECK(std::abs(rows[b].noise - want[3 * b + 1]) < 1e-12);
      CHECK(std::abs(rows[b].rest - want[3 * b + 2]) < 1e-12);
    }
    CHECK(rows[4].total == 0);
    CHECK(rows[0].noise < 1e-12);  // all samples are the same
    CHECK(rows[3].noise > 0.05);
  }
  RecordedHead head(file.at("entropy/softmax/p"));
  CHECK(one_line_with(error_of([&] { split_entropy(head, Tensor::zeros({5, 2}), 1, false, {}); }), "2 samples"));
}

TEST_CASE("predict: samples that are not finite are no samples") {
  const auto head = het_head();
  head->parameters()[0].var.mutable_value().data<float>()[0] = std::nanf("");
  const Context context{.training = false, .seed = 1, .examples = Tensor::from<int64_t>({0}, {1})};
  CHECK(one_line_with(error_of([&] {
                        sampled_logits(*head, Tensor::full({1, kWidth}, 1), 8, false, context);
                      }),
                      "[predict]", "finite probabilities, got nan"));
}

TEST_CASE("predict: deviations and correlations of the sampled logits are those of Σ(x)") {
  const auto head = het_head();
  const std::vector<double> phi{0.5, -1.5, 1.0};
  const Tensor input = Tensor::from<float>({9, 9, 9, 0.5f, -1.5f, 1.0f}, {2, 3});
  constexpr int64_t kSamples = 4000;
  const Context context{.training = false, .seed = 5, .step = 0, .examples = Tensor::from<int64_t>({0, 1}, {2})};
  const Tensor u = sampled_logits(*head, input, kSamples, false, context);
  REQUIRE(u.shape() == Shape{kSamples, 2, kClasses});
  const std::vector<double> expected = closed_form(*head, phi);
  for (int64_t k = 0; k < kClasses; ++k) {
    const auto at = [&](int64_t j) { return expected[static_cast<size_t>(k * kClasses + j)]; };
    const auto variance = [&](int64_t j) { return expected[static_cast<size_t>(j * kClasses + j)]; };
    // five standard errors of a deviation and of a correlation from so many samples
    CHECK(logit_deviation(u, 1, k) == doctest::Approx(std::sqrt(variance(k))).epsilon(5 / std::sqrt(2.0 * kSamples)));
    const auto with = most_correlated(u, 1, k, 10);
    REQUIRE(with.size() == kClasses - 1);
    for (const Correlated& other : with)
      CHECK(std::abs(other.correlation - at(other.k) / std::sqrt(variance(k) * variance(other.k))) <
            5 / std::sqrt(kSamples));
    for (size_t i = 1; i < with.size(); ++i) CHECK(std::abs(with[i - 1].correlation) >= std::abs(with[i].correlation));
    CHECK(most_correlated(u, 1, k, 2).size() == 2);
  }
  CHECK(one_line_with(error_of([&] { sampled_logits(*head, input, 1, false, context); }), "2 samples", "got 1"));
}

TEST_CASE("predict: a deterministic head's logits do not move") {
  Init init(3);
  const auto head = make_head({}, kWidth, kClasses, init);
  const Tensor u = sampled_logits(*head, Tensor::from<float>({1, 2, 3}, {1, 3}), 5, false, {});
  CHECK(logit_deviation(u, 0, 1) == 0);
  CHECK(most_correlated(u, 0, 1, 3).empty());
}

TEST_CASE("predict: the program on image files") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  write_file(folder.path("config.json"), config_text(tiny_config(folder.path("data"))));
  const std::string run = folder.path("run");
  const Outcome trained =
      run_program({"train", "--config", folder.path("config.json"), "--out", run, "--threads", "1"});
  REQUIRE_MESSAGE(trained.code == 0, trained.err);
  const TensorFile files = load_safetensors("tests/fixtures/images.safetensors");
  const auto bytes = [&](const std::string& name) {
    const auto data = files.at("file/" + name).to_vector<uint8_t>();
    return std::string(data.begin(), data.end());
  };
  const std::string photo = folder.write("photo.jpg", bytes("large")), icon = folder.write("icon.png", bytes("png"));
  const Outcome outcome = run_program(
      {"predict", run, photo, icon, "--top", "2", "--json", folder.path("a.json"), "--html", folder.path("page.html")});
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find(photo) != std::string::npos);
  const std::string answers = slurp(folder.path("a.json"));
  REQUIRE(size_at(answers, "") == 2);
  CHECK(text_at(answers, "/0/image") == photo);
  CHECK(number_at(answers, "/0/noise") > 0);
  REQUIRE(size_at(answers, "/1/top") == 2);
  CHECK(number_at(answers, "/1/top/0/probability") >= number_at(answers, "/1/top/1/probability"));
  CHECK(size_at(answers, "/1/top/0/correlated") == 3);
  const std::string page = slurp(folder.path("page.html"));
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(page.ends_with("</html>\n"));
  CHECK(occurrences(page, "<article>") == 2);
  CHECK(occurrences(page, "src=\"data:image/jpeg;base64,") == 1);  // the photograph, smaller than it was
  CHECK(occurrences(page, "src=\"data:image/png;base64,") == 1);
  CHECK(occurrences(page, "src=") == 2);
  CHECK(page.find("alt=\"photo.jpg, most likely ") != std::string::npos);
  for (const char* request : {"http", "<script", "url(", "@import"}) CHECK(page.find(request) == std::string::npos);

  // `link/..` is where the system finds it, not what is left when both are struck out.
  folder.write("there/below/x", "x");
  folder.write("there/only.png", bytes("png"));
  std::filesystem::create_directory_symlink(folder.path("there/below"), folder.path("link"));
  const Outcome linked = run_program({"predict", run, folder.path("link/../only.png")});
  CHECK_MESSAGE(linked.code == 0, linked.err);
  // A damaged file is refused, whatever image came before it.
  std::string damaged = bytes("png");
  damaged[29] = static_cast<char>(damaged[29] ^ 1);
  for (const auto& before : {std::vector<std::string>{}, std::vector<std::string>{icon}}) {
    std::vector<std::string> words{"predict", run};
    words.insert(words.end(), before.begin(), before.end());
    words.push_back(folder.write("damaged.png", damaged));
    CHECK(fails_with(run_program(words), 1, "damaged.png", "checksum"));
  }

  CHECK(fails_with(run_program({"predict", run, folder.path("none.jpg")}), 1, "none.jpg", "No such file"));
  CHECK(fails_with(run_program({"predict", run, folder.write("page.jpg", "<html>")}), 1, "page.jpg", "JPEG, PNG"));
  CHECK(fails_with(run_program({"predict", run}), 2, "image files or folders", "--list"));
  CHECK(fails_with(run_program({"predict", folder.path(), photo}), 1, "not a run folder"));
}

namespace {

/// A run on tiny images, and image files to ask it about.
struct Asking {
  Asking() {
    write_tiny_data(folder.path("data"));
    RunConfig config = tiny_config(folder.path("data"));
    config.train.steps = 2;
    folder.write("config.json", config_text(config));
    trained = run_program({"train", "--config", folder.path("config.json"), "--out", folder.path("run")}).code == 0;
  }
  /// An image of its own for each number.
  std::string image(const std::string& name, uint8_t gray) const {
    folder.write(name, "");
    write_png(folder.path(name), Tensor::full({9, 9, 3}, gray, DType::u8));
    return folder.path(name);
  }
  Outcome ask(const std::vector<std::string>& words) const {
    std::vector<std::string> all{"predict", folder.path("run"), "--threads", "1"};
    if (std::ranges::count(words, "--top") == 0) all.insert(all.end(), {"--top", "1"});
    all.insert(all.end(), words.begin(), words.end());
    return run_program(all);
  }
  std::string answers(const std::string& name = "a.json") const { return slurp(folder.path(name)); }
  TemporaryFolder folder;
  bool trained = false;
};

}  // namespace

TEST_CASE("predict: rows of vectors, by their ids, wherever they stand and without the data of the training") {
  const TemporaryFolder folder;
  Tensor x = Tensor::empty({30, 4}), y = Tensor::empty({30}, DType::i64), ids = Tensor::empty({30}, DType::i64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
  for (int64_t i = 0; i < 30; ++i) y.data<int64_t>()[i] = i % 3, ids.data<int64_t>()[i] = 1000 + i;
  std::filesystem::create_directory(folder.path("data"));
  for (const char* part : {"train", "test"})
    save_safetensors(folder.path("data/") + part + ".safetensors", {{"features", x}, {"labels", y}});
  save_safetensors(folder.path("all.safetensors"), {{"features", x}, {"ids", ids}});
  save_safetensors(folder.path("last.safetensors"), {{"features", x.rows(27, 30)}, {"ids", ids.rows(27, 30)}});
  save_safetensors(folder.path("short.safetensors"), {{"features", x.reshape({40, 3})}});
  RunConfig config = tiny_config("");
  config.data = {};
  config.data.name = "embeddings";
  config.data.path = folder.path("data");
  config.model = {};
  config.model.name = "none";
  config.train.batch_size = 10;
  const std::string run = train_run(folder, config, "run");
  std::filesystem::remove_all(folder.path("data"));
  const auto answers = [&](const std::string& file, const std::string& json) {
    const Outcome outcome =
        run_program({"predict", run, folder.path(file), "--rows", "2", "--json", folder.path(json)});
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return std::pair(outcome.out, slurp(folder.path(json)));
  };
  const auto [table, all] = answers("all.safetensors", "all.json");
  const auto [few, last] = answers("last.safetensors", "last.json");
  CHECK(table.starts_with("1000  (predicted noise "));
  CHECK(table.find("\n1002") == std::string::npos);
  CHECK(table.ends_with("the first 2 of 30 rows (--rows shows more, --json and --predictions have all)\n"));
  for (int i = 0; i < 3; ++i) {
    const std::string here = "/" + std::to_string(i), there = "/" + std::to_string(27 + i);
    CHECK(text_at(last, here + "/id") == std::to_string(1027 + i));
    CHECK(text_at(all, there + "/id") == text_at(last, here + "/id"));
    CHECK(number_at(all, there + "/top/0/probability") ==
          doctest::Approx(number_at(last, here + "/top/0/probability")).epsilon(1e-5));
  }
  const auto refused = [&](const std::vector<std::string>& files, int code, const std::string& part) {
    std::vector<std::string> words{"predict", run};
    for (const std::string& file : files) words.push_back(file.starts_with("--") ? file : folder.path(file));
    return fails_with(run_program(words), code, part);
  };
  CHECK(refused({"short.safetensors"}, 1, "expected vectors (4) as the model's, got (3)"));
  CHECK(refused({"all.safetensors", "--html", "page.html"}, 2, "vectors, which are no pictures"));
  CHECK(refused({"all.safetensors", "last.safetensors"}, 2, "expected one file or folder of vectors, got 2"));
  CHECK(refused({"run.json"}, 1, "expected FILE.safetensors"));
}

TEST_CASE("predict: images that cannot be read take nothing from the others") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  const std::string a = place.image("a.png", 10), b = place.image("b.png", 200);
  const std::string page = place.folder.write("page.jpg", "<html>"), empty = place.folder.write("empty.png", "");
  const std::string cut = place.folder.write("cut.png", slurp(a).substr(0, 50)), none = place.folder.path("none.png");
  REQUIRE(place.ask({a, b, "--json", place.folder.path("whole.json")}).code == 0);
  std::filesystem::create_directory(place.folder.path("hollow"));
  const Outcome outcome = place.ask({page, a, none, cut, place.folder.path("hollow"), empty, b, "--json",
                                     place.folder.path("a.json"), "--html", place.folder.path("a.html")});
  CHECK(outcome.code == 1);
  for (const std::string& bad : {page, none, cut, empty, place.folder.path("hollow") + ": "}) {
    const size_t at = outcome.err.find(bad);
    REQUIRE_MESSAGE(at != std::string::npos, outcome.err);
    CHECK(outcome.err.find(bad, at + 1) == std::string::npos);
  }
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 5);
  CHECK(outcome.err.find("skip_limit") == std::string::npos);
  CHECK(place.answers() == place.answers("whole.json"));
  CHECK(outcome.out.find(a) < outcome.out.find(b));
  const std::string html = slurp(place.folder.path("a.html"));
  CHECK(occurrences(html, "<article>") == 2);
  CHECK(occurrences(html, "<li>") == 5);  // those without an answer are named there, too

  std::vector<std::string> many(20, a);  // more than a batch of them, and then none that can be read
  many.insert(many.end(), 20, page);
  many.push_back(b);
  const Outcome batches = place.ask(many);
  CHECK(batches.code == 1);
  CHECK(std::count(batches.err.begin(), batches.err.end(), '\n') == 20);
  CHECK(std::count(batches.out.begin(), batches.out.end(), '\n') == 2 * 21);

  const Outcome nothing = place.ask({page, cut, "--json", place.folder.path("a.json")});
  CHECK(nothing.code == 1);
  CHECK(std::count(nothing.err.begin(), nothing.err.end(), '\n') == 2);
  CHECK(nothing.out.empty());
  CHECK(json_at(place.answers(), "") == "[]");
  CHECK(fails_with(place.ask({none}), 1, "none.png", "No such file"));
}

TEST_CASE("predict: names of images may be any bytes, and any length") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  const std::string latin = place.image("caf\xE9.png", 10), escape = place.image("\x1b[31m\n.png", 60),
                    percent = place.image("%s%n.png", 90),
                    dashes = place.folder.path("n\u00e9" + std::string(246, 'n') + ".png");
  std::filesystem::rename(place.image("short.png", 120), dashes);
  const Outcome outcome = place.ask(
      {latin, escape, percent, dashes, "--json", place.folder.path("a.json"), "--html", place.folder.path("a.html")});
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find('\x1b') == std::string::npos);
  CHECK(outcome.out.find("/caf\\xE9.png  (") != std::string::npos);
  CHECK(outcome.out.find("/\\x1B[31m\\x0A.png  (") != std::string::npos);
  CHECK(outcome.out.find("/%s%n.png  (") != std::string::npos);
  const std::string answers = place.answers();
  REQUIRE(size_at(answers, "") == 4);
  CHECK(text_at(answers, "/0/image") == place.folder.path("caf\\xE9.png"));
  CHECK(text_at(answers, "/1/image") == escape);
  CHECK(text_at(answers, "/3/image") == dashes);
  const std::string html = slurp(place.folder.path("a.html"));
  CHECK(occurrences(html, "<article>") == 4);
  CHECK(html.find('\x1b') == std::string::npos);
  CHECK(html.find("caf\\xE9.png") != std::string::npos);
  const Outcome bad = place.ask({place.folder.write("\x1b[31m\xE9\n.png", "no image")});
  CHECK(fails_with(bad, 1, "\\x1B[31m\\xE9\\x0A.png"));
}

TEST_CASE("predict: classes of any name") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  const std::string hostile = "\x1b]0;owned\a\n\u202egnp %s", long_name = std::string(200, 'w') + "\u00e9";
  for (const std::string split : {"train", "test"}) {
    for (const std::string& name : {hostile, long_name, std::string("\u65e5\u672c")}) {
      for (int i = 0; i < 2; ++i) {
        const std::string path = "images/" + split + "/" + name + "/" + std::to_string(i) + ".png";
        folder.write(path, "");
        write_png(folder.path(path), Tensor::full({8, 8, 3}, 50 * i, DType::u8));
      }
    }
  }
  RunConfig config = tiny_config(folder.path("data"));
  config.data = {};
  config.data.name = "image-folder";
  config.data.path = folder.path("images");
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 3;
  config.train.steps = 1;
  folder.write("config.json", config_text(config));
  const Outcome trained = run_program({"train", "--config", folder.path("config.json"), "--out", folder.path("run")});
  REQUIRE_MESSAGE(trained.code == 0, trained.err);
  const Outcome outcome = run_program({"predict", folder.path("run"), folder.path("images/test/\u65e5\u672c/0.png"),
                                       "--json", folder.path("a.json"), "--html", folder.path("a.html")});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find('\x1b') == std::string::npos);
  CHECK(outcome.out.find('\a') == std::string::npos);
  CHECK(outcome.out.find("\\x1B]0;owned\\x07\\x0A\\u202Egnp %s") != std::string::npos);
  CHECK(outcome.out.find(std::string(60, 'w') + "  ") != std::string::npos);
  CHECK(outcome.out.find("\u65e5\u672c" + std::string(56, ' ') + "  \u00b1") != std::string::npos);  // in its column
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 4);
  const std::string answers = slurp(folder.path("a.json"));
  std::vector<std::string> names;
  for (size_t i = 0; i < size_at(answers, "/0/top"); ++i)
    names.push_back(text_at(answers, "/0/top/" + std::to_string(i) + "/name"));
  for (const std::string& name : {hostile, long_name})
    CHECK_MESSAGE(std::ranges::find(names, name) != names.end(), join(names));
}

TEST_CASE("predict: what cannot be written is found out before images are looked at") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  const std::string image = place.image("a.png", 10), file = place.folder.write("file", "mine");
  const auto refused = [&](const char* option, const std::string& path, const char* part) {
    const Outcome outcome = place.ask({image, place.folder.path("none.png"), option, path});
    CHECK(outcome.out.empty());
    return fails_with(outcome, 1, path, part);  // one line: nothing is said of none.png
  };
  CHECK(refused("--json", place.folder.path("nodir/x.json"), "No such file or directory"));
  CHECK(refused("--json", place.folder.path("run"), "Is a directory"));
  CHECK(refused("--json", file + "/x.json", "Not a directory"));
  CHECK(refused("--json", "/dev/stdout", "a device"));
  CHECK(refused("--json", "/dev/null", "a device"));
  CHECK(refused("--html", place.folder.path("nodir/x.html"), "No such file or directory"));
  for (const char* option : {"--html", "--csv", "--json"}) CHECK(refused(option, file, "file"));
  CHECK(refused("--csv", place.folder.write("mine.csv", "image,label\r\na,1\r\n"), "not touched"));
  CHECK(slurp(file) == "mine");
}

TEST_CASE("predict: folders, lists, and everything in any order of words") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  place.image("photos/img10.png", 10);
  place.image("photos/img2.png", 60);
  const std::string deep = place.image("photos/more of them/\u00fc.PNG", 90), lone = place.image("lone", 200);
  place.folder.write("photos/notes.txt", "no image");
  std::filesystem::create_directory_symlink("..", place.folder.path("photos/more of them/up"));
  REQUIRE(mkfifo(place.folder.path("photos/pipe.png").c_str(), 0600) == 0);
  const std::string photos = place.folder.path("photos"), pipe = photos + "/pipe.png",
                    list = place.folder.write("list", "\xEF\xBB\xBF" + photos + "\r\n\n" + lone + "\n");
  const Outcome outcome = place.ask({photos, lone, "--csv", place.folder.path("all.csv")});
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err == "note: 2 other files in the folders are passed over: no image by its ending\n");
  const std::string all = slurp(place.folder.path("all.csv"));
  const std::vector<std::string_view> rows = lines_of(all);
  REQUIRE(rows.size() == 5);
  CHECK(rows[0] == "image,class,name,probability,logit_deviation,noise");
  CHECK(rows[1].starts_with(photos + "/img2.png,"));
  CHECK(rows[2].starts_with(photos + "/img10.png,"));
  CHECK(rows[3].starts_with(deep + ","));
  CHECK(rows[4].starts_with(lone + ","));

  const std::string run = place.folder.path("run");
  const auto csv = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "predict");
    const Outcome asked = run_program(words);
    CHECK_MESSAGE(asked.code == 0, asked.err);
    return asked.out;
  };
  const std::vector<std::vector<std::string>> options{
      {"--csv", "-"}, {"--top", "1"}, {"--threads", "1"}, {"--set", "head.test_samples=8"}};
  const std::string want =
      csv({run, lone, "--csv", "-", "--top", "1", "--threads", "1", "--set", "head.test_samples=8"});
  CHECK(std::ranges::count(want, '\n') == 2);
  // Every place of the two words that stand alone among the options.
  for (size_t first = 0; first <= options.size(); ++first)
    for (size_t second = first; second <= options.size(); ++second) {
      std::vector<std::string> words;
      for (size_t i = 0; i <= options.size(); ++i) {
        if (i == first) words.push_back(run);
        if (i == second) words.push_back(lone);
        if (i < options.size()) words.insert(words.end(), options[i].begin(), options[i].end());
      }
      CHECK_MESSAGE(csv(words) == want, join(words, " "));
    }
  const std::string npz = place.folder.path("p.npz");
  CHECK(csv({"--predictions", npz, "--with", "logits", "--with", "representation", run, lone, "--top", "1", "--csv",
             "-", "--threads", "1", "--set", "head.test_samples=8"}) == want);
  CHECK(csv({"--list", list, run, "--top", "1", "--threads", "1", "--csv", "-"}) == all);

  CHECK(fails_with(place.ask({pipe}), 1, "pipe.png", "expected an image file or a folder"));  // and does not wait
  CHECK(fails_with(place.ask({"--list", place.folder.write("empty", "\n")}), 1, "empty", "got none"));
  CHECK(fails_with(place.ask({lone, "--csv", "-", "--json", "-"}), 2, "--json -", "--csv -"));
}

TEST_CASE("predict: the same image has the same answer, to the last digit, wherever it stands") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  std::vector<std::string> images;
  for (int i = 0; i < 20; ++i) images.push_back(place.image(std::to_string(i) + ".png", static_cast<uint8_t>(10 * i)));
  images.insert(images.end(), {"--top", "9", "--json", place.folder.path("all.json")});
  REQUIRE(place.ask(images).code == 0);
  for (const size_t i : {size_t{0}, size_t{3}, size_t{19}}) {
    REQUIRE(place.ask({images[i], "--top", "9", "--json", place.folder.path("a.json")}).code == 0);
    CHECK(json_at(place.answers(), "/0") == json_at(place.answers("all.json"), "/" + std::to_string(i)));
  }
}

TEST_CASE("predict: what goes to stdout is JSON or CSV and nothing else, whatever the names") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  const std::string name = place.image("a, \"b\"\n\u00e4.png", 10), none = place.folder.path("none.png");
  const Outcome json = place.ask({none, name, "--json", "-", "--predictions", place.folder.path("p.csv")});
  CHECK(json.code == 1);
  CHECK(text_at(json.out, "/0/image") == name);
  CHECK(size_at(json.out, "") == 1);
  CHECK(json.err.find("predictions of 1 examples") != std::string::npos);
  const Outcome csv = place.ask({name, none, "--csv", "-"});
  CHECK(csv.code == 1);
  CHECK(csv.out.starts_with("image,class,name,probability,logit_deviation,noise\r\n" + quoted_field(name) + ","));
  CHECK(csv.out.ends_with("\r\n"));
  CHECK(place.ask({none, "--csv", "-"}).out == "image,class,name,probability,logit_deviation,noise\r\n");
  CHECK(json_at(place.ask({none, "--json", "-"}).out, "") == "[]");
}

TEST_CASE("predict: a spreadsheet is given no formulas") {
  const Answer answer{.path = "=cmd.png", .noise = 0.25, .top = {{0, 0.75, 0.5, {}}, {1, 0.25, std::nullopt, {}}}};
  const std::vector<std::string> names{"@SUM(A1)", "-1"};
  CHECK(csv_row(answer, names, "image") == "./=cmd.png,0,'@SUM(A1),0.75,0.5,0.25,1,-1,0.25,\r\n");
  CHECK(csv_row(answer, names, "id").starts_with("'=cmd.png,"));
  CHECK(csv_header(2, "id") ==
        "id,class,name,probability,logit_deviation,noise,class_2,name_2,probability_2,logit_deviation_2\r\n");
}

TEST_CASE("predict, evaluate, scale: what is printed goes into no file where the standard streams are closed") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Asking place;
  REQUIRE(place.trained);
  const std::string image = place.image("a.png", 10), run = place.folder.path("run");
  REQUIRE(place.ask({image, "--json", place.folder.path("whole.json")}).code == 0);
  for (const auto& closed : std::vector<std::vector<int>>{{1}, {2}, {0, 1, 2}}) {
    const std::string out = place.folder.path("out-" + std::to_string(closed.size()) + std::to_string(closed.back()));
    CHECK(run_program({"predict", run, image, place.folder.path("none.png"), "--top", "1", "--threads", "1", "--json",
                       out + ".json"},
                      {.closed = closed})
              .code == 1);
    CHECK(slurp(out + ".json") == place.answers("whole.json"));
    CHECK(run_program({"evaluate", run, "--samples", "0", "--out", out}, {.closed = closed}).code == 0);
    CHECK(number_at(slurp(out + "/evaluation.json"), "/test/count") == 60);
    CHECK(run_program({"scale", "--width", "8", "--classes", "9", "--rank", "2", "--out", out}, {.closed = closed})
              .code == 0);
    CHECK(size_at(slurp(out + "/scale.json"), "/heads") == 4);
    CHECK(slurp(out + "/table.md").ends_with(" |\n"));
  }
}

// Out-of-distribution scores: Mahalanobis distances against scikit-learn's and NumPy's, and what evaluate --ood says.

#include <doctest/doctest.h>

#include <cmath>

#include "apps/evaluate/mahalanobis.h"
#include "core/safetensors.h"
#include "data/image_file.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

Mahalanobis fitted(const Tensor& phi, const Tensor& labels, int64_t classes) {
  Mahalanobis m(classes, phi.dim(1));
  for (int64_t begin = 0; begin < phi.dim(0); begin += 4) {
    const int64_t end = std::min(begin + 4, phi.dim(0));
    m.add(phi.rows(begin, end), labels.rows(begin, end));
  }
  m.fit();
  return m;
}

}  // namespace

TEST_CASE("mahalanobis: as scikit-learn and NumPy have them, with a class without examples") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  for (const std::string name : {"plain", "wide", "dead"}) {
    CAPTURE(name);
    const auto at = [&](const char* what) { return file.at("mahalanobis/" + name + "/" + what); };
    const Mahalanobis m = fitted(at("phi"), at("labels"), 6);
    CHECK(m.count() == at("phi").dim(0));
    CHECK(m.regularization() == doctest::Approx(at("added").to_vector<double>()[0]).epsilon(1e-9));
    CHECK((m.regularization() > 0) == (name != "plain"));
    const std::vector<double> want = at("distances").to_vector<double>();
    const std::vector<Mahalanobis::Distances> got = m.distances(at("test"));
    REQUIRE(2 * got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {  // condition 1e6 where regularized
      CAPTURE(i);
      CHECK(got[i].nearest == doctest::Approx(want[2 * i]).epsilon(1e-6));
      CHECK(std::abs(got[i].relative - want[2 * i + 1]) <= 1e-6 * want[2 * i]);
    }
  }
}

TEST_CASE("mahalanobis: far from zero, and what cannot be fitted") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const Tensor &phi = file.at("mahalanobis/plain/phi"), &labels = file.at("mahalanobis/plain/labels"),
               &test = file.at("mahalanobis/plain/test");
  const auto moved = [](const Tensor& t) {  // exactly, in f32: coordinates are taken to multiples of 1/64 first
    Tensor near = t.clone(), far = t.clone();
    for (int64_t i = 0; i < t.numel(); ++i) {
      near.data<float>()[i] = std::round(t.data<float>()[i] * 64) / 64;
      far.data<float>()[i] = near.data<float>()[i] + 65536;
    }
    return std::pair(near, far);
  };
  const auto [near, far] = moved(phi);
  const auto [near_test, far_test] = moved(test);
  const auto here = fitted(near, labels, 6).distances(near_test), there = fitted(far, labels, 6).distances(far_test);
  for (size_t i = 0; i < here.size(); ++i) CHECK(there[i].nearest == doctest::Approx(here[i].nearest).epsilon(1e-9));
  const Tensor same = Tensor::full({3, 2}, 1.5), some = Tensor::from(std::vector<int64_t>{0, 1, 1}, {3});
  CHECK(one_line_with(error_of([&] { fitted(same, some, 2); }), "vary within classes", "3 training images"));
  CHECK(one_line_with(error_of([&] { Mahalanobis(2, 2).fit(); }), "training images, got none"));
  CHECK(one_line_with(error_of([&] { fitted(same, some, 1); }), "label in 0 to 0, got 1"));
  CHECK(one_line_with(error_of([&] { Mahalanobis(2, 3).add(same, some); }), "(B, 3)"));
}

TEST_CASE("evaluate: --ood by every score of each head, for both links") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  for (const std::string split : {"train", "test"})
    for (int i = 0; i < 4; ++i) {
      const std::string png = "other/" + split + "/gray/" + std::to_string(i) + ".png";
      folder.write(png, "");
      write_png(folder.path(png), Tensor::full({8, 8, 1}, 60 * i, DType::u8));
    }
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    for (const Link link : {Link::softmax, Link::sigmoid}) {
      RunConfig config = tiny_config(folder.path("data"));
      config.train.steps = 2;
      config.train.eval_samples = config.head.test_samples = 2;
      config.head.kind = kind;
      config.head.link = link;
      const std::string name = name_of(kind) + "-" + name_of(link), run = folder.path(name);
      CAPTURE(name);
      folder.write(name + ".json", config_text(config));
      REQUIRE(run_program({"train", "--config", run + ".json", "--out", run, "--threads", "1"}).code == 0);
      std::vector<std::string> words{"evaluate", run, "--ood", "image-folder:" + folder.path("other"), "--out", run};
      const Outcome plain = run_program(words);
      REQUIRE_MESSAGE(plain.code == 0, plain.err);
      CHECK(size_at(slurp(run + "/evaluation.json"), "/ood/scores") == (kind == HeadKind::det ? 3 : 4));
      words.insert(words.end(), {"--mahalanobis", "--classes", "--split-entropy"});
      const Outcome all = run_program(words);
      REQUIRE_MESSAGE(all.code == 0, all.err);
      CHECK(all.out.find("training images: step") != std::string::npos);
      CHECK(all.out.find("relative Mahalanobis") != std::string::npos);
      CHECK((all.out.find("predicted noise") != std::string::npos) == (kind != HeadKind::det));
      const std::string json = slurp(run + "/evaluation.json");
      CHECK(size_at(json, "/ood/scores") == (kind == HeadKind::det ? 5 : 6));
      CHECK(size_at(json, "/ood/scores/max_logit") == 4);
      CHECK(number_at(json, "/ood/auroc") == number_at(json, "/ood/scores/max_probability/auroc"));
      CHECK(all.out.find("precision %") != std::string::npos);
      CHECK(plain.out.find("precision %") == std::string::npos);
      CHECK(size_at(json, "/test/classes") == 10);
      CHECK(number_at(json, "/entropy/total") ==
            doctest::Approx(number_at(json, "/entropy/noise") + number_at(json, "/entropy/rest")));
      CHECK((number_at(json, "/entropy/noise") == 0) == (kind == HeadKind::det));
      CHECK(size_at(json, "/test/selective") == 13);
      CHECK(size_at(slurp(run + "/summary.json"), "/test/classes") == 10);
      for (const std::string option : {"--classes", "--split-entropy"})
        CHECK(fails_with(run_program({"evaluate", run, run, option}), 2, option, "expected one run, got 2"));
      CHECK(fails_with(run_program({"evaluate", run, "--mahalanobis"}), 2, "--mahalanobis: expected --ood"));
    }
  }
}

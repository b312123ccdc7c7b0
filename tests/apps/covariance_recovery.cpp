// The recovery of a known covariance, against NumPy's, and by the real program.

#include "apps/common/measure/covariance_recovery.h"

#include <doctest/doctest.h>

#include <cmath>

#include "apps/common/config/config.h"
#include "core/safetensors.h"
#include "data/other_labels.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/data/samples.h"

using namespace sked;
using namespace sked::test;

TEST_CASE("recovery: scores as NumPy has them, and against the other image's covariance") {
  const TensorFile file = load_safetensors("tests/fixtures/known_covariance.safetensors");
  const Tensor known = file.at("true"), learned = file.at("learned");
  const auto data = with_covariances(counted_dataset(2, 4, 3, 4), [known](int64_t i) {
    return known.rows(i, i + 1).reshape({4, 4});
  });
  CovarianceRecoveryAccumulator recovery(*data);
  CHECK(recovery.result().count == 0);
  for (int64_t i = 0; i < 2; ++i) recovery.add(learned.rows(i, i + 1).reshape({4, 4}), i);
  const CovarianceRecovery r = recovery.result();
  const std::vector<double> want = file.at("scores").to_vector<double>();
  CHECK(r.count == 2);
  const auto close = [](double x) { return doctest::Approx(x).epsilon(1e-5); };  // inputs and scores are stored in f32
  CHECK(r.correlation == close(want[0]));
  CHECK(r.scale == close(want[1]));
  CHECK(r.error == close(want[2]));
  CHECK(r.correlation_shuffled == close(want[3]));
  CHECK(r.error_shuffled == close(want[5]));
  const std::vector<double> centered = centered_over_classes(learned.rows(1, 2).data<float>(), 4);
  const std::vector<double> expected = file.at("centered").rows(1, 2).to_vector<double>();
  for (size_t i = 0; i < centered.size(); ++i) CHECK(std::abs(centered[i] - expected[i]) < 1e-5);
}

TEST_CASE("recovery: a shift common to all classes and a scale are no error; no variance at all is all of it") {
  const auto data = with_covariances(counted_dataset(50, 4, 3, 3), [](int64_t i) {
    const auto x = static_cast<float>(i + 1);
    return Tensor::from<float>({x, 1, 0, 1, 2, 0, 0, 0, 50 - x}, {3, 3});
  });
  CovarianceRecoveryAccumulator right(*data), none(*data);
  for (int64_t i = 0; i < 50; ++i) {
    Tensor shifted = data->covariance(i);
    const float common[] = {0.5f, -1, 2};  // 1 aᵀ + a 1ᵀ: of one number added to all logits, whatever goes with it
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t c = 0; c < 3; ++c) {
        float& entry = shifted.data<float>()[3 * r + c];
        entry = 0.25f * entry + common[r] + common[c];
      }
    right.add(shifted, i);
    none.add(Tensor::zeros({3, 3}), i);
  }
  const CovarianceRecovery r = right.result();
  CHECK(r.correlation == doctest::Approx(1).epsilon(1e-6));
  CHECK(r.scale == doctest::Approx(4).epsilon(1e-5));
  CHECK(r.error < 1e-3);  // f32 entries of up to 50
  CHECK(r.error_shuffled > 0.2);
  CHECK(r.correlation_shuffled < 0.9);
  CHECK(none.result().error == 1);
  CHECK(std::isnan(none.result().correlation));
  Tensor bad = Tensor::full({3, 3}, NAN);
  CHECK(one_line_with(error_of([&] { right.add(bad, 3); }), "counted, image 3", "finite"));
}

TEST_CASE("recovery: train and evaluate say it of a head with noise, not of DET, and of no other noise") {
  const TrainPlace place;
  for (const char* head : {"het", "het-xl", "det"}) {
    CAPTURE(head);
    const bool det = std::string(head) == "det";
    const Outcome trained =
        run_program(place.command(head, {"--set", "data.noise=heteroscedastic", "--set",
                                         std::string("head.kind=") + head, "--set", "train.epochs=1"}));
    REQUIRE_MESSAGE(trained.code == 0, trained.err);
    const std::string summary = slurp(place.run(head).summary());
    CHECK(number_at(summary, "/noisy_share") > 0.25);
    CHECK(number_at(summary, "/noisy_share") < 0.55);
    CHECK(number_at(summary, "/test/noisy/entropy") > 0);
    CHECK((json_at(summary, "/test/covariance").empty()) == det);
    const std::string out = place.folder.path(std::string("e-") + head);
    const Outcome evaluated = run_program({"evaluate", place.run(head).path.string(), "--out", out});
    REQUIRE_MESSAGE(evaluated.code == 0, evaluated.err);
    CHECK(has(evaluated.out, "covariance of the logits") != det);
    if (det) continue;
    CHECK(number_at(summary, "/test/covariance/count") == 60);
    CHECK(std::abs(number_at(summary, "/test/covariance/correlation")) <= 1);
    CHECK(number_at(summary, "/test/covariance/error_shuffled") > 0);
    CHECK(number_at(slurp(out + "/evaluation.json"), "/test/covariance/correlation") ==
          doctest::Approx(number_at(summary, "/test/covariance/correlation")));
  }
  const Outcome other = run_program(
      place.command("instance", {"--set", "data.noise=instance", "--set", "head.kind=het", "--set", "train.epochs=1"}));
  REQUIRE_MESSAGE(other.code == 0, other.err);
  CHECK(json_at(slurp(place.run("instance").summary()), "/test/covariance").empty());
  CHECK(fails_with(
      run_program(place.command("x", {"--set", "data.noise=heteroscedastic", "--set", "data.noise_rate=0.99"})), 2,
      "data.noise_rate", "heteroscedastic", "0.99"));
}

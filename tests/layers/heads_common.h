#pragma once
// What the tests of the heads share.

#include <memory>
#include <string>
#include <vector>

#include "layers/heads/make_head.h"

namespace sked::test {

/// A head's configuration for tests: small, and cut into chunks that do not divide S.
inline HeadConfig head_config(HeadKind kind, Factors factors, Link link) {
  HeadConfig config;
  config.kind = kind;
  config.noise.factors = factors;
  config.link = link;
  config.noise.rank = 2;
  config.train_samples = 12;
  config.sample_chunk = 5;
  config.temperature.learn = true;
  return config;
}

/// Gives the noise what the reference layers' has.
inline void like_reference(NoiseConfig& noise) {
  noise.diagonal = DiagonalNoise::shared;
  noise.factor_bias = noise.factors == Factors::efficient;
}

struct HeadCase {
  HeadKind kind;
  Factors factors;
  std::string target;      // labels | distributions | multi_label
  bool reference = false;  // with the noise of the reference layers

  std::string name() const {
    const std::string form = kind == HeadKind::det ? "none" : name_of(factors) + (reference ? "+reference" : "");
    return name_of(kind) + "/" + form + "/" + target;
  }
  Link link() const { return target == "multi_label" ? Link::sigmoid : Link::softmax; }
  HeadConfig config() const {
    HeadConfig config = head_config(kind, factors, link());
    if (reference) like_reference(config.noise);
    return config;
  }
  /// The kind of target this case trains towards.
  Targets targets(const Tensor& labels, const Tensor& distributions, const Tensor& multi_label) const {
    if (target == "labels") return {labels, {}};
    return {{}, target == "distributions" ? distributions : multi_label};
  }
};

/// Every kind × factor form × target, with our noise and with the reference layers'.
inline std::vector<HeadCase> all_head_cases() {
  std::vector<HeadCase> cases;
  for (const char* target : {"labels", "distributions", "multi_label"}) {
    cases.push_back({HeadKind::det, Factors::efficient, target});
    for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl})
      for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal})
        for (const bool reference : {false, true}) cases.push_back({kind, factors, target, reference});
  }
  return cases;
}

/// Global indices 0 … n−1.
inline Tensor first_examples(int64_t n) {
  Tensor t = Tensor::empty({n}, DType::i64);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = i;
  return t;
}

/// Overwrites a module's parameters by hash_parameter of their names.
void set_hash_parameters(Module& module);

/// max |got − want| / max |want|.
double relative_error(const Tensor& got, const Tensor& want);

}  // namespace sked::test

#pragma once
// What the tests of the heads share.

#include <memory>
#include <string>
#include <vector>

#include "layers/heads/make_head.h"

namespace sked::test {

/// A head's configuration for tests: small, and cut into chunks that do not divide S.
inline HeadConfig head_config(const std::string& kind, const std::string& factors, const std::string& link) {
  HeadConfig config;
  config.kind = kind;
  if (kind != "det") config.noise.factors = factors;
  config.link = link;
  config.noise.rank = 2;
  config.train_samples = 12;
  config.sample_chunk = 5;
  config.temperature.learn = true;
  return config;
}

struct HeadCase {
  std::string kind, factors, target;  // target: labels | distributions | multi_label

  std::string name() const { return kind + "/" + factors + "/" + target; }
  std::string link() const { return target == "multi_label" ? "sigmoid" : "softmax"; }
  HeadConfig config() const { return head_config(kind, factors, link()); }
  /// The kind of target this case trains towards.
  Targets targets(const Tensor& labels, const Tensor& distributions, const Tensor& multi_label) const {
    if (target == "labels") return {labels, {}};
    return {{}, target == "distributions" ? distributions : multi_label};
  }
};

/// Every kind × factor form × target.
inline std::vector<HeadCase> all_head_cases() {
  std::vector<HeadCase> cases;
  for (const char* target : {"labels", "distributions", "multi_label"}) {
    cases.push_back({"det", "none", target});
    for (const char* kind : {"het", "het-xl"})
      for (const char* factors : {"full", "efficient", "diagonal"}) cases.push_back({kind, factors, target});
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

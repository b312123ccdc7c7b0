#include "tests/common/compare.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>
#include <cstring>

namespace sked::test {

void check_close(const std::string& what, const Tensor& got, const Tensor& expected, double tolerance, double scale) {
  CHECK_MESSAGE(got.shape() == expected.shape(), what, ": expected ", expected.str(), ", got ", got.str());
  if (!(got.shape() == expected.shape())) return;
  const Closeness c = closeness(got.to_vector<double>(), expected.to_vector<double>(), tolerance, scale);
  if (c.wrong > 0) FAIL_CHECK(what, ": ", c.str(got.numel()));
}

double distance(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

Threads::Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
Threads::~Threads() { omp_set_num_threads(before_); }

void check_same_for_any_threads(const std::function<Tensor()>& f, const std::string& what) {
  const auto on = [&](int count) {
    const Threads threads(count);
    return f();
  };
  const Tensor one = on(1);
  for (const int count : {2, 3})
    CHECK_MESSAGE(same_bits(on(count), one), what, " on one and ", count, " threads differ");
}

}  // namespace sked::test

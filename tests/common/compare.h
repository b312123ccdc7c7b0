#pragma once
// Comparison of tensors, with the worst element named.

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/common/closeness.h"

namespace sked::test {

/// Fails, naming the worst element, where closeness() finds a wrong one, or the shapes differ.
void check_close(const std::string& what, const Tensor& got, const Tensor& expected, double tolerance,
                 double scale = 0);

/// |got − expected| / |expected| in the Euclidean norm.
double distance(const std::vector<double>& got, const std::vector<double>& expected);

/// Same dtype, shape and bits.
bool same_bits(const Tensor& a, const Tensor& b);

/// Runs with so many threads while it lives.
class Threads {
 public:
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// Checks that f() → Tensor gives the same bits on one thread and on two or three.
void check_same_for_any_threads(const std::function<Tensor()>& f, const std::string& what);

}  // namespace sked::test

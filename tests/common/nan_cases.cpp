#include "tests/common/nan_cases.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/kernels/attention.h"
#include "core/kernels/likelihood.h"
#include "core/kernels/softmax.h"
#include "tests/common/hash_weights.h"

namespace sked::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Rows (N,K), the middle one with a NaN at `at`; the others of that row are −∞ where `lone`.
Tensor rows_with_nan(int64_t rows, int64_t width, int64_t at, bool lone, DType dtype) {
  Tensor x = hash_tensor({rows, width}, 3, 4).to(dtype).clone();
  Tensor row = x.rows(rows / 2, rows / 2 + 1);
  if (lone) row.fill(-kInfinity);
  row.reshape({width, 1}).rows(at, at + 1).fill(std::nan(""));
  return x;
}

/// Is element i of t the NaN it should be, or not where it should not?
void check_nan(const Tensor& t, int64_t i, bool expected, const std::string& what) {
  INFO(what, ", element ", i);
  CHECK(std::isnan(t.to(Device::cpu).to_vector<double>()[static_cast<size_t>(i)]) == expected);
}

struct Place {
  int64_t width, at;
  bool lone;
  DType dtype;
  Device device;
  std::string what;

  Tensor full(const Shape& shape, double value) const { return Tensor::full(shape, value, dtype, device); }
  Tensor rows() const { return rows_with_nan(3, width, at, lone, dtype).to(device); }
};

void check_softmax(const Place& p) {
  const Tensor x = p.rows();
  Tensor y = Tensor::like(x), lse = p.full({3}, 0), loss = p.full({3}, 0);
  kernel::softmax_forward(x, y);
  for (int64_t k = 0; k < p.width; ++k) check_nan(y, p.width + k, true, "softmax " + p.what);
  check_nan(y, 0, false, "softmax " + p.what);
  kernel::log_softmax_forward(x, y);
  for (int64_t k = 0; k < p.width; ++k) check_nan(y, p.width + k, true, "log_softmax " + p.what);
  kernel::logsumexp_forward(x, lse, {3, p.width, 1});
  check_nan(lse, 1, true, "logsumexp of rows " + p.what);
  check_nan(lse, 0, false, "logsumexp of rows " + p.what);
  Tensor columns = p.full({p.width}, 0);
  kernel::logsumexp_forward(x, columns, {1, 3, p.width});
  check_nan(columns, p.at, true, "logsumexp of columns " + p.what);
  const Tensor labels = Tensor::from<int64_t>({0, p.width - 1, 0}, {3}).to(p.device);
  kernel::cross_entropy_forward(x, labels, loss, lse);
  check_nan(loss, 1, true, "cross_entropy " + p.what);
  check_nan(loss, 2, false, "cross_entropy " + p.what);
}

/// Two tiles one after the other, of one example, three samples and `width` classes each; the NaN, which is in the
/// middle sample, lies in the first or the second.
void check_tiles(const Place& p, bool second) {
  const std::string what = p.what + (second ? " in the second tile" : " in the first tile");
  const Tensor bad = p.rows().reshape({1, 3, p.width}), good = p.full({1, 3, p.width}, 0.5);
  const Tensor none, labels = Tensor::from<int64_t>({0}, {1}).to(p.device);
  Tensor lse = p.full({1, 3}, -kInfinity), target_logit = p.full({1, 3}, 0), unused;
  Tensor log_p = p.full({1, p.width}, -kInfinity), column_lse = p.full({3, p.width}, -kInfinity);
  for (const bool now : {second, !second}) {
    kernel::label_tile_forward(now ? good : bad, labels, lse, target_logit, {0, 0});
    kernel::column_tile_forward(now ? good : bad, column_lse, {0, 0});
  }
  check_nan(lse, 1, true, "label_tile_forward " + what);
  check_nan(lse, 0, false, "label_tile_forward " + what);
  check_nan(column_lse, p.width + p.at, true, "column_tile_forward " + what);
  for (const ClassLog log : {ClassLog::softmax, ClassLog::sigmoid, ClassLog::sigmoid_complement}) {
    log_p.fill(-kInfinity);
    for (const bool now : {second, !second})
      kernel::class_tile_forward(now ? good : bad, log == ClassLog::softmax ? p.full({1, 3}, 2) : none, log_p, log,
                                 {0, 0});
    check_nan(log_p, p.at, true, "class_tile_forward " + std::to_string(static_cast<int>(log)) + " " + what);
  }
}

/// One key's NaN in attention over `tokens`: every query that sees it.
void check_attention(int64_t tokens, int64_t at, bool causal, Device device) {
  const int64_t E = 4;
  Tensor qkv = hash_tensor({1, tokens, 3, 1, E}, 9).clone(), y = Tensor::zeros({1, tokens, 1, E}, DType::f32, device),
         lse = Tensor::zeros({1, 1, tokens}, DType::f32, device);
  qkv.data<float>()[(at * 3 + 1) * E] = std::nanf("");
  kernel::attention_forward(qkv.to(device), y, lse, 0.5, causal);
  for (int64_t t = 0; t < tokens; ++t)
    check_nan(y, t * E, !causal || t >= at,
              "attention over " + std::to_string(tokens) + " tokens, key " + std::to_string(at));
}

}  // namespace

void check_nan_is_seen(Device device) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    if (dtype == DType::f64 && device != Device::cpu) continue;
    for (const int64_t width : {int64_t{1}, int64_t{5}, int64_t{70}, int64_t{1500}}) {
      for (const int64_t at : {int64_t{0}, width / 2, width - 1}) {
        for (const bool lone : {false, true}) {
          const Place p{
              width,
              at,
              lone,
              dtype,
              device,
              "with NaN at " + std::to_string(at) + " of " + std::to_string(width) + (lone ? ", the rest -inf" : "")};
          check_softmax(p);
          for (const bool second : {false, true}) check_tiles(p, second);
        }
      }
    }
  }
  for (const bool causal : {false, true})
    for (const int64_t at : {0, 40, 69}) check_attention(70, at, causal, device);
}

}  // namespace sked::test

#include "tests/autograd/op_cases.h"

#include <cmath>

#include "tests/common/hash_weights.h"

namespace sked::test {

TensorList op_inputs(const OpCase& op, DType dtype) {
  TensorList inputs;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const OpInput& in = op.inputs[i];
    const uint32_t salt = hash_name(op.name + "/" + std::to_string(i));
    Tensor x = hash_tensor(in.shape, salt, (in.hi - in.lo) / 2, (in.hi + in.lo) / 2);
    float* elements = x.data<float>();
    for (int64_t j = 0; j < x.numel(); ++j) {
      for (const float kink : in.kinks) {
        if (std::abs(elements[j] - kink) < kMargin) elements[j] = kink + (elements[j] < kink ? -kMargin : kMargin);
      }
    }
    inputs.push_back(x.to(dtype));
  }
  return inputs;
}

Tensor constant(const std::vector<double>& values, const Shape& shape, DType dtype) {
  return Tensor::from(values, shape).to(dtype);
}

std::vector<OpCase> op_cases() {
  std::vector<OpCase> all;
  for (const auto& family : {elementwise_cases(), reduce_cases(), shape_cases(), matmul_cases(), conv_cases(),
                             norm_cases(), other_cases()}) {
    all.insert(all.end(), family.begin(), family.end());
  }
  return all;
}

}  // namespace sked::test

// Every kernel of the program has a definition on the CPU and a test that compares it with its formula. Whoever adds a
// kernel adds its name here, beside the file that tests it, or this fails.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "core/kernels/attention.h"
#include "core/kernels/batch_norm.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/group_norm.h"
#include "core/kernels/index.h"
#include "core/kernels/l2_normalize.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/likelihood.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/pool.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"
#include "core/kernels/softmax.h"
#include "tests/core/compare.h"
#include "tests/kernels/case.h"

using namespace sked;

namespace {

/// The kernels with a comparison of their own, by the family (and tests/core file) it stands in.
const std::map<std::string_view, std::set<std::string_view>> kCovered = {
    {"memory", {"fill", "cast", "add_scaled", "permute", "slice", "slice_insert", "broadcast_to"}},
    {"reduce", {"reduce_forward", "reduce_max_backward", "argmax"}},
    {"index", {"gather_rows", "scatter_add_rows", "pick", "pick_backward", "look_up"}},
    {"random", {"gaussian_noise", "dropout", "drop_path"}},
    {"optimizer", {"sgd_step", "adam_step", "global_norm", "ema_step"}},
    {"matmul",
     {"matmul", "linear_forward", "linear_backward_input", "linear_backward_activation", "linear_backward_weight"}},
    {"conv",
     {"conv2d_forward", "conv2d_backward_input", "conv2d_backward_weight", "max_pool2d_forward", "max_pool2d_backward",
      "avg_pool2d_forward", "avg_pool2d_backward"}},
    {"norm",
     {"batch_norm_forward", "batch_norm_backward", "batch_norm_inference", "layer_norm_forward", "layer_norm_backward",
      "group_norm_forward", "group_norm_backward", "l2_normalize_forward", "l2_normalize_backward"}},
    {"attention", {"attention_forward", "attention_backward"}},
    {"likelihood",
     {"noise_forward", "noise_backward", "label_tile_forward", "label_tile_backward", "class_tile_forward",
      "soft_tile_weights", "soft_tile_backward", "sigmoid_tile_backward", "column_tile_forward", "pair_tile_backward"}},
};

/// Without those that tests register themselves.
std::vector<const KernelBase*> program_kernels() {
  std::vector<const KernelBase*> list = all_kernels();
  std::erase_if(list, [](const KernelBase* k) { return std::string_view(k->name()).starts_with("test_"); });
  return list;
}

}  // namespace

TEST_CASE("coverage: every kernel runs on the CPU and is tested") {
  std::set<std::string> covered;
  for (const test::Family& family : test::families())
    for (const test::KernelCase& c : family.cases()) covered.insert(c.kernel);
  for (const auto& [family, names] : kCovered) covered.insert(names.begin(), names.end());
  std::set<std::string_view> seen;
  for (const KernelBase* kernel : program_kernels()) {
    const std::string name = kernel->name();
    CHECK_MESSAGE(kernel->implemented(Device::cpu), name << " has no CPU implementation");
    CHECK_MESSAGE(covered.count(name) == 1, name << " is in no list of tested kernels");
    CHECK_MESSAGE(seen.insert(kernel->name()).second, name << " is the name of two kernels");
  }
  for (const std::string& name : covered)
    CHECK_MESSAGE(seen.count(name) == 1, name << " is listed, but there is no such kernel");
}

TEST_CASE("coverage: the registry lists kernels in order of name") {
  const auto list = program_kernels();
  CHECK(!list.empty());
  const bool sorted = std::is_sorted(list.begin(), list.end(), [](const KernelBase* a, const KernelBase* b) {
    return std::string_view(a->name()) < std::string_view(b->name());
  });
  CHECK(sorted);
}

// Products by cuBLASLt. It thinks in columns: a row-major (r, c) matrix is its column-major (c, r) one, so c = a b is
// asked for as cᵀ = bᵀ aᵀ, with b first. A bias along c's rows is then its bias along columns, and the sum of op(a)
// over Q, the gradient of a bias, its BGRADB; DGELU multiplies by the derivative and, as DGELU_BGRAD, sums down c's
// columns. Its GELU is the tanh approximation, so the exact one is a kernel behind the product.

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/precision.h"
#include "core/tensor.h"
#include "cuda/gemm.h"
#include "cuda/offers.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda {
namespace {

void check_lt(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("cublaslt", call, " at ", file, ":", line, ": ", cublasLtGetStatusString(status));
}
#define SKED_LT(call) check_lt((call), #call, __FILE__, __LINE__)

constexpr size_t kWorkspace = size_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr int kMostOffers = 8;                   // asked for: what is refused at the call has others behind it

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

/// A library object freed with its owner.
template <class Handle, cublasStatus_t (*Destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_) (void)Destroy(handle_);
  }
  Handle* out() { return &handle_; }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <class V>
void set(const Description& d, cublasLtMatmulDescAttributes_t attribute, V value) {
  SKED_LT(cublasLtMatmulDescSetAttribute(d.get(), attribute, &value, sizeof value));
}
template <class V>
void set(const Preference& p, cublasLtMatmulPreferenceAttributes_t attribute, V value) {
  SKED_LT(cublasLtMatmulPreferenceSetAttribute(p.get(), attribute, &value, sizeof value));
}

/// A stored row-major (rows, cols) matrix.
Layout layout(DType dtype, int64_t rows, int64_t cols, int64_t ld, int64_t batch, int64_t stride) {
  Layout l;
  SKED_LT(cublasLtMatrixLayoutCreate(l.out(), type_of(dtype), static_cast<uint64_t>(cols), static_cast<uint64_t>(rows),
                                     ld));
  if (batch == 1) return l;
  const auto count = static_cast<int32_t>(batch);
  require(count == batch, "cublaslt", "expected at most 2^31 − 1 products, got ", batch);
  SKED_LT(cublasLtMatrixLayoutSetAttribute(l.get(), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  SKED_LT(
      cublasLtMatrixLayoutSetAttribute(l.get(), CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
  return l;
}

/// The largest power of two up to 256 that divides an address.
uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return static_cast<uint32_t>(address & (~address + 1));
}

cublasLtEpilogue_t epilogue(const Gemm& g) {
  if (g.sum_of_a) return CUBLASLT_EPILOGUE_BGRADB;
  if (g.through) return g.sum_of_c ? CUBLASLT_EPILOGUE_DGELU_BGRAD : CUBLASLT_EPILOGUE_DGELU;
  if (g.pre) return g.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  if (g.act == Activation::relu) return g.bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
  if (g.act == Activation::gelu_tanh) return g.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return g.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/// The vector and the matrix beside a product's own operands, or null.
const void* bias_of(const Gemm& g) {
  if (g.sum_of_a) return g.sum_of_a;
  return g.sum_of_c ? g.sum_of_c : g.bias;
}
const void* aux_of(const Gemm& g) { return g.through ? g.through : g.pre; }

/// All that a product's algorithm depends on.
using Key = std::array<int64_t, 19>;
Key key_of(const Gemm& g, bool tf32) {
  return {g.M,
          g.N,
          g.Q,
          g.lda,
          g.ldb,
          g.ldc,
          g.transpose_a,
          g.transpose_b,
          g.accumulate,
          g.batch,
          g.stride_a,
          g.stride_b,
          g.stride_c,
          static_cast<int64_t>(g.in) * 8 + static_cast<int64_t>(g.out),
          epilogue(g),
          tf32,
          alignment(g.a) | int64_t{alignment(g.b)} << 16 | int64_t{alignment(g.c)} << 32,
          alignment(aux_of(g)),
          alignment(bias_of(g))};
}

struct Plan {
  Description description;
  Layout a, b, c;
  Offers<cublasLtMatmulAlgo_t> offers;
};

/// The library's handle and workspace: one of each, since products run one after the other on one stream. Never freed.
struct Library {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  Tensor workspace = Tensor::empty({static_cast<int64_t>(kWorkspace)}, DType::u8, Device::cuda);
  std::map<Key, Plan> plans;
  std::set<std::array<int64_t, 3>> lacking;  // epilogue and types of products that nothing was offered for

  Library() { SKED_LT(cublasLtCreate(&handle)); }
  static Library& own() {
    static Library& library = *new Library;
    return library;
  }
};

/// Those of this call: the plan is for every product of its sizes and alignments. The library looks at the vector's
/// address already when it makes its offers.
void set_pointers(const Description& d, const Gemm& g) {
  if (const void* vector = bias_of(g)) set(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
  if (const void* matrix = aux_of(g)) set(d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, matrix);
}

bool is_tf32(const Gemm& g) { return g.in == DType::f32 && product_precision() == Precision::tf32; }

Plan make_plan(const Library& library, const Gemm& g, int most) {
  Plan p;
  const cublasComputeType_t compute = is_tf32(g) ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  SKED_LT(cublasLtMatmulDescCreate(p.description.out(), compute, CUDA_R_32F));
  set(p.description, CUBLASLT_MATMUL_DESC_TRANSA, g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(p.description, CUBLASLT_MATMUL_DESC_TRANSB, g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(g));
  if (bias_of(g)) set(p.description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(g.out));
  if (aux_of(g)) set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, g.ldc);
  set_pointers(p.description, g);
  p.a = layout(g.in, g.transpose_a ? g.Q : g.M, g.transpose_a ? g.M : g.Q, g.lda, g.batch, g.stride_a);
  p.b = layout(g.in, g.transpose_b ? g.N : g.Q, g.transpose_b ? g.Q : g.N, g.ldb, g.batch, g.stride_b);
  p.c = layout(g.out, g.M, g.N, g.ldc, g.batch, g.stride_c);

  Preference preference;
  SKED_LT(cublasLtMatmulPreferenceCreate(preference.out()));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(g.b));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(g.a));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(g.c));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(g.c));
  // A product cut along Q is added up in f32, not in what it is stored as.
  if (g.out == DType::bf16)
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library.handle, p.description.get(), p.b.get(), p.a.get(), p.c.get(), p.c.get(),
                                     preference.get(), most, results.data(), &found);
  if (status != CUBLAS_STATUS_SUCCESS) return p;
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < found; ++i)
    if (results[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS)
      algorithms.push_back(results[static_cast<size_t>(i)].algo);
  p.offers = Offers(std::move(algorithms));
  return p;
}

cublasStatus_t queue(const Library& library, const Plan& p, const Gemm& g, const cublasLtMatmulAlgo_t& algorithm) {
  const float alpha = 1, beta = g.accumulate ? 1 : 0;
  return cublasLtMatmul(library.handle, p.description.get(), &alpha, g.b, p.b.get(), g.a, p.a.get(), &beta, g.c,
                        p.c.get(), g.c, p.c.get(), &algorithm, const_cast<void*>(library.workspace.raw()), kWorkspace,
                        compute_stream().get());
}

std::string described(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const auto& [what, attribute] : {std::pair("id ", CUBLASLT_ALGO_CONFIG_ID),
                                        {" tile ", CUBLASLT_ALGO_CONFIG_TILE_ID},
                                        {" stages ", CUBLASLT_ALGO_CONFIG_STAGES_ID},
                                        {" split ", CUBLASLT_ALGO_CONFIG_SPLITK_NUM}}) {
    int32_t value = 0;
    size_t written = 0;
    SKED_LT(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written));
    text += what + std::to_string(value);
  }
  return text;
}

/// For notes.
std::string product(const Gemm& g, const char* where) {
  const auto number = [](auto n) { return std::to_string(n); };
  return "a product of " + std::string(where) + ", " + number(g.batch) + " × " + number(g.M) + "×" + number(g.N) + "×" +
         number(g.Q) + ", " + name(g.in) + " to " + name(g.out) + " with epilogue " + number(epilogue(g));
}

[[maybe_unused]] const bool offered = offer(Device::cuda, Precision::tf32) && offer(Device::cuda, Precision::bf16);

}  // namespace

bool gemm_tuned(const Gemm& g, const char* where) {
  Library& library = Library::own();
  const std::lock_guard lock(library.mutex);
  const Key key = key_of(g, is_tf32(g));
  auto found = library.plans.find(key);
  if (found == library.plans.end()) {
    constexpr size_t kMost = 4096;  // shapes that change on every call must not fill the memory
    if (library.plans.size() >= kMost) library.plans.clear();
    found = library.plans.emplace(key, make_plan(library, g, kMostOffers)).first;
    if (!found->second.offers.any() &&
        library.lacking.insert({epilogue(g), static_cast<int64_t>(g.in), static_cast<int64_t>(g.out)}).second)
      std::cerr << "note: cuBLASLt offers nothing for " << product(g, where) << ": other kernels do it" << std::endl;
  }
  Plan& p = found->second;
  if (!p.offers.any()) return false;
  set_pointers(p.description, g);
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const bool done = p.offers.take([&](const cublasLtMatmulAlgo_t& algorithm) {
    status = queue(library, p, g, algorithm);
    if (status != CUBLAS_STATUS_SUCCESS) (void)cudaGetLastError();  // what cannot be mended shows at the next launch
    return status == CUBLAS_STATUS_SUCCESS;
  });
  if (done) {
    count_launch(where);
  } else {
    std::cerr << "note: cuBLASLt refuses all it offered for " << product(g, where) << " ("
              << cublasLtGetStatusString(status) << "): other kernels do it" << std::endl;
  }
  return done;
}

std::vector<Candidate> gemm_candidates(const Gemm& g, int most) {
  Library& library = Library::own();
  const std::lock_guard lock(library.mutex);
  const auto plan = std::make_shared<const Plan>(make_plan(library, g, most));
  std::vector<Candidate> list;
  for (const cublasLtMatmulAlgo_t& algorithm : plan->offers.list())
    list.push_back({described(algorithm), [&library, plan, g, algorithm] {
                      SKED_LT(queue(library, *plan, g, algorithm));
                      count_launch("candidate");
                    }});
  return list;
}

}  // namespace sked::cuda

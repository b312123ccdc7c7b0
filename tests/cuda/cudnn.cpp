// What cuDNN says of our graphs: it plans for a card from a description, so this needs libcudnn but no GPU. On a GPU it
// is asked of the card at hand, and parity.cpp runs the plans.

#include "cuda/cudnn.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "core/device.h"
#include "core/precision.h"
#include "tests/common/in_bf16.h"

namespace sked::test {
namespace {

using cuda::cudnn::Attention;
using cuda::cudnn::Card;
using cuda::cudnn::Convolution;
using cuda::cudnn::LinearGelu;
using cuda::cudnn::Pass;

/// NVIDIA's H100 SXM5 80 GB by the figures of its data sheet and of the CUDA programming guide's table for 9.0.
const Card kH100 = {
    R"({"deviceName": "NVIDIA H100 80GB HBM3", "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0,
        "pciDeviceId": 0,
        "isTccDriver": 0, "supportCoopLaunch": 1, "multiProcessorCount": 132, "warpSize": 32,
        "totalGlobalMem": 85000000000,
        "l2CacheSize": 52428800, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "regsPerBlock": 65536,
        "maxRegistersPerSM": 65536, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
        "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
        "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64]})",
    90};

const Card& card() {
  static const Card chosen = [] {
    if (!is_available(Device::cuda)) return kH100;
    const Card here = cuda::cudnn::this_card();
    std::cout << "cudnn: this card: " << here.properties << "\n";
    return here;
  }();
  return chosen;
}

/// Says once a case that it cannot run here.
bool no_cudnn(const char* what) {
  if (cuda::cudnn::found()) return false;
  std::cout << "skipped: no libcudnn here, or a build without it: " << what << "\n";
  return true;
}

/// Without a driver: the toolkit's stub of libcuda, which lies beside cuBLASLt and answers every call with an error.
/// cuDNN compiles attention's kernels only where it finds one or the other.
bool driver_or_stub() {
  if (is_available(Device::cuda)) return true;
  Dl_info library;
  const void* symbol = dlsym(RTLD_DEFAULT, "cublasLtCreate");
  if (!symbol || !dladdr(symbol, &library)) return false;
  const auto stub = std::filesystem::path(library.dli_fname).parent_path() / "stubs" / "libcuda.so";
  return dlopen(stub.c_str(), RTLD_NOW) != nullptr;
}

struct Settings {
  Settings(Precision precision, bool fixed) : products(precision) { set_deterministic(fixed); }
  ~Settings() { set_deterministic(false); }
  ProductsIn products;
};

struct Layer {
  int64_t size, I, O;
  Window window;
};

/// A ResNet-50's at 224 pixels, one of each; then a ResNeXt's and a small network's at 32.
const Layer kLayers[] = {
    {224, 3, 64, {7, 2, 3, 1}},    {56, 64, 64, {1, 1, 0, 1}},     {56, 64, 64, {3, 1, 1, 1}},
    {56, 64, 256, {1, 1, 0, 1}},   {56, 256, 64, {1, 1, 0, 1}},    {56, 256, 128, {1, 1, 0, 1}},
    {56, 128, 128, {3, 2, 1, 1}},  {56, 256, 512, {1, 2, 0, 1}},   {28, 128, 512, {1, 1, 0, 1}},
    {28, 512, 128, {1, 1, 0, 1}},  {28, 128, 128, {3, 1, 1, 1}},   {28, 512, 256, {1, 1, 0, 1}},
    {28, 256, 256, {3, 2, 1, 1}},  {28, 512, 1024, {1, 2, 0, 1}},  {14, 256, 1024, {1, 1, 0, 1}},
    {14, 1024, 256, {1, 1, 0, 1}}, {14, 256, 256, {3, 1, 1, 1}},   {14, 1024, 512, {1, 1, 0, 1}},
    {14, 512, 512, {3, 2, 1, 1}},  {14, 1024, 2048, {1, 2, 0, 1}}, {7, 512, 2048, {1, 1, 0, 1}},
    {7, 2048, 512, {1, 1, 0, 1}},  {7, 512, 512, {3, 1, 1, 1}},    {56, 128, 128, {3, 1, 1, 32}},
    {32, 3, 16, {3, 1, 1, 1}},     {32, 16, 32, {3, 2, 1, 1}},     {5, 3, 5, {3, 2, 1, 1}},
};

void check_convolutions(DType dtype, Precision precision, bool fixed) {
  const Settings settings(precision, fixed);
  for (const Layer& l : kLayers)
    for (const Pass pass : {Pass::forward, Pass::backward_input, Pass::backward_weight}) {
      const int64_t out = l.window.output(l.size);
      const Convolution problem{pass, dtype, {64, l.size, l.size, l.I, out, out, l.O}, l.window};
      const std::string why = cuda::cudnn::why_not(problem, card());
      std::ostringstream what;
      what << problem.name() << " " << l.size << "² × " << l.I << " → " << l.O << ", kernel " << l.window.kernel
           << ", stride " << l.window.stride << ", groups " << l.window.groups << ", " << dtype << " as " << precision;
      what << (fixed ? ", deterministic: " : ": ") << why;
      CHECK_MESSAGE(why.empty(), what.str());
    }
}

/// Where there is no GPU a kernel is compiled, and cuDNN stops where the driver would load it.
bool compiled(const std::string& why) {
  return why.empty() || (!is_available(Device::cuda) && why.find("EXECUTION_FAILED_CUDA_DRIVER") != std::string::npos);
}

}  // namespace

TEST_CASE(
    "cudnn: it has a plan for every convolution of a residual network, in every precision, deterministic or not") {
  if (no_cudnn("plans for convolutions")) return;
  for (const bool fixed : {false, true}) {
    check_convolutions(DType::bf16, Precision::f32, fixed);
    check_convolutions(DType::f32, Precision::tf32, fixed);
    check_convolutions(DType::f32, Precision::f32, fixed);
  }
}

TEST_CASE("cudnn: it has a plan for attention in vision transformers and, causal, in text towers") {
  if (no_cudnn("plans for attention")) return;
  if (!driver_or_stub()) {
    std::cout << "skipped: neither a driver nor the toolkit's stub of it here: plans for attention\n";
    return;
  }
  const AttentionSizes sizes[] = {{64, 197, 3, 64}, {64, 197, 6, 64}, {64, 197, 12, 64}, {64, 65, 6, 64},
                                  {64, 64, 8, 64},  {64, 33, 2, 32},  {2, 70, 2, 128},   {2, 5, 3, 8}};
  for (const bool fixed : {false, true}) {
    const Settings settings(Precision::f32, fixed);
    for (const AttentionSizes& s : sizes)
      for (const bool causal : {false, true})
        for (const Pass pass : {Pass::forward, Pass::backward_input}) {
          const Attention problem{pass, s, 1 / std::sqrt(static_cast<float>(s.E)), causal};
          const std::string why = cuda::cudnn::why_not(problem, card());
          std::ostringstream what;
          what << problem.name() << " N " << s.N << " T " << s.T << " H " << s.H << " E " << s.E
               << (causal ? ", causal" : "");
          what << (fixed ? ", deterministic: " : ": ") << why;
          CHECK_MESSAGE(why.empty(), what.str());
        }
  }
}

TEST_CASE("cudnn: it compiles linear layers with their GELU, and the way back, into one kernel") {
  if (no_cudnn("kernels for linear layers with their GELU")) return;
  if (!driver_or_stub()) {
    std::cout << "skipped: neither a driver nor the toolkit's stub of it here: linear layers with their GELU\n";
    return;
  }
  // ViT-S and ViT-B at 256 images, what is left of an evaluation, an odd number of rows; then a test's.
  const LinearSizes sizes[] = {
      {50432, 384, 1536}, {50432, 768, 3072}, {15760, 384, 1536}, {50431, 384, 1536}, {1, 16, 8}};
  for (const LinearSizes& s : sizes) {
    const LinearSizes back{s.N, s.O, s.I};
    std::vector<LinearGelu> problems = {{Pass::forward, s, true, DType::f32, true}, {Pass::backward_input, back, true}};
    if (&s == sizes) {
      problems.push_back({Pass::forward, s, true, DType::f32});
      problems.push_back({Pass::forward, s, true, DType::bf16, true});
      problems.push_back({Pass::forward, s});
      problems.push_back({Pass::backward_input, back});
    }
    for (const LinearGelu& problem : problems)
      for (const bool fixed : {false, true}) {
        if (fixed && problem.bias && problem.pass == Pass::backward_input) continue;  // matmul.cu asks for no such sum
        if (fixed && &s != sizes) continue;
        const Settings settings(Precision::f32, fixed);
        const std::string why = cuda::cudnn::why_not(problem, card());
        std::ostringstream what;
        what << problem.name() << " " << s.N << " × " << problem.s.I << " × " << problem.s.O;
        what << (problem.bias ? ", bias in " : ", bias not in ") << problem.bias_dtype << (problem.pre ? ", kept" : "");
        what << (fixed ? ", deterministic: " : ": ") << why;
        CHECK_MESSAGE(compiled(why), what.str());
      }
  }
}

TEST_CASE("cudnn: what it cannot do is refused with a reason, and a wrong card is an error") {
  if (no_cudnn("refusals")) return;
  const Attention odd{Pass::forward, {2, 5, 3, 9}, 1.0f, false};
  CHECK(cuda::cudnn::why_not(odd, card()).find("multiple of 8") != std::string::npos);
  CHECK_THROWS(cuda::cudnn::why_not(odd, Card{"{}", 90}));
}

}  // namespace sked::test

// A build without cuDNN: it takes nothing.

#include "cuda/cudnn.h"

namespace sked::cuda::cudnn {

bool run(const Convolution&, const void*, const void*, void*) { return false; }
bool run_forward(const Attention&, const void*, void*, float*) { return false; }
bool run_backward(const Attention&, const void*, const void*, const void*, const float*, void*) { return false; }
bool run_forward(const LinearGelu&, const void*, const void*, const void*, void*, void*) { return false; }
bool run_backward(const LinearGelu&, const void*, const void*, const void*, void*, float*) { return false; }

std::vector<Candidate> candidates(const Convolution&, const Tensor&, const Tensor&, const Tensor&, int) { return {}; }

bool found() { return false; }
std::string why_not(const Convolution&, const Card&) { return "this program was built without cuDNN"; }
std::string why_not(const Attention&, const Card&) { return "this program was built without cuDNN"; }
std::string why_not(const LinearGelu&, const Card&) { return "this program was built without cuDNN"; }
Card this_card() { return {}; }

}  // namespace sked::cuda::cudnn

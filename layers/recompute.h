#pragma once
// Running a block with or without gradient checkpointing.

#include "autograd/recompute.h"
#include "layers/module.h"

namespace sked {

/// block.forward(x, context); with `checkpoint`, in training, only x is kept and the block runs again in the backward
/// pass (Chen et al., arXiv 1604.06174). Dropout draws the same numbers then: they are addressed. The block must
/// outlive the tape. A block that gets no gradients keeps nothing.
template <class Block>
Var run_block(Block& block, const Var& x, const Context& context, bool checkpoint) {
  if (!checkpoint || !context.training || (!x.requires_grad() && !block.requires_grad()))
    return block.forward(x, context);
  return recompute([&block, context](const std::vector<Var>& in) { return block.forward(in[0], context); }, {x});
}

}  // namespace sked

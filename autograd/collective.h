#pragma once
// What the ranks of a run do together, as ops. Each rank records it on its own tape; forward and backward passes are
// collectives, so all ranks record the same ops in the same order and go back through all of them. Where every rank
// takes its own loss, the gradients of x are those of the sum of these losses. One rank alone gets x itself.

#include <cstdint>
#include <vector>

#include "autograd/var.h"
#include "core/communicator.h"

namespace sked {

/// y (Σ rows,…) = the rows x (rows[rank],…) of rank 0, of rank 1 …; rows: one number a rank, the same on every rank.
/// dx = this rank's rows of Σ over ranks of dy (reduce-scatter). Saves rows.
Var all_gather_rows(const Var& x, const std::vector<int64_t>& rows, Communicator& ranks);
/// The same where ranks do not know yet how many rows the others have.
Var all_gather_rows(const Var& x, Communicator& ranks);

/// y = x, which is the same on every rank; dx = Σ over ranks of dy. For a value that the ranks have computed together,
/// each knowing the gradient of its own share: what any rank makes of y then goes back through the shares of all of
/// them. (The f of Megatron-LM; Shoeybi et al., arXiv 1909.08053, section 3.) Saves nothing.
Var all_reduce_gradient(const Var& x, Communicator& ranks);

}  // namespace sked

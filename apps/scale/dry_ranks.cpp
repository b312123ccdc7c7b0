#include "apps/scale/dry_ranks.h"

#include <algorithm>

#include "core/error.h"

namespace sked::scale {

DryRanks::DryRanks(int64_t size) : size_(size) {
  require_usage(size >= 1, "--ranks", "expected at least 1 rank, got ", size);
}

void DryRanks::do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) {
  if (mine.dtype() != DType::i64 && mine.dtype() != DType::u8) return;
  int64_t begin = 0;
  for (const int64_t n : rows) {
    const int64_t same = std::min(n, mine.dim(0));
    all.rows(begin, begin + same).copy_from(mine.rows(0, same));
    begin += n;
  }
}

}  // namespace sked::scale

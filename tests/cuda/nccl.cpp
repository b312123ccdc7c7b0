// What ranks combine of tensors on GPUs: NCCL with one rank, which needs no MPI; several ranks, each with a card, where
// there are some or they are emulated.

#include <doctest/doctest.h>

#include <algorithm>

#include "core/device_ranks.h"
#include "core/mpi.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/common/mpirun.h"

namespace sked::test {
namespace {

constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::i64};

/// The calls behind those that do nothing where there is one rank.
struct Inside : Communicator {
  using Communicator::do_all_gather;
  using Communicator::do_all_reduce;
  using Communicator::do_broadcast;
  using Communicator::do_finish;
  using Communicator::do_reduce_scatter;
  using Communicator::do_start_all_reduce;
};

Tensor numbers(const Shape& shape, DType dtype, uint32_t salt) {
  return hash_tensor(shape, salt, 100).to(dtype).to(Device::cuda);
}

}  // namespace

TEST_CASE("nccl: one rank's collectives leave what it has") {
  const DeviceRanks* offered = ranks_of(Device::cuda);
  if (offered == nullptr) return skip("built without NCCL: one rank of it");
  if (no_gpu("one rank of NCCL")) return;
  Communicator& one = *offered->open(offered->make_id(), 0, 1);
  for (const DType dtype : kDTypes) {
    Tensor t = numbers({5, 7}, dtype, 1), all = Tensor::zeros({5, 7}, dtype, Device::cuda);
    const std::vector<double> before = t.to_vector<double>();
    (one.*&Inside::do_all_reduce)(t, Reduction::sum);
    (one.*&Inside::do_all_reduce)(t, Reduction::max);
    (one.*&Inside::do_broadcast)(t, 0);
    (one.*&Inside::do_start_all_reduce)(t);
    (one.*&Inside::do_finish)();
    CHECK(t.to_vector<double>() == before);
    (one.*&Inside::do_all_gather)(t, {5}, all);
    CHECK(all.to_vector<double>() == before);
    all.fill(0);
    (one.*&Inside::do_reduce_scatter)(t, {5}, all);
    CHECK(all.to_vector<double>() == before);
  }
}

TEST_CASE("card of a rank: tensors on it are combined") {
  take_own_cards();
  Communicator& ranks = world();
  const std::vector<int64_t> there = all_gather_number(ranks, is_available(Device::cuda) ? 1 : 0);
  if (std::ranges::count(there, 1) < ranks.size()) return skip("not every rank has a GPU: collectives of several");
  const int64_t N = ranks.size();
  for (const DType dtype : kDTypes) {
    Tensor t = Tensor::full({2, 3}, static_cast<double>(ranks.rank()), dtype, Device::cuda), begun = t.clone();
    ranks.start_all_reduce(begun);
    Tensor most = t.clone(), said = t.clone();
    ranks.all_reduce(t);
    ranks.all_reduce(most, Reduction::max);
    ranks.broadcast(said, N - 1);
    ranks.finish();
    CHECK(t.to_vector<double>() == std::vector<double>(6, static_cast<double>(N * (N - 1) / 2)));
    CHECK(begun.to_vector<double>() == t.to_vector<double>());
    CHECK(most.to_vector<double>() == std::vector<double>(6, static_cast<double>(N - 1)));
    CHECK(said.to_vector<double>() == most.to_vector<double>());
    for (const bool even : {true, false}) {
      std::vector<int64_t> rows;
      for (int64_t r = 0; r < N; ++r) rows.push_back(even ? 2 : r);
      const int64_t mine = rows[static_cast<size_t>(ranks.rank())];
      const Tensor part = Tensor::full({mine, 3}, static_cast<double>(ranks.rank()), dtype, Device::cuda);
      const Tensor all = all_gather_rows(ranks, part);
      std::vector<double> expected;
      for (int64_t r = 0; r < N; ++r)
        expected.insert(expected.end(), static_cast<size_t>(3 * rows[static_cast<size_t>(r)]), static_cast<double>(r));
      CHECK(all.to_vector<double>() == expected);
      Tensor back = Tensor::zeros({mine, 3}, dtype, Device::cuda);
      ranks.reduce_scatter(all, rows, back);
      CHECK(back.to_vector<double>() ==
            std::vector<double>(static_cast<size_t>(3 * mine), static_cast<double>(N * ranks.rank())));
    }
  }
}

TEST_CASE("nccl: several ranks with a card each") {
  if (no_gpu("ranks with a card each") || !has_mpirun()) return;
  const Shell run = run_ranks(2, "card of a rank*", "CUDA_ON_HOST_CARDS=2");
  CAPTURE(run.text);
  CHECK(run.code == 0);
  if (run.text.find("skipped: ") != std::string::npos) skip("no two GPUs here: ranks with a card each");
}

TEST_CASE("nccl: more ranks than cards are told so") {
  if (no_gpu("more ranks than cards") || !has_mpirun()) return;
  const Shell run = run_ranks(3, "card of a rank*", "CUDA_ON_HOST_CARDS=2");
  CHECK(run.code == 0);
  CHECK(run.text.find("skipped: not every rank has a GPU") != std::string::npos);
}

}  // namespace sked::test

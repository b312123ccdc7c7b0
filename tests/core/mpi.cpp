// Ranks that are processes. The cases "rank: …" take part in world(), whatever its size; others of this file
// have this binary run them under mpirun.

#include "core/mpi.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/launch.h"
#include "core/stopwatch.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/mpirun.h"
#include "tests/common/shell.h"

namespace sked::test {
namespace {

constexpr DType kSummed[] = {DType::f32, DType::f64, DType::bf16, DType::i64};

/// Element i is start + i mod 5: exact in every dtype, summed over some ranks too.
Tensor counting(const Shape& shape, DType dtype, int64_t start) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < shape.numel(); ++i) values.push_back(start + i % 5);
  return Tensor::from(values, shape).to(dtype);
}

/// Rows of each rank in a way that has some without.
std::vector<int64_t> uneven(int64_t size) {
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < size; ++r) rows.push_back(r % 3 == 0 ? 0 : 2 * r + 1);
  return rows;
}

void check_all_reduce(Communicator& ranks, DType dtype) {
  const int64_t N = ranks.size(), starts = N * (N - 1) / 2;
  Tensor t = counting({3, 7}, dtype, ranks.rank());
  ranks.all_reduce(t);
  std::vector<double> sums;
  for (int64_t i = 0; i < 21; ++i) sums.push_back(static_cast<double>(starts + N * (i % 5)));
  CHECK(t.to_vector<double>() == sums);
  Tensor most = counting({3, 7}, dtype, ranks.rank());
  ranks.all_reduce(most, Reduction::max);
  CHECK(most.to_vector<double>() == counting({3, 7}, dtype, N - 1).to_vector<double>());
}

void check_gathered(Communicator& ranks, DType dtype, const std::vector<int64_t>& rows) {
  const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  Tensor all = Tensor::empty({total, 3}, dtype);
  ranks.all_gather(counting({rows[static_cast<size_t>(ranks.rank())], 3}, dtype, ranks.rank()), rows, all);
  std::vector<double> expected;
  for (int64_t r = 0; r < ranks.size(); ++r)
    for (int64_t i = 0; i < 3 * rows[static_cast<size_t>(r)]; ++i) expected.push_back(static_cast<double>(r + i % 5));
  CHECK(all.to_vector<double>() == expected);
  for (int64_t root = 0; root < ranks.size(); ++root) {
    Tensor t = counting({2, 5}, dtype, ranks.rank());
    ranks.broadcast(t, root);
    CHECK(t.to_vector<double>() == counting({2, 5}, dtype, root).to_vector<double>());
  }
}

void check_scattered(Communicator& ranks, DType dtype, const std::vector<int64_t>& rows) {
  const int64_t N = ranks.size(), total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  const Tensor all = counting({total, 3}, dtype, ranks.rank());
  const std::vector<double> before = all.to_vector<double>();
  Tensor mine = Tensor::empty({rows[static_cast<size_t>(ranks.rank())], 3}, dtype);
  ranks.reduce_scatter(all, rows, mine);
  const int64_t begin = 3 * std::accumulate(rows.begin(), rows.begin() + ranks.rank(), int64_t{0});
  std::vector<double> expected;
  for (int64_t i = begin; i < begin + mine.numel(); ++i)
    expected.push_back(static_cast<double>(N * (N - 1) / 2 + N * (i % 5)));
  CHECK(mine.to_vector<double>() == expected);
  CHECK(all.to_vector<double>() == before);
}

/// Several at once, of every dtype, with a collective between that waits.
void check_started(Communicator& ranks) {
  TensorList begun;
  for (int64_t i = 0; i < 8; ++i) begun.push_back(counting({1 + 9 * i}, kSummed[i % 4], ranks.rank() + i));
  for (const Tensor& t : begun) ranks.start_all_reduce(t);
  for (int i = 0; i < 100; ++i) ranks.poke();
  const std::vector<std::string> texts = all_gather_text(ranks, std::to_string(ranks.rank()));
  CHECK(texts.back() == std::to_string(ranks.size() - 1));
  ranks.finish();
  for (int64_t i = 0; i < 8; ++i) {
    Tensor waited = counting({1 + 9 * i}, kSummed[i % 4], ranks.rank() + i);
    ranks.all_reduce(waited);
    CHECK(begun[static_cast<size_t>(i)].to_vector<double>() == waited.to_vector<double>());
  }
  ranks.finish();
}

std::string bytes_of(const Tensor& t) { return {static_cast<const char*>(t.raw()), t.bytes()}; }

/// Checks that all ranks have the same bytes; on rank 0 prints them, in short, for a comparison of runs.
void check_alike(Communicator& ranks, const char* what, const Tensor& t) {
  const std::vector<std::string> all = all_gather_text(ranks, bytes_of(t));
  CHECK(std::ranges::count(all, all.front()) == ranks.size());
  if (ranks.rank() == 0) std::printf("bytes of %s %s: %08x\n", what, name(t.dtype()), hash_name(all.front()));
}

/// The lines `bytes of …`.
std::vector<std::string> sums_in(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; (at = text.find("bytes of ", at)) != std::string::npos; ++at)
    lines.push_back(text.substr(at, text.find('\n', at) - at));
  return lines;
}

}  // namespace

TEST_CASE("rank: collectives, whole and in pieces") {
  Communicator& ranks = world();
  const auto evenly = static_cast<size_t>(ranks.size());
  for (const int64_t most : {int64_t{1} << 30, int64_t{4}}) {
    limit_messages(most);
    for (const DType dtype : kSummed) {
      check_all_reduce(ranks, dtype);
      for (const auto& rows : {uneven(ranks.size()), std::vector<int64_t>(evenly, 2), std::vector<int64_t>(evenly, 0)})
        check_scattered(ranks, dtype, rows);
    }
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8})
      for (const auto& rows : {uneven(ranks.size()), std::vector<int64_t>(evenly, 2), std::vector<int64_t>(evenly, 0)})
        check_gathered(ranks, dtype, rows);
    check_started(ranks);
    ranks.barrier();
  }
  limit_messages(int64_t{1} << 30);
}

TEST_CASE("rank: sums are the same bits as the others'") {
  Communicator& ranks = world();
  const auto seed = static_cast<uint32_t>(ranks.rank() + 1);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (const int64_t count : {1, 37, 4096, 100003}) {
      const Tensor mine = hash_tensor({count}, seed).to(dtype);
      Tensor summed = mine.clone(), begun = mine.clone(), part = Tensor::empty({1, count}, dtype);
      ranks.all_reduce(summed);
      ranks.start_all_reduce(begun);
      ranks.finish();
      check_alike(ranks, "all_reduce", summed);
      check_alike(ranks, "start_all_reduce", begun);
      Tensor all = Tensor::empty({ranks.size(), count}, dtype);
      for (int64_t r = 0; r < ranks.size(); ++r)
        all.rows(r, r + 1).copy_from(hash_tensor({1, count}, seed + 97 * static_cast<uint32_t>(r)));
      const std::vector<int64_t> rows(static_cast<size_t>(ranks.size()), 1);
      ranks.reduce_scatter(all, rows, part);
      ranks.all_gather(part, rows, all);
      check_alike(ranks, "reduce_scatter", all);
    }
  }
}

TEST_CASE("rank: the maximum is NaN where one is, and 0 rather than -0") {
  Communicator& ranks = world();
  const double mine = static_cast<double>(ranks.rank()), nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    Tensor t = Tensor::from(std::vector<double>{mine == 0 ? nan : mine, mine == 0 ? 0.0 : -0.0, -mine}, {3}).to(dtype);
    ranks.all_reduce(t, Reduction::max);
    const std::vector<double> most = t.to_vector<double>();
    CHECK(std::isnan(most[0]));
    CHECK(most[1] == 0);
    CHECK_FALSE(std::signbit(most[1]));
    CHECK(most[2] == 0);
    check_alike(ranks, "max", t);
  }
}

TEST_CASE("rank: neighbors share the processors") {
  const Neighbors here = neighbors();
  CHECK(here.size == world().size());  // all are on this machine
  CHECK(here.rank == world().rank());
  if (world().size() > 1) CHECK(here.processors >= 1);
  CHECK(meet(static_cast<int>(world().rank()), 60) == static_cast<int>(world().size()) - 1);
}

TEST_CASE("mpi: ranks started by mpirun") {
  if (!has_mpirun()) return;
  for (const int64_t ranks : {1, 2, 3, 4}) {
    const Shell run = run_ranks(ranks, "rank:*");
    CAPTURE(ranks);
    CAPTURE(run.text);
    CHECK(run.code == 0);
    const auto sums = sums_in(run.text);
    CHECK(sums.size() == 3 * (4 * 3 + 1));
    if (ranks == 3) CHECK(sums_in(run_ranks(ranks, "rank:*").text) == sums);
  }
}

TEST_CASE("one of three ranks leaves") {
  if (launch().size != 3) return;  // by the case below
  Communicator& ranks = world();
  if (ranks.rank() != 1) return ranks.barrier();
  CHECK_FALSE(meet(1, 0.2));
  ranks.abort(7);
}

TEST_CASE("mpi: a rank that fails alone ends all") {
  if (!has_mpirun()) return;
  const Stopwatch since;
  const Shell run = run_ranks(3, "one of three ranks leaves");
  CHECK(run.code == 7);
  CHECK(since.seconds() < 10);
}

TEST_CASE("mpi: processes that know nothing of each other are refused") {
  const std::string self = own_program();
  for (const char* launcher : {"OMPI_COMM_WORLD_SIZE=2", "PMI_SIZE=2", "SLURM_STEP_NUM_TASKS=2"}) {
    const Shell run = shell(std::string("env ") + launcher + " " + self + " -tc='rank: neighbors*'");
    CAPTURE(run.text);
    CHECK(run.code != 0);
    CHECK(run.text.find("[ranks]") != std::string::npos);
    CHECK(run.text.find("started 2 processes") != std::string::npos);
  }
}

TEST_CASE("launch: what launchers say, and that it can be forgotten") {
  if (launch().size != 1) return;
  const auto said = [](std::initializer_list<std::pair<const char*, const char*>> variables) {
    for (const auto& [name, value] : variables) setenv(name, value, 1);
    const Launch here = launch();
    forget_launch();
    CHECK(launch().size == 1);
    CHECK(launch().rank == 0);
    return std::vector<int64_t>{here.rank, here.size, here.on_host};
  };
  using Numbers = std::vector<int64_t>;
  CHECK(said({}) == Numbers{0, 1, 1});
  CHECK(said({{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "8"}}) == Numbers{5, 8, 1});
  CHECK(said({{"PMI_RANK", "1"}, {"PMI_SIZE", "3"}, {"MPI_LOCALNRANKS", "3"}}) == Numbers{1, 3, 3});
  CHECK(said({{"PMIX_RANK", "2"}}) == Numbers{2, 0, 0});
  // mpirun within a step of Slurm
  CHECK(said({{"OMPI_COMM_WORLD_RANK", "3"},
              {"OMPI_COMM_WORLD_SIZE", "4"},
              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
              {"SLURM_STEP_NUM_TASKS", "1"},
              {"SLURM_PROCID", "0"}}) == Numbers{3, 4, 2});
}

}  // namespace sked::test

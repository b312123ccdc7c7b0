#include "core/communicator.h"

#include <cstdlib>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/work_count.h"

namespace sked {
namespace {

/// Nothing is asked of it: its size is 1.
class Alone final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  [[noreturn]] void abort(int status) override { std::_Exit(status); }

 protected:
  void do_all_reduce(Tensor&, Reduction) override {}
  void do_start_all_reduce(const Tensor&) override {}
  void do_poke() override {}
  void do_finish() override {}
  void do_all_gather(const Tensor&, const std::vector<int64_t>&, Tensor&) override {}
  void do_reduce_scatter(const Tensor&, const std::vector<int64_t>&, Tensor&) override {}
  void do_broadcast(Tensor&, int64_t) override {}
  void do_barrier() override {}
};

void check_reducible(const Tensor& t) {
  require(t.defined() && t.dtype() != DType::u8, "communicator", "expected numbers to be summed, got ", t);
}

/// Throws unless `mine` is this rank's rows of `all`, `rows` of each rank.
void check_rows(const Communicator& ranks, const Tensor& mine, const std::vector<int64_t>& rows, const Tensor& all) {
  require(std::ssize(rows) == ranks.size(), "communicator", "expected the rows of ", ranks.size(), " ranks, got ",
          rows.size());
  require_alike(mine, all, "communicator");
  require_shape(mine, all.shape().with(0, rows[static_cast<size_t>(ranks.rank())]), "communicator", "a rank's rows");
  require_shape(all, all.shape().with(0, std::accumulate(rows.begin(), rows.end(), int64_t{0})), "communicator",
                "the rows of all ranks");
}

/// A collective, from now to the end of what this is given to.
WorkCount::Call counted(const char* name, const Tensor& whole) {
  const Device device = whole.defined() ? whole.device() : Device::cpu;
  return {name, device, [&] { return WorkCount::Entry{.calls = 1, .bytes = detail::operand_bytes(whole)}; }};
}

}  // namespace

std::vector<int64_t> span_sizes(int64_t count, int64_t size) {
  std::vector<int64_t> sizes;
  for (int64_t rank = 0; rank < size; ++rank) sizes.push_back(span_of(count, rank, size).size());
  return sizes;
}

void Communicator::all_reduce(Tensor& t, Reduction how) {
  check_reducible(t);
  if (size() == 1 || t.numel() == 0) return;
  const auto call = counted("all_reduce", t);
  do_all_reduce(t, how);
}

void Communicator::start_all_reduce(const Tensor& t) {
  check_reducible(t);
  if (size() == 1 || t.numel() == 0) return;
  const auto call = counted("start_all_reduce", t);
  do_start_all_reduce(t);
}

void Communicator::poke() {
  if (size() > 1) do_poke();
}

void Communicator::finish() {
  if (size() == 1) return;
  const auto call = counted("finish_all_reduce", Tensor());
  do_finish();
}

void Communicator::all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) {
  check_rows(*this, mine, rows, all);
  if (size() == 1) return all.copy_from(mine);
  if (all.numel() == 0) return;
  const auto call = counted("all_gather", all);
  do_all_gather(mine, rows, all);
}

void Communicator::reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine) {
  check_reducible(all);
  check_rows(*this, mine, rows, all);
  if (size() == 1) return mine.copy_from(all);
  if (all.numel() == 0) return;
  const auto call = counted("reduce_scatter", all);
  do_reduce_scatter(all, rows, mine);
}

void Communicator::broadcast(Tensor& t, int64_t root) {
  require(root >= 0 && root < size(), "communicator", "expected a rank below ", size(), ", got ", root);
  if (size() == 1 || t.numel() == 0) return;
  const auto call = counted("broadcast", t);
  do_broadcast(t, root);
}

void Communicator::barrier() {
  if (size() == 1) return;
  const auto call = counted("barrier", Tensor());
  do_barrier();
}

Communicator& alone() {
  static Alone one;
  return one;
}

bool agreed(Communicator& ranks, bool mine) {
  Tensor answer = Tensor::full({1}, mine ? 1 : 0, DType::i64);
  ranks.broadcast(answer);
  return answer.data<int64_t>()[0] != 0;
}

std::vector<int64_t> all_gather_number(Communicator& ranks, int64_t mine) {
  Tensor all = Tensor::empty({ranks.size()}, DType::i64);
  ranks.all_gather(Tensor::from(std::vector<int64_t>{mine}, {1}),
                   std::vector<int64_t>(static_cast<size_t>(ranks.size()), 1), all);
  return all.to_vector<int64_t>();
}

std::vector<std::string> all_gather_text(Communicator& ranks, const std::string& mine) {
  const Tensor bytes = all_gather_rows(
      ranks, Tensor::from(std::vector<uint8_t>(mine.begin(), mine.end()), {static_cast<int64_t>(mine.size())}));
  std::vector<std::string> texts;
  int64_t begin = 0;
  for (const int64_t length : all_gather_number(ranks, std::ssize(mine))) {
    const auto* from = bytes.data<uint8_t>() + begin;
    texts.emplace_back(from, from + length);
    begin += length;
  }
  return texts;
}

std::vector<std::string> all_gather_texts(Communicator& ranks, const std::vector<std::string>& mine) {
  if (ranks.size() == 1) return mine;
  std::string joined;
  for (const std::string& text : mine) joined.append(text).push_back('\0');
  std::vector<std::string> texts;
  for (const std::string& of_rank : all_gather_text(ranks, joined)) {
    for (size_t begin = 0, end = 0; begin < of_rank.size(); begin = end + 1) {
      end = of_rank.find('\0', begin);
      texts.push_back(of_rank.substr(begin, end - begin));
    }
  }
  return texts;
}

Tensor all_gather_rows(Communicator& ranks, const Tensor& mine) {
  if (ranks.size() == 1) return mine;
  const std::vector<int64_t> rows = all_gather_number(ranks, mine.dim(0));
  const int64_t total = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  Tensor all = Tensor::empty(mine.shape().with(0, total), mine.dtype(), mine.device());
  ranks.all_gather(mine, rows, all);
  return all;
}

}  // namespace sked

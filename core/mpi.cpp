#include "core/mpi.h"

#define OMPI_SKIP_MPICXX 1  // MPI's classes of old, which want a library of their own
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/build.h"
#include "core/device_ranks.h"
#include "core/error.h"
#include "core/launch.h"
#include "core/stopwatch.h"

namespace sked {
namespace {

/// `Open MPI 4.1.4`.
std::string library_name() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string name = text;
  if (name.starts_with("Open MPI v")) name = "Open MPI " + name.substr(10);
  return name.substr(0, name.find_first_of(",\n\t"));
}

const WithLibrary library(library_name());

int64_t most_elements = int64_t{1} << 30;

void check(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, text, &length);
  fail("mpi", call, ": ", std::string(text, static_cast<size_t>(length)));
}
#define SKED_MPI(call, ...) check(call(__VA_ARGS__), #call)

MPI_Datatype type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return MPI_UINT16_T;
    case DType::i64:
      return MPI_INT64_T;
    case DType::u8:
      return MPI_UINT8_T;
    case DType::f64:
      return MPI_DOUBLE;
    default:
      return MPI_FLOAT;
  }
}

/// y = x + y, rounded to bf16.
void add_bf16(void* x, void* y, int* count, MPI_Datatype*) {
  const auto* from = static_cast<const bf16*>(x);
  auto* to = static_cast<bf16*>(y);
  for (int i = 0; i < *count; ++i) to[i] = bf16(static_cast<float>(from[i]) + static_cast<float>(to[i]));
}

/// y = max(x, y), whatever their order: NaN where one of them is, and 0 rather than -0. MPI_MAX depends on it.
template <class T>
void take_greater(void* x, void* y, int* count, MPI_Datatype*) {
  using Number = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto* from = static_cast<const T*>(x);
  auto* to = static_cast<T*>(y);
  for (int i = 0; i < *count; ++i) {
    const auto a = static_cast<Number>(from[i]), b = static_cast<Number>(to[i]);
    if (a > b || std::isnan(a) || (a == b && std::signbit(b))) to[i] = from[i];
  }
}

MPI_Op commutative(MPI_User_function* function) {
  MPI_Op op = MPI_OP_NULL;
  SKED_MPI(MPI_Op_create, function, 1, &op);
  return op;
}

MPI_Op op_of(DType dtype, Reduction how) {
  static const MPI_Op sum_bf16 = commutative(add_bf16), max_bf16 = commutative(take_greater<bf16>),
                      max_f32 = commutative(take_greater<float>), max_f64 = commutative(take_greater<double>);
  if (how == Reduction::sum) return dtype == DType::bf16 ? sum_bf16 : MPI_SUM;
  if (dtype == DType::i64) return MPI_MAX;
  return dtype == DType::bf16 ? max_bf16 : dtype == DType::f64 ? max_f64 : max_f32;
}

/// f(address, count) for pieces of the `elements` that begin at `data`, each as many as one call of MPI takes.
template <class F>
void in_pieces(void* data, int64_t elements, DType dtype, const F& f) {
  for (int64_t begin = 0; begin < elements; begin += most_elements)
    f(static_cast<std::byte*>(data) + static_cast<size_t>(begin) * size_of(dtype),
      static_cast<int>(std::min(most_elements, elements - begin)));
}

/// Elements of each rank's rows.
std::vector<int> counts_of(const std::vector<int64_t>& rows, const Tensor& all) {
  std::vector<int> counts;
  for (const int64_t n : rows) counts.push_back(static_cast<int>(n * all.shape().product(1, all.ndim())));
  return counts;
}

/// The processors that this process may run on, divided by the ranks of its machine that may run on the same.
Neighbors look_around(MPI_Comm machine) {
  int rank = 0, size = 1;
  SKED_MPI(MPI_Comm_rank, machine, &rank);
  SKED_MPI(MPI_Comm_size, machine, &size);
  cpu_set_t mine;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof mine, &mine);
  std::vector<cpu_set_t> sets(static_cast<size_t>(size));
  SKED_MPI(MPI_Allgather, &mine, sizeof mine, MPI_BYTE, sets.data(), sizeof mine, MPI_BYTE, machine);
  const auto sharing = std::ranges::count_if(sets, [&](const cpu_set_t& set) { return CPU_EQUAL(&set, &mine); });
  return {rank, size, std::max<int64_t>(CPU_COUNT(&mine) / sharing, 1)};
}

class World final : public Communicator {
 public:
  World() {
    int there = 0, given = 0;
    SKED_MPI(MPI_Initialized, &there);
    if (there == 0) SKED_MPI(MPI_Init_thread, nullptr, nullptr, MPI_THREAD_FUNNELED, &given);
    SKED_MPI(MPI_Comm_set_errhandler, MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    SKED_MPI(MPI_Comm_rank, MPI_COMM_WORLD, &rank_);
    SKED_MPI(MPI_Comm_size, MPI_COMM_WORLD, &size_);
    SKED_MPI(MPI_Comm_dup, MPI_COMM_WORLD, &leaving_);
    MPI_Comm machine = MPI_COMM_NULL;
    SKED_MPI(MPI_Comm_split_type, MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    SKED_MPI(MPI_Allreduce, &rank_, &first_neighbor_, 1, MPI_INT, MPI_MIN, machine);
    neighbors_ = look_around(machine);
    SKED_MPI(MPI_Comm_free, &machine);
  }
  /// At the program's end, which a rank that leaves alone must not come to: this waits for the others.
  ~World() override {
    int over = 0;
    if (MPI_Finalized(&over) == MPI_SUCCESS && over == 0) MPI_Finalize();
  }
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  const Neighbors& neighbors() const { return neighbors_; }
  int first_neighbor() const { return first_neighbor_; }
  std::optional<int> meet(int mine, double seconds) {
    static int from, most;  // a rank that stays away leaves them in use
    from = mine;
    MPI_Request request = MPI_REQUEST_NULL;
    int done = MPI_Iallreduce(&from, &most, 1, MPI_INT, MPI_MAX, leaving_, &request) == MPI_SUCCESS ? 0 : -1;
    for (const Stopwatch since; done == 0 && since.seconds() < seconds;) {
      if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) done = -1;
      if (done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return done > 0 ? std::optional(most) : std::nullopt;
  }
  [[noreturn]] void abort(int status) override {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::_Exit(status);
  }

 protected:
  void do_all_reduce(Tensor& t, Reduction how) override {
    if (Communicator* cards = among_cards(t)) return cards->all_reduce(t, how);
    Tensor here = t.to(Device::cpu);
    in_pieces(here.raw(), here.numel(), t.dtype(), [&](void* at, int count) {
      SKED_MPI(MPI_Allreduce, MPI_IN_PLACE, at, count, type_of(t.dtype()), op_of(t.dtype(), how), MPI_COMM_WORLD);
    });
    bring(here, t);
  }
  void do_start_all_reduce(const Tensor& t) override {
    if (Communicator* cards = among_cards(t)) return cards->start_all_reduce(t);
    begun_.push_back({t, t.to(Device::cpu)});
    const DType dtype = t.dtype();
    in_pieces(begun_.back().here.raw(), t.numel(), dtype, [&](void* at, int count) {
      requests_.push_back(MPI_REQUEST_NULL);
      SKED_MPI(MPI_Iallreduce, MPI_IN_PLACE, at, count, type_of(dtype), op_of(dtype, Reduction::sum), MPI_COMM_WORLD,
               &requests_.back());
    });
  }
  void do_poke() override {
    std::vector<int> done(requests_.size());
    int count = 0;
    SKED_MPI(MPI_Testsome, static_cast<int>(requests_.size()), requests_.data(), &count, done.data(),
             MPI_STATUSES_IGNORE);
  }
  void do_finish() override {
    if (cards_ != nullptr) cards_->finish();
    SKED_MPI(MPI_Waitall, static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
    for (Begun& b : begun_) bring(b.here, b.whole);
    requests_.clear();
    begun_.clear();
  }
  void do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) override {
    if (Communicator* cards = among_cards(all)) return cards->all_gather(mine, rows, all);
    const Tensor from = mine.to(Device::cpu);
    Tensor here = on_host(all);
    if (all.numel() > most_elements) return gather_in_pieces(from, rows, here, all);
    const std::vector<int> counts = counts_of(rows, all);
    std::vector<int> begins(counts.size(), 0);
    for (size_t r = 1; r < counts.size(); ++r) begins[r] = begins[r - 1] + counts[r - 1];
    const MPI_Datatype type = type_of(all.dtype());
    SKED_MPI(MPI_Allgatherv, from.raw(), static_cast<int>(from.numel()), type, here.raw(), counts.data(), begins.data(),
             type, MPI_COMM_WORLD);
    bring(here, all);
  }
  void do_reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine) override {
    if (Communicator* cards = among_cards(all)) return cards->reduce_scatter(all, rows, mine);
    Tensor from = all.to(Device::cpu), here = on_host(mine);
    const MPI_Datatype type = type_of(all.dtype());
    const MPI_Op sum = op_of(all.dtype(), Reduction::sum);
    if (all.numel() > most_elements) {
      from = from.clone();  // what is reduced at a rank is summed in place there
      reduce_in_pieces(from, rows, here);
    } else {
      SKED_MPI(MPI_Reduce_scatter, static_cast<const Tensor&>(from).raw(), here.raw(), counts_of(rows, all).data(),
               type, sum, MPI_COMM_WORLD);
    }
    bring(here, mine);
  }
  void do_broadcast(Tensor& t, int64_t root) override {
    if (Communicator* cards = among_cards(t)) return cards->broadcast(t, root);
    Tensor here = t.to(Device::cpu);
    in_pieces(here.raw(), here.numel(), t.dtype(), [&](void* at, int count) {
      SKED_MPI(MPI_Bcast, at, count, type_of(t.dtype()), static_cast<int>(root), MPI_COMM_WORLD);
    });
    bring(here, t);
  }
  void do_barrier() override { SKED_MPI(MPI_Barrier, MPI_COMM_WORLD); }

 private:
  /// A tensor whose sum is on its way, and its elements on the host: itself, where it lives there.
  struct Begun {
    Tensor whole, here;
  };

  /// What combines tensors where t lives without the host; nullptr: nothing does.
  Communicator* among_cards(const Tensor& t) {
    const DeviceRanks* offered = ranks_of(t.device());
    if (offered != nullptr && cards_ == nullptr) {  // all ranks come here with their first tensor of a card
      const std::string id = rank_ == 0 ? offered->make_id() : "";
      cards_ = offered->open(all_gather_text(*this, id).front(), rank_, size_);
    }
    return offered == nullptr ? nullptr : cards_;
  }
  /// A place on the host for the elements of t.
  static Tensor on_host(const Tensor& t) {
    return t.device() == Device::cpu ? t : Tensor::empty(t.shape(), t.dtype(), Device::cpu);
  }
  static void bring(const Tensor& here, Tensor& t) {
    if (!t.shares_storage(here)) t.copy_from(here);
  }
  void gather_in_pieces(const Tensor& from, const std::vector<int64_t>& rows, Tensor& here, Tensor& all) {
    int64_t begin = 0;
    for (int64_t r = 0; r < size_; ++r) {
      const int64_t end = begin + rows[static_cast<size_t>(r)];
      Tensor part = here.rows(begin, end);
      if (r == rank_) part.copy_from(from);
      if (part.numel() > 0) do_broadcast(part, r);
      begin = end;
    }
    bring(here, all);
  }
  void reduce_in_pieces(Tensor& from, const std::vector<int64_t>& rows, Tensor& here) {
    int64_t begin = 0;
    for (int r = 0; r < size_; ++r) {
      const int64_t end = begin + rows[static_cast<size_t>(r)];
      Tensor part = from.rows(begin, end);
      in_pieces(part.raw(), part.numel(), part.dtype(), [&](void* at, int count) {
        SKED_MPI(MPI_Reduce, r == rank_ ? MPI_IN_PLACE : at, r == rank_ ? at : nullptr, count, type_of(part.dtype()),
                 op_of(part.dtype(), Reduction::sum), r, MPI_COMM_WORLD);
      });
      if (r == rank_) here.copy_from(part);
      begin = end;
    }
  }

  int rank_ = 0, size_ = 1, first_neighbor_ = 0;
  MPI_Comm leaving_ = MPI_COMM_NULL;  // apart from what other ranks may be in
  Neighbors neighbors_;
  Communicator* cards_ = nullptr;
  std::vector<Begun> begun_;
  std::vector<MPI_Request> requests_;
};

/// nullptr: this process is alone.
World* opened() {
  const Launch here = launch();
  if (here.size == 1) return nullptr;
  static World all;
  require_usage(all.size() > 1 || here.size <= 1, "ranks", "the launcher started ", here.size,
                " processes, but each is alone for ", library_name(),
                ", with which this program was built: start it by that one's mpirun, or by srun --mpi=pmix");
  return &all;
}

World* the_world() {
  static World* const world = opened();
  return world;
}

}  // namespace

Communicator& world() {
  World* const all = the_world();
  return all == nullptr ? alone() : *all;
}

Neighbors neighbors() {
  World* const all = the_world();
  return all == nullptr ? Neighbors{} : all->neighbors();
}

void take_own_cards() {
  World* const all = the_world();
  const Cards* cards = cards_of(Device::cuda);
  if (all == nullptr || cards == nullptr) return;
  // Slurm may show each rank a card of its own.
  const std::string here = std::to_string(all->first_neighbor()) + " " + cards->seen();
  const std::vector<std::string> seen = all_gather_text(*all, here);
  cards->take(std::count(seen.begin(), seen.begin() + all->rank(), here));
}

std::optional<int> meet(int mine, double seconds) {
  World* const all = the_world();
  return all == nullptr ? std::optional(mine) : all->meet(mine, seconds);
}

void limit_messages(int64_t elements) { most_elements = elements; }

}  // namespace sked

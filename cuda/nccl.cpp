// What ranks combine, by NVIDIA's NCCL: one rank a card, over NVLink, PCIe or the network, never by way of the host's
// memory where cards reach each other. The library is opened when first asked for, as cuDNN is.
//
// All of it runs on one stream of its own, in the order of the calls: it waits for what the kernels' stream was asked
// before, and the kernels' stream for it, at once or in finish(). The host waits for nothing. Floor of an all-reduce of
// b bytes: 2 b (N − 1)/N over the slowest link; half of it for a gather or a scatter.

#include <dlfcn.h>
#include <nccl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/build.h"
#include "core/device_ranks.h"
#include "core/error.h"
#include "core/tensor.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda {
namespace {

const WithLibrary library("NCCL " + std::to_string(NCCL_MAJOR) + "." + std::to_string(NCCL_MINOR) + "." +
                          std::to_string(NCCL_PATCH));

/// The functions of libnccl.
struct Nccl {
#define SKED_NCCL_FUNCTION(name) decltype(&::nccl##name) name = function<decltype(&::nccl##name)>("nccl" #name)
  SKED_NCCL_FUNCTION(GetErrorString);
  SKED_NCCL_FUNCTION(GetLastError);
  SKED_NCCL_FUNCTION(GetUniqueId);
  SKED_NCCL_FUNCTION(CommInitRank);
  SKED_NCCL_FUNCTION(GroupStart);
  SKED_NCCL_FUNCTION(GroupEnd);
  SKED_NCCL_FUNCTION(AllReduce);
  SKED_NCCL_FUNCTION(AllGather);
  SKED_NCCL_FUNCTION(ReduceScatter);
  SKED_NCCL_FUNCTION(Broadcast);
  SKED_NCCL_FUNCTION(Reduce);
#undef SKED_NCCL_FUNCTION

 private:
  template <class F>
  static F function(const char* name) {
    static void* const opened = dlopen("libnccl.so.2", RTLD_NOW);
    require(opened != nullptr, "nccl", "this program was built with NCCL, and it is not here: ", dlerror());
    void* const found = dlsym(opened, name);
    require(found != nullptr, "nccl", "libnccl.so.2 has no ", name, ": expected NCCL 2.14 or newer");
    return reinterpret_cast<F>(found);
  }
};

const Nccl& nccl() {
  static const Nccl functions;
  return functions;
}

void check(ncclResult_t status, const char* call) {
  if (status == ncclSuccess) return;
  const char* more = nccl().GetLastError(nullptr);
  fail("nccl", call, ": ", nccl().GetErrorString(status), more == nullptr || *more == '\0' ? "" : ": ",
       more == nullptr ? "" : more);
}
#define SKED_NCCL(name, ...) check(nccl().name(__VA_ARGS__), "nccl" #name)

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return ncclBfloat16;
    case DType::i64:
      return ncclInt64;
    case DType::u8:
      return ncclUint8;
    case DType::f64:
      return ncclFloat64;
    default:
      return ncclFloat32;
  }
}

size_t count_of(const Tensor& t) { return static_cast<size_t>(t.numel()); }

bool all_equal(const std::vector<int64_t>& rows) {
  return std::ranges::all_of(rows, [&](int64_t n) { return n == rows.front(); });
}

class NcclRanks final : public Communicator {
 public:
  NcclRanks(const std::string& text, int64_t rank, int64_t size) : rank_(rank), size_(size) {
    ncclUniqueId id;
    require(text.size() == sizeof id.internal, "nccl", "expected an id of ", sizeof id.internal, " bytes, got ",
            text.size());
    std::memcpy(id.internal, text.data(), text.size());
    SKED_NCCL(CommInitRank, &comm_, static_cast<int>(size), id, static_cast<int>(rank));
  }
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  [[noreturn]] void abort(int status) override { std::_Exit(status); }

 protected:
  void do_all_reduce(Tensor& t, Reduction how) override {
    const ncclRedOp_t op = how == Reduction::sum ? ncclSum : ncclMax;
    begin();
    SKED_NCCL(AllReduce, t.raw(), t.raw(), count_of(t), type_of(t.dtype()), op, comm_, side_.get());
    join();
  }
  void do_start_all_reduce(const Tensor& t) override {
    begun_.push_back(t);
    void* const at = begun_.back().raw();
    begin();
    SKED_NCCL(AllReduce, at, at, count_of(t), type_of(t.dtype()), ncclSum, comm_, side_.get());
  }
  void do_poke() override {}  // a card goes on by itself
  void do_finish() override {
    if (begun_.empty()) return;
    join();
    begun_.clear();  // whoever gets this memory next writes it behind the join
  }
  void do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) override {
    const ncclDataType_t type = type_of(all.dtype());
    begin();
    if (all_equal(rows)) {
      SKED_NCCL(AllGather, mine.raw(), all.raw(), count_of(mine), type, comm_, side_.get());
    } else {
      for_each_part(all, rows, [&](int r, Tensor part) {
        const void* from = r == rank_ ? mine.raw() : part.raw();  // what others send is not looked at
        SKED_NCCL(Broadcast, from, part.raw(), count_of(part), type, r, comm_, side_.get());
      });
    }
    join();
  }
  void do_reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine) override {
    const ncclDataType_t type = type_of(all.dtype());
    begin();
    if (all_equal(rows)) {
      SKED_NCCL(ReduceScatter, all.raw(), mine.raw(), count_of(mine), type, ncclSum, comm_, side_.get());
    } else {
      for_each_part(all, rows, [&](int r, const Tensor& part) {
        void* const to = r == rank_ ? mine.raw() : nullptr;
        SKED_NCCL(Reduce, part.raw(), to, count_of(part), type, ncclSum, r, comm_, side_.get());
      });
    }
    join();
  }
  void do_broadcast(Tensor& t, int64_t root) override {
    begin();
    SKED_NCCL(Broadcast, t.raw(), t.raw(), count_of(t), type_of(t.dtype()), static_cast<int>(root), comm_, side_.get());
    join();
  }
  void do_barrier() override {}

 private:
  /// What is asked from here on comes behind what the kernels' stream was asked before.
  void begin() {
    refuse_in_recording("combining what several ranks have");
    ready_.record(compute_stream());
    ready_.block(side_);
  }
  /// What the kernels' stream is asked from here on comes behind all that.
  void join() {
    done_.record(side_);
    done_.block(compute_stream());
  }
  /// f(rank, its rows of all) for those who have some, as one launch.
  template <class F>
  static void for_each_part(const Tensor& all, const std::vector<int64_t>& rows, const F& f) {
    SKED_NCCL(GroupStart);
    int64_t at = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      const Tensor part = all.rows(at, at + rows[r]);
      if (part.numel() > 0) f(static_cast<int>(r), part);
      at += rows[r];
    }
    SKED_NCCL(GroupEnd);
  }

  const int64_t rank_, size_;
  ncclComm_t comm_ = nullptr;
  Stream side_;
  Event ready_, done_;
  TensorList begun_;
};

std::string make_id() {
  ncclUniqueId id;
  SKED_NCCL(GetUniqueId, &id);
  return {id.internal, sizeof id.internal};
}

Communicator* open(const std::string& id, int64_t rank, int64_t size) {
  (void)memory(Device::cuda);  // this rank's card is the current one
  return new NcclRanks(id, rank, size);
}

[[maybe_unused]] const bool registered = (register_ranks(Device::cuda, {make_id, open}), true);

}  // namespace
}  // namespace sked::cuda

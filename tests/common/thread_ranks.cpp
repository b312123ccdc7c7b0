#include "tests/common/thread_ranks.h"

#include <omp.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"

namespace sked::test {
namespace {

/// What the ranks share.
class Meeting {
 public:
  explicit Meeting(int64_t size) : size_(size), shown(static_cast<size_t>(size)) {}

  void wait() {
    std::unique_lock lock(mutex_);
    const int64_t round = round_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
    }
    all_here_.wait(lock, [&] { return broken_ || round_ != round; });
    require(round_ != round, "thread_ranks", "another rank has failed");
  }
  void leave(const std::exception_ptr& failure) {
    const std::lock_guard lock(mutex_);
    if (!broken_) failure_ = failure;
    broken_ = true;
    all_here_.notify_all();
  }
  /// The first.
  const std::exception_ptr& failure() const { return failure_; }

 private:
  const int64_t size_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  int64_t arrived_ = 0, round_ = 0;
  bool broken_ = false;
  std::exception_ptr failure_;

 public:
  std::vector<Tensor> shown;  // by each rank: written before a wait(), read between two
};

template <class T>
void combine(const Tensor& x, Tensor& y, Reduction how) {
  const T* from = x.data<T>();
  T* to = y.data<T>();
  for (int64_t i = 0; i < y.numel(); ++i) to[i] = how == Reduction::sum ? to[i] + from[i] : std::max(to[i], from[i]);
}

class ThreadRank final : public Communicator {
 public:
  ThreadRank(Meeting& meeting, int64_t rank, int64_t size) : meeting_(meeting), rank_(rank), size_(size) {}
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  [[noreturn]] void abort(int status) override { fail("thread_ranks", "aborted with ", status); }

 protected:
  void do_all_reduce(Tensor& t, Reduction how) override {
    const Tensor total = reduced(t, how);
    t.copy_from(total);
    meeting_.wait();
  }
  void do_start_all_reduce(const Tensor& t) override { begun_.push_back(t); }
  void do_poke() override {}
  void do_finish() override {
    for (Tensor& t : begun_) do_all_reduce(t, Reduction::sum);
    begun_.clear();
  }
  void do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) override {
    show(mine);
    int64_t begin = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r] > 0) all.rows(begin, begin + rows[r]).copy_from(meeting_.shown[r]);
      begin += rows[r];
    }
    meeting_.wait();
  }
  void do_reduce_scatter(const Tensor& all, const std::vector<int64_t>& rows, Tensor& mine) override {
    const Tensor total = reduced(all, Reduction::sum);
    int64_t begin = 0;
    for (int64_t r = 0; r < rank_; ++r) begin += rows[static_cast<size_t>(r)];
    if (mine.numel() > 0) mine.copy_from(total.rows(begin, begin + mine.dim(0)));
    meeting_.wait();
  }
  void do_broadcast(Tensor& t, int64_t root) override {
    show(t);
    if (rank_ != root) t.copy_from(meeting_.shown[static_cast<size_t>(root)]);
    meeting_.wait();
  }
  void do_barrier() override { meeting_.wait(); }

 private:
  /// Shows a copy, so that nobody reads what another rank changes.
  void show(const Tensor& t) {
    meeting_.shown[static_cast<size_t>(rank_)] = t.clone();
    meeting_.wait();
  }
  /// In the order of ranks, on every rank alike.
  Tensor reduced(const Tensor& t, Reduction how) {
    show(t);
    Tensor total = meeting_.shown.front().to(Device::cpu).clone();
    for (size_t r = 1; r < meeting_.shown.size(); ++r) {
      const Tensor next = meeting_.shown[r].to(Device::cpu);
      require_shape(next, total.shape(), "thread_ranks", "every rank's tensor");
      switch (t.dtype()) {
        case DType::f64:
          combine<double>(next, total, how);
          break;
        case DType::i64:
          combine<int64_t>(next, total, how);
          break;
        case DType::f32:
          combine<float>(next, total, how);
          break;
        default: {
          Tensor wide = total.to(DType::f32);
          combine<float>(next.to(DType::f32), wide, how);
          total = wide.to(t.dtype());
        }
      }
    }
    return total;
  }

  Meeting& meeting_;
  const int64_t rank_, size_;
  std::vector<Tensor> begun_;
};

}  // namespace

void on_ranks(int64_t size, const std::function<void(Communicator& ranks)>& f) {
  Meeting meeting(size);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      omp_set_num_threads(1);
      try {
        ThreadRank mine(meeting, rank, size);
        f(mine);
      } catch (...) {
        meeting.leave(std::current_exception());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (meeting.failure()) std::rethrow_exception(meeting.failure());
}

bool meets_nobody(const std::function<void(Communicator& ranks)>& f) {
  bool ended = false;
  try {
    on_ranks(2, [&](Communicator& ranks) {
      if (ranks.rank() == 1) fail("thread_ranks", "left");  // on which collectives of the other throw
      f(ranks);
      ended = true;
    });
  } catch (const Error&) {
  }
  return ended;
}

}  // namespace sked::test

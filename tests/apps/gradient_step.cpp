// Steps replayed from a recording: when that happens, and that nothing else changes by it.

#include "apps/common/run/gradient_step.h"

#include <doctest/doctest.h>

#include "apps/common/run/trace.h"
#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "core/allocator.h"
#include "core/error.h"
#include "tests/apps/support.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;

namespace {

/// Mean of (1 + step) w² x over inputs x (B,3), with one parameter w (3) and one that nothing depends on.
struct Problem {
  Var w = parameter(hash_tensor({3}, 1)), idle = parameter(hash_tensor({2}, 2));
  std::vector<std::string> notes;
  int calls = 0;
  std::vector<std::pair<int64_t, int64_t>> parts_seen;  // each part's first row and its first example
  GradientStep step;
  int64_t parts;

  explicit Problem(bool record, int64_t parts = 1, Communicator& ranks = alone())
      : step(
            [this](const TensorList& inputs, const Context& context) {
              ++calls;
              parts_seen.emplace_back(context.first_row, context.examples.data<int64_t>()[0]);
              return mean(square(w) * Var(inputs[0])) * static_cast<double>(1 + context.step);
            },
            {{"w", w}, {"idle", idle}}, Device::cpu, record, [this](const std::string& line) { notes.push_back(line); },
            ranks),
        parts(parts) {}

  Tensor run(int64_t rows, uint64_t number) {
    const Context context{.training = true, .seed = 1, .step = number, .examples = Tensor::zeros({rows}, DType::i64)};
    return step.run({hash_tensor({rows, 3}, static_cast<uint32_t>(10 + number))}, context,
                    cut_of(span_sizes(rows, parts), alone()));
  }
};

bool same(const Tensor& a, const Tensor& b) { return a.to_vector<float>() == b.to_vector<float>(); }

}  // namespace

TEST_CASE("gradient step: the second batch of a shape is recorded, others are computed, and all come out the same") {
  const StandInRecorder recorder;
  Problem plain(false), replayed(true);
  const std::vector<int64_t> rows{4, 5, 5, 5, 4, 4, 5};
  const std::vector<int> replays{0, 0, 1, 2, 2, 2, 3};
  std::vector<Tensor> losses;
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    const Tensor loss = plain.run(rows[i], i);
    losses.push_back(replayed.run(rows[i], i));
    CHECK(same(losses.back(), loss));
    CHECK(same(replayed.w.grad(), plain.w.grad()));
    CHECK_FALSE(replayed.idle.grad().defined());
    CHECK(recorder.replays() == replays[i]);
    if (i % 2 == 1) replayed.w.clear_grad();  // as an optimizer does; the next one is there all the same
  }
  CHECK(recorder.recordings() == 1);
  CHECK(replayed.notes.empty());
  // What was returned stays as it was.
  Problem again(false);
  for (size_t i = 0; i < rows.size(); ++i) CHECK(same(losses[i], again.run(rows[i], i)));
}

TEST_CASE("gradient step: what a trace looks at is computed call by call, and replays go on behind it") {
  const StandInRecorder recorder;
  const TemporaryFolder folder;
  Trace trace(folder.path("trace.json"), Device::cpu);
  trace.expect(1);
  Problem plain(false), replayed(true);
  for (uint64_t i = 0; i < 5; ++i) {
    Tensor loss;
    traced(i == 3 ? &trace : nullptr, "step", [&] { loss = replayed.run(4, i); });
    CHECK(same(loss, plain.run(4, i)));
    CHECK(same(replayed.w.grad(), plain.w.grad()));
  }
  CHECK(recorder.recordings() == 1);
  CHECK(recorder.replays() == 3);  // of steps 1, 2 and 4
  CHECK(trace.finish().find("reduce_forward") != std::string::npos);
}

TEST_CASE("gradient step: the caller's tensors are not written to, and a replay reads what they hold then") {
  const StandInRecorder recorder;
  Problem plain(false), replayed(true);
  const Tensor x = hash_tensor({4, 3}, 3), before = x.clone();
  const Context context{.training = true, .seed = 1, .step = 0, .examples = Tensor::zeros({4}, DType::i64)};
  for (int i = 0; i < 3; ++i) CHECK(same(replayed.step.run({x}, context), plain.step.run({x}, context)));
  replayed.run(4, 7);
  CHECK(same(x, before));
  CHECK(same(replayed.step.run({x}, context), plain.step.run({x}, context)));
  const int replays = recorder.replays();
  const BatchCut elsewhere{.parts = {{.rows = 4, .first_row = 4}}, .total = 8};  // computed
  CHECK(same(replayed.step.run({x}, context, elsewhere), plain.step.run({x}, context, elsewhere)));
  CHECK(recorder.replays() == replays);
  Context other = context;
  other.seed = 2;  // no part of what may change
  CHECK(one_line_with(error_of([&] { replayed.step.run({x}, other); }), "[gradient_step]", "seed 1", "got 2"));
}

TEST_CASE("gradient step: where recording fails, that is said once and every batch is computed") {
  struct Refusing {
    Refusing() {
      register_recorder(Device::cpu, [](uint64_t, const std::function<void()>& f) -> std::unique_ptr<Recording> {
        f();
        fail("cuda", "a copy from the host cannot be recorded");
      });
    }
    ~Refusing() { register_recorder(Device::cpu, nullptr); }
  };
  const Refusing refusing;
  Problem plain(false), refused(true);
  for (uint64_t i = 0; i < 4; ++i) {
    CHECK(same(refused.run(4, i), plain.run(4, i)));
    CHECK(same(refused.w.grad(), plain.w.grad()));
  }
  CHECK(refused.calls == 5);  // one in vain
  REQUIRE(refused.notes.size() == 1);
  CHECK(one_line_with(refused.notes[0], "not replayed", "[cuda] a copy from the host cannot be recorded"));
}

TEST_CASE("gradient step: a batch in parts has the loss and gradients of the whole, recorded or not") {
  const StandInRecorder recorder;
  Problem whole(false), parts(false, 3), recorded(true, 3);
  const auto near = [](const Tensor& a, const Tensor& b) {
    const std::vector<float> x = a.to_vector<float>(), y = b.to_vector<float>();
    return std::ranges::equal(x, y, [](float p, float q) { return std::abs(p - q) < 1e-6F; });  // values below 4
  };
  const std::vector<int64_t> rows{7, 7, 7, 2, 7};  // 2, 2 and 3 rows; of two rows the first part has none
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    const Tensor loss = whole.run(rows[i], i), in_parts = parts.run(rows[i], i);
    CHECK(near(in_parts, loss));
    CHECK(near(parts.w.grad(), whole.w.grad()));
    CHECK_FALSE(parts.idle.grad().defined());
    CHECK(same(recorded.run(rows[i], i), in_parts));
    CHECK(same(recorded.w.grad(), parts.w.grad()));
  }
  CHECK(recorder.recordings() == 1);
  CHECK(recorder.replays() == 3);
  CHECK(parts.calls == 4 * 3 + 2);

  Problem numbered(false, 3);
  Context context{.training = true, .seed = 1, .step = 0, .examples = Tensor::from<int64_t>({5, 6, 7, 8, 9}, {5})};
  numbered.step.run({hash_tensor({5, 3}, 3)}, context, cut_of(span_sizes(5, 3), alone()));
  CHECK(numbered.parts_seen == std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 6}, {3, 8}});
}

TEST_CASE("gradient step: ranks have the loss and gradients of the whole batch, in parts or not") {
  const std::vector<int64_t> examples{5, 6, 7, 8, 9, 10, 11};
  const Tensor x = hash_tensor({7, 3}, 3);
  const Context context{.training = true, .step = 1, .examples = Tensor::from(examples, {7})};
  Problem whole(false);
  const double loss = whole.step.run({x}, context).item();
  for (const std::vector<int64_t>& part_rows : {std::vector<int64_t>{7}, {4, 3}, {0, 7}, {7, 0}}) {
    on_ranks(2, [&](Communicator& ranks) {
      Problem mine(false, 1, ranks);
      std::vector<int64_t> counts;
      TensorList rows, numbers;
      int64_t begin = 0, total = 0;
      for (const int64_t part : part_rows) {
        const Span span = span_of(part, ranks.rank(), 2);
        counts.push_back(span.size());
        rows.push_back(x.rows(begin + span.begin, begin + span.end));
        numbers.push_back(context.examples.rows(begin + span.begin, begin + span.end));
        begin += part;
        total += span.size();
      }
      Context own = context;
      own.examples = Tensor::empty({total}, DType::i64);
      Tensor own_x = Tensor::empty({total, 3});
      for (int64_t p = 0, done = 0; p < std::ssize(rows); done += counts[static_cast<size_t>(p++)]) {
        const auto i = static_cast<size_t>(p);
        own_x.rows(done, done + counts[i]).copy_from(rows[i]);
        own.examples.rows(done, done + counts[i]).copy_from(numbers[i]);
      }
      const Tensor got = mine.step.run({own_x}, own, cut_of(counts, ranks));
      CHECK(got.item() == doctest::Approx(loss).epsilon(1e-6));
      const auto want = whole.w.grad().to_vector<float>(), gradient = mine.w.grad().to_vector<float>();
      for (size_t i = 0; i < want.size(); ++i) CHECK(gradient[i] == doctest::Approx(want[i]).epsilon(1e-6));
      for (const auto& [first_row, example] : mine.parts_seen) CHECK(example == examples.front() + first_row);
    });
  }
  CHECK(one_line_with(error_of([] { on_ranks(3, [](Communicator& ranks) { cut_of({ranks.rank()}, ranks); }); }),
                      "[train]", "rank 0", "that others have 3 of"));
}

TEST_CASE("gradient step: its memory goes back with it") {
  const StandInRecorder recorder;
  const size_t before = allocator(Device::cpu).stats().live;
  {
    Problem problem(true);
    for (uint64_t i = 0; i < 4; ++i) problem.run(4, i);
    CHECK(recorder.replays() == 3);
  }
  CHECK(allocator(Device::cpu).stats().live == before);
}

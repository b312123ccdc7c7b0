// Recordings as CUDA graphs: f's kernels and copies, captured from the one stream and so in their order, in memory set
// apart for them. A replay is one launch, which saves the host some microseconds for each kernel.

#include "cuda/recording.h"

#include "core/allocator.h"
#include "core/recording.h"
#include "core/work_count.h"
#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

/// Longer ones are refused: a launch becomes a node of the graph, and so many take seconds to capture and instantiate
/// and memory of the order of 1 GB, while what a replay saves, some microseconds a launch, is little beside such a
/// step.
constexpr int64_t kMostLaunches = 20000;

/// The recording under way; there is one stream, hence one of them.
struct UnderWay {
  bool on = false;
  uint64_t step = 0;
  int64_t launches = 0;
};
UnderWay under_way;

/// The step of the latest replay, on the device. Never freed, like the stream.
uint64_t* step_word() {
  static uint64_t* const word = [] {
    void* pointer = nullptr;
    SKED_CUDA(cudaMalloc(&pointer, sizeof(uint64_t)));
    return static_cast<uint64_t*>(pointer);
  }();
  return word;
}

__global__ void set_step_kernel(uint64_t step, uint64_t* word) { *word = step; }

/// A graph as captured.
class Graph {
 public:
  Graph() = default;
  ~Graph() {
    if (graph_) (void)cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  cudaGraph_t* out() { return &graph_; }
  cudaGraph_t get() const { return graph_; }

 private:
  cudaGraph_t graph_ = nullptr;
};

/// Captures the stream's work while it lives. Relaxed, because memory is allocated meanwhile.
class Capture {
 public:
  explicit Capture(uint64_t step) {
    require(!under_way.on, "cuda", "a recording within a recording");
    SKED_CUDA(cudaStreamBeginCapture(compute_stream().get(), cudaStreamCaptureModeRelaxed));
    under_way = {.on = true, .step = step};
  }
  void end(Graph& graph) {
    under_way.on = false;
    SKED_CUDA(cudaStreamEndCapture(compute_stream().get(), graph.out()));
  }
  ~Capture() {
    if (!under_way.on) return;
    under_way.on = false;
    Graph dropped;
    if (cudaStreamEndCapture(compute_stream().get(), dropped.out()) != cudaSuccess) (void)cudaGetLastError();
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
};

class GraphRecording final : public Recording {
 public:
  GraphRecording(uint64_t step, const std::function<void()>& f) {
    step_word();  // its memory is nobody's part
    Graph graph;
    {
      const MemoryPool::Scope scope(pool_);
      Capture capture(step);
      f();
      capture.end(graph);
    }
    SKED_CUDA(cudaGraphInstantiateWithFlags(&work_, graph.get(), 0));
  }
  ~GraphRecording() override {
    if (!work_) return;
    (void)cudaStreamSynchronize(compute_stream().get());  // a replay may be under way
    (void)cudaGraphExecDestroy(work_);
  }

  void replay(uint64_t step) override {
    launch("replay", set_step_kernel, 1, 1, step, step_word());
    SKED_CUDA(cudaGraphLaunch(work_, compute_stream().get()));
  }

 private:
  MemoryPool pool_{allocator(Device::cuda)};
  cudaGraphExec_t work_ = nullptr;
};

std::unique_ptr<Recording> record_graph(uint64_t step, const std::function<void()>& f) {
  return std::make_unique<GraphRecording>(step, f);
}

[[maybe_unused]] const bool registered = (register_recorder(Device::cuda, record_graph), true);

}  // namespace

void refuse_in_recording(const char* what) { require(!under_way.on, "cuda", what, " cannot be recorded"); }

void count_launch(const char* where) {
  WorkCount::launch(where);
  require(!under_way.on || ++under_way.launches <= kMostLaunches, "cuda", "more than ", kMostLaunches,
          " launches cannot be recorded (a graph of them takes seconds to make and about 1 GB)");
}

const uint64_t* replayed_step(uint64_t step) { return under_way.on && step == under_way.step ? step_word() : nullptr; }

}  // namespace sked::cuda

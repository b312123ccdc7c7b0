#pragma once
// Batches of a dataset, prepared ahead by worker threads.

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/communicator.h"
#include "data/dataset.h"
#include "data/skipped.h"
#include "data/transforms.h"

namespace sked {

struct Batch {
  Tensor images;         // (B, H, W, C): f32, or u8 where LoaderOptions::bytes asks for it; vectors: f32 (B, D)
  Tensor labels;         // i64 (B)
  Tensor targets;        // f32 (B, K): several labels, soft or mixed ones; undefined where labels say everything
  Tensor distributions;  // f32 (B, K); undefined when the dataset has none
  Tensor indices;        // i64 (B), positions in the dataset
  std::vector<std::string> captions = {};  // B; none when the dataset has none
  std::vector<Skipped> skipped = {};       // left out: B is smaller by these
  std::vector<int64_t> part_rows = {};     // how many of the B each of LoaderOptions::parts has
};

struct LoaderOptions {
  int64_t batch_size = 128;
  uint64_t seed = 0;
  bool shuffle = true;
  /// Leave out a last batch of fewer than batch_size examples?
  bool drop_last = false;
  /// Worker threads; 0 prepares each batch inside next().
  int threads = 1;
  /// Deliver images as the bytes that stand for the pipeline's values(), a quarter of the size: for a device that looks
  /// the values up itself. Under mixup, whose images are no such values, they are f32 all the same.
  bool bytes = false;
  /// Batches prepared ahead, at most.
  int prefetch = 4;
  /// Corrupt images (ImageError) left out of their batches; one more, counted since the Loader was made, is an error.
  /// Of several ranks' batches any number is: who knows what all of them left out counts (SkipCount).
  int64_t skip_limit = 0;
  /// Called by next() for the first time each of them is left out; not of several ranks.
  std::function<void(const Skipped&)> on_skip = {};
  /// Every batch is cut into so many parts, as equal as may be, and what is delivered is the share of this rank of
  /// `ranks` in each of them, one behind the other: the ranks' shares together are the batch. Nothing else is read, but
  /// for the one image before each share that a pipeline mixes it with.
  int64_t parts = 1, rank = 0, ranks = 1;
};

/// What preparing the delivered batches cost, summed over workers.
struct LoaderStatistics {
  int64_t images = 0, skipped = 0;
  double seconds = 0;         // in preparing them
  double decode_seconds = 0;  // of those, in reading and decoding image files
};

/// Delivers the batches of an epoch in order. The order of examples is a function of (seed, epoch) alone, an image's
/// augmentation and its caption of (seed, epoch, index), a batch's mixing of (seed, epoch, its number): any number of
/// threads or ranks, and a start in the middle of an epoch, give the same bytes. One thread uses a Loader; its workers
/// are its own affair.
class Loader {
 public:
  /// Throws Error when the pipeline cannot take the dataset's images, mixes those of a dataset with captions, or an
  /// option is out of range.
  Loader(std::shared_ptr<const Dataset> dataset, Pipeline pipeline, const LoaderOptions& options);
  /// Stops the workers, in the middle of an epoch too.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Begins `epoch` at batch `first_batch` (0 … batches()), dropping what is left of the one before.
  void start(int64_t epoch, int64_t first_batch = 0);
  /// The next batch, or nothing at the end of the epoch. Rethrows what a worker threw when it prepared this batch, and
  /// ends the epoch with it. A batch of which every image was left out has none. Throws Error before start(), for more
  /// corrupt images than skip_limit, naming the last one, and at the end of a whole epoch without a single image.
  std::optional<Batch> next();

  /// Batches of one whole epoch.
  int64_t batches() const;
  const Dataset& dataset() const { return *dataset_; }
  /// (H, W, C) of the images in a batch, or (D) of vectors.
  const Shape& image_shape() const { return image_shape_; }
  /// Time the caller spent inside next() since the Loader was made: what the data cost the training.
  double seconds_waited() const { return seconds_waited_; }
  /// Of the batches delivered since the Loader was made.
  const LoaderStatistics& statistics() const { return statistics_; }

 private:
  /// A batch on its way, at slot (batch number mod prefetch).
  struct Slot {
    bool ready = false;
    Batch batch;
    std::exception_ptr error;
    LoaderStatistics cost;
  };

  Batch make_batch(int64_t number, LoaderStatistics& cost) const;
  Batch empty_batch(int64_t count) const;
  Batch make_share(Span batch, Span share, int64_t number, LoaderStatistics& cost) const;
  void fill(Batch& batch, int64_t b, int64_t i, LoaderStatistics& cost) const;
  void account(const Slot& slot);
  Slot prepare(int64_t number) const;
  void work();
  Slot take();
  void stop();

  std::shared_ptr<const Dataset> dataset_;
  Pipeline pipeline_;
  LoaderOptions options_;
  Shape image_shape_;
  double seconds_waited_ = 0.0;
  LoaderStatistics statistics_;
  SkipCount skipped_;

  // Set by start() while no worker runs.
  int64_t epoch_ = 0;
  bool started_ = false;
  std::vector<int64_t> order_;
  std::vector<std::thread> workers_;

  // Shared with the workers, under mutex_.
  std::mutex mutex_;
  std::condition_variable slot_ready_, slot_free_;
  std::vector<Slot> slots_;
  int64_t next_to_make_ = 0, next_to_deliver_ = 0;
  bool stopping_ = false;
};

/// The order of one epoch: 0 … size-1 shuffled by Fisher–Yates with draws addressed by (seed, epoch).
std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch);

}  // namespace sked

#include "data/loader.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/stopwatch.h"
#include "data/image_file.h"

namespace sked {
namespace {

// Streams of the loader's seed; …04 is that of epoch_caption().
constexpr uint64_t kOrder = 0x64617461'00000001;  // "data"
constexpr uint64_t kAugmentation = 0x64617461'00000002;
constexpr uint64_t kMixing = 0x64617461'00000003;

/// Adds the time of its life to a sum.
class AddedTime {
 public:
  explicit AddedTime(double& seconds) : seconds_(seconds) {}
  ~AddedTime() { seconds_ += watch_.seconds(); }
  AddedTime(const AddedTime&) = delete;
  AddedTime& operator=(const AddedTime&) = delete;

 private:
  double& seconds_;
  const Stopwatch watch_;
};

/// (B, …) of examples of a shape.
Shape batch_shape(int64_t count, const Shape& example) {
  return example.ndim() == 1 ? Shape{count, example[0]} : Shape{count, example[0], example[1], example[2]};
}

/// Those with a row for each example; some may be undefined.
std::array<Tensor*, 5> tensors_of(Batch& batch) {
  return {&batch.images, &batch.labels, &batch.targets, &batch.distributions, &batch.indices};
}

/// One behind the other.
Batch joined(std::vector<Batch> parts) {
  Batch all = std::move(parts.front());
  if (parts.size() == 1) return all;
  int64_t rows = all.part_rows.front();
  for (size_t p = 1; p < parts.size(); ++p) {
    Batch& part = parts[p];
    rows += part.part_rows.front();
    all.part_rows.push_back(part.part_rows.front());
    all.skipped.insert(all.skipped.end(), part.skipped.begin(), part.skipped.end());
    all.captions.insert(all.captions.end(), part.captions.begin(), part.captions.end());
  }
  parts.front() = all;
  const auto into = tensors_of(all);
  for (size_t t = 0; t < into.size(); ++t) {
    if (!into[t]->defined()) continue;
    Tensor whole = Tensor::empty(into[t]->shape().with(0, rows), into[t]->dtype());
    int64_t done = 0;
    for (Batch& part : parts) {
      const Tensor& some = *tensors_of(part)[t];
      if (some.dim(0) > 0) whole.rows(done, done + some.dim(0)).copy_from(some);
      done += some.dim(0);
    }
    *into[t] = whole;
  }
  return all;
}

}  // namespace

std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, int64_t epoch) {
  require(size >= 0 && size <= std::numeric_limits<uint32_t>::max(), "loader", "expected 0 to 2^32-1 examples, got ",
          size);
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  Rng rng({seed, kOrder, static_cast<uint64_t>(epoch)});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(static_cast<uint32_t>(i))]);
  return order;
}

Loader::Loader(std::shared_ptr<const Dataset> dataset, Pipeline pipeline, const LoaderOptions& options)
    : dataset_(std::move(dataset)),
      pipeline_(std::move(pipeline)),
      options_(options),
      skipped_(options.skip_limit, options.on_skip) {
  require(dataset_ != nullptr, "loader", "expected a dataset, got none");
  require(options.batch_size >= 1, "loader", "expected batch_size >= 1, got ", options.batch_size);
  require(options.threads >= 0 && options.threads <= 1024, "loader", "expected 0 to 1024 threads, got ",
          options.threads);
  require(options.prefetch >= 1, "loader", "expected prefetch >= 1, got ", options.prefetch);
  require(options.parts >= 1, "loader", "expected parts >= 1, got ", options.parts);
  require(options.ranks >= 1 && options.rank >= 0 && options.rank < options.ranks, "loader", "expected a rank of ",
          options.ranks, ", got ", options.rank);
  require(options.skip_limit >= 0, "loader", "expected skip_limit >= 0, got ", options.skip_limit);
  pipeline_.check(*dataset_);
  require(!dataset_->has_captions() || pipeline_.mixing().kind == Mixing::Kind::none, "loader", dataset_->name(),
          " has captions: expected a pipeline without mixup or cutmix, which mix labels but cannot mix texts");
  image_shape_ = pipeline_.output_shape(dataset_->image_shape());
}

Loader::~Loader() { stop(); }

int64_t Loader::batches() const {
  const int64_t size = dataset_->size(), batch = options_.batch_size;
  return options_.drop_last ? size / batch : size / batch + (size % batch != 0);
}

void Loader::start(int64_t epoch, int64_t first_batch) {
  require(epoch >= 0, "loader", "expected epoch >= 0, got ", epoch);
  require(first_batch >= 0 && first_batch <= batches(), "loader", "expected first_batch in 0 to ", batches(), ", got ",
          first_batch);
  stop();
  epoch_ = epoch;
  if (options_.shuffle) {
    order_ = shuffled_order(dataset_->size(), options_.seed, epoch);
  } else if (order_.empty()) {
    order_.resize(static_cast<size_t>(dataset_->size()));
    std::iota(order_.begin(), order_.end(), int64_t{0});
  }
  next_to_make_ = next_to_deliver_ = first_batch;
  skipped_.start(first_batch > 0);
  stopping_ = false;
  slots_ = std::vector<Slot>(static_cast<size_t>(options_.prefetch));
  started_ = true;
  try {
    for (int i = 0; i < options_.threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    stop();
    fail("loader", "cannot start ", options_.threads, " worker threads: ", error.what());
  }
}

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  slot_free_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  slots_.clear();
  started_ = false;
}

std::optional<Batch> Loader::next() {
  const AddedTime time(seconds_waited_);
  require(started_, "loader", "expected start() before next()");
  if (next_to_deliver_ == batches()) return std::nullopt;
  Slot slot = workers_.empty() ? prepare(next_to_deliver_++) : take();
  if (slot.error) {
    stop();
    std::rethrow_exception(slot.error);
  }
  account(slot);
  return std::move(slot.batch);
}

void Loader::account(const Slot& slot) {
  if (options_.ranks == 1) {
    try {
      skipped_.add(slot.batch.images.dim(0), slot.batch.skipped, next_to_deliver_ == batches());
    } catch (...) {
      stop();
      throw;
    }
  }
  statistics_.images += slot.cost.images;
  statistics_.skipped = skipped_.count();
  statistics_.seconds += slot.cost.seconds;
  statistics_.decode_seconds += slot.cost.decode_seconds;
}

/// Waits for the batch that is due and frees its slot.
Loader::Slot Loader::take() {
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[static_cast<size_t>(next_to_deliver_) % slots_.size()];
  slot_ready_.wait(lock, [&] { return slot.ready; });
  Slot taken = std::exchange(slot, {});
  ++next_to_deliver_;
  slot_free_.notify_all();
  return taken;
}

/// A worker's life: take the next number, prepare that batch without the lock, put it in its slot.
void Loader::work() {
  const int64_t end = batches();
  std::unique_lock lock(mutex_);
  for (;;) {
    slot_free_.wait(lock, [&] {
      return stopping_ || next_to_make_ == end || next_to_make_ < next_to_deliver_ + options_.prefetch;
    });
    if (stopping_ || next_to_make_ == end) return;
    const int64_t number = next_to_make_++;
    lock.unlock();
    Slot made = prepare(number);
    lock.lock();
    slots_[static_cast<size_t>(number) % slots_.size()] = std::move(made);
    slot_ready_.notify_one();
  }
}

/// A batch, or what was thrown on the way to it.
Loader::Slot Loader::prepare(int64_t number) const {
  Slot slot{true, {}, nullptr, {}};
  try {
    slot.batch = make_batch(number, slot.cost);
  } catch (...) {
    slot.error = std::current_exception();
  }
  return slot;
}

/// For `count` examples, none of them there.
Batch Loader::empty_batch(int64_t count) const {
  const int64_t classes = dataset_->classes();
  const Mixing::Kind mixing = pipeline_.mixing().kind;
  const bool bytes = options_.bytes && mixing != Mixing::Kind::mixup && !holds_features(*dataset_);
  Batch batch{.images = Tensor::empty(batch_shape(count, image_shape_), bytes ? DType::u8 : DType::f32),
              .labels = Tensor::empty({count}, DType::i64),
              .targets = {},
              .distributions = {},
              .indices = Tensor::empty({count}, DType::i64)};
  if (dataset_->has_targets() || mixing != Mixing::Kind::none) batch.targets = Tensor::zeros({count, classes});
  if (dataset_->has_distributions()) batch.distributions = Tensor::empty({count, classes});
  return batch;
}

Batch Loader::make_batch(int64_t number, LoaderStatistics& cost) const {
  const AddedTime time(cost.seconds);
  const int64_t first = number * options_.batch_size;
  const Span whole{first, std::min(first + options_.batch_size, dataset_->size())};
  std::vector<Batch> shares;
  for (int64_t p = 0; p < options_.parts; ++p) {
    const Span part = span_of(whole.size(), p, options_.parts);
    const Span share = span_of(part.size(), options_.rank, options_.ranks);
    const int64_t begin = whole.begin + part.begin;
    shares.push_back(make_share(whole, {begin + share.begin, begin + share.end}, number, cost));
  }
  return joined(std::move(shares));
}

/// The examples at places `share` of the epoch's order, of the batch at places `batch`.
Batch Loader::make_share(Span batch, Span share, int64_t number, LoaderStatistics& cost) const {
  const bool mixes = pipeline_.mixing().kind != Mixing::Kind::none;
  // The one before it, which mixing looks at; a whole batch has it at its end.
  const bool looks_back = mixes && share.size() > 0 && share.size() < batch.size();
  Batch made = empty_batch(share.size() + (looks_back ? 1 : 0));
  int64_t b = 0;
  for (int64_t n = share.begin - 1; looks_back && b == 0 && n > share.begin - 1 - batch.size(); --n) {
    try {
      fill(made, 0, order_[static_cast<size_t>(n < batch.begin ? n + batch.size() : n)], cost);
      ++b;
    } catch (const ImageError&) {  // whose place the one before it takes
    }
  }
  const int64_t before = b;
  for (int64_t n = share.begin; n < share.end; ++n) {
    const int64_t i = order_[static_cast<size_t>(n)];
    try {
      fill(made, b, i, cost);
      ++b;
    } catch (const ImageError& error) {
      made.skipped.push_back({i, error.what()});
    }
  }
  for (Tensor* t : tensors_of(made))
    if (t->defined()) *t = t->rows(0, b);
  if (mixes && b > 0) {
    Rng rng({options_.seed, kMixing, static_cast<uint64_t>(epoch_)}, static_cast<uint64_t>(number));
    mix(pipeline_.mixing(), made.images, made.targets, rng);
  }
  for (Tensor* t : tensors_of(made))
    if (t->defined()) *t = t->rows(before, b);
  made.part_rows = {b - before};
  cost.images += b - before;
  return made;
}

/// Example i of the dataset at place b of a batch.
void Loader::fill(Batch& batch, int64_t b, int64_t i, LoaderStatistics& cost) const {
  const int64_t classes = dataset_->classes();
  Rng rng({options_.seed, kAugmentation, static_cast<uint64_t>(epoch_)}, static_cast<uint64_t>(i));
  const auto prepare = [&](const Tensor& image) {
    const int64_t at = b * image_shape_.numel();
    if (batch.images.dtype() == DType::u8) return pipeline_.apply(image, rng, batch.images.data<uint8_t>() + at);
    pipeline_.apply(image, rng, batch.images.data<float>() + at);
  };
  if (holds_features(*dataset_)) {
    dataset_->read_features(i, batch.images.data<float>() + b * image_shape_.numel());
  } else if (dataset_->encoded()) {
    EncodedImage encoded;
    Tensor image;
    {
      const AddedTime time(cost.decode_seconds);
      encoded = dataset_->file(i);
      image = pipeline_.decode(encoded, rng);
    }
    try {
      prepare(image);
    } catch (const Error& error) {  // too small for a crop, say
      throw ImageError(std::string(error.what()) + ": " + encoded.source);
    }
  } else {
    const Tensor image = dataset_->image(i);
    const Shape known = dataset_->image_shape();
    const bool any_size = known[0] == 0 && image.ndim() == 3;
    require_shape(image, any_size ? image.shape().with(2, known[2]) : known, "loader", "image");
    prepare(image);
  }
  batch.labels.data<int64_t>()[b] = dataset_->label(i);
  batch.indices.data<int64_t>()[b] = i;
  if (dataset_->has_targets()) {
    const Tensor target = dataset_->target(i);
    require_shape(target, {classes}, "loader", "target");
    std::copy_n(target.data<float>(), classes, batch.targets.data<float>() + b * classes);
  } else if (batch.targets.defined()) {
    float* target = batch.targets.data<float>() + b * classes;
    std::fill_n(target, classes, 0.0f);
    target[dataset_->label(i)] = 1;
  }
  if (batch.distributions.defined()) {
    const Tensor p = dataset_->distribution(i);
    require_shape(p, {classes}, "loader", "distribution");
    std::copy_n(p.data<float>(), classes, batch.distributions.data<float>() + b * classes);
  }
  if (dataset_->has_captions()) batch.captions.push_back(epoch_caption(*dataset_, options_.seed, epoch_, i));
}

}  // namespace sked

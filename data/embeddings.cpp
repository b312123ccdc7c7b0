#include "data/embeddings.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/xxh64.h"

namespace sked {
namespace {

constexpr uint64_t kCheckedWhole = uint64_t{2} << 30;  // bytes of features that are read when they are opened
constexpr uint64_t kKept = uint64_t{256} << 20;  // bytes of features that stay in memory: a read costs a microsecond
constexpr int64_t kWidest = int64_t{1} << 20;    // of D and of K

template <class... Parts>
void check(bool ok, const Parts&... parts) {
  require(ok, "embeddings", parts...);
}

/// The first of n numbers that is not finite; n where all are.
int64_t first_not_finite(const float* x, int64_t n) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const auto magnitude = [](float value) { return std::bit_cast<uint32_t>(value) & 0x7fffffffU; };
  uint32_t greatest = 0;  // compilers vectorize this, but no search
  for (int64_t d = 0; d < n; ++d) greatest = std::max(greatest, magnitude(x[d]));
  return greatest < kInfinity ? n : std::find_if_not(x, x + n, [](float v) { return std::isfinite(v); }) - x;
}

/// Calls use(row, numbers of that row) for the rows of an array, from several threads. What is thrown first, in the
/// order of rows, comes out.
template <class Use>
void for_each_row(const StoredArray& array, Use&& use) {
  constexpr int64_t kBlock = 1 << 16;  // numbers
  const int64_t rows = array.rows(), width = array.row_size(), each = std::max<int64_t>(1, kBlock / width);
  const int64_t blocks = (rows + each - 1) / each;
  int64_t failed = blocks;
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) if (blocks > 4)
  for (int64_t b = 0; b < blocks; ++b) {
    try {
      thread_local std::vector<float> numbers;
      const int64_t begin = b * each, end = std::min(rows, begin + each);
      numbers.resize(static_cast<size_t>(each * width));
      array.read(begin, end, numbers.data());
      for (int64_t row = begin; row < end; ++row) use(row, numbers.data() + (row - begin) * width);
    } catch (...) {
#pragma omp critical(embeddings_error)
      if (b < failed) {
        failed = b;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

/// Several labels: 0 and 1 alone.
void check_labels_of(const StoredArray& array, int64_t row, const float* y) {
  for (int64_t k = 0; k < array.row_size(); ++k)
    check(y[k] == 0 || y[k] == 1, array.name(), ": row ", row, ", class ", k, " is ", y[k],
          ", expected 0 or 1 (several labels a row",
          array.row_size() == 1 ? "; one label for each is (N), not (N, 1)" : "", ")");
}

/// Shares that sum to one within the rounding of their dtype; those of 16 bits are then made to.
void check_distribution(const StoredArray& array, int64_t row, float* p) {
  const bool coarse = array.element() == Element::f16 || array.element() == Element::bf16;
  const double tolerance = !coarse ? 1e-4 : array.element() == Element::f16 ? 1e-3 : 1e-2;
  double sum = 0;
  for (int64_t k = 0; k < array.row_size(); ++k) {
    check(p[k] >= 0, array.name(), ": row ", row, ", class ", k, " is ", p[k], ", expected a share from 0 to 1");
    sum += p[k];
  }
  check(std::abs(sum - 1) <= tolerance, array.name(), ": row ", row, " sums to ", sum, ", expected 1");
  for (int64_t k = 0; coarse && k < array.row_size(); ++k) p[k] = static_cast<float>(p[k] / sum);
}

}  // namespace

Embeddings::Embeddings(std::string name, std::vector<std::string> class_names, EmbeddingColumns columns,
                       const std::vector<bool>& used)
    : Dataset(std::move(name), std::move(class_names)),
      columns_(std::move(columns)),
      stamp_(stamp_of(columns_.features.path())) {
  check_columns();
  read_scale();
  read_labels(used);
  check_features(used);
}

void Embeddings::check_columns() const {
  const StoredArray& x = columns_.features;
  const bool numbers = is_floating(x.element()) || x.element() == Element::u8 || x.element() == Element::i8;
  check(x.shape().ndim() == 2 && numbers, x.name(), ": expected features (N, D) f32, f64, f16, bf16, u8 or i8, got ",
        x.shape(), " ", sked::name(x.element()));
  check(x.row_size() >= 1 && x.row_size() <= kWidest, x.name(), ": expected D in 1 to ", kWidest, ", got ",
        x.row_size());
  const auto check_rows = [&](const std::optional<StoredArray>& column, const char* what) {
    check(!column || column->rows() == x.rows(), column ? column->name() : "", ": expected ", what, " for each of the ",
          x.rows(), " rows of ", x.name(), ", got ", column ? column->rows() : 0);
  };
  check(columns_.labels || columns_.distributions || classes() == 0, x.name(),
        ": expected `labels` or `label_distribution` beside it");
  check_rows(columns_.labels, "a label");
  check_rows(columns_.distributions, "a distribution");
  check_rows(columns_.ids, "an id");
  check(!columns_.ids || columns_.ids->holds_words(), columns_.ids ? columns_.ids->name() : "",
        ": expected ids (N) of integers or strings, or (N, L) u8 of UTF-8, got ",
        columns_.ids ? columns_.ids->shape() : Shape(), " ", columns_.ids ? sked::name(columns_.ids->element()) : "");
}

void Embeddings::read_scale() {
  if (!columns_.scale) return;
  const StoredArray &x = columns_.features, &scale = *columns_.scale;
  check(!is_floating(x.element()), scale.name(), ": a scale is for features of u8 or i8, got ", sked::name(x.element()),
        " ones");
  const Shape& shape = scale.shape();
  const bool one = shape.ndim() == 0 || shape == Shape{1};
  check(is_floating(scale.element()) && (one || shape == Shape{x.row_size()}), scale.name(),
        ": expected a scale () or (", x.row_size(), ") f32, got ", shape, " ", sked::name(scale.element()));
  scale_.resize(static_cast<size_t>(shape.numel()));
  scale.read(0, scale.rows(), scale_.data());
  scale_.resize(static_cast<size_t>(x.row_size()), scale_.front());
  for (size_t d = 0; d < scale_.size(); ++d)
    check(std::isfinite(scale_[d]) && std::isfinite(255 * scale_[d]), scale.name(), ": scale ", d, " is ", scale_[d],
          ", expected a finite one");
}

void Embeddings::read_labels(const std::vector<bool>& used) {
  const auto is_used = [&](int64_t row) { return used.empty() || used[static_cast<size_t>(row)]; };
  const bool several = columns_.labels && columns_.labels->shape().ndim() == 2;
  for (const auto* column : {several ? &columns_.labels : nullptr, &columns_.distributions}) {
    if (column == nullptr || !*column) continue;
    check((*column)->shape().ndim() == 2 && (*column)->row_size() == classes(), (*column)->name(), ": expected (N, ",
          classes(), ") for ", classes(), " classes, got ", (*column)->shape());
  }
  check(!several || !columns_.distributions, columns_.distributions ? columns_.distributions->name() : "",
        ": expected none beside several labels a row");
  const bool soft = columns_.distributions && !columns_.labels;
  targets_ = several ? columns_.labels : soft ? columns_.distributions : std::nullopt;
  distributions_ = soft ? std::nullopt : columns_.distributions;

  const bool labeled = !targets_ && columns_.labels;
  labels_.resize(static_cast<size_t>(size()), 0);
  if (labeled) columns_.labels->read(0, size(), labels_.data());
  if (several || columns_.distributions)
    for_each_row(several ? *columns_.labels : *columns_.distributions, [&](int64_t row, float* p) {
      if (!is_used(row)) return;
      several ? check_labels_of(*columns_.labels, row, p) : check_distribution(*columns_.distributions, row, p);
      if (targets_) labels_[static_cast<size_t>(row)] = std::max_element(p, p + classes()) - p;
    });
  for (int64_t row = 0; labeled && row < size(); ++row) {
    const int64_t y = labels_[static_cast<size_t>(row)];
    check(!is_used(row) || (y >= 0 && y < classes()), columns_.labels->name(), ": label ", row, " is ", y,
          ", expected 0 to ", classes() - 1);
  }
}

void Embeddings::check_features(const std::vector<bool>& used) {
  StoredArray& x = columns_.features;
  const uint64_t bytes = static_cast<uint64_t>(x.rows()) * x.row_bytes();
  if (bytes > kCheckedWhole) return;
  if (bytes <= kKept) x.keep();
  checksums_.resize(static_cast<size_t>(size()));
  for_each_row(x, [&](int64_t row, float* numbers) {
    if (!used.empty() && !used[static_cast<size_t>(row)]) return;
    finish(row, numbers);
    checksums_[static_cast<size_t>(row)] = xxh64_value(numbers, static_cast<size_t>(x.row_size()) * sizeof(float));
  });
}

void Embeddings::finish(int64_t row, float* x) const {
  const int64_t width = columns_.features.row_size();
  for (size_t d = 0; d < scale_.size(); ++d) x[d] *= scale_[d];
  const int64_t d = first_not_finite(x, width);
  check(d == width, columns_.features.name(), ": row ", row, ", column ", d, " is ", d < width ? x[d] : 0,
        ", expected a finite number");
}

void Embeddings::read_features(int64_t i, float* out) const {
  check_index(i);
  columns_.features.read(i, i + 1, out);
  finish(i, out);
}

Tensor Embeddings::image(int64_t i) const {
  Tensor x = Tensor::empty(image_shape());
  read_features(i, x.data<float>());
  return x;
}

int64_t Embeddings::label(int64_t i) const {
  check_index(i);
  return labels_[static_cast<size_t>(i)];
}

std::string Embeddings::source(int64_t i) const {
  check_index(i);
  return columns_.features.name() + ", row " + std::to_string(i);
}

std::string Embeddings::id(int64_t i) const { return columns_.ids ? columns_.ids->word(i) : source(i); }

void Embeddings::add_identity(int64_t i, Fingerprint& f) const {
  Dataset::add_identity(i, f);
  if (columns_.ids)
    f.add(id(i));
  else
    f.add(&i, sizeof i);
  if (targets_) {
    const Tensor shares = target(i);
    f.add(shares.raw(), shares.bytes());
  }
  if (!checksums_.empty()) f.add(&checksums_[static_cast<size_t>(i)], sizeof checksums_[0]);
}

void Embeddings::add_image(int64_t i, Fingerprint& f) const {
  check_index(i);
  f.add(&i, sizeof i);
  f.add(&stamp_.bytes, sizeof stamp_.bytes);
  f.add(&stamp_.modified, sizeof stamp_.modified);
  f.add(&stamp_.changed, sizeof stamp_.changed);
  f.add(scale_.data(), scale_.size() * sizeof(float));
}

Tensor Embeddings::target(int64_t i) const {
  if (!targets_) return Dataset::target(i);
  check_index(i);
  Tensor shares = Tensor::empty({classes()});
  targets_->read(i, i + 1, shares.data<float>());
  if (columns_.labels)
    check_labels_of(*targets_, i, shares.data<float>());
  else
    check_distribution(*targets_, i, shares.data<float>());
  return shares;
}

Tensor Embeddings::distribution(int64_t i) const {
  if (!distributions_) return Dataset::distribution(i);
  check_index(i);
  Tensor shares = Tensor::empty({classes()});
  distributions_->read(i, i + 1, shares.data<float>());
  check_distribution(*distributions_, i, shares.data<float>());
  return shares;
}

}  // namespace sked

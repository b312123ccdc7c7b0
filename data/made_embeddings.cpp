#include "data/made_embeddings.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/kernels/random.h"

namespace sked {
namespace {

/// Of what a vector is made of, and of its numbers.
constexpr uint64_t kDraws = 0x6D6164656472, kNumbers = 0x6D616465656D;  // "madedr", "madeem"

/// Rows of N(0,1), f32 (rows, D), at (seed, step, examples).
Tensor normal_rows(const Tensor& examples, int64_t width, uint64_t seed, uint64_t step) {
  Tensor rows = Tensor::empty({examples.dim(0), 1, width});
  kernel::gaussian_noise(examples, rows, RngAddress{seed, kNumbers, step}, {});
  return rows;
}

template <class T>
void check_key(bool ok, const char* key, const char* expected, const T& value) {
  require_usage(ok, "load_splits", "data.made.", key, ": expected ", expected, ", got ", value);
}

}  // namespace

void check(const MadeEmbeddingsSpec& spec) {
  constexpr int64_t kMostClasses = 1 << 24, kWidest = 1 << 16, kMost = int64_t{1} << 32;
  check_key(spec.classes >= 2 && spec.classes <= kMostClasses, "classes", "2 to 16777216", spec.classes);
  check_key(spec.superclass_size >= 1, "superclass_size", "at least 1", spec.superclass_size);
  check_key(spec.width >= 1 && spec.width <= kWidest, "width", "1 to 65536", spec.width);
  check_key(spec.train >= 1 && spec.train <= kMost, "train", "1 to 4294967296", spec.train);
  check_key(spec.test >= 1 && spec.test <= kMost, "test", "1 to 4294967296", spec.test);
  check_key(spec.spread >= 0 && spec.spread <= 1e6, "spread", "0 to 1e6", spec.spread);
  check_key(spec.confusion >= 0 && spec.confusion <= 1, "confusion", "a number in [0, 1]", spec.confusion);
}

std::vector<std::string> class_names_of(const MadeEmbeddingsSpec& spec) {
  check(spec);
  std::vector<std::string> names;
  for (int64_t k = 0; k < spec.classes; ++k)
    names.push_back("class " + std::to_string(k) + " of super-class " + std::to_string(k / spec.superclass_size));
  return names;
}

MadeEmbeddings::MadeEmbeddings(const MadeEmbeddingsSpec& spec, Part part, bool confused_labels)
    : Dataset(kMadeEmbeddings, class_names_of(spec)), spec_(spec), part_(part), confused_labels_(confused_labels) {}

MadeEmbeddings::Draw MadeEmbeddings::draw(int64_t i) const {
  check_index(i);
  Rng rng(RngAddress{spec_.seed, kDraws, static_cast<uint64_t>(part_)}, static_cast<uint64_t>(i));
  const int64_t y = rng.below(static_cast<uint32_t>(spec_.classes));
  const int64_t first = y - y % spec_.superclass_size;
  const int64_t size = std::min(spec_.superclass_size, spec_.classes - first);
  if (size == 1) return {y, y, 0, y};
  const int64_t steps = 1 + rng.below(static_cast<uint32_t>(size - 1));  // from y on, around the super-class
  const int64_t z = first + (y - first + steps) % size;
  const float mix = static_cast<float>(spec_.confusion) * rng.uniform();
  return {y, z, mix, rng.uniform() < mix ? z : y};
}

int64_t MadeEmbeddings::label(int64_t i) const {
  const Draw d = draw(i);
  return confused_labels_ ? d.confused : d.y;
}

double MadeEmbeddings::noisy_share() const {
  int64_t noisy = 0;
  for (int64_t i = 0; confused_labels_ && i < size(); ++i) {
    const Draw d = draw(i);
    noisy += d.confused != d.y;
  }
  return static_cast<double>(noisy) / static_cast<double>(size());
}

void MadeEmbeddings::read_features(int64_t i, float* out) const {
  const Draw d = draw(i);
  const int64_t kinds[] = {d.y, d.z, spec_.classes + d.y / spec_.superclass_size};
  Tensor examples = Tensor::empty({3}, DType::i64), example = Tensor::full({1}, static_cast<double>(i), DType::i64);
  std::ranges::copy(kinds, examples.data<int64_t>());
  const Tensor seen = normal_rows(examples, spec_.width, spec_.seed, 0);
  const Tensor noise = normal_rows(example, spec_.width, spec_.seed, 1 + static_cast<uint64_t>(part_));
  const auto spread = static_cast<float>(spec_.spread);
  const auto scale = static_cast<float>(1 / std::sqrt(2 + spec_.spread * spec_.spread));
  const float *v_y = seen.data<float>(), *v_z = v_y + spec_.width, *u = v_z + spec_.width, *n = noise.data<float>();
  // fma() where the formula has sums: left to the compiler, their rounding would be the machine's.
  for (int64_t j = 0; j < spec_.width; ++j)
    out[j] = scale * std::fma(spread, n[j], std::fma(d.mix, v_z[j], std::fma(1 - d.mix, v_y[j], u[j])));
}

Tensor MadeEmbeddings::image(int64_t i) const {
  Tensor x = Tensor::empty({spec_.width});
  read_features(i, x.data<float>());
  return x;
}

Tensor MadeEmbeddings::distribution(int64_t i) const {
  if (!has_distributions()) return Dataset::distribution(i);
  const Draw d = draw(i);
  Tensor p = Tensor::zeros({spec_.classes});
  p.data<float>()[d.y] = 1 - d.mix;
  p.data<float>()[d.z] += d.mix;
  return p;
}

std::string MadeEmbeddings::source(int64_t i) const { return name() + ", vector " + std::to_string(i); }

void MadeEmbeddings::add_identity(int64_t i, Fingerprint& f) const {
  add_image(i, f);
  Dataset::add_identity(i, f);
}

void MadeEmbeddings::add_image(int64_t i, Fingerprint& f) const {
  const double rule[] = {static_cast<double>(spec_.classes),
                         static_cast<double>(spec_.superclass_size),
                         static_cast<double>(spec_.width),
                         spec_.spread,
                         spec_.confusion,
                         static_cast<double>(part_)};
  f.add(rule, sizeof rule);
  f.add(&spec_.seed, sizeof spec_.seed);
  f.add(&i, sizeof i);
}

}  // namespace sked

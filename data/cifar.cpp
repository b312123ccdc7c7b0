#include "data/cifar.h"

#include <array>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "core/npy.h"
#include "data/dataset.h"

namespace sked {
namespace {

constexpr int64_t kClasses = 10, kSide = 32, kChannels = 3;
constexpr int64_t kPlane = kSide * kSide;
constexpr int64_t kRecord = 1 + kChannels * kPlane;

/// One record: the label, and planes (C, H, W) to pixels (H, W, C).
void read_record(const unsigned char* record, uint8_t* pixels, int64_t& label) {
  label = record[0];
  for (int64_t c = 0; c < kChannels; ++c) {
    const unsigned char* plane = record + 1 + c * kPlane;
    for (int64_t p = 0; p < kPlane; ++p) pixels[p * kChannels + c] = plane[p];
  }
}

/// Of votes i64 (N, K): f32 (N, K).
Tensor shares(const Tensor& counts, const std::string& path, std::string_view where) {
  Tensor distributions = Tensor::empty(counts.shape(), DType::f32);
  const int64_t classes = counts.dim(1);
  const int64_t* votes = counts.data<int64_t>();
  float* p = distributions.data<float>();
  for (int64_t i = 0; i < counts.dim(0); ++i, votes += classes, p += classes) {
    double total = 0.0;
    for (int64_t k = 0; k < classes; ++k) {
      require(votes[k] >= 0, where, path, ": image ", i, " has ", votes[k], " votes for class ", k);
      total += static_cast<double>(votes[k]);
    }
    require(total > 0.0, where, path, ": image ", i, " has no votes");
    for (int64_t k = 0; k < classes; ++k) p[k] = static_cast<float>(static_cast<double>(votes[k]) / total);
  }
  return distributions;
}

}  // namespace

CifarImages load_cifar10(const std::vector<std::string>& paths, int64_t records) {
  const int64_t count = records * static_cast<int64_t>(paths.size());
  std::vector<std::unique_ptr<InputFile>> files;
  for (const std::string& path : paths) {
    files.push_back(std::make_unique<InputFile>(path));
    const uint64_t expected = static_cast<uint64_t>(records * kRecord), got = files.back()->size().value_or(0);
    require(got == expected, "load_cifar10", path, ": expected ", expected, " bytes (", records, " records of ",
            kRecord, "), got ", got);
  }

  CifarImages result{Tensor::empty({count, kSide, kSide, kChannels}, DType::u8), Tensor::empty({count}, DType::i64)};
  uint8_t* pixels = result.images.data<uint8_t>();
  int64_t* labels = result.labels.data<int64_t>();
  std::array<unsigned char, kRecord> record{};
  for (size_t f = 0; f < files.size(); ++f) {
    const int64_t first = static_cast<int64_t>(f) * records;
    for (int64_t i = first; i < first + records; ++i) {
      files[f]->read(record.data(), record.size());
      read_record(record.data(), pixels + i * kChannels * kPlane, labels[i]);
    }
    check_labels(result.labels.rows(first, first + records), kClasses, paths[f]);
  }
  return result;
}

Tensor load_cifar10n(const std::string& path, const std::string& clean_path, const Tensor& clean) {
  const Tensor reference = load_npy(clean_path), labels = load_npy(path);
  check_labels(reference, kClasses, clean_path);
  check_labels(labels, kClasses, path);
  const int64_t count = clean.dim(0);
  require(reference.dim(0) == count, "load_cifar10n", clean_path, ": expected ", count, " labels, got ",
          reference.dim(0));
  require(labels.dim(0) == count, "load_cifar10n", path, ": expected ", count, " labels, got ", labels.dim(0));
  const int64_t *ours = clean.data<int64_t>(), *theirs = reference.data<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    require(ours[i] == theirs[i], "load_cifar10n", "the images are not in the order of ", clean_path, ": label ", i,
            " expected ", theirs[i], ", got ", ours[i]);
  }
  return labels;
}

Tensor load_votes(const std::string& path, const Shape& shape) {
  const StoredArray file = open_npy(path);
  require(file.shape() == shape, "load_votes", path, ": expected counts ", shape, ", got ", file.shape());
  Tensor counts = Tensor::empty(shape, DType::i64);
  file.read(0, shape[0], counts.data<int64_t>());
  return shares(counts, path, "load_votes");
}

Tensor load_cifar10h(const std::string& path, int64_t images) {
  const Tensor counts = load_npy(path);
  const Shape expected{images, kClasses};
  require(counts.dtype() == DType::i64 && counts.shape() == expected, "load_cifar10h", path, ": expected counts ",
          expected, " i64, got ", counts);
  return shares(counts, path, "load_cifar10h");
}

}  // namespace sked

// IDX and CIFAR-10 files: good ones, and ones that lie.
#include <doctest/doctest.h>

#include "core/npy.h"
#include "data/cifar.h"
#include "data/idx.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

/// An IDX file of bytes with these extents and data.
std::string idx(const std::vector<uint32_t>& extents, const std::string& data, char type = 8) {
  std::string bytes{'\0', '\0', type, static_cast<char>(extents.size())};
  for (const uint32_t extent : extents) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(extent >> shift);
  }
  return bytes + data;
}

TEST_CASE("idx: images and labels") {
  const TemporaryFolder folder;
  const Tensor images = load_idx_images(folder.write("images", idx({2, 1, 3}, "abcdef")));
  CHECK(images.shape() == Shape{2, 1, 3, 1});
  CHECK(images.to_vector<uint8_t>() == std::vector<uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'});
  const Tensor labels = load_idx_labels(folder.write("labels", idx({3}, std::string("\x00\x09\x01", 3))), 10);
  CHECK(labels.to_vector<int64_t>() == std::vector<int64_t>{0, 9, 1});
  CHECK(load_idx_images(folder.write("none", idx({0, 28, 28}, ""))).shape() == Shape{0, 28, 28, 1});
  CHECK(load_idx_labels(folder.write("no-labels", idx({0}, "")), 10).shape() == Shape{0});
}

TEST_CASE("idx: files that lie or break off are errors, and nothing is allocated for them") {
  const TemporaryFolder folder;
  const auto images = [&](const std::string& bytes) {
    return error_of([&] { load_idx_images(folder.write("x-idx3", bytes)); });
  };
  const auto labels = [&](const std::string& bytes) {
    return error_of([&] { load_idx_labels(folder.write("x-idx1", bytes), 10); });
  };
  CHECK(one_line_with(images(idx({2, 2, 2}, "1234567")), "x-idx3", "expected 8 bytes", "got 7"));
  CHECK(one_line_with(images(idx({2, 2, 2}, "123456789")), "expected 8 bytes", "got 9"));
  CHECK(one_line_with(images(idx({0xffffffff, 28, 28}, "1")), "3367254359280", "got 1"));
  CHECK(one_line_with(images(idx({0xffffffff, 0xffffffff, 0xffffffff}, "1")), "more than 2^63"));
  CHECK(one_line_with(images(idx({5, 0, 28}, "")), "pixels"));
  CHECK(one_line_with(images(idx({2}, "12")), "x-idx3"));
  CHECK(one_line_with(images(idx({1, 1, 1}, "1", 9)), "magic number 2051, got 2307"));
  CHECK(one_line_with(labels(idx({1, 1, 1}, "1")), "magic number 2049, got 2051"));
  CHECK(one_line_with(labels(idx({3}, "12")), "expected 3 bytes", "got 2"));
  CHECK(one_line_with(labels(idx({3}, std::string("\x00\x09\x0a", 3))), "x-idx1: label 2 is 10, expected 0 to 9"));
  const std::string whole = idx({1, 2, 2}, "1234");
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(one_line_with(images(whole.substr(0, length)), "x-idx3"));
    CHECK(one_line_with(labels(whole.substr(0, length)), "x-idx1"));
  }
  CHECK(one_line_with(error_of([&] { load_idx_images(folder.path()); }), "Is a directory"));
  CHECK(one_line_with(error_of([&] { load_idx_labels(folder.path("none"), 10); }), "none", "No such file"));
}

/// One CIFAR-10 record: byte p of plane c is (p + 85c + shift) mod 256.
std::string record(int label, int shift) {
  std::string bytes(1, static_cast<char>(label));
  for (int c = 0; c < 3; ++c) {
    for (int p = 0; p < 1024; ++p) bytes += static_cast<char>(p + 85 * c + shift);
  }
  return bytes;
}

TEST_CASE("cifar-10: planes become pixels, files follow each other") {
  const TemporaryFolder folder;
  const std::string first = folder.write("1.bin", record(3, 0) + record(9, 1));
  const std::string second = folder.write("2.bin", record(0, 2) + record(1, 3));
  const CifarImages data = load_cifar10({first, second}, 2);
  CHECK(data.images.shape() == Shape{4, 32, 32, 3});
  CHECK(data.labels.to_vector<int64_t>() == std::vector<int64_t>{3, 9, 0, 1});
  const auto pixels = data.images.to_vector<uint8_t>();
  for (const size_t image : {0, 3}) {
    for (const size_t pixel : {0, 37, 1023}) {
      for (size_t c = 0; c < 3; ++c) {
        CHECK(pixels[(image * 1024 + pixel) * 3 + c] == static_cast<uint8_t>(pixel + 85 * c + image));
      }
    }
  }
}

TEST_CASE("cifar-10: files of another length and labels out of range are errors") {
  const TemporaryFolder folder;
  const auto loading = [&](const std::string& bytes, int64_t records = 1) {
    return error_of([&] { load_cifar10({folder.write("x.bin", bytes)}, records); });
  };
  CHECK(loading(record(9, 0)).empty());
  CHECK(one_line_with(loading(record(9, 0).substr(1)), "x.bin", "expected 3073 bytes", "got 3072"));
  CHECK(one_line_with(loading(record(9, 0) + "x"), "got 3074"));
  CHECK(one_line_with(loading(record(9, 0) + record(9, 0)), "got 6146"));
  CHECK(one_line_with(loading("", 10000), "expected 30730000 bytes", "got 0"));
  CHECK(one_line_with(loading(record(9, 0) + record(10, 0), 2), "x.bin: label 1 is 10"));
  CHECK(one_line_with(error_of([&] { load_cifar10({folder.path()}); }), "Is a directory"));
}

TEST_CASE("cifar-10n: labels are taken only when the images are in their order") {
  const TemporaryFolder folder;
  const auto save = [&](const std::string& file, const std::vector<int64_t>& labels) {
    save_npy(folder.path(file), Tensor::from<int64_t>(labels, {static_cast<int64_t>(labels.size())}));
    return folder.path(file);
  };
  const std::string clean = save("clean.npy", {3, 1, 4}), worst = save("worst.npy", {3, 9, 4});
  const Tensor ours = Tensor::from<int64_t>({3, 1, 4}, {3});
  CHECK(load_cifar10n(worst, clean, ours).to_vector<int64_t>() == std::vector<int64_t>{3, 9, 4});

  const auto loading = [&](const std::string& labels, const std::string& reference, const Tensor& images) {
    return error_of([&] { load_cifar10n(labels, reference, images); });
  };
  const Tensor swapped = Tensor::from<int64_t>({3, 4, 1}, {3});
  CHECK(one_line_with(loading(worst, clean, swapped), "not in the order", "label 1 expected 1, got 4"));
  CHECK(one_line_with(loading(worst, save("short.npy", {3, 1}), ours), "short.npy: expected 3 labels, got 2"));
  CHECK(one_line_with(loading(save("short.npy", {3, 1}), clean, ours), "short.npy: expected 3 labels, got 2"));
  CHECK(one_line_with(loading(save("range.npy", {3, 10, 4}), clean, ours), "range.npy: label 1 is 10"));
  save_npy(folder.path("float.npy"), Tensor::zeros({3}));
  CHECK(one_line_with(loading(folder.path("float.npy"), clean, ours), "float.npy", "i64"));
}

TEST_CASE("cifar-10h: votes become shares") {
  const TemporaryFolder folder;
  const std::string path = folder.path("h.npy");
  std::vector<int64_t> votes(20, 0);
  votes[2] = 50, votes[10] = 10, votes[19] = 30;
  const auto save = [&] { save_npy(path, Tensor::from<int64_t>(votes, {2, 10})); };
  save();
  const auto p = load_cifar10h(path, 2).to_vector<float>();
  CHECK(p[2] == 1.0f);
  CHECK(p[10] == 0.25f);
  CHECK(p[19] == 0.75f);
  CHECK(one_line_with(error_of([&] { load_cifar10h(path, 3); }), "h.npy", "(3, 10)"));
  votes[11] = -1;
  save();
  CHECK(one_line_with(error_of([&] { load_cifar10h(path, 2); }), "image 1 has -1 votes for class 1"));
  votes = std::vector<int64_t>(20, 0);
  save();
  CHECK(one_line_with(error_of([&] { load_cifar10h(path, 2); }), "image 0 has no votes"));
}

}  // namespace
}  // namespace sked

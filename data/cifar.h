#pragma once
// CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009), and what people said of its
// images: CIFAR-10N (Wei et al., "Learning with noisy labels revisited", ICLR 2022, arXiv 2110.12088) and CIFAR-10H
// (Peterson et al., "Human uncertainty makes classification more robust", ICCV 2019, arXiv 1908.07086).

#include <string>
#include <vector>

#include "core/tensor.h"

namespace sked {

struct CifarImages {
  Tensor images;  // u8 (N, 32, 32, 3), RGB
  Tensor labels;  // i64 (N)
};

/// The records of binary batches in the order of `paths`: 1 label byte, then planes of 1024 red, green and blue bytes.
/// Each file must hold exactly `records` of them. Throws Error naming the file (and the record of a label above 9).
CifarImages load_cifar10(const std::vector<std::string>& paths, int64_t records = 10000);

/// CIFAR-10N: i64 (N), the labels of `path` (cifar10n-aggregate.npy …), in the order of the training images.
/// `clean_path` (cifar10n-clean.npy) repeats the clean labels in the order of the label sets; where it differs from
/// `clean`, the images' own labels, the images are in another order and Error is thrown.
Tensor load_cifar10n(const std::string& path, const std::string& clean_path, const Tensor& clean);

/// People's votes: integers (N, K) in the .npy file `path` → f32 (N, K), each row the shares of its votes. Throws Error
/// for another shape, a negative count or a row without votes.
Tensor load_votes(const std::string& path, const Shape& shape);

/// CIFAR-10H: f32 (N, 10), each row the share of the human votes of one of the N test images (i64 counts in `path`).
/// Throws Error for another shape, a negative count or an image without votes.
Tensor load_cifar10h(const std::string& path, int64_t images);

}  // namespace sked

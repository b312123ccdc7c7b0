#pragma once
// Test images under corruptions, as published to measure robustness: CIFAR-10-C, CIFAR-100-C, ImageNet-C (Hendrycks &
// Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, arXiv
// 1903.12261), and corruptions of our own.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/image_collection.h"

namespace sked {

inline constexpr int kSeverities = 5;

/// One corruption of a set of images.
struct Corruption {
  std::string name;
  bool in_mean = true;               // of all corruptions; else shown beside it
  std::vector<int> severities = {};  // 1 (mild) to 5, ascending
  /// Reads the images of a severity.
  std::function<std::shared_ptr<const Dataset>(int severity)> open = {};
};

struct Corruptions {
  std::vector<Corruption> list;         // the published ones in the paper's order, then others
  std::vector<std::string> notes = {};  // what a user should hear of
};

/// The corruptions in `path`. Either `<corruption>.npy`, each u8 (5·N, H, W, 1 or 3), severities one after the other,
/// and `labels.npy`, u8 or i64 (5·N) of numbers in `classes.names`; a severity is read when it is opened, never a
/// whole file. Or folders `<corruption>/<1 to 5>/<class>/<image>`, perhaps one level down (`blur`, `noise`, `weather`,
/// `digital`, `extra`), with classes of `classes.names` or `.ids` by name. In the mean are the 15 published
/// corruptions, or all but the four published as `extra` where none of the 15 is there. Which of the 15 are not there
/// is noted, as are folders with fewer classes and what is passed over. Throws Error naming the file or folder for
/// another dtype, shape, size or number of images, a label out of range, labels of fewer classes than `classes` (of
/// CIFAR-10-C for a model of 100), a class that is not one of them, and where there is no corruption at all. Images are
/// opened later: errors in them come then.
Corruptions find_corruptions(const std::string& path, const ClassList& classes);

}  // namespace sked

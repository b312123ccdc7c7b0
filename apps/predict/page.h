#pragma once
// A page with every image beside its answer: one file, without scripts, that asks for nothing else.

#include <string>
#include <vector>

#include "apps/predict/answer.h"
#include "core/file.h"

namespace sked {

/// What stands above the images.
struct PageAbout {
  std::string model;           // the checkpoint
  std::string command;         // as it was typed
  bool zero_shot = false;      // classes are phrases, and there is no noise
  bool deterministic = false;  // the head predicts no noise
};

/// Written image by image; under its name when finish() is called.
class Page {
 public:
  Page(const std::string& path, PageAbout about, std::vector<std::string> names);
  /// The image's file is read once more. Throws Error where it cannot be any more, or cannot be written.
  void add(const Answer& answer);
  /// `refused`: why other files have no answer.
  void finish(const std::vector<std::string>& refused);

 private:
  AtomicFile file_;
  PageAbout about_;
  std::vector<std::string> names_;
};

/// Is this a page of before, or an empty file?
bool is_page(const std::string& path);

}  // namespace sked

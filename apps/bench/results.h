#pragma once
// What a benchmark has found out so far: printed as it is known, and kept in its JSON file at once, so that a run that
// is cut off leaves what it had.

#include <string>

#include "apps/bench/bench.h"
#include "core/json.h"

namespace sked::bench {

class Results {
 public:
  /// `file` may be empty: only printed then. `head` is what the JSON begins with; `peak` in operations per second, 0
  /// where it was not measured.
  Results(std::string file, Json head, double peak);

  /// Takes the rows of a topic.
  Report rows(const std::string& topic);
  void knob(const Knob& knob);
  void variance(const VarianceRow& row);
  /// Throws Error naming the rows that failed, or those without a time of the peer for another reason than memory;
  /// UsageError where there was none whose name has `only` in it.
  void finish(const std::string& only) const;

 private:
  void keep(const std::string& topic, const Row& row);
  void write() const;

  std::string file_;
  Json json_;
  double peak_;
  std::vector<std::string> failed_, alone_;
  std::string headed_;  // the topic whose columns are named
};

}  // namespace sked::bench

#pragma once
// What tests/gpu_check.sh learns of the comparisons one by one, and where it makes them begin. The environment says so:
//
//   SKEDASTIC_CASES=FILE      one line of JSON for each comparison is appended to FILE, passed or not
//   SKEDASTIC_FIRST_CASE=n    a family begins with its case n (counted from 0), behind one that killed the process
//   SKEDASTIC_LAST_CASE=n     and ends with it; says so by a line `skipped: …`
//   SKEDASTIC_PLANT=WHAT:FAMILY:n,…   to rehearse: that case fails (WHAT: failure), throws (throw), kills the emulated
//                             device (dead) or the process (crash), or never ends (hang). It can only add failures:
//                             what a case finds itself counts as ever.

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "tests/common/closeness.h"

namespace sked::test {

/// What is compared: one output of one case, computed one way.
struct Compared {
  std::string kernel, what, way;
  size_t output = 0;
  DType dtype = DType::f32;
};

/// The cases of one family.
class CaseLog {
 public:
  explicit CaseLog(const std::string& family);

  /// First and last number asked for; the last is at most count − 1.
  int64_t first() const { return first_; }
  int64_t last(int64_t count) const { return std::min(last_, count - 1); }

  /// From here on it is about case `number`. Carries out what is planted there.
  void begin(int64_t number, const std::string& kernel, const std::string& what);
  /// Is this case's result to be taken for wrong?
  bool planted_failure() const { return planted("failure"); }
  void compared(const Compared& c, const Closeness& closeness);
  void thrown(const std::string& error);
  /// Writes that the device answers no more, and leaves the process with status 3.
  [[noreturn]] void dead();

 private:
  bool planted(const std::string& what) const;
  /// One line, written whole; nothing where no file is named.
  void write(const std::string& members);

  std::string family_, file_, plant_, kernel_, what_;
  int64_t first_ = 0, last_ = 0, number_ = -1;
  double began_ = 0;  // seconds
};

}  // namespace sked::test

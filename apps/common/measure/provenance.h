#pragma once
// What made a result: program, machine and day.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/fields.h"

namespace sked {

/// Empty where a result is older than this.
struct Provenance {
  std::string version;                 // of this project
  std::string compiler;                // `g++ 12.2.0`
  std::vector<std::string> libraries;  // the optional ones that the program has, with versions
  std::string host, processor;
  int64_t threads = 0;  // on the CPU
  std::string date;     // of the result: UTC, ISO 8601
};

void visit_fields(FieldList& fields, Provenance& p);

/// Of this process, now.
Provenance provenance();

}  // namespace sked
